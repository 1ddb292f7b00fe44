"""The cases of a plan, per edit kind, data set and seed."""

from __future__ import annotations

from benchmarks.cases import Case
from benchmarks.cells import Plan
from benchmarks.datasets import build_cases
from benchmarks.measuring import with_drift


def pools(plan: Plan) -> tuple[dict[tuple[str, str, int], tuple[Case, ...]], tuple[str, ...]]:
    """(edit kind, data set, seed) -> cases, and one line for each pool of which the split leaves cases out.

    Raises:
        UserError: an unknown data set, a kind that it does not offer, a malformed file.
    """
    found: dict[tuple[str, str, int], tuple[Case, ...]] = {}
    notes = []
    for edits in plan.work():
        for seed in plan.all_seeds():
            cases = with_drift(build_cases(edits.dataset, edits.kind, edits.limit, seed), plan.probes)
            if plan.split is not None:
                every, split = cases, plan.split
                cases = tuple(case for case in every if split.of(case.subject, case.relation))
                if len(cases) < len(every):
                    between = (
                        f"{len(every) - len(cases)} of {len(every)} cases lie between dev and test and are left out"
                    )
                    notes.append(f"{edits.kind} edits of {edits.dataset}, seed {seed}: {between}")
            found[edits.kind, edits.dataset, seed] = cases
    return found, tuple(notes)
