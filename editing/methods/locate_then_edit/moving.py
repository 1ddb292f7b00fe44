"""The base of methods that search v* at the subject and move to the last token where that cannot be enough.

In large models the subject's last token carries what the model knows of it (Meng et al. 2022, figure 1); models of a
few layers read little or nothing of the MLPs there, and the search for v* ends far from the target. No depth makes up
for that, so where a request's lookup is left to the method, an edit whose search ends above `move_above` is made at
the last token instead, if the search ends lower there. The threshold is low, because the weights write only a share of
v*: an edit whose search ends at half a nat often misses its target. The delta's provenance says so under "moved";
`placement_of` gives the place. Only edits made one by one move: a batch has one place.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from editing.delta import Delta
from editing.errors import Unreachable
from editing.methods.base import Method, Placement, setting
from editing.model import LanguageModel
from editing.solve import ValueSettings
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class Moving(ValueSettings, Method):
    """`move_above` is 0 in the preset "published".

    Adam's loss holds weight decay and the KL term, so that it goes on far below `stop_loss` in likelihood. Gauss-Newton
    stops there: at .01 it is as good as Adam on 100 facts of gpt2-4x192, at .02 it may be worse. Smaller values give
    paraphrases and take neighbours, which in models of width 64 costs more than it gives; whether blocks follow that
    read what is written makes no difference (LOG.md, 2026-11-30).
    """

    published: ClassVar[Mapping[str, Any]] = {"move_above": 0.0, "stop_loss": 0.05}

    stop_loss: float = 0.01
    move_above: float = setting(0.1, "likelihood loss of v* that moves it to the last token", unit="nats")

    def each(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> list[Delta]:
        """`memory`: see `Method.step`."""
        movable = [i for i, r in enumerate(requests) if self._may_move(r)]
        edits: list[Delta | Unreachable]
        if movable:
            edits = edits_or_reasons(partial(self._each, memory=memory), lm, requests, statistics)
        else:
            edits = list(self._each(lm, requests, statistics, memory))
        far = [i for i in movable if (loss := _loss(edits[i])) is None or loss > self.move_above]
        if far:
            there = partial(self.at_last()._each, memory=memory)
            moved = edits_or_reasons(there, lm, [requests[i] for i in far], statistics)
            for i, edit in zip(far, moved, strict=True):
                edits[i] = self._better(edits[i], edit)
        for edit in edits:
            if isinstance(edit, Unreachable):
                raise edit
        return [edit for edit in edits if isinstance(edit, Delta)]

    def placement_of(self, lm: LanguageModel, request: EditRequest, delta: Delta) -> Placement:
        moved = "moved" in delta.provenance or request.id in delta.provenance.get("moved_requests", ())
        return (self.at_last() if moved else self).placement(lm, request)

    def at_last(self) -> Moving:
        """The same method with every edit at the last token."""
        return replace(self, lookup="last")

    @abstractmethod
    def _each(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> list[Delta]:
        """Independent single edits at the place of `placement`, computed together."""

    def _may_move(self, request: EditRequest) -> bool:
        return bool(self.move_above) and self.lookup is None and request.lookup == "subject_last"

    def _better(self, here: Delta | Unreachable, there: Delta | Unreachable) -> Delta | Unreachable:
        """The edit whose search ended lower; one at the last token keeps this method's settings and says it moved."""
        before, after = _loss(here), _loss(there)
        if not isinstance(there, Delta) or after is None or (before is not None and before <= after):
            return here
        moved = {"to": "last", "loss_at_subject": before, "loss": after}
        return Delta(there.factors, {**there.provenance, "settings": self.settings(), "moved": moved}, there.context)


def edits_or_reasons(
    each: Any, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics
) -> list[Delta | Unreachable]:
    """What `each` makes of all `requests` together; where one of them cannot be reached, of each half by itself."""
    try:
        return list(each(lm, requests, statistics))
    except Unreachable as error:
        if len(requests) == 1:
            return [error]
    half = len(requests) // 2
    return [e for part in (requests[:half], requests[half:]) for e in edits_or_reasons(each, lm, part, statistics)]


def _loss(edit: Delta | Unreachable) -> float | None:
    """The negative log-likelihood at which the search for v* ended, in nats; None where there is no edit."""
    if not isinstance(edit, Delta):
        return None
    note = edit.provenance["optimiser"]
    return max(one["loss"] for one in (note if isinstance(note, list) else [note]))
