"""The rungs of a plan with their cases: what all cells of one rung share, and how a task is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from benchmarks.ladders import Rung, load_ladder, present_rungs
from benchmarks.models import layers_of
from benchmarks.sweep.cell import Cell, Task
from benchmarks.sweep.extension import added_doses
from benchmarks.sweep.planning.grids import settings_grid
from benchmarks.sweep.planning.plan import FIRST_RULE, Choices, Plan, lookups
from benchmarks.sweep.pools import Batch, Pool, pools
from editing.errors import BadData, BadRequest
from editing.files import canonical
from editing.methods import make_method
from editing.stats import refuse_missing_corpus

# (edit kind, data set, seed) -> its cases.
Pools = Mapping[tuple[str, str, int], Pool]


@dataclass(frozen=True)
class Place:
    """One rung of a plan with its cases.

    Attributes:
        choices: what the plan leaves open.
        n_layers: of the model; 0 where it is not known before the model is loaded.
        added_doses: per extension, the doses that it adds.
    """

    plan: Plan
    ladder: str
    rung: Rung
    index: int
    pools: Pools
    choices: Choices = field(default_factory=Choices)
    n_layers: int = 0
    added_doses: tuple[tuple[float, ...], ...] = ()

    def task(
        self,
        pool: tuple[str, str, int],
        method: str,
        settings: Mapping,
        batch: Batch,
        stage: str,
        doses: tuple[float, ...] = (),
    ) -> Task:
        kind, dataset, seed = pool
        cell = Cell(
            ladder=self.ladder,
            rung=self.rung.name,
            rung_index=self.index,
            model=self.rung.model,
            method=method,
            settings=canonical(make_method(method, **settings).settings()),
            edit_kind=kind,
            dataset=dataset,
            seed=seed,
            corpus=self.plan.corpus,
            cases=batch.digest,
            split=canonical(asdict(self.plan.split)) if self.plan.split else "",
            stage=stage,
            known=self.plan.known,
            doses=canonical(doses) if doses else "",
            chat=self.plan.chat or "",
            evaluation=self.plan.evaluation or "",
        )
        return Task(cell, batch.cases)

    def dosed(self, pool: tuple[str, str, int], method: str, settings: Mapping, batch: Batch, stage: str) -> list[Task]:
        """The task at dose 1 and, right behind it so that its edits are still there, those at the plan's other
        doses."""
        more = (self.choices.more_doses, *self.added_doses) if make_method(method, **settings).has_dose else ()
        return [self.task(pool, method, settings, batch, stage, doses) for doses in ((), *filter(None, more))]

    def grid(self, kind: str, method: str) -> tuple[dict, ...]:
        """The settings to try on a kind of edit, whatever its data set."""
        positions = lookups([case.request for pool in self.of(kind) for case in self.pools[pool].cases])
        whole = self.plan.search != "grid" and self.choices.rule != FIRST_RULE
        return settings_grid(self.plan, method, positions, self.n_layers, whole)

    def of(self, kind: str) -> list[tuple[str, str, int]]:
        return [pool for pool in self.pools if pool[0] == kind]


def places(
    plan: Plan, about: Mapping | None = None, plans: Sequence[Mapping] = ()
) -> tuple[list[Place], tuple[str, ...], tuple[str, ...]]:
    """The rungs of a plan that are there with their cases, a line for each optional rung left out, lines about records
    left out.

    Args:
        about: run.json of the folder that is gone on with; empty for a new run.
        plans: what that folder is fixed to, this plan last (`Chain.plans`).

    Raises:
        UserError: no such ladder, rung, data set, kind of edit or text of the corpus; too few cases; no rung that is
            here.
    """
    refuse_missing_corpus(plan.corpus)
    ladder = load_ladder(plan.ladder)
    for name in plan.rungs:
        if name not in {rung.name for rung in ladder.rungs}:
            known = ", ".join(rung.name for rung in ladder.rungs)
            raise BadRequest(f"ladder {plan.ladder}: no rung {name!r:.60}; it has {known:.300}")
    present, skipped = present_rungs(ladder)
    choices = plan.choices(about)
    if len(plans) > 1:  # the doses of the first plan have cells of their own, those that are added have others
        first = plans[0].get("doses") or (about or {}).get("doses") or (1.0,)
        choices = replace(choices, doses=tuple(first))
    added = added_doses(plans, choices.doses)
    taken = [(i, r) for i, r in enumerate(ladder.rungs) if r in present and (not plan.rungs or r.name in plan.rungs)]
    if not taken:
        raise BadData(f"{'; '.join(skipped):.300}; no other rung was chosen")
    cases = pools(plan, choices, [rung.model for _, rung in taken], plans[:-1])
    made = [
        Place(plan, ladder.name, rung, i, own, choices, layers_of(rung.model), added)
        for (i, rung), (own, _) in zip(taken, cases, strict=True)
    ]
    left_out = tuple(dict.fromkeys(line for _, lines in cases for line in lines))
    return made, skipped, left_out


def recorded(plan: Plan, about: Mapping) -> dict:
    """What run.json says of the choices that the plan leaves open: as they were when the run was begun."""
    choices = plan.choices(about)
    return {
        "search_rule": about.get("search_rule", choices.rule),
        "doses": about.get("doses", [1.0] if about else list(choices.doses)),
    }
