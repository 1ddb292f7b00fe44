"""UltraEdit: one closed-form step from hidden states and gradients, without v* and without C (Gu et al. 2025,
"UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in Language Models", arXiv 2505.14679, eq. 3-9).

For every token of the target, h is the input of an edited map at the position that predicts it and g the gradient of
the mean loss with respect to the map's output there. z = [h, g] is normalised feature by feature with the running mean
and deviation of all z seen so far (lifelong normalisation), z^ = [h^, g^]; maps of the same shape share one normaliser,
as in the authors' code. Then, with the raw h as rows of H, v = -lr ||h^||^2 g^ and dW = V^T H (H^T H + I)^-1.

What is read stands at the answer, so the edited layers are late ones whatever a request's lookup: the authors have
18-26 of 28 for GPT-J, 29 and 30 of 32 for Mistral. Deviations, for one setting on models of all sizes and for edits
made one at a time; the preset "published" has the first two as the authors do:
- The statistics start with the tokens of `warmup` texts drawn from the model itself. The authors start from nothing, so
  that their first turn is 100 edits; with a single token in one map the normalised features would be zero.
- With `units` relative, v = -rate * s * (||h^||^2 / d_in) * g^ with s the root mean square of the map's outputs over
  the warm-up, and the ridge is a multiple of the mean squared length of the warm-up's keys. The edited layers share the
  rate: what they write adds up in the stream, and a run of blocks is one layer in a small model and five in SmolLM2.
- The edited maps are always of one kind of site, where the authors choose gate and up projections for Llama and Gemma.
- `lookup` left out means the answer positions of the paper (EasyEdit's settings take every token of the sequence);
  given, it means that position alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

from editing.delta import Delta, LowRank
from editing.errors import BadRequest, Unreachable
from editing.lazy import torch
from editing.methods.base import Placement, Spanning, setting
from editing.methods.fine_tuning.gradients import Features, Running, read_features
from editing.model import LanguageModel, Site, in_rows
from editing.stats import ModelStatistics, sample_tokens
from editing.text import Contexts, EditRequest, Lookup, Prompt

WARMUP_LENGTH = 16


@dataclass(frozen=True)
class Scale:
    """Units of one map: root mean square of its outputs over the warm-up, mean squared length of its inputs there."""

    output_rms: float = 1.0
    key_square: float = 1.0


@dataclass(frozen=True, eq=False)
class Memory:
    """What a sequence of edits remembers: a normaliser per shape (d_in, size) of maps, a scale per site path."""

    running: Mapping[tuple[int, int], Running]
    scales: Mapping[str, Scale]


@dataclass(frozen=True)
class UltraEdit(Spanning):
    """Settings of UltraEdit; the paper has no prefixes."""

    name: ClassVar[str] = "ultraedit"
    summary: ClassVar[str] = "closed form from hidden states and gradients, no search (Gu et al. 2025)"
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.35, "last": 0.95}
    uses_covariance: ClassVar[bool] = False
    no_expert: ClassVar[str] = "its gradients are taken of maps that run for every token"
    published: ClassVar[Mapping[str, Any]] = {
        "rate": 1e-6, "ridge": 1.0, "units": "absolute", "warmup": 0, "span": 2 / 32
    }  # fmt: skip
    before_presets: ClassVar[Mapping[str, Any]] = {
        "rate": 0.02, "ridge": 0.1, "units": "relative", "warmup": 32, "span": 0.17
    }  # fmt: skip

    lookup: str | None = setting(None, "keys' token; unset: the answer's", choices=get_args(Lookup))
    prefixes: int = 0
    rate: float = setting(0.3, "change of all outputs for a normalised gradient and key of ones", unit="output RMS")
    ridge: float = setting(0.1, "weight of ||dW||^2", unit="mean ||key||^2")
    units: str = setting("relative", "scale of rate and ridge", choices=("relative", "absolute"))
    warmup: int = setting(32, "texts of 16 tokens that start the running statistics", unit="texts")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ridge == 0:
            raise self.refuse("ridge", "above zero")
        if self.warmup < 1 and self.units == "relative":
            raise self.refuse("warmup", "1 or more where units is relative")

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        """By the position that is read, not by the request's lookup."""
        return super().placement(lm, replace(request, lookup=self.lookup or "last"))

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        """The warm-up."""
        self._warm(lm, self._edited(lm, requests), statistics)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        """Each a turn of its own, after the warm-up alone; all are read together."""
        known = self._warm(lm, self._edited(lm, requests), statistics)
        contexts = self.contexts(lm, requests, statistics)
        read = self._read(lm, requests, contexts, [self._shares([one])[0] for one in contexts])
        counts = [sum(len(p.target) if self.lookup is None else 1 for p in one.prompts) for one in contexts]
        apart = {site: features.apart(counts) for site, features in read.items()}
        return [
            self._turn(lm, [one], {site: parts[i] for site, parts in apart.items()}, statistics, known)[0]
            for i, one in enumerate(requests)
        ]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One turn with all requests."""
        return self.step(lm, requests, statistics)[0]

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        """`memory`: of the turns before; a site that appears later starts with its own warm-up."""
        if not requests:
            raise BadRequest(f"method {self.name}: no request in the batch; give at least one")
        known = memory or Memory({}, {})
        new = [site for site in self._edited(lm, requests) if site.path not in known.scales]
        contexts = self.contexts(lm, requests, statistics)
        read = self._read(lm, requests, contexts, self._shares(contexts))
        return self._turn(lm, requests, read, statistics, self._warm(lm, new, statistics, known))

    def _edited(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> list[Site]:
        places = [self.placement(lm, r) for r in requests]
        return list(dict.fromkeys(lm.site(p.site, layer) for p in places for layer in p.layers))

    def _read(
        self,
        lm: LanguageModel,
        requests: Sequence[EditRequest],
        contexts: Sequence[Contexts],
        shares: Sequence[Sequence[float]],
    ) -> dict[Site, Features]:
        where = "target" if self.lookup is None else "lookup"
        return read_features(lm, contexts, self._edited(lm, requests), shares, where)

    def _turn(
        self,
        lm: LanguageModel,
        requests: Sequence[EditRequest],
        features: Mapping[Site, Features],
        statistics: ModelStatistics,
        known: Memory,
    ) -> tuple[Delta, Memory]:
        """The change for all `requests`, and the statistics with their features, which are added first."""
        if not any(bool(rows.reached.any()) for rows in features.values()):
            raise Unreachable(
                f"request {requests[0].id!r}: no token of the target depends on the edited maps at the key's token, so "
                "no edit there is reachable; leave lookup out or take a lower depth"
            )
        running = dict(known.running)
        for site, rows in features.items():
            shape = (site.d_in, site.size)
            running[shape] = running.get(shape, Running.empty(sum(shape))).updated(
                rows.both(), self.units == "absolute"
            )
        factors = {
            site.weight: self._solve(
                site, rows, running[site.d_in, site.size], known.scales[site.path], self._share(len(features))
            )
            for site, rows in features.items()
        }
        return Delta(factors, self.provenance(lm, list(requests), statistics)), Memory(running, known.scales)

    def _shares(self, contexts: Sequence[Contexts]) -> list[list[float]]:
        """What a token of each prompt's target counts in the loss.

        A request counts the same whatever its length, and by itself; the authors' loss is the mean over all tokens of a
        turn.
        """
        if self.units == "absolute":
            tokens = sum(len(p.target) for c in contexts for p in c.prompts)
            return [[1 / tokens] * len(c.prompts) for c in contexts]
        return [[1 / (len(c.prompts) * len(p.target)) for p in c.prompts] for c in contexts]

    def _share(self, layers: int) -> float:
        """The part of the rate that one of several edited layers has."""
        return 1 / layers if self.units == "relative" and self.relative else 1.0

    def _solve(self, site: Site, features: Features, running: Running, scale: Scale, share: float) -> LowRank:
        hidden, gradient = running.normalised(features.both()).split([site.d_in, site.size], 1)
        unit, square = (scale.output_rms / site.d_in, scale.key_square) if self.units == "relative" else (1.0, 1.0)
        value_ND = in_rows(
            -self.rate * share * unit * (hidden**2).sum(1, keepdim=True) * gradient, site.rows, site.d_out
        )
        # V^T H (H^T H + r I)^-1 = V^T (H H^T + r I)^-1 H
        key = features.key.double()
        inner = key @ key.T + self.ridge * square * torch.eye(len(key), dtype=torch.float64)
        return LowRank(value_ND.T.float().contiguous(), torch.linalg.solve(inner, key).T.float().contiguous())

    def _warm(
        self, lm: LanguageModel, sites: Sequence[Site], statistics: ModelStatistics, known: Memory | None = None
    ) -> Memory:
        """`known` with the statistics of `sites` from texts of the unedited model, in which each token but the first is
        a target; their sums are kept with the model's statistics.

        The first is predicted from the separator, an attention sink whose state would swamp the statistics.
        """
        known = known or Memory({}, {})
        running, scales = dict(known.running), dict(known.scales)
        if not self.warmup or not sites:
            return Memory(running, scales | {site.path: Scale() for site in sites})
        key = f"{[site.path for site in sites]} {self.warmup} {WARMUP_LENGTH} {self.seed} {lm.prefix_ids}"
        kept = statistics.keep("ultraedit", key, lambda: self._warm_up(lm, sites))
        for site in sites:
            count, rms, square = kept[f"{site.path} numbers"].tolist()
            own = Running(int(count), kept[f"{site.path} mean"], kept[f"{site.path} squares"])
            shape = (site.d_in, site.size)
            running[shape] = running.get(shape, Running.empty(sum(shape))).joined(own)
            scales[site.path] = Scale(rms, square)
        return Memory(running, scales)

    def _warm_up(self, lm: LanguageModel, sites: Sequence[Site]) -> dict[str, torch.Tensor]:
        """Of every site: mean and squares of its features, and their number beside the units of `Scale`."""
        with lm.unedited():
            drawn = sample_tokens(lm, self.warmup, WARMUP_LENGTH, seed=self.seed).tolist()
            head = tuple(lm.prefix_ids) or (lm.pad_id,)
            texts = [
                Contexts(str(i), (Prompt((*head, *row[:-1]), len(head), len(head) + 1, tuple(row[1:])),), 1, None)
                for i, row in enumerate(drawn)
            ]
            # the summed loss of a text, so that a token's gradient is as long as that of a target of one token
            read = read_features(lm, texts, sites, [[1.0]] * len(texts), "target")
        tensors = {}
        for site, features in read.items():
            own = Running.empty(site.d_in + site.size).updated(features.both())
            rms = float(features.output.double().square().mean().sqrt())
            square = float(features.key.double().square().sum(1).mean())
            tensors[f"{site.path} mean"], tensors[f"{site.path} squares"] = own.mean, own.squares
            tensors[f"{site.path} numbers"] = torch.tensor([own.count, rms, square], dtype=torch.float64)
        return tensors
