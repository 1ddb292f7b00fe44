"""The cases of a plan, per edit kind, data set and seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from benchmarks.cases import Case, cases_digest
from benchmarks.datasets import account, read_cases, with_common_probes
from benchmarks.sweep.planning.plan import Plan, Split


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
    """All cases of one kind, data set and seed; batches of it are cut once, for every rung and setting."""

    cases: tuple[Case, ...]
    split: Split | None = None
    _batches: dict[tuple[str, int, int | None], Batch] = field(default_factory=dict, repr=False, compare=False)

    def side(self, name: str) -> tuple[Case, ...]:
        """The dev or the test cases, in their order."""
        return self._sides[name]

    def batch(self, side: str = "", start: int = 0, stop: int | None = None) -> Batch:
        """Some cases of a side, or of all."""
        key = (side, start, stop)
        if key not in self._batches:
            self._batches[key] = Batch((self.side(side) if side else self.cases)[start:stop])
        return self._batches[key]

    @cached_property
    def _sides(self) -> dict[str, tuple[Case, ...]]:
        assert self.split is not None, "a plan that halves states its split"
        of = [(case, self.split.of(case.subject, case.relation)) for case in self.cases]
        return {name: tuple(case for case, side in of if side == name) for name in ("dev", "test")}


def pools(plan: Plan) -> tuple[dict[tuple[str, str, int], Pool], tuple[str, ...]]:
    """(edit kind, data set, seed) -> cases, and lines about the records and cases that are left out.

    Raises:
        UserError: an unknown data set, a kind that it does not offer, a malformed file.
    """
    found: dict[tuple[str, str, int], Pool] = {}
    notes: list[str] = []
    for edits in plan.work():
        for seed in plan.all_seeds():
            read = read_cases(edits.dataset, edits.kind, edits.limit, seed)
            notes += account(edits.dataset, read.left_out, read.records, read.notes)
            cases = with_common_probes(read.cases, plan.probes)
            if plan.split is not None:
                every, split = cases, plan.split
                cases = tuple(case for case in every if split.of(case.subject, case.relation))
                if len(cases) < len(every):
                    between = (
                        f"{len(every) - len(cases)} of {len(every)} cases lie between dev and test and are left out"
                    )
                    notes.append(f"{edits.kind} edits of {edits.dataset}, seed {seed}: {between}")
            found[edits.kind, edits.dataset, seed] = Pool(cases, plan.split)
    return found, tuple(dict.fromkeys(notes))
