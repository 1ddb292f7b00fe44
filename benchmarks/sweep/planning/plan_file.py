"""A sweep as a file: TOML that states a whole `Plan`, so that it can be fixed, hashed and run anywhere.

The keys of the file are the fields of `PlanFile`; their descriptions say what each means.

ladder = "grown-quick"
seeds = [0, 1, 2]
fast = true
split = { dev = 0.33, by = ["subject"] }
[[edits]]
kind = "fact"
dataset = "world_facts"
limit = 100
[methods.rome]
site = ["mlp", "value"]
depth = [0.2, 0.35, 0.5]
[methods.placebo]
"""

from __future__ import annotations

import re
from math import isfinite, prod
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from benchmarks.cases import EditKind
from benchmarks.chat import chat_option
from benchmarks.datasets import dataset_names, kinds_of
from benchmarks.ladders import load_ladder
from benchmarks.plans import plan_path
from benchmarks.sweep.planning.grids import EVERY_LAYER
from benchmarks.sweep.planning.plan import DEFAULT_DATASETS, DEV_SHARE, SEARCHES, Edits, Plan, Split
from editing.errors import BadData, BadRequest, UserError
from editing.files import read_toml
from editing.methods import FAST, is_easyedit, make_method, method_names, taken_by
from editing.stats import CORPUS
from valley.rows import CONTROLS, ON_REQUEST, first_problem, one_of

MOST_BYTES, MOST_SETTINGS = 100_000, 1000

Positive = Annotated[StrictInt, Field(ge=1)]
Count = Annotated[StrictInt, Field(ge=0)]
Dose = Annotated[StrictFloat | StrictInt, Field(ge=0, le=100)]


class EditsTable(BaseModel, extra="forbid"):
    """An [[edits]] of a plan."""

    kind: EditKind = Field(description="kind of edit")
    dataset: str = Field(default="", description="data set that the cases come from; the kind's default where left out")
    limit: Positive | None = Field(default=None, description="most cases, 1 or more; the plan's limit where left out")

    @model_validator(mode="after")
    def _offered(self) -> EditsTable:
        self.dataset = self.dataset or DEFAULT_DATASETS[self.kind]
        one_of(self.dataset.partition(":")[0], dataset_names())
        if self.kind not in kinds_of(self.dataset):
            has = ", ".join(kinds_of(self.dataset))
            raise ValueError(f"data set {self.dataset!r} has no {self.kind} edits; it has {has}")
        return self


class SplitTable(BaseModel, extra="forbid"):
    """The `split` of a plan."""

    seed: Count = Field(default=0, description="random seed of the draw, 0 or more")
    dev: StrictFloat = Field(
        default=DEV_SHARE, gt=0, lt=1, description="share that is dev, between 0 and 1, such as 0.33"
    )
    by: list[Literal["subject", "relation"]] = Field(
        default=["subject"], min_length=1, description="what is drawn; with both, test shares neither with dev"
    )


