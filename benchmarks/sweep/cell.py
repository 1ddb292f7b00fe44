"""The unit of work and of storage of a sweep, and its address."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

from benchmarks.cases import Case
from benchmarks.provenance import CODE_SCHEMA, digest
from benchmarks.sweep.planning.plan import Split
from valley.rows import SCHEMA_VERSION


@dataclass(frozen=True)
class Cell:
    """One unit of work and of storage.

    Attributes:
        settings: the full settings of the method as canonical JSON.
        cases: hash of the cases, contents included.
        split: the plan's `Split` as canonical JSON; empty where the plan states none.
        stage: place in the search ("dev 1", "test") or in many cases ("part 2"); empty where all cases are measured at once.
        known: whether only the facts that the unedited model knows are edited.
    """

    ladder: str
    rung: str
    rung_index: int
    model: str
    method: str
    settings: str
    edit_kind: str
    dataset: str
    seed: int
    corpus: str
    cases: str
    split: str = ""
    stage: str = ""
    known: bool = False

    def address(self, model_hash: str) -> str:
        """Content hash; `model_hash` is empty for a model that could not be loaded."""
        about = {key: value for key, value in asdict(self).items() if value or key not in ("split", "stage", "known")}
        return digest([about, model_hash, CODE_SCHEMA, SCHEMA_VERSION])

    def slot(self) -> str:
        """Hash of the place in the sweep, whatever the weights, the cases or the code."""
        place = [self.rung, self.method, self.settings, self.edit_kind, self.dataset]
        return digest([*place, self.seed, self.stage] if self.split or self.stage else place)

    def side(self, case: Case) -> str:
        """Whether `case` is dev or test here."""
        split = Split(**json.loads(self.split)) if self.split else Split(self.seed)
        return split.of(case.subject, case.relation)

    def label(self) -> str:
        settings = json.loads(self.settings)
        where = "/".join(str(settings[key]) for key in ("site", "lookup") if settings.get(key))
        return " ".join(filter(None, (self.rung, self.method, self.edit_kind, where, self.stage)))


class Task(NamedTuple):
    """A cell and the cases it measures."""

    cell: Cell
    cases: tuple[Case, ...]
