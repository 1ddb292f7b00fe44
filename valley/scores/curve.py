"""The editability curve: per rung and edit kind the best setting's scores with intervals, or the reason why not.

rows = valley.rows.schema.read_run("results/demo")
curve = valley.scores.curve.curve(rows)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import (
    ALL,
    CONTROLS,
    IN_LANGUAGE,
    KEPT,
    METRICS,
    NET,
    PROBE_KINDS,
    RUNG,
    SETTING,
    RowsError,
    kind_order,
    weights_of,
)
from valley.scores.case_columns import OPTIONAL
from valley.scores.cases import NEEDED, at_full_dose, check, scores_of
from valley.scores.composites import PRIMARY, Composite
from valley.scores.resampling import Drawn, Resampler, Sampled, kind_mean
from valley.scores.settings import (
    GROUP,
    choose,
    gates_failed,
    measured,
    needed,
    on_split,
    placebo_of,
    placebos,
    ruler_of,
    stratum,
)
from valley.scores.strengths import AXES

__all__ = ["Analysis", "analyse", "curve"]

# What `curve` reads of a run: the scores, and what its two charts need of the rungs.
_RUNGS = ("bits_per_byte_fr", "n_layers", "model", "known_facts", *(axis.column for axis in AXES))
CURVE_COLUMNS = tuple(dict.fromkeys((*sorted(NEEDED), "dose", *OPTIONAL, *_RUNGS)))
ESTIMATES = [name for m in METRICS for name in (m, f"{m}_low", f"{m}_high")]
COLUMNS = [
    *RUNG, "edit_kind", "strength_bits_per_byte", "strength_log10_parameters", "bits_per_byte_en", "bits_per_byte_fr",
    "parameters", "n_layers", "model", "method", "settings", "site", "lookup", "depth", "n_settings", "chosen_on",
    "scored_on", "n_cases", "n_known", "n_errors", *ESTIMATES, "kinds", "metric", "gates", "reason", "gaps",
]  # fmt: skip


@dataclass(frozen=True)
class Analysis:
    """Everything the table, the figures and the report share.

    Attributes:
        rows: the checked rows.
        scores: `case_scores(rows)`.
        choice: `choose(...)`, the best setting per rung and edit kind.
        curve: `curve(rows)`.
        resampler: the bootstrap draws behind the curve. drawn: (ladder, rung_index, rung, edit kind) -> the best
            setting with its placebo.
        options: min_known, draws, seed, which (stratum), methods, metric (as requested).
        ruler: the composite that generalisation, specificity and score are of. note: why it is not that of the metric.
    """

    rows: pd.DataFrame
    scores: pd.DataFrame
    choice: pd.DataFrame
    curve: pd.DataFrame
    resampler: Resampler
    drawn: dict[tuple, Drawn]
    options: dict
    ruler: Composite
    note: str


def curve(
    rows: pd.DataFrame,
    min_known: int = 50,
    draws: int = 1000,
    seed: int = 0,
    *,
    which: str = "known",
    methods: Sequence[str] | None = None,
    metric: str = PRIMARY,
) -> pd.DataFrame:
    """Editability per rung, for all edit kinds together (`edit_kind` "all") and for each.

    The overall line is the unweighted mean over the run's edit kinds, each at its own best setting; every kind must be
    measurable, and all on the same kinds of probes: else the line is not comparable, and says why.

    Args:
        rows: the rows of a run.
        min_known: fewer known facts are not measurable: NaN and a reason; of renames and retargets 20 are enough.
        draws: bootstrap samples behind the 95% intervals; 0 for none.
        seed: seed of the bootstrap.
        which: "known" (at this rung), "known_everywhere" (at every rung) or "all".
        methods: only these methods (the placebo stays); None for all.
        metric: of an analysis plan; its composite chooses settings (without placebo) and gives the score.

    Returns:
        a table of COLUMNS. `METRIC_low`, `METRIC_high` bound METRIC. `metric` is the composite of the score, `gates`
        (JSON) the gates that the best setting fails. `reason` says why a line is NaN, `gaps` (JSON) why a single score
        of it is. Strength is minus the bits per byte on the fixed English text.

    Raises:
        RowsError: the rows are not sound; see `valley.scores.cases.check`.
    """
    return analyse(rows, min_known, draws, seed, which=which, methods=methods, metric=metric).curve


def analyse(
    rows: pd.DataFrame,
    min_known: int = 50,
    draws: int = 1000,
    seed: int = 0,
    *,
    which: str = "known",
    methods: Sequence[str] | None = None,
    metric: str = PRIMARY,
) -> Analysis:
    """As `curve`, with what leads to it."""
    rows = check(rows)
    if methods is not None:
        unknown = sorted(set(methods) - set(rows["method"].unique()))
        if unknown:
            raise RowsError(
                f"no rows of method {unknown[0]!r}; the run has {', '.join(sorted(rows['method'].unique()))}"
            )
        rows = rows[rows["method"].isin([*methods, *CONTROLS])]
    if min_known < 1:
        raise RowsError(f"min_known is {min_known}; give 1 or more")
    scores = scores_of(rows)
    rows = at_full_dose(rows)
    tried = rows[list(GROUP)].drop_duplicates()
    choice = choose(scores, tried, which, metric)
    resampler = Resampler(scores, draws, seed)
    one, note = ruler_of(metric, scores)
    prepared = _prepare(rows, scores, choice, resampler, which, one)
    kinds = sorted(prepared.probe_kinds, key=kind_order)
    unlike = unlike_rulers(prepared.probe_kinds)
    lines, drawn = [], {}
    for rung in _rungs(rows).to_dict("records"):
        n_errors = len(_here(prepared.errors, rung))
        per_kind = [_refused(_line(prepared, rung, kind), min_known) for kind in kinds]
        total = _overall(rung, per_kind, n_errors, unlike)
        lines.append(total | {"metric": one.name})
        for line in per_kind:
            lines.append({k: v for k, v in line.items() if k in COLUMNS})
            if "drawn" in line:
                drawn[*(rung[name] for name in RUNG), line["edit_kind"]] = line["drawn"]
    table = pd.DataFrame(lines, columns=COLUMNS)
    order = [ALL, *kinds]
    table = table.assign(_kind=[order.index(k) for k in table["edit_kind"]])
    table = table.sort_values(["ladder", "_kind", "rung_index", "rung"], kind="stable", ignore_index=True)
    options = {"min_known": min_known, "draws": draws, "seed": seed, "which": which,
               "methods": None if methods is None else list(methods), "metric": metric}  # fmt: skip
    table = table.drop(columns="_kind")
    table.attrs.update(options, note=note, weights=weights_of(rows))
    return Analysis(rows, scores, choice, table, resampler, drawn, options, one, note)


def unlike_rulers(probe_kinds: dict[str, set[str]]) -> str:
    """Which kinds of probes that a score is made of only some edit kinds have; empty where there are none."""
    names = sorted(probe_kinds, key=kind_order)
    parts = []
    for probe in (*IN_LANGUAGE, *KEPT):
        there = [kind for kind in names if probe in probe_kinds[kind]]
        if there and len(there) < len(names):
            parts.append(f"{probe} of {' and '.join(there)} edits only")
    return f"not comparable: measured were {', '.join(parts)}" if parts else ""


def _rungs(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per rung with its strength measures; failed rungs too."""
    facts = ["bits_per_byte_en", "bits_per_byte_fr", "parameters", "n_layers", "model"]
    clean = rows[[*RUNG, *facts]]
    named, counted = (
        clean["model"].where(clean["model"] != ""),
        clean["n_layers"].astype("Int64").where(clean["n_layers"] >= 0),
    )
    rungs = clean.assign(model=named, n_layers=counted).groupby(list(RUNG), observed=True)[facts].first().reset_index()
    rungs["strength_bits_per_byte"] = -rungs["bits_per_byte_en"]
    parameters = rungs["parameters"].where(rungs["parameters"] > 0)
    rungs["strength_log10_parameters"] = np.log10(parameters.astype("float64"))
    return rungs


