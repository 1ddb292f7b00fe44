"""The cases of a plan, per edit kind, data set and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from benchmarks.cases import Case, Probe, cases_digest
from benchmarks.datasets import account, for_model, mentions, read_cases, with_common_probes, with_requested
from benchmarks.sweep.planning.plan import FIRST_RULE, Choices, Edits, Plan, Split
from editing.text import edit_set

NEIGHBOURS = ("neighbour", "neighbour_plus")


@dataclass(frozen=True)
class Batch:
    """Cases that are measured together."""

    cases: tuple[Case, ...]

    @cached_property
    def digest(self) -> str:
        """Hash of the cases, contents included."""
        return cases_digest(self.cases)


@dataclass(frozen=True)
class Pool:
    """All cases of one kind, data set and seed; batches of it are cut once, for every rung and setting.

    Attributes:
        cases: those that the run was begun with, then those that each extension of it added.
        begins: where in `cases` each extension's begin.
    """

    cases: tuple[Case, ...]
    split: Split | None = None
    begins: tuple[int, ...] = ()
    _batches: dict[tuple[str, int, int | None], Batch] = field(default_factory=dict, repr=False, compare=False)

    def side(self, name: str) -> tuple[Case, ...]:
        """The dev or the test cases, or with an empty name all, in their order."""
        return self._sides[name] if name else self.cases

    def bounds(self, side: str = "") -> tuple[tuple[int, int], ...]:
        """Where in `side(...)` the cases of the first plan, and of each extension, begin and end."""
        whole = {id(case) for case in self.side(side)}
        ends = [sum(id(case) in whole for case in self.cases[:end]) for end in (*self.begins, len(self.cases))]
        return tuple(zip([0, *ends], ends, strict=False))

    def batch(self, side: str = "", start: int = 0, stop: int | None = None) -> Batch:
        """Some cases of a side, or of all."""
        key = (side, start, stop)
        if key not in self._batches:
            self._batches[key] = Batch(self.side(side)[start:stop])
        return self._batches[key]

    @cached_property
    def _sides(self) -> dict[str, tuple[Case, ...]]:
        assert self.split is not None, "a plan that halves states its split"
        of = [(case, self.split.of(case.subject, case.relation)) for case in self.cases]
        return {name: tuple(case for case, side in of if side == name) for name in ("dev", "test")}


Made = tuple[dict[tuple[str, str, int], Pool], tuple[str, ...]]


def pools(plan: Plan, choices: Choices, models: Sequence[str], earlier: Sequence[Mapping] = ()) -> list[Made]:
    """Per model (edit kind, data set, seed) -> cases, and lines about what is left out, and about edits that repeat or
    exclude each other.

    Models for which the data sets hold the same share one set of pools.

    Args:
        models: references.
        earlier: what a run folder was fixed to before this plan (`Plan.fixed`), if the plan extends it.

    Raises:
        UserError: an unknown data set, a kind that it does not offer, a malformed file.
    """
    work = plan.work()
    by_names: dict[tuple[str, ...], Made] = {}
    made = []
    for model in models:
        names = tuple(for_model(edits.dataset, model) for edits in work)
        if names not in by_names:
            by_names[names] = _pools(plan, choices, work, names, earlier)
        made.append(by_names[names])
    return made


def _pools(
    plan: Plan, choices: Choices, work: Sequence[Edits], names: Sequence[str], earlier: Sequence[Mapping]
) -> Made:
    made: dict[tuple[str, str, int], Pool] = {}
    notes: list[str] = []
    for edits, name in zip(work, names, strict=True):
        limits = [limit for fixed in earlier if (limit := _limit(fixed, edits)) and limit < edits.limit]
        for seed in plan.all_seeds():
            cases: list[Case] = []
            begins = []
            for limit in (*dict.fromkeys(limits), edits.limit):
                begins.append(len(cases))
                more, lines = _cases(plan, choices, replace(edits, limit=limit), name, seed)
                there = {case.id for case in cases}
                cases += [case for case in more if case.id not in there]
            notes += lines
            notes += [f"{edits.dataset}: {line}" for line in edit_set([case.request for case in cases]).notes()]
            made[edits.kind, edits.dataset, seed] = Pool(tuple(cases), plan.split, tuple(begins[1:]))
    return made, tuple(dict.fromkeys(notes))


def _limit(fixed: Mapping, edits: Edits) -> int | None:
    """How many of these cases an earlier plan took at most; None where it took none."""
    if not fixed.get("edits"):
        return fixed.get("limit")
    named = [one["limit"] for one in fixed["edits"] if (one["kind"], one["dataset"]) == (edits.kind, edits.dataset)]
    return named[0] if named else None


def _cases(plan: Plan, choices: Choices, edits: Edits, name: str, seed: int) -> tuple[tuple[Case, ...], list[str]]:
    """The cases of the data set `name`, which `edits.dataset` stands for at the model."""
    read = read_cases(name, edits.kind, edits.limit, seed)
    notes = list(account(edits.dataset, read.left_out, read.records, read.notes))
    where = f"{edits.kind} edits of {edits.dataset}, seed {seed}"
    cases = read.cases if name == edits.dataset else tuple(replace(c, dataset=edits.dataset) for c in read.cases)
    if plan.split is not None and choices.rule != FIRST_RULE:
        cases, note = without_dev_subjects(cases, plan.split)
        notes += [f"{where}: {note}"] if note else []
    cases = with_common_probes(cases, plan.probes)
    cases, lacking = with_requested(cases, plan.more_probes or ())
    notes += [f"{where}: {note}" for note in lacking]
    if plan.split is None:
        return cases, notes
    every, split = cases, plan.split
    cases = tuple(case for case in every if split.of(case.subject, case.relation))
    if len(cases) < len(every):
        between = f"{len(every) - len(cases)} of {len(every)} cases lie between dev and test and are left out"
        notes.append(f"{where}: {between}")
    return cases, notes


def without_dev_subjects(cases: Sequence[Case], split: Split) -> tuple[tuple[Case, ...], str]:
    """The cases, those of the test side without neighbour probes about subjects of the development side, and a line
    about what is left out.

    Settings were chosen by what edits did to development subjects; evaluated again in a test case, they would not be
    unseen. A subject's side hangs on its name alone, so that a case keeps its probes whatever other cases there are;
    where a probe does not say whom it asks about, the subjects of these cases are looked for in its prompt.
    """
    names = {case.subject for case in cases if case.subject and split.is_dev(case.subject)}

    def about_dev(p: Probe) -> bool:
        return split.is_dev(p.about) if p.about else any(_holds(p.prompt, name) for name in names)

    kept, dropped, total = [], 0, 0
    for case in cases:
        if split.of(case.subject, case.relation) == "test":
            ours = [p for p in case.probes if p.kind in NEIGHBOURS and p.about != case.subject]
            about = [p for p in ours if about_dev(p)]
            total, dropped = total + len(ours), dropped + len(about)
            case = replace(case, probes=tuple(p for p in case.probes if p not in about)) if about else case
        kept.append(case)
    note = f"{dropped} of {total} neighbour probes of test cases ask about development subjects and are left out"
    return tuple(kept), note if dropped else ""


def _holds(text: str, name: str) -> bool:
    """Whether `name`, as it is spelled, stands in `text` as whole words of its script."""
    return name in text and any(text[begin:end] == name for begin, end in mentions(text, name))
