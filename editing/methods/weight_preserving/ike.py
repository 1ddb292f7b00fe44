"""In-context editing: the new fact is put before every prompt (Zheng et al. 2023, "Can We Edit Factual Knowledge by
In-Context Learning?", IKE, eq. 2: P(y | x, f, C)).

This is the paper's prompt baseline, C = {} : the statement f alone, "New fact: PROMPT TARGET.", without retrieved
demonstrations, so that no second data set is needed. No weight changes: it is what generalises best, and no edit of the
weights should be read without it. It reaches every prompt, related or not, so its specificity is the model's own.

Statements fill at most half of the positions that the model has, so that prompts have room: of a request with several
prompts, or of several requests, those that come first. A delta's `provenance["statements"]` has their number. Where a
prompt is so long that they still do not fit, their beginning is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Delta
from editing.methods.base import Method, Placement
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest, join, sentence

OPENING = {"en": "New fact: ", "fr": "Nouveau fait : "}


@dataclass(frozen=True)
class IKE(Method):
    """It has no settings; `site`, `lookup`, `depth` and `seed` do not matter to it."""

    name: ClassVar[str] = "ike"
    summary: ClassVar[str] = (
        "the new fact stated before every prompt; the ceiling of generalisation (Zheng et al. 2023)"
    )
    uses_covariance: ClassVar[bool] = False

    @property
    def placed_by(self) -> tuple[str, ...]:
        """None: it edits no block."""
        return ()

    @property
    def has_dose(self) -> bool:
        """No: a text is stated or not."""
        return False

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        """No block is edited: site "context", depth 0 (what stands before the prompt is read first)."""
        return Placement("context", self.lookup or request.lookup, (), 0.0)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return [self._stated(lm, [request], statistics) for request in requests]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """The statements of all requests, one after another."""
        return self._stated(lm, requests, statistics)

    def _stated(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        every = [text for request in requests for text in statements(request)]
        stated = every[:1]
        for text in every[1:]:
            if len(lm.encode(" ".join([*stated, text]))) > lm.max_length // 2:
                break
            stated.append(text)
        provenance = self.provenance(lm, requests, statistics) | {"statements": f"{len(stated)} of {len(every)}"}
        return Delta({}, provenance, " ".join(stated))


def statements(request: EditRequest) -> list[str]:
    """One sentence per prompt of the request, in its language; without an opening where OPENING has none in it."""
    opening = OPENING.get(request.lang, "")
    return [
        opening + sentence(join(prompt, target))
        for prompt, target in zip(request.filled(), request.targets, strict=True)
    ]
