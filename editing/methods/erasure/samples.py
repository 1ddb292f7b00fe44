"""What erasures learn from: states of the subject, and of other things of its kind in the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Change, Delta, chained
from editing.lazy import torch
from editing.methods.base import Prefixed, setting
from editing.model import LanguageModel, embedding_path
from editing.solve import states
from editing.stats import ModelStatistics
from editing.text import EditRequest, Prompt, essence_of, slot_count, tokenise

DRAWN = 20  # drawn texts that stand for the kind where a request names none
ROUNDING = 1e-6  # of the states' length: means that are nearer differ by rounding, whose direction means nothing


@dataclass(frozen=True)
class Erasure(Prefixed):
    """Settings that all erasures have; `site` does not matter to them, they act behind whole blocks."""

    uses_covariance: ClassVar[bool] = False
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.5, "last": 0.8}

    kin: int = setting(8, "largest number of other things of the subject's kind", unit="things", least=1)

    @property
    def placed_by(self) -> tuple[str, ...]:
        return ("lookup", "depth")

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One after another, each of what those before it have left: the sum of erasures that are made side by side
        takes out twice what two of them share."""
        so_far: dict[str, Change] = {}
        for request in requests:
            with Delta(so_far).applied(lm):
                (delta,) = self.each(lm, [request], statistics)
            so_far = chained(so_far, delta.factors)
        return Delta(so_far, self.provenance(lm, requests, statistics))

    def provenance(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics
    ) -> dict[str, Any]:
        return super().provenance(lm, requests, statistics) | {"erases": True}

    def texts(
        self, lm: LanguageModel, request: EditRequest, statistics: ModelStatistics
    ) -> tuple[list[Prompt], list[Prompt]]:
        """The texts of the subject and those of its kind, bare and behind drawn ones.

        They are the request's prompts and "{} is a". Where the request names no other things of its kind, drawn texts
        stand for it, read at their last token.
        """
        drawn = statistics.prefixes({10: max(self.prefixes, DRAWN)})
        before = ["", *(f"{text}. " for text in drawn[: self.prefixes])]
        lookup = self.lookup or request.lookup
        frames = list(request.prompts)
        if lookup == "subject_last":
            frames.append(essence_of(request.lang))

        def read(subject: str) -> list[Prompt]:
            return [tokenise(lm, frame, subject, lookup, before=text) for frame in frames for text in before]

        if request.contrast and any(map(slot_count, request.prompts)):
            return read(request.subject), [p for other in request.contrast[: self.kin] for p in read(other)]
        return read(request.subject), [tokenise(lm, _plain(text), "", "last") for text in drawn[:DRAWN]]


def stream(lm: LanguageModel, layers: Sequence[int]) -> list[str]:
    """Paths of the modules behind which the residual stream is changed: the embedding below block 0, and blocks."""
    return [*([embedding_path(lm.module)] if 0 in layers else []), *(lm.layout.blocks[layer] for layer in layers)]


def read_stream(
    lm: LanguageModel, prompts: Sequence[Prompt], paths: Sequence[str], delta: Delta | None = None
) -> list[torch.Tensor]:
    """(prompts, d_model) float32 behind each module, at the lookup positions; under `delta` where there is one."""
    places = [(path, "output") for path in paths]
    by_place = states(lm, prompts, places, deltas=[delta] if delta is not None else [])
    return [by_place[place] for place in places]


def apart(own: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
    """(d,) float64 mean of states `own` (n, d) minus that of `kind` (m, d); zeros where the two do not differ, as
    behind the embedding at a token that both have."""
    gap = own.double().mean(0) - kind.double().mean(0)
    length = torch.cat([own, kind]).double().norm(dim=1).mean()
    return gap if float(gap.norm()) > ROUNDING * float(length) else torch.zeros_like(gap)


def _plain(text: str) -> str:
    """A text as a template without a slot."""
    return text.replace("{", "{{").replace("}", "}}")
