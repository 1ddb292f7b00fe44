"""Every edit of a run beside the models retrained on the same edits: one row per edit, setting and scope."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.cases import Case
from benchmarks.datasets import build_cases, for_model
from benchmarks.grown import RungSpec, grow
from benchmarks.measure import open_model, statistics_of
from benchmarks.models import parse
from benchmarks.oracle.distance import probabilities
from benchmarks.oracle.score import scores_of_case
from editing.errors import BadData, UserError
from editing.files import atomic_file, digest
from editing.lazy import pandas as pd
from editing.methods import make_method
from editing.model import LanguageModel
from editing.stats import CORPUS
from valley.rows import ask_rows, run_record

DATASET = "planned_edits"
SCOPES = ("both", "one")
FILE = "oracle.parquet"
_SETTING = ["rung", "rung_index", "model", "run_seed", "method", "settings", "site", "lookup", "edit_kind", "dataset"]
# Settings that the search rejected have no test rows. The cells are part of what a stored result is recognised by.
_QUESTION = f"""
    SELECT {", ".join(_SETTING)},
        list(DISTINCT "case" ORDER BY "case") AS cases, list(DISTINCT cell ORDER BY cell) AS cells
    FROM rows WHERE dataset LIKE '{DATASET}:%' AND error = ''
    GROUP BY ALL HAVING bool_or(split = 'test') ORDER BY rung_index, dataset, edit_kind, method, settings
