"""The unit of work and of storage of a sweep, and its address.

The address holds only the settings that differ from the method's defaults of before there were presets, so that
neither a new setting nor a new default of a method changes the addresses of old cells. Every file also holds its full
settings. One rule decides whether a stored cell is the same one: its address is equal, and its full settings, completed
by today's defaults, are equal. Settings without a preset are from before there were any: they are completed by the
defaults of that time. Files of still earlier versions are addressed by their full settings; they are renamed once the
same rule holds for them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import NamedTuple

from benchmarks.cases import Case
from benchmarks.provenance import CODE_SCHEMA
from benchmarks.sweep.planning.plan import Split
from editing.files import canonical, digest
from editing.methods import make_method, settings_before_presets
from valley.rows import SCHEMA_VERSION

# Fields that an address holds only where they say something: cells of before they came keep theirs.
OPTIONAL = ("split", "stage", "known", "doses", "chat", "evaluation")


@dataclass(frozen=True)
class Cell:
    """One unit of work and of storage.

    Attributes:
        settings: the full settings of the method as canonical JSON.
        cases: hash of the cases, contents included.
        split: the plan's `Split` as canonical JSON; empty where the plan states none.
        stage: place in the search ("dev 1", "test") or in many cases ("part 2"); empty where all cases are measured at
            once.
        known: whether only the facts that the unedited model knows are edited.
        doses: JSON list; the cell holds the rows at these multiples of its edits instead of those at dose 1, so that a
            plan with doses has the same cells as one without, and more.
        chat: form of edits and questions, as in the plan; empty is plain text.
        evaluation: number format in which questions are evaluated, as in the plan; empty is the model's own.
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
    doses: str = ""
    chat: str = ""
    evaluation: str = ""

    def address(self, model_hash: str, settings: str | None = None) -> str:
        """Content hash.

        Args:
            model_hash: of the weights; empty for a model that could not be loaded.
            settings: text that stands for the settings; None is those that differ from the defaults.
        """
        about = {key: value for key, value in asdict(self).items() if value or key not in OPTIONAL}
        about["settings"] = self.changed_settings if settings is None else settings
        return digest([about, model_hash, CODE_SCHEMA, SCHEMA_VERSION])

    @property
    def changed_settings(self) -> str:
        """The settings that differ from the method's defaults before there were presets, as canonical JSON."""
        usual = defaults_before_presets(self.method)
        return canonical({key: value for key, value in json.loads(self.settings).items() if value != usual.get(key)})

    def has_settings(self, stored: str) -> bool:
        """Whether full settings of an earlier run (JSON), completed by the defaults of its time, are those of this
        cell."""
        full = json.loads(stored or "{}")
        usual = defaults(self.method) if "preset" in full else defaults_before_presets(self.method)
        return usual | full == json.loads(self.settings)

    def slot(self, settings: str | None = None) -> str:
        """Hash of the place in the sweep, whatever the weights, the cases or the code; `settings` as in `address`."""
        place = [self.rung, self.method, self.changed_settings if settings is None else settings]
        place += [self.edit_kind, self.dataset]
        place += [self.seed, self.stage] if self.split or self.stage else []
        return digest([*place, self.doses] if self.doses else place)

    @property
    def development(self) -> bool:
        """Whether the cell is a step of the search, whose results choose settings and are reported nowhere else."""
        return self.stage.startswith("dev")

    def side(self, case: Case) -> str:
        """Whether `case` is dev or test here."""
        split = Split(**json.loads(self.split)) if self.split else Split(self.seed)
        return split.of(case.subject, case.relation)

    def label(self) -> str:
        settings = json.loads(self.settings)
        where = "/".join(str(settings[key]) for key in ("site", "lookup") if settings.get(key))
        dose = f"doses {self.doses[1:-1]}" if self.doses else ""
        return " ".join(filter(None, (self.rung, self.method, self.edit_kind, where, self.stage, dose)))


@cache
def defaults(method: str) -> dict:
    """The default settings of a method, as JSON values."""
    return json.loads(canonical(make_method(method).settings()))


@cache
def defaults_before_presets(method: str) -> dict:
    """The default settings of a method in cells that state no preset, as JSON values."""
    return json.loads(canonical(settings_before_presets(method)))


class Task(NamedTuple):
    """A cell and the cases it measures."""

    cell: Cell
    cases: tuple[Case, ...]
