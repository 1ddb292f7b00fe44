"""Activation steering: one direction added to a site's output at every position (Turner et al. 2023, "Activation
Addition"; Panickssery et al. 2024, "Steering Llama 2 via Contrastive Activation Addition", eq. 1).

Where the direction comes from is the setting `by`:
- "value": ROME's optimised change of the output at the lookup position, v* - v0 (Meng et al. 2022, eq. 4), now added
  everywhere;
- "means": mean over prompts of h(prompt + target) - h(prompt + the model's own answer), read at the answer's last
  token;
- "fit": the direction that minimises the target's NLL when it is added everywhere, the trained counterpart of the two.
  One vector for all positions, as long as the output, is more than one model needs and less than another: while the
  target is not reached, the bound grows by half and the descent goes on from where it is.
Works for every kind of edit; as a retargeting tool it moves all relations of a concept at once, and all other concepts
with it unless the direction is specific, which the measurement tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Delta, Shift
from editing.eval import greedy
from editing.lazy import torch
from editing.methods.base import Prefixed, setting
from editing.model import Hook, LanguageModel, in_rows, only_rows
from editing.run import first, with_first
from editing.solve import (
    Descent,
    Injection,
    Outcome,
    TrainingSet,
    ValueSettings,
    descend,
    optimise_values,
    states,
    uses_half,
)
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest, escaped, join, tokenise

GROWTH = 1.5  # of the bound


@dataclass(frozen=True)
class Steer(ValueSettings, Prefixed):
    """Settings of steering; by "fit" has the same clamp and weight decay as the search for v*, without the KL term."""

    name: ClassVar[str] = "steer"
    summary: ClassVar[str] = "a direction added to a site's output at every position (Turner et al. 2023)"
    uses_covariance: ClassVar[bool] = False
    no_expert: ClassVar[str] = "it acts at every position, and an expert runs at some"

    # CAA: the difference of mean states, added to the residual stream; no bound grows.
    published: ClassVar[Mapping[str, Any]] = {"by": "means", "at": "block", "widest": 0.0}
    before_presets: ClassVar[Mapping[str, Any]] = {"by": "fit", "at": "site"}

    by: str = setting("fit", "source of the direction", choices=("value", "means", "fit"))
    at: str = setting("site", "shifted output: the map's or its block's", choices=("site", "block"))
    strength: float = setting(1.0, "factor of the direction")
    clamp: float = 1.0
    widest: float = setting(8.0, "by fit: bound up to which clamp grows by half; 0: it does not", unit="||v0||")
    reached: float = setting(0.2, "by fit: loss below which clamp grows no more", unit="nats")

    @property
    def placed_by(self) -> tuple[str, ...]:
        """The lookup only where the direction is read there."""
        return ("site", "lookup", "depth") if self.by == "value" else ("site", "depth")

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        deltas: list[Delta | None] = [None] * len(requests)
        for (layer,), members in self.by_layers(lm, requests).items():
            where = Injection.at_block(lm, layer)
            if self.at == "site":
                where = Injection.at_site(lm.site(self.site, layer))
            chosen = [requests[i] for i in members]
            contexts = self.contexts(lm, chosen, statistics)
            directions = {"value": self._values, "means": self._means, "fit": self._fit}[self.by](
                lm, chosen, contexts, where
            )
            for i, (direction, note) in zip(members, directions, strict=True):
                vector = in_rows(self.strength * direction, where.rows, lm.site(self.site, layer).d_out)
                made = self.provenance(lm, [requests[i]], statistics) | {"optimiser": note}
                deltas[i] = Delta({f"{where.path}.output": Shift(vector)}, made)
        return [d for d in deltas if d is not None]

    # Each of the three gives, per request, the direction (size of the output's edited rows,) float32 and its note.

    def _values(self, lm, requests, contexts: list[Contexts], where: Injection):
        """v* - v0 at the lookup position."""
        values = optimise_values(lm, contexts, where, self, seed=self.seed)
        return [(v.delta, v.note()) for v in values]

    def _means(self, lm: LanguageModel, requests: list[EditRequest], contexts, where: Injection):
        """Mean difference of the outputs at the end of the target and of the model's own answer."""
        prompts = [p for r in requests for p in r.filled()]
        targets = [t for r in requests for t in r.targets]
        # Its own answer as long as the target, so that both are read at like distance from the prompt.
        lengths = [len(p.target) for c in contexts for p in c.prompts[: c.n_bare]]
        own = [""] * len(prompts)
        for length in sorted(set(lengths)):
            members = [i for i, n in enumerate(lengths) if n == length]
            for i, answer in zip(members, greedy(lm, [prompts[i] for i in members], length), strict=True):
                own[i] = answer.strip()
        both = []
        for answers in (targets, own):
            ended = [tokenise(lm, escaped(join(p, a)), "", "last") for p, a in zip(prompts, answers, strict=True)]
            read = states(lm, ended, [(where.path, "output")])[where.path, "output"]
            both.append(only_rows(read, where.rows))
        directions, begin = [], 0
        for request in requests:
            part = slice(begin, begin := begin + len(request.prompts))
            direction = (both[0][part] - both[1][part]).mean(0)
            directions.append((direction, {"own_answers": own[part], "delta_norm": float(direction.norm())}))
        return directions

    def _fit(self, lm: LanguageModel, requests, contexts: list[Contexts], where: Injection):
        """The direction that descent on the target's NLL finds, added at every position."""
        bare = [p for c in contexts for p in c.prompts[: c.n_bare]]
        output_nD = only_rows(states(lm, bare, [(where.path, "output")])[where.path, "output"], where.rows)
        owner = torch.tensor([i for i, c in enumerate(contexts) for _ in range(c.n_bare)])
        scale = torch.stack([output_nD[owner == i].mean(0).norm() for i in range(len(contexts))])
        # What the descent moves is the direction in `unit`, so that a step is as large as in a search for v*.
        unit = scale[:, None] / output_nD.shape[1] ** 0.5 if self.relative else torch.ones_like(scale)[:, None]
        values, notes = torch.zeros(len(contexts), output_nD.shape[1]), [{} for _ in contexts]
        far, clamp = list(range(len(contexts))), self.clamp
        while far:
            chosen = [requests[i] for i in far], [contexts[i] for i in far]
            values[far], outcomes = self._bounded(lm, *chosen, where, (scale[far], unit[far]), values[far], clamp)
            for i, outcome in zip(far, outcomes, strict=True):
                steps, length = notes[i].get("steps", 0) + outcome.steps, float((unit[i] * values[i]).norm())
                notes[i] = {"loss": outcome.loss, "steps": steps, "delta_norm": length, "clamp": clamp}
            clamp *= GROWTH
            far = [i for i in far if notes[i]["loss"] >= self.reached and clamp <= self.widest]
        return list(zip(unit * values, notes, strict=True))

    def _bounded(
        self,
        lm: LanguageModel,
        requests: Sequence[EditRequest],
        contexts: Sequence[Contexts],
        where: Injection,
        lengths: tuple[torch.Tensor, torch.Tensor],
        start_nD: torch.Tensor,
        clamp: float,
    ) -> tuple[torch.Tensor, list[Outcome]]:
        """(n, D) the directions, in `unit`, that descent from `start_nD` finds under one bound.

        Args:
            lengths: (n,) of the outputs, and (n, 1) the unit.
        """
        scale, unit = (length.to(lm.device) for length in lengths)
        decay_unit = scale if self.relative else scale**2

        def hooks(values: Sequence[torch.Tensor], rows: torch.Tensor) -> list[Hook]:
            def add(module: torch.nn.Module, args: tuple, output: object) -> object:
                hidden = first(output)
                amount = (unit * values[0])[rows][:, None].to(hidden.device, hidden.dtype)
                amount = in_rows(amount, where.rows, hidden.shape[-1])
                shaped = hidden.reshape(len(rows), -1, hidden.shape[-1]) + amount
                return with_first(output, shaped.reshape(hidden.shape))

            return [(where.path, add)]

        def project(values: list[torch.Tensor]) -> list[torch.Tensor]:
            norm = (unit * values[0]).norm(dim=1)
            return [values[0] * (clamp * scale / norm.clamp(min=1e-12)).clamp(max=1)[:, None]]

        directions, outcomes = descend(
            lm.half if uses_half(lm, self.precision) else lm,
            [TrainingSet(c.id, c.prompts) for c in contexts],
            where.layer,
            [start_nD],
            hooks,
            Descent(self.steps, self.lr, self.stop_loss),
            project=project,
            penalty=lambda values: self.weight_decay * (unit * values[0]).norm(dim=1) / decay_unit,
        )
        return directions[0].cpu(), outcomes
