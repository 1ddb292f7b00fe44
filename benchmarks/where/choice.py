"""The best setting and dose of each kind of edit, with intervals, and the file that `edit --at`, `bench --at` take."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isnan
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live import usual_settings
from benchmarks.sweep import case_means, judge_setting
from editing.errors import BadData, BadRequest
from editing.files import atomic_file
from editing.lazy import pandas as pd
from editing.methods import make_method
from valley.rows import IN_LANGUAGE, KEPT
from valley.statistics import harmonic, weighted_means

LAYERED = ("mlp", "value", "attn", "expert")  # sites that a block has one of
DRAWS = 1000  # of the bootstrap over cases


@dataclass(frozen=True)
class Choice:
    """One setting of one method at one dose, on the test cases of a kind of edit.

    Attributes:
        settings: those that differ from the method's defaults, and those that `edit` would otherwise add. site, lookup:
            of the edits. layer: number of the last edited block; None for a method that edits none.
        close: whether the best choice of the kind is not surely better on the same cases (the 95% interval of the
            difference holds 0).
        score, low, high: harmonic mean of generalisation and specificity, with its 95% interval over cases. n: cases
            with a value, the known ones where these have a score.
    """

    kind: str
    method: str
    settings: dict[str, Any]
    site: str
    lookup: str
    layer: int | None
    layers: int
    dose: float
    generalisation: float
    specificity: float
    score: float
    low: float
    high: float
    n: int
    close: bool = True

    @property
    def place(self) -> str:
        """The layer and site in words."""
        return self.site if self.layer is None else f"layer {self.layer} ({self.site})"

    @property
    def line(self) -> str:
        """The options of `edit` that make such an edit, as a shell takes them."""
        words = ["--method", self.method, "--dose", f"{self.dose:g}"]
        for key, value in self.settings.items():
            words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        return shlex.join(words)


def choices(rows: pd.DataFrame, seed: int = 0) -> list[Choice]:
    """Every measured setting and dose of every kind of edit on the test cases, the best of a kind first, scored as the
    search scores them (`benchmarks/sweep/search/search_points.py`).
    """
    test = rows[(rows["split"] == "test") & (rows["error"] == "")]
    measured = []
    for (kind, method, settings, dose), part in test.groupby(["edit_kind", "method", "settings", "dose"], sort=False):
        judged = part[part["known"].fillna(False).astype(bool)]
        point = judge_setting(judged)
        if isnan(point.score):
            judged, point = part, judge_setting(part)
        if isnan(point.score):
            continue
        drawn = scores_drawn(judged, seed) * (not point.gated)
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        edited = judged.dropna(subset=["value"])  # the row of a case that was not edited names no place
        n = len(edited[["dataset", "case"]].drop_duplicates())
        changed = settings_stated(str(kind), str(method), str(settings))
        layers, row = int(part["n_layers"].iloc[0]), edited.iloc[0]
        layer = int(row["depth"] * layers) if row["site"] in LAYERED else None
        one = Choice(
            str(kind), str(method), changed, str(row["site"]), str(row["lookup"]), layer, layers, float(str(dose)),
            point.generalisation, point.specificity, point.score, float(low), float(high), n,
        )  # fmt: skip
        measured.append((one, drawn))
    measured.sort(key=lambda pair: (pair[0].kind, -pair[0].score, abs(pair[0].dose - 1)))
    first = {one.kind: (one, drawn) for one, drawn in reversed(measured)}
    return [replace(one, close=_close(first[one.kind], (one, drawn))) for one, drawn in measured]


def settings_stated(kind: str, method: str, settings: str) -> dict[str, Any]:
    """`Choice.settings` of full settings as rows hold them, JSON."""
    usual = make_method(method).settings()
    added = usual_settings(kind, method, {"site": ""})  # by `edit`, beside a stated place
    return {key: value for key, value in json.loads(settings).items() if value != usual.get(key) or key in added}


def _close(best: tuple[Choice, np.ndarray], other: tuple[Choice, np.ndarray]) -> bool:
    """`Choice.close`. The same number of cases has the same draws; with another number, whether the intervals meet."""
    if best[0].n != other[0].n:
        return other[0].high >= best[0].low
    return bool(np.nanquantile(best[1] - other[1], 0.025) <= 0)


def scores_drawn(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """(DRAWS,) harmonic means when the cases are drawn again, with the kinds of probes that the search counts."""
    kinds = case_means(rows).unstack("probe")
    rng = np.random.default_rng([seed, len(kinds)])
    weights = rng.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)), size=DRAWS).astype("float64")

    def side(names: Sequence[str]) -> np.ndarray:
        values = kinds.reindex(columns=[name for name in names if name in kinds]).to_numpy(dtype="float64")
        by_kind = weighted_means(weights, values).T
        return weighted_means(np.ones((1, len(by_kind))), by_kind)[0]  # a draw may hold no case with a kind

    return harmonic(side(IN_LANGUAGE), side(KEPT))


def best(ranked: Sequence[Choice]) -> dict[str, Choice]:
    """The first choice of each kind of edit."""
    return {one.kind: one for one in reversed(ranked)}


def write_choices(chosen: Mapping[str, Choice], model: str, file: Path) -> None:
    """Write the choices as TOML, one table per kind of edit."""
    lines = [f"# Where to edit {model}, found by `valley where`: take it with `edit --at` or `bench --at`.", ""]
    for kind, one in chosen.items():
        lines += [f"[{kind}]", f"method = {json.dumps(one.method)}", f"dose = {one.dose:g}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in one.settings.items() if value is not None]
        about = f"harmonic mean {one.score:.3f} ({one.low:.3f} to {one.high:.3f}) on {one.n} cases"
        lines += [f"# {one.place}, {one.layers} layers in all; {about}", ""]
    with atomic_file(file) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def read_choice(file: str | Path, kind: str) -> tuple[str, float, dict[str, Any]]:
    """Method, dose and settings for a kind of edit, from a file of `valley where`.

    Raises:
        BadData: a file that cannot be read, says nothing of this kind, or has a wrong method, setting or dose.
    """
    try:
        table = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(
            f"{file}: not readable as TOML ({error!s:.120}); give the where.toml of `valley where`"
        ) from error
    entry = table.get(kind)
    if not isinstance(entry, dict) or "method" not in entry:
        there = ", ".join(table) or "nothing"
        raise BadData(
            f"{file}: no table [{kind}] with a method, it has {there}; run `valley where` with --kinds {kind}"
        )
    settings = {key: value for key, value in entry.items() if key not in ("method", "dose")}
    try:
        make_method(entry["method"], **settings)
    except BadRequest as error:
        raise BadData(f"{file}: [{kind}]: {error}") from error
    dose = entry.get("dose", 1.0)
    if isinstance(dose, bool) or not isinstance(dose, int | float) or not 0 <= dose < inf:
        raise BadData(f"{file}: [{kind}]: dose is {dose!r:.40}; write a number from 0 on, such as 0.5")
    return entry["method"], float(dose), settings