class PlanFile(BaseModel, extra="forbid"):
    """A sweep plan."""

    title: str = Field(default="", description="one line that says what the sweep is for; not part of the plan's hash")
    name: str | None = Field(default=None, description="run folder below results/; the file's name where left out")
    ladder: str = Field(description="name of a ladder, path of its file, or reference of a single model")
    rungs: list[str] = Field(default=[], description="list of names: only these rungs; all where left out")
    seeds: list[Count] = Field(
        default=[0], min_length=1, description="list of different whole numbers, seeds of cases and statistics"
    )
    limit: Positive = Field(default=50, description="most cases, 1 or more, of each [[edits]] that states no limit")
    probes: Count = Field(default=0, description="most probes per kind and language of a case; 0 takes all")
    more_probes: list[Literal[ON_REQUEST]] | None = Field(  # type: ignore[valid-type]
        default=None, description='further kinds of probes, such as ["negation", "verification"]; none where left out'
    )
    chat: str = Field(
        default="off",
        description='form of edits and probes: "off" (plain text), "auto" (the chat template of a model that has one), '
        "or the path of a template",
    )
    evaluation: Literal["bfloat16"] | None = Field(
        default=None,
        description='"bfloat16": questions are evaluated on a bfloat16 copy of the model; left out: on the model',
    )
    corpus: str = Field(
        default=CORPUS, description="text of statistics: samples:N, text:PATH, hub:OWNER/NAME or identity"
    )
    fast: StrictBool = Field(
        default=False, description="true: fewer contexts per optimiser step, nearly the same edits"
    )
    known: StrictBool = Field(default=False, description="true: edit only the facts that the unedited model knows")
    concepts: str = Field(
        default="", description="path of a file of your own concepts, in place of the data set concept_suite"
    )
    search: Literal[SEARCHES] = Field(  # type: ignore[valid-type]
        default="halving",
        description='"halving": settings are chosen on dev cases; "grid": every setting on every case',
    )
    pareto: StrictBool = Field(default=False, description="true: halving also keeps and scores the Pareto front")
    search_rule: Literal[1, 2, 3] | None = Field(
        default=None,
        description="rule of the halving: 1 is that of runs before 0.2, 2 ranks by their score; left out: that of the "
        "run, for a new one 3",
    )
    doses: list[Dose] | None = Field(
        default=None,
        description="list of multiples of the edits to measure, such as [0.5, 1.0, 2.0]; left out: "
        "0.25, 0.5, 0.75, 1, 1.5, 2 on the test cases of a halving, 1 alone in a grid",
    )
    controls: list[str] = Field(
        default=[], description='list of controls such as ["placebo", "random_layer"]; each is an empty [methods.NAME]'
    )
    split: SplitTable = Field(
        default=SplitTable(),
        description='which cases choose settings (dev) and which score them (test); "subject": no subject is on both '
        'sides; "relation": no subject and no relation',
    )
    analysis: dict[str, Any] = Field(
        default={},
        description="how the run will be judged: fields of the analysis plan such as min_known; stored before the "
        "first cell, no part of the plan's hash",
    )
    edits: list[EditsTable] = Field(
        min_length=1, description="at least one [[edits]] with kind, and dataset where it is not the default"
    )
    methods: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="at least one table of settings such as [methods.rome]; lists are searched; empty: defaults",
    )

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("must be different whole numbers from 0 on, such as [0, 1, 2]")
        return seeds

    @field_validator("methods")
    @classmethod
    def _settings_fit(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, list]]:
        return {name: _grid(name, table) for name, table in methods.items()}

    @field_validator("doses")
    @classmethod
    def _new_doses(cls, doses: list[float] | None) -> list[float] | None:
        if doses is not None and len(set(doses)) < len(doses):
            raise ValueError("must be different numbers from 0 on, such as [0.5, 1.0, 2.0]")
        return doses

    @field_validator("split", mode="before")
    @classmethod
    def _spelled_out(cls, split: Any) -> Any:
        """`split = "relation"` is a split by subject and relation."""
        if not isinstance(split, str):
            return split
        one_of(split, ("subject", "relation"))
        return {"by": ["subject"] if split == "subject" else ["subject", "relation"]}

    @model_validator(mode="after")
    def _with_controls(self) -> PlanFile:
        for name in self.controls:
            one_of(name, CONTROLS)
            self.methods.setdefault(name, {})
        return self

    @model_validator(mode="after")
    def _edits_differ(self) -> PlanFile:
        pairs = [(edit.kind, edit.dataset) for edit in self.edits]
        for kind, dataset in pairs:
            if pairs.count((kind, dataset)) > 1:
                raise ValueError(f"edits: {kind} edits of {dataset} are named twice; leave one out")
        return self


