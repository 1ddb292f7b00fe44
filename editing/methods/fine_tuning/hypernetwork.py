"""MEND's network: it turns the key and the gradient of one token into a rank-one change (Mitchell et al. 2022, eq. 3).

For maps of one shape, with z = [norm(u); norm(delta)] of a token's input u and gradient delta, D numbers,

    h = z + relu(s1 * (U1 V1 z + b) + o1),    g(z) = h + relu(s2 * U2 V2 h + o2) = [u~; delta~],

and the change of the map is minus its rate times the sum of delta~ u~^T over the tokens. U1, V1, U2, V2, b are shared
by maps of one shape, s, o and the rate are the map's own. At the start g(z) = z.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from editing.lazy import torch
from editing.methods.fine_tuning.gradients import Features, Running
from editing.model import Site

OWN = ("s1", "o1", "s2", "o2", "rate")  # parameters of one map
SHARED = ("v1", "u1", "b", "v2", "u2")  # of all maps of one shape
FIXED = ("mean", "deviation")  # of the features of one shape, not trained


def shape_name(site: Site) -> str:
    """The name under which maps of this one's shape share parameters."""
    return f"{site.d_in}x{site.size}"


@dataclass(frozen=True, eq=False)
class Hypernetwork:
    """`tensors`: the parameters, "SHAPE.v1" and "PATH.s1" and so on, float32; "PATH.rate" is the logarithm."""

    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def start(
        cls, sites: Sequence[Site], features: Mapping[Site, Features], rates: Mapping[Site, float], rank: int, seed: int
    ) -> Hypernetwork:
        """The network that changes nothing but the scale of `features`, whose tokens give the normalisation.

        Args:
            rank: of U V, at most D. rates: of every map at the start.
        """
        draw = torch.Generator().manual_seed(seed)
        tensors: dict[str, torch.Tensor] = {}
        for site in sites:
            shape, size = shape_name(site), site.d_in + site.size
            if f"{shape}.v1" not in tensors:
                running = Running.empty(size)
                for other in sites:
                    if shape_name(other) == shape:
                        rows = features[other].both()
                        running = running.updated(rows[features[other].reached])
                deviation = (running.squares / max(running.count - 1, 1)).sqrt() + torch.finfo(torch.float32).eps
                kept = min(rank, size)
                tensors |= {
                    f"{shape}.v1": torch.randn(kept, size, generator=draw) / math.sqrt(size),
                    f"{shape}.u1": torch.zeros(size, kept),
                    f"{shape}.b": torch.zeros(size),
                    f"{shape}.v2": torch.randn(kept, size, generator=draw) / math.sqrt(size),
                    f"{shape}.u2": torch.zeros(size, kept),
                    f"{shape}.mean": running.mean.float(),
                    f"{shape}.deviation": deviation.float(),
                }
            tensors |= {f"{site.path}.{name}": torch.ones(size) for name in ("s1", "s2")}
            tensors |= {f"{site.path}.{name}": torch.zeros(size) for name in ("o1", "o2")}
            tensors[f"{site.path}.rate"] = torch.tensor(math.log(rates[site]))
        return cls(tensors)

    def trained(self) -> dict[str, torch.Tensor]:
        """The tensors that are trained."""
        return {name: t for name, t in self.tensors.items() if name.rpartition(".")[2] not in FIXED}

    def on(self, device: torch.device) -> Hypernetwork:
        """With its tensors on `device`."""
        return Hypernetwork({name: t.to(device) for name, t in self.tensors.items()})

    def factors(self, site: Site, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """u~ (N, d_in) and minus the rate times delta~ (N, size) of every token; zero where no gradient arrives."""
        shape, own = shape_name(site), {name: self.tensors[f"{site.path}.{name}"] for name in OWN}
        v1, u1, b, v2, u2, mean, deviation = (self.tensors[f"{shape}.{name}"] for name in (*SHARED, *FIXED))
        z = (features.both().to(mean.device) - mean) / deviation
        # clamp and not relu, whose slope at 0 is 0: at the start all arguments are 0, and nothing would be learnt
        h = z + (own["s1"] * (z @ v1.T @ u1.T + b) + own["o1"]).clamp(min=0)
        g = h + (own["s2"] * (h @ v2.T @ u2.T) + own["o2"]).clamp(min=0)
        g = g * features.reached.to(g.device)[:, None]
        return g[:, : site.d_in], -own["rate"].exp() * g[:, site.d_in :]
