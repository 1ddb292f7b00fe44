"""The choice of a search beside every place: the first method at every site and lookup of each N-th layer, on the test
cases that the search met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.sweep import EVERY, Plan, judge_setting, run_bench
from benchmarks.where.choice import Choice, choices, scores_drawn, settings_stated
from editing.lazy import pandas as pd
from valley.rows import read_run


@dataclass(frozen=True)
class Beside:
    """The best of all places beside the choice of the search, on the same known test cases.

    Attributes:
        best: the best place and dose. places: how many were measured at the whole dose.
        chosen, every: scores of the choice and of the best place on the `n` cases that both met.
        low, high: 95% interval over cases of `chosen - every`.
        halves: mean score on one half of the cases of what is best on the other half; NaN where there are too few. The
            best of many places on few cases is partly luck, this is not.
    """

    best: Choice
    places: int
    chosen: float
    every: float
    low: float
    high: float
    halves: float
    n: int


def beside_every_place(
    plan: Plan,
    chosen: Mapping[str, Choice],
    rows: pd.DataFrame,
    out: Path,
    every: int,
    device: str | None = None,
    quiet: bool = False,
) -> dict[str, Beside]:
    """Per kind of edit the choice beside every place.

    Args:
        plan: of the search. rows: its rows. out: its folder; these rows go into a run folder inside it.
        every: distance of the layers.
    """
    folder = Path(out) / f"every-{every}"
    found: dict[str, Beside] = {}
    for kind, one in chosen.items():
        depths = tuple(round((layer + 0.5) / one.layers, 5) for layer in range(every // 2, one.layers, every))
        tests = rows[(rows["edit_kind"] == kind) & (rows["split"] == "test")]
        count = int(tests.groupby("dataset")["case"].nunique().max())
        whole = replace(
            plan,
            methods=plan.methods[:1],
            kinds=(kind,),
            search=EVERY,
            budget=0.0,
            starts=(),
            tests=count,
            axes=((plan.methods[0], (("depth", depths),)),),
        )
        run_bench(whole, folder, device, quiet)
        table = read_run(folder, doses=True)
        found[kind] = compare(rows, table[table["edit_kind"] == kind], one, plan.seed)
    return found


def compare(rows: pd.DataFrame, everywhere: pd.DataFrame, chosen: Choice, seed: int) -> Beside:
    """The choice beside the best row of `everywhere`, which has one kind of edit."""
    everywhere = everywhere[everywhere["error"] == ""]
    best = choices(everywhere, seed)[0]
    ours, theirs = _of(rows, chosen), _of(everywhere, best)
    cases = sorted({*_cases(ours)} & {*_cases(theirs)})
    ours, theirs = _among(ours, cases), _among(theirs, cases)
    low, high = np.nanquantile(scores_drawn(ours, seed) - scores_drawn(theirs, seed), (0.025, 0.975))
    places = everywhere[everywhere["dose"] == 1.0].groupby("settings")
    halves = []
    for side in (0, 1) if len(cases) > 1 else ():
        scores = {
            name: [judge_setting(_among(part, cases[half::2])).score for half in (side, 1 - side)]
            for name, part in places
        }
        measured = {name: pair for name, pair in scores.items() if not np.isnan(pair).any()}
        if measured:
            halves.append(max(measured.values(), key=lambda pair: pair[0])[1])
    return Beside(
        best, len(places), judge_setting(ours).score, judge_setting(theirs).score, float(low), float(high),
        float(np.mean(halves)) if halves else np.nan, len(cases),
    )  # fmt: skip


def _of(rows: pd.DataFrame, one: Choice) -> pd.DataFrame:
    """The test rows of a choice."""
    same = (rows["edit_kind"] == one.kind) & (rows["method"] == one.method) & (rows["dose"] == one.dose)
    tests = rows[same & (rows["split"] == "test") & (rows["error"] == "")]
    stated = [settings_stated(one.kind, one.method, str(text)) for text in tests["settings"]]
    return tests[np.array([settings == one.settings for settings in stated], dtype=bool)]


def _cases(rows: pd.DataFrame) -> list[str]:
    """The cases that the unedited model knew."""
    return list(rows.loc[rows["known"].fillna(False).astype(bool), "case"].unique())


def _among(rows: pd.DataFrame, cases: list[str]) -> pd.DataFrame:
    return rows[rows["case"].isin(cases)]


def format_beside(kind: str, one: Beside, every: int) -> str:
    """One line of text."""
    layers = "every layer" if every == 1 else f"layers {every} apart"
    best = one.best
    line = f"{kind}: {one.places} places ({layers}, every site and lookup) by {best.method} on {one.n} cases: best "
    line += f"{best.place}, {best.lookup}, dose {best.dose:g}: {one.every:.3f}; the choice less it "
    line += f"{one.chosen - one.every:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
    return line + ("" if np.isnan(one.halves) else f"; best on one half of the cases {one.halves:.3f} on the other")
