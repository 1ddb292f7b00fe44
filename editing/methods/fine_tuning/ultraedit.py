"""UltraEdit: one closed-form step from hidden states and gradients, without v* and without C (Gu et al. 2025, eq. 3-9).

For every token of the target, h is the input of an edited map at the position that predicts it and g the gradient of
the request's mean loss with respect to the map's output there. z = [h, g] is normalised feature by feature with the
running mean and deviation of all z seen so far (lifelong normalisation), z^ = [h^, g^]. Then, with the raw h as rows of
H, v = -lr ||h^||^2 g^ and dW = V^T H (H^T H + I)^-1.

Deviations, all for the sake of one setting for models of all sizes and for edits made one at a time:
- The statistics start with the tokens of `warmup` texts drawn from the model itself. The authors start from nothing, so
  that their first turn is 100 edits; with a single token the normalised features would be zero.
- lr is relative: v = -rate * s * (||h^||^2 / d_in) * g^ with s the root mean square of the map's outputs over the
  warm-up. The ridge is relative too, to the mean squared length of the warm-up keys; the paper's is 1, absolute.
- The edited layers are a span ending at `depth`, as in MEMIT (the authors list them per model and data set), and always
  of one kind of site, where for Llama they choose gate and up projections.
- `lookup` left out means the answer positions of the paper (EasyEdit's settings take every token of the sequence);
  given, it means that position alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

from editing.delta import Delta, LowRank
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import Placement, Spanning, setting
from editing.model import Hook, LanguageModel, Site, in_rows, only_rows
from editing.run import Budget, first, forward, pad, with_first
from editing.stats import ModelStatistics, sample_tokens
from editing.text import Contexts, EditRequest, Lookup, Prompt

WARMUP_LENGTH = 16


@dataclass(frozen=True, eq=False)
class Running:
    """Count, means (d,) and sums of squared deviations (d,) of the features so far, float64 (Welford); the scales of
    the warm-up.

    Attributes:
        output_rms: root mean square of the map's outputs. key_square: mean squared length of its inputs.
    """

    count: int
    mean: torch.Tensor
    squares: torch.Tensor
    output_rms: float
    key_square: float

    def updated(self, rows: torch.Tensor) -> Running:
        """With the features `rows` (n, d) counted in."""
        rows = rows.double()
        n, count = len(rows), self.count + len(rows)
        shift = rows.mean(0) - self.mean
        squares = self.squares + ((rows - rows.mean(0)) ** 2).sum(0) + shift**2 * self.count * n / count
        return Running(count, self.mean + shift * n / count, squares, self.output_rms, self.key_square)

    def normalised(self, rows: torch.Tensor) -> torch.Tensor:
        deviation = (self.squares / max(self.count - 1, 1)).sqrt()
        return (rows.double() - self.mean) / (deviation + torch.finfo(torch.float32).eps)


@dataclass(frozen=True, eq=False)
class Features:
    """Of one map, one row per position: key (N, d_in), gradient and output (N, size)."""

    key: torch.Tensor
    gradient: torch.Tensor
    output: torch.Tensor

    @classmethod
    def together(cls, parts: Sequence[Features]) -> Features:
        """The rows of all `parts`."""
        return cls(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def both(self) -> torch.Tensor:
        """(N, d_in + size) keys beside gradients."""
        return torch.cat([self.key, self.gradient], 1)


@dataclass(frozen=True)
class UltraEdit(Spanning):
    """Settings of UltraEdit; the paper has no prefixes."""

    name: ClassVar[str] = "ultraedit"
    summary: ClassVar[str] = "closed form from hidden states and gradients, no search (Gu et al. 2025)"

    lookup: str | None = setting(None, "keys' token; unset: the answer's", choices=get_args(Lookup))
    prefixes: int = 0
    rate: float = setting(0.02, "change of the output for a normalised gradient and key of ones", unit="output RMS")
    ridge: float = setting(0.1, "weight of ||dW||^2", unit="mean ||key||^2")
    warmup: int = setting(32, "texts of 16 tokens that start the running statistics", unit="texts")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup < 1 or self.ridge == 0:
            raise BadRequest(f"method {self.name}: warmup={self.warmup}, ridge={self.ridge}; both must be above zero")

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        place = super().placement(lm, request)
        return Placement(place.site, self.lookup or "last", place.layers, place.depth)

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        """Covariances are not needed."""

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        fresh = self._warm(lm, requests)
        return [self._turn(lm, [r], statistics, fresh)[0] for r in requests]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One turn with all requests."""
        return self._turn(lm, requests, statistics, self._warm(lm, requests))[0]

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        """`memory`: the running statistics by site path; a site that appears later starts with its own warm-up."""
        known: dict[str, Running] = dict(memory or {})
        new = [r for r in requests if any(s.path not in known for s in self.edited_sites(lm, r))]
        known = self._warm(lm, new) | known
        return self._turn(lm, requests, statistics, known)

    def _turn(
        self,
        lm: LanguageModel,
        requests: Sequence[EditRequest],
        statistics: ModelStatistics,
        known: Mapping[str, Running],
    ) -> tuple[Delta, dict[str, Running]]:
        """The change for all `requests`, and the statistics with their features, which are added first."""
        if not requests:
            raise BadRequest(f"method {self.name}: no request in the batch; give at least one")
        running, factors = dict(known), {}
        by_site: dict[Site, list[Features]] = {}
        for layers, members in self.by_layers(lm, requests).items():
            sites = [lm.sites(self.site)[layer] for layer in layers]
            contexts = self.contexts(lm, [requests[i] for i in members], statistics)
            shares = [1.0 / len(c.prompts) for c in contexts]
            for site, features in read_features(lm, contexts, sites, shares, self.lookup is None).items():
                by_site.setdefault(site, []).append(features)
        for site, parts in by_site.items():
            features = Features.together(parts)
            running[site.path] = running[site.path].updated(features.both())
            factors[site.weight] = self._solve(site, features, running[site.path])
        return Delta(factors, self.provenance(lm, list(requests), statistics)), running

    def _solve(self, site: Site, features: Features, running: Running) -> LowRank:
        hidden, gradient = running.normalised(features.both()).split([site.d_in, site.size], 1)
        strength = self.rate * running.output_rms * (hidden**2).sum(1, keepdim=True) / site.d_in
        value_ND = in_rows(-strength * gradient, site.rows, site.d_out)
        # V^T H (H^T H + r I)^-1 = V^T (H H^T + r I)^-1 H
        key = features.key.double()
        inner = key @ key.T + self.ridge * running.key_square * torch.eye(len(key), dtype=torch.float64)
        return LowRank(value_ND.T.float().contiguous(), torch.linalg.solve(inner, key).T.float().contiguous())

    def _warm(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> dict[str, Running]:
        """Statistics of every edited site from texts of the model itself, in which each token but the first is a
        target.

        The first is predicted from the separator, an attention sink whose state would swamp the statistics.
        """
        sites = list(dict.fromkeys(s for r in requests for s in self.edited_sites(lm, r)))
        if not sites:
            return {}
        drawn = sample_tokens(lm, self.warmup, WARMUP_LENGTH, seed=self.seed).tolist()
        head = tuple(lm.prefix_ids) or (lm.pad_id,)
        texts = [
            Contexts(str(i), (Prompt((*head, *row[:-1]), len(head), len(head) + 1, tuple(row[1:])),), 1, None)
            for i, row in enumerate(drawn)
        ]
        running = {}
        # the summed loss of a text, so that a token's gradient is as long as that of a target of one token
        shares = [float(WARMUP_LENGTH - 1)] * len(texts)
        for site, features in read_features(lm, texts, sites, shares, True).items():
            empty = torch.zeros(site.d_in + site.size, dtype=torch.float64)
            rms = float(features.output.double().square().mean().sqrt())
            square = float(features.key.double().square().sum(1).mean())
            running[site.path] = Running(0, empty, empty, rms, square).updated(features.both())
        return running


def read_features(
    lm: LanguageModel,
    requests: Sequence[Contexts],
    sites: Sequence[Site],
    shares: Sequence[float],
    answer: bool,
    batch_tokens: int = 4096,
) -> dict[Site, Features]:
    """Keys, outputs and gradients of `shares[i]` x the mean loss of a prompt, summed over the prompts of request i.

    At the answer positions, or else at the lookups.
    """
    rows = [(i, p) for i, c in enumerate(requests) for p in c.prompts]

    def read(members: list[int]) -> dict[Site, Features]:
        return _read(lm, [rows[m] for m in members], sites, answer, shares)

    budget = Budget(lm.batch_tokens(batch_tokens), "reading gradients")
    parts = [part for _, part in budget.run([len(p.ids) for _, p in rows], read, by_length=False)]
    return {s: Features.together([p[s] for p in parts]) for s in sites}


def _read(
    lm: LanguageModel, rows: Sequence[tuple[int, Prompt]], sites: Sequence[Site], answer: bool, shares: Sequence[float]
) -> dict[Site, Features]:
    batch = pad([p.ids for _, p in rows], lm, side="right")
    width = batch.ids.shape[1]
    keys: dict[str, torch.Tensor] = {}
    outputs: dict[str, torch.Tensor] = {}
    probes: dict[str, torch.Tensor] = {}

    def probe(site: Site) -> Hook:
        def hook(module: torch.nn.Module, args: tuple, output: object) -> object:
            hidden = first(output)
            keys[site.path] = args[0].detach().reshape(len(rows), width, -1)
            outputs[site.path] = hidden.detach().reshape(len(rows), width, -1)
            probes[site.path] = torch.zeros_like(hidden, requires_grad=True)
            return with_first(output, hidden + probes[site.path])

        return site.path, hook

    places = [
        (r, p.start - 1 + t, token, shares[i] / len(p.target))
        for r, (i, p) in enumerate(rows)
        for t, token in enumerate(p.target)
    ]
    row, column, token = (torch.tensor([q[n] for q in places], device=lm.device) for n in range(3))
    weight = torch.tensor([q[3] for q in places], device=lm.device)
    with torch.enable_grad():
        logits = forward(lm, batch, gather=(row, column), hooks=[probe(s) for s in sites])
        assert logits is not None
        loss = -(logits.float().log_softmax(-1).gather(1, token[:, None])[:, 0] * weight).sum()
        gradients = torch.autograd.grad(loss, [probes[s.path] for s in sites])
    if not answer:
        row = torch.arange(len(rows), device=lm.device)
        column = torch.tensor([p.lookup for _, p in rows], device=lm.device)

    def pick(values: torch.Tensor) -> torch.Tensor:
        shaped = values.reshape(len(rows), width, -1)
        return shaped[row.to(values.device), column.to(values.device)].float().cpu()

    return {
        site: Features(
            pick(keys[site.path]),
            only_rows(pick(gradient), site.rows),
            only_rows(pick(outputs[site.path]), site.rows),
        )
        for site, gradient in zip(sites, gradients, strict=True)
    }