def _here(frame: pd.DataFrame, rung: dict, kind: str | None = None) -> pd.DataFrame:
    keep = frame["ladder"].eq(rung["ladder"]) & frame["rung"].eq(rung["rung"])
    keep &= frame["rung_index"].eq(rung["rung_index"])
    return frame[keep if kind is None else keep & frame["edit_kind"].eq(kind)]


@dataclass(frozen=True)
class _Prepared:
    """A run, selected once for all lines of its curve.

    Attributes:
        scores: case scores by (ladder, rung_index, rung, edit kind). probes: the same of PROBE_COLUMNS of the rows.
        placebos: as `settings.placebos`. errors: RUNG, edit_kind and error of the failed cells.
        probe_kinds: edit kind -> the probe kinds that the run has for it.
        choice, resampler, which, ruler: as in `Analysis`.
    """

    scores: dict[tuple, pd.DataFrame]
    probes: dict[tuple, pd.DataFrame]
    placebos: dict[tuple, pd.DataFrame]
    errors: pd.DataFrame
    probe_kinds: dict[str, set[str]]
    choice: pd.DataFrame
    resampler: Resampler
    which: str
    ruler: Composite


PROBE_COLUMNS = ["method", "settings", "case", "probe", "reason"]


def _prepare(
    rows: pd.DataFrame, scores: pd.DataFrame, choice: pd.DataFrame, resampler: Resampler, which: str, one: Composite
) -> _Prepared:
    place = [*RUNG, "edit_kind"]
    slim = rows[[*place, *PROBE_COLUMNS]]
    pairs = rows.loc[rows["edit_kind"] != "", ["edit_kind", "probe"]].drop_duplicates()
    return _Prepared(
        scores=dict(iter(scores.groupby(place, observed=True))),
        probes=dict(iter(slim.groupby(place, observed=True))),
        placebos=placebos(scores),
        errors=rows.loc[rows["error"] != "", [*place, "error"]],
        probe_kinds={str(kind): set(part["probe"]) for kind, part in pairs.groupby("edit_kind")},
        choice=choice,
        resampler=resampler,
        which=which,
        ruler=one,
    )