def load_plan(path: str | Path) -> Plan:
    """The plan in a TOML file, or the one of that name in `benchmarks/plans`.

    Raises:
        BadData: not readable as TOML, an unknown or missing key, a value that does not fit; names file, key and fix.
    """
    path = plan_path(path)
    file = _file(path)
    edits = tuple(Edits(edit.kind, edit.dataset, edit.limit or file.limit) for edit in file.edits)
    try:
        plan = Plan(
            ladder=file.ladder,
            methods=tuple(file.methods),
            kinds=tuple(dict.fromkeys(edit.kind for edit in edits)),
            limit=max(edit.limit for edit in edits),
            seed=file.seeds[0],
            corpus=file.corpus,
            settings=fast_settings(tuple(file.methods)) if file.fast else (),
            probes=file.probes,
            chat=chat_option(file.chat) or None,
            evaluation=file.evaluation,
            more_probes=None if file.more_probes is None else tuple(file.more_probes),
            title=file.title,
            rungs=tuple(file.rungs),
            seeds=tuple(file.seeds),
            edits=edits,
            axes=tuple(
                (name, tuple((key, tuple(values)) for key, values in grid.items()))
                for name, grid in file.methods.items()
            ),
            search=file.search,
            pareto=file.pareto,
            split=Split(file.split.seed, file.split.dev, tuple(file.split.by)),
            known=file.known,
            analysis=tuple(file.analysis.items()),
            doses=None if file.doses is None else tuple(map(float, file.doses)),
            search_rule=file.search_rule,
            concepts=file.concepts,
        )
        check_whole(plan)
    except UserError as error:
        raise BadData(f"{path}: {error}") from error
    return plan


def run_name(path: str | Path) -> PurePosixPath:
    """Where below results/ a plan's run goes: its `name`, else the name of its file.

    Raises:
        BadData: a name that is absolute, climbs, is empty in part, or has signs that are no part of a name.
    """
    path = plan_path(path)
    stated = _file(path).name
    name = path.stem if stated is None else stated
    if not all(re.fullmatch(r"[\w-][\w.-]*", part) for part in name.split("/")):
        raise BadData(
            f"{path}: name: {name!r:.80} is not a folder below results/; write parts of letters, digits, . - _"
        )
    if name.split("/")[0] == "temporary":
        raise BadData(f"{path}: name: results/temporary is for runs of changed code; take another name")
    return PurePosixPath(name)


def check_whole(plan: Plan) -> None:
    """What no single key shows: the rungs are of the ladder, and there is something to search.

    Raises:
        UserError: they are not, there is not, or there is no such ladder.
    """

    known = [rung.name for rung in load_ladder(plan.ladder).rungs]
    try:
        for rung in plan.rungs:
            one_of(rung, known)
    except ValueError as error:
        raise BadRequest(f"rungs: {error}") from error
    if plan.search != "halving":
        return
    if set(plan.methods) <= set(CONTROLS):
        raise BadRequest(f"methods: {', '.join(plan.methods)} only follow what is searched; add another method")
    for name, grid in plan.axes:
        for key, values in grid:
            if name in CONTROLS and len(values) > 1:
                raise BadRequest(f"methods.{name}.{key}: a control follows the chosen setting; give one value or none")


def fast_settings(methods: tuple[str, ...]) -> tuple[tuple[str, object], ...]:
    """What `fast` sets, as far as one of the methods has it."""
    return tuple((key, value) for key, value in FAST.items() if any(taken_by(name, {key: value}) for name in methods))


def _file(path: Path) -> PlanFile:
    table = read_toml(path, "plan", MOST_BYTES)
    try:
        return PlanFile.model_validate(table)
    except ValidationError as error:
        raise BadData(f"{path}: {first_problem(error, PlanFile, table)}") from error
    except UserError as error:  # of a data set's file
        raise BadData(f"{path}: {error}") from error


def _grid(method: str, table: dict[str, Any]) -> dict[str, list]:
    """Setting -> values to try, each of which the method takes.

    Raises:
        ValueError: an unknown method or setting, or a value that the method refuses.
    """
    if not is_easyedit(method):
        one_of(method, method_names())
    known = tuple(make_method(method).settings())
    grid = {}
    for key, value in table.items():
        values = value if isinstance(value, list) else [value]
        try:
            one_of(key, known)
            if not values or len({(type(one), str(one)) for one in values}) < len(values):
                raise ValueError(f"must be a value, or a list of different values, is {value!r:.60}")
            for one in values[:MOST_SETTINGS]:
                if (key, one) == ("depth", EVERY_LAYER):
                    continue
                if isinstance(one, float) and not isfinite(one):
                    raise ValueError(f"{one} is not a finite number")
                make_method(method, **{key: one})
        except (ValueError, UserError) as error:
            raise ValueError(f"{method}.{key}: {error}") from error
        grid[key] = values
    if prod(map(len, grid.values())) > MOST_SETTINGS:
        raise ValueError(f"{method}: more than {MOST_SETTINGS} settings; leave some values out")
    return grid