"""
Answers = list[list[np.ndarray | None]]  # per case, per probe: (m,) P(candidate)


@dataclass(frozen=True)
class _Twins:
    """What the unedited model of a rung and its retrained ones, by scope, answer to the cases of one set of edits."""

    base: Answers
    oracle: dict[str, Answers]
    second: dict[str, Answers]


def compare_run(
    run: Path,
    scopes: Sequence[str] = SCOPES,
    *,
    device: str | None = "cpu",
    report: Callable[[str], None] = lambda line: None,
) -> tuple[pd.DataFrame, list[str]]:
    """Make the edits of a run again and compare them with retrained models; missing ones are trained now.

    The table is stored in the run's folder after every rung; a rung whose cells and scopes have not changed is not
    measured again.

    Args:
        run: folder of a run with the data set `planned_edits:N`, on grown rungs.
        scopes: `both`: both languages reported the news to the retrained model; `one`: English alone did.
        report: called with one line per model before it is trained or evaluated.

    Returns:
        One row per edit, setting and scope: _SETTING, case, subject, relation, scope, second_seed, cells, and the
        columns of `scores_of_case`. And a line for each rung or setting that was left out.

    Raises:
        BadData: the run has no planned edits.
    """
    settings = ask_rows(run, _QUESTION)
    if settings.empty:
        raise BadData(f"{run}: no test rows of planned edits; run bench --datasets {DATASET}:1 on grown rungs first")
    corpus = run_record(run)["plan"].get("corpus") or CORPUS
    seeds = _seeds(settings["model"].unique())
    path = run / FILE
    stored = _stored(path)
    tables: list[pd.DataFrame] = []
    left_out: list[str] = []
    for (rung, model), part in settings.groupby(["rung", "model"], sort=False):
        key = digest([sorted(cell for cells in part["cells"] for cell in cells), list(scopes)])
        table = stored[(stored["rung"] == rung) & (stored["cells"] == key)]
        if table.empty:
            try:
                one = RungComparison.opened(str(rung), str(model), seeds, device)
            except BadData as error:
                left_out.append(str(error))
                continue
            records = list(one.records(part, scopes, corpus, left_out, report))
            table = pd.DataFrame(records).assign(cells=key)
        if table.empty:  # every line of it was left out
            continue
        tables.append(table)
        later = stored[~stored["rung"].isin([one["rung"].iloc[0] for one in tables])]  # kept if this call is stopped
        with atomic_file(path) as temporary:
            pd.concat([*tables, *([later] if len(later) else [])]).to_parquet(temporary, index=False)
    if not tables:
        raise BadData(f"{run}: nothing to compare: {'; '.join(left_out)}")
    return pd.concat(tables, ignore_index=True), left_out


def _stored(path: Path) -> pd.DataFrame:
    """The table of an earlier call, empty where there is none.

    Raises:
        BadData: a file that is no such table.
    """
    if not path.is_file():
        return pd.DataFrame(columns=["rung", "cells"])
    try:
        return pd.read_parquet(path, filters=[("cells", "!=", "")])
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: not a table of `oracle` ({type(error).__name__}); delete it and run again") from error


@dataclass(frozen=True)
class RungComparison:
    """A grown rung, its model, and the seed of the second retrained model."""

    name: str
    spec: RungSpec
    lm: LanguageModel
    second_seed: int
    device: str | None

    @classmethod
    def opened(cls, name: str, model: str, seeds: dict[RungSpec, list[int]], device: str | None) -> RungComparison:
        reference = parse(model)
        if reference.kind != "grown":
            raise BadData(f"{name}: {model} was not trained here, so it cannot be retrained")
        spec = RungSpec.parse(reference.name)
        if spec.edits or spec.step:
            raise BadData(f"{name}: {model} is itself retrained or unfinished; use a finished rung without edits")
        return cls(name, spec, open_model(model, device), _next(seeds[replace(spec, seed=0)], spec.seed), device)

    def records(
        self,
        settings: pd.DataFrame,
        scopes: Sequence[str],
        corpus: str,
        left_out: list[str],
        report: Callable[[str], None],
    ) -> Iterator[dict]:
        for dataset, part in settings.groupby("dataset", sort=False):
            named = for_model(str(dataset), f"grown:{self.spec.name}")
            number, _, world = named.partition(":")[2].partition("-")
            if world != self.spec.world_options:
                left_out.append(f"{self.name}: {dataset} is of another world than grown:{self.spec.name}")
                continue
            used = {case for cases in part["cases"] for case in cases}
            every = [case for kind in part["edit_kind"].unique() for case in build_cases(named, str(kind))]
            cases = [case for case in every if case.id in used]
            twins = self._twins(int(number or 1), cases, scopes, report)
            statistics = statistics_of(self.lm, int(part["run_seed"].iloc[0]), corpus, quiet=True)
            for line in part.to_dict("records"):
                method = make_method(line["method"], **json.loads(line["settings"]))
                places = [at for at, case in enumerate(cases) if case.id in set(line["cases"])]
                some = [cases[at] for at in places]
                try:
                    deltas = method.each(self.lm, [case.request for case in some], statistics)
                except UserError as error:
                    left_out.append(f"{self.name} {line['method']}: {error}")
                    continue
                about = {name: line[name] for name in _SETTING}
                for at, case, answers in zip(places, some, probabilities(self.lm, some, deltas), strict=True):
                    about |= {"case": case.id, "subject": case.subject, "relation": case.relation}
                    for scope in scopes:
                        trained = twins.oracle[scope][at], twins.second[scope][at]
                        scores = scores_of_case(case, twins.base[at], answers, *trained)
                        yield about | {"scope": scope, "second_seed": self.second_seed} | scores

    def _twins(self, edits: int, cases: Sequence[Case], scopes: Sequence[str], report: Callable[[str], None]) -> _Twins:
        def retrained(seed: int, scope: str) -> Answers:
            twin = replace(self.spec, seed=seed, edits=edits, scope=scope)
            report(f"{self.name}: grown:{twin.name}")
            return probabilities(open_model(str(grow(twin)), self.device), cases)

        both = (self.spec.seed, self.second_seed)
        oracle, second = ({scope: retrained(seed, scope) for scope in scopes} for seed in both)
        return _Twins(probabilities(self.lm, cases), oracle, second)


def _seeds(models: Iterable[str]) -> dict[RungSpec, list[int]]:
    """Specification with seed 0 -> the seeds of the run, in order."""
    out: dict[RungSpec, list[int]] = {}
    for model in models:
        reference = parse(model)
        if reference.kind == "grown":
            spec = RungSpec.parse(reference.name)
            out.setdefault(replace(spec, seed=0), []).append(spec.seed)
    return {size: sorted(seeds) for size, seeds in out.items()}


def _next(seeds: Sequence[int], seed: int) -> int:
    """The seed of the second retrained model: the next of the run's, whose model is needed anyway, else one more."""
    return seeds[(seeds.index(seed) + 1) % len(seeds)] if len(seeds) > 1 else seed + 1