def _line(prepared: _Prepared, rung: dict, kind: str) -> dict:
    """One rung and edit kind: the chosen setting, its counts, estimates and what was drawn (before any refusal)."""
    resampler, key = prepared.resampler, (*(rung[name] for name in RUNG), kind)
    errors = _here(prepared.errors, rung, kind)["error"]
    nothing = dict.fromkeys(ESTIMATES, np.nan)
    line = {**rung, "edit_kind": kind, **nothing, "n_errors": len(errors), "reason": "", "gaps": "{}"}
    line |= {"metric": prepared.ruler.name, "gates": "{}"}
    line |= {"n_cases": 0, "n_known": 0, "n_used": 0, "kinds": "", "depth": np.nan, "n_settings": 0}
    line |= {"method": "", "settings": "", "site": "", "lookup": "", "chosen_on": "", "scored_on": ""}
    chosen = _here(prepared.choice, rung, kind)
    if chosen.empty:
        return line | {"reason": f"failed: {errors.iloc[0]}" if len(errors) else "not run"}
    pick = chosen.iloc[0]
    line |= {name: pick[name] for name in (*SETTING, "n_settings", "chosen_on", "scored_on", "reason")}
    if pick["method"] == "":
        hint = f" ({errors.iloc[0]})" if len(errors) and pick["reason"] == "every edit failed" else ""
        return line | {"reason": pick["reason"] + hint}
    chosen_scores = prepared.scores[key]
    chosen_scores = chosen_scores[
        (chosen_scores["method"] == pick["method"]) & (chosen_scores["settings"] == pick["settings"])
    ]
    part = on_split(chosen_scores, pick["scored_on"])
    used = stratum(part, prepared.which)
    for name in ("site", "lookup"):
        line[name] = "+".join(sorted(set(chosen_scores[name]) - {""}))
    line["depth"] = float(chosen_scores["depth"].median())
    line |= {"n_cases": len(part), "n_known": int(part["known"].sum()), "n_used": len(used)}
    if used.empty:
        return line
    noise = placebo_of(prepared.placebos, used)
    drawn = resampler.draw(used, noise)
    scores = drawn.metrics(prepared.ruler)
    line["gates"] = json.dumps({name: round(value, 4) for name, value in gates_failed(used, noise).items()})
    line |= _estimates(scores)
    line |= {"drawn": drawn, "scores": scores, "kinds": "+".join(measured(used))}
    gaps = _gaps(prepared, key, used, dict(zip(METRICS, scores.value, strict=True)), noise is not None)
    line["gaps"] = json.dumps(gaps, ensure_ascii=False)
    return line


def _estimates(scores: Sampled) -> dict[str, float]:
    low, high = scores.bounds()
    cells: dict[str, float] = {}
    for i, metric in enumerate(METRICS):
        cells |= {metric: float(scores.value[i]), f"{metric}_low": float(low[i]), f"{metric}_high": float(high[i])}
    return cells


def _gaps(
    prepared: _Prepared, key: tuple, used: pd.DataFrame, values: dict[str, float], corrected: bool
) -> dict[str, str]:
    """Why a score of a measured line is NaN; only for scores that the run requested somewhere."""
    kinds = prepared.probe_kinds[key[-1]]
    probes = prepared.probes[key]
    probes = probes[probes["method"].eq(used["method"].iloc[0]) & probes["settings"].eq(used["settings"].iloc[0])]
    probes = probes[probes["case"].isin(used["case"])]
    gaps = {}
    for metric in PROBE_KINDS:
        if metric in kinds and np.isnan(values[metric]):
            reasons = probes.loc[probes["probe"].eq(metric), "reason"]
            text = "not evaluated here" if reasons.empty else (reasons.mode().iloc[0] or "no reason given")
            gaps[metric] = f"{text} ({len(reasons)} probes)" if len(reasons) else text
    if "cross_lingual" in kinds and np.isnan(values[NET]):
        gaps[NET] = "no case has cross-lingual and neighbour scores in one language"
    for metric in ("generalisation", "specificity"):
        if np.isnan(values[metric]):
            gaps[metric] = f"no {metric} probe could be measured"
    if np.isnan(values["generalisation"]) and prepared.ruler.net and not corrected:
        gaps["generalisation"] = "no placebo edits of this method and setting"
    if np.isnan(values["score"]):
        gaps["score"] = gaps.get("generalisation", gaps.get("specificity", f"{prepared.ruler.name} is not measurable"))
    return gaps


def _refused(line: dict, min_known: int) -> dict:
    """The line, blank and with a reason where it has too few known cases."""
    least = needed(min_known, line["edit_kind"])
    if not line["reason"] and line["n_used"] < least:
        line = line | {"reason": f"{line['n_used']} known {_noun(line['edit_kind'])}, {least} needed"}
    return line | (dict.fromkeys(ESTIMATES, np.nan) if line["reason"] else {})


def _noun(kind: str) -> str:
    return "facts" if kind == "fact" else "cases"


def _overall(rung: dict, per_kind: list[dict], n_errors: int, unlike: str) -> dict:
    line = {**rung, "edit_kind": ALL, **dict.fromkeys(ESTIMATES, np.nan), "n_errors": n_errors, "gaps": "{}"}
    failed = {part["edit_kind"]: json.loads(part["gates"]) for part in per_kind}
    line["gates"] = json.dumps({kind: gates for kind, gates in failed.items() if gates})
    for name in ("method", "site", "lookup", "chosen_on", "scored_on"):
        values = list(dict.fromkeys(part[name] for part in per_kind if part[name]))
        line[name] = "+".join(values)
    for name in ("n_cases", "n_known"):
        line[name] = sum(part[name] for part in per_kind)
    line["n_settings"] = max((part["n_settings"] for part in per_kind), default=0)
    depths = {part["depth"] for part in per_kind}
    line["depth"] = depths.pop() if len(depths) == 1 else np.nan
    settings = {part["edit_kind"]: part["settings"] for part in per_kind}
    line["settings"] = json.dumps(settings, ensure_ascii=False)
    line["kinds"] = "; ".join(f"{part['edit_kind']}: {part['kinds']}" for part in per_kind)
    refused = [f"{part['edit_kind']}: {part['reason']}" for part in per_kind if part["reason"]]
    if not per_kind:
        refused.append("every cell failed" if n_errors else "not run")
    elif unlike:
        refused = [unlike]
    line["reason"] = "; ".join(refused)
    if refused:
        return line
    scores = kind_mean([part["scores"] for part in per_kind])
    gaps = {}
    for metric in (m for m, value in zip(METRICS, scores.value, strict=True) if np.isnan(value)):
        whose: dict[str, list[str]] = {}
        for part in per_kind:
            text = json.loads(part["gaps"]).get(metric)
            if text:
                whose.setdefault(text, []).append(part["edit_kind"])
        if whose:
            gaps[metric] = "; ".join(f"{', '.join(names)}: {text}" for text, names in whose.items())
    return line | _estimates(scores) | {"gaps": json.dumps(gaps, ensure_ascii=False)}
