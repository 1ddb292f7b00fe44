"""The report: one HTML page that needs no network. Rows in, page out; every string in it is text, never markup."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from scipy.interpolate import PchipInterpolator

from valley.case_scores import failures, unmeasurable
from valley.charts import javascript, plane_chart, strength_chart
from valley.curve import Analysis, analyse
from valley.files import write_whole
from valley.kinds import ALL, CONTROLS, EDIT_KINDS, LABELS, METRICS, RUNG
from valley.plan import with_options
from valley.points import points
from valley.report_cases import shown_cases
from valley.rows import SCHEMA_VERSION
from valley.shape import shapes
from valley.shapes.verdict import INCONCLUSIVE, Verdict
from valley.style import CONJECTURE
from valley.table import clean, number, short, unlike_kinds, where


def write_report(
    rows: pd.DataFrame,
    path: str | Path,
    min_known: int = 50,
    draws: int = 1000,
    seed: int = 0,
    *,
    title: str = "",
    command: str = "",
    max_cases: int = 200,
    analysis: Analysis | None = None,
    caution: str = "",
) -> Path:
    """Write the report of `rows` to `path`, atomically: the path.

    Args:
        rows, min_known, draws, seed: as in `valley.curve.curve`.
        title: name of the run; the name of the report's folder when empty.
        command: the command that made the run, shown under "how to reproduce".
        max_cases: at most so many cases are listed, taken in turn from every rung and edit kind.
        analysis: what `valley.curve.analyse` gave, to spare doing it again.
        caution: what `valley.plan.stored` said of the analysis plan.

    Raises:
        RowsError: unsound rows, or the file cannot be written.
    """
    path = Path(path)
    analysis = analysis or analyse(rows, min_known, draws, seed)
    text = render(analysis, title or path.resolve().parent.name, command, max_cases, caution)
    return write_whole(path, lambda file: file.write(text.encode("utf-8", "replace")), "report")


def render(analysis: Analysis, title: str, command: str = "", max_cases: int = 200, caution: str = "") -> str:
    """The whole page as text."""
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    rows, curve = analysis.rows, analysis.curve
    charts = {}
    plane = points(analysis)
    for i, ladder in enumerate(sorted(set(curve["ladder"]))):
        charts[f"strength-{i}"] = strength_chart(curve[curve["ladder"] == ladder])
        charts[f"plane-{i}"] = plane_chart(plane[plane["ladder"] == ladder])
    cases, n_cases = shown_cases(analysis, max_cases)
    gaps = unmeasurable(rows).groupby(["edit_kind", "probe", "reason"])["n"].sum().reset_index()
    return environment.get_template("report.html").render(
        title=title,
        css=Markup((folder / "report.css").read_text(encoding="utf-8")),
        script=Markup((folder / "report.js").read_text(encoding="utf-8")),
        vega=Markup(javascript()) if any(charts.values()) else "",
        charts=embed({name: spec for name, spec in charts.items() if spec}),
        drawn={name for name, spec in charts.items() if spec},
        ladders=sorted(set(curve["ladder"])),
        verdict=verdict(analysis, caution),
        conjecture=_conjecture(),
        tables=_tables(curve),
        unlike=unlike_kinds(curve),
        options=analysis.options,
        cases=cases,
        n_cases=n_cases,
        rung_names=list(dict.fromkeys(curve["rung"])),
        edit_kinds=[k for k in dict.fromkeys(curve["edit_kind"]) if k != ALL],
        labels=LABELS,
        failures=failures(rows).head(200).to_dict("records"),
        n_failures=int((rows["error"] != "").sum()),
        gaps=gaps.sort_values(["n", "edit_kind", "probe"], ascending=[False, True, True]).to_dict("records"),
        models=_models(rows),
        settings=_settings(curve),
        facts=_facts(rows),
        command=command,
    )


def embed(value: object) -> Markup:
    """`value` as JSON that may stand inside a <script> element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def verdict(analysis: Analysis, caution: str = "") -> dict[str, object]:
    """What was found, in plain words: `headline`, `detail`, and `shapes`, one line per edit kind from the tests of `valley.shape`."""
    curve = analysis.curve
    kinds = [k for k in dict.fromkeys(curve["edit_kind"]) if k != ALL]
    n_rungs = len(curve.drop_duplicates(list(RUNG)))
    shown = curve[curve["edit_kind"] == ALL].dropna(subset=["harmonic_mean"])
    good = analysis.rows[analysis.rows["error"] == ""]
    edits = len(analysis.scores)
    what = f"{_count(n_rungs, 'rung')}, {_count(len(kinds), 'edit kind')} ({', '.join(kinds) or 'none'})"
    detail = f"Measured: {what}, {edits:,} edits, {len(good):,} probes. "
    judged = _judged(analysis)
    lines = [f"{kind} edits{f', ladder {ladder}' if ladder else ''}: {v.text}." for (ladder, kind), v in judged.items()]
    if caution:
        lines.append(f"Caution: {caution}.")
    named = {v.outcome for v in judged.values()}
    if len(shown) < 2:
        n = len(shown)
        headline = f"No verdict: {'no rung' if not n else 'only one rung'} could be measured over all edit kinds."
        return {"headline": headline, "detail": f"{detail}The reasons stand in the table below.", "shapes": lines}
    values = shown["harmonic_mean"].to_numpy()
    low, high = shown.iloc[int(values.argmin())], shown.iloc[int(values.argmax())]
    text = " and ".join(
        f"{number(r['harmonic_mean'])}{_range(r)} at {short(clean(r['rung']), 40)}" for r in (low, high)
    )
    detail += f"Over all kinds, the best harmonic mean of generalisation and specificity lies between {text}. "
    apart = low["harmonic_mean_high"] < high["harmonic_mean_low"]
    if not pd.isna(low["harmonic_mean_high"]) and not pd.isna(high["harmonic_mean_low"]):
        detail += "Their intervals do not overlap. " if apart else "Their intervals overlap. "
    if named <= {INCONCLUSIVE}:
        headline = "No verdict on the valley: what was measured is inconclusive."
    else:
        headline = "; ".join(f"{kind}: {v.outcome}" for (_, kind), v in judged.items()) + "."
    return {"headline": headline[0].upper() + headline[1:], "detail": detail.strip(), "shapes": lines}


def _judged(analysis: Analysis) -> dict[tuple[str, str], Verdict]:
    """The verdict of each ladder and edit kind; none where only controls were run."""
    options = analysis.options
    plan = with_options(min_known=options["min_known"], bootstrap=options["draws"] or None, seed=options["seed"],
                        which=options["which"])  # fmt: skip
    if set(analysis.rows["method"]) <= {*CONTROLS, ""}:
        return {}
    return shapes(analysis.rows, plan).verdicts


def _range(row: pd.Series) -> str:
    if pd.isna(row["harmonic_mean_low"]):
        return ""
    return f" ({number(row['harmonic_mean_low'])} to {number(row['harmonic_mean_high'])})"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _conjecture() -> str:
    """Olah's diagram as the path of a small SVG of 240 x 110."""
    x, y = np.array(CONJECTURE).T
    fine = np.linspace(0, 1, 61)
    heights = PchipInterpolator(x, y)(fine)
    return "M" + " L".join(f"{10 + 220 * a:.1f},{100 - 90 * b:.1f}" for a, b in zip(fine, heights, strict=True))


def _tables(curve: pd.DataFrame) -> list[dict]:
    """Per ladder and edit kind: the measured columns and the lines, cells ready to print."""
    tables = []
    kinds = list(dict.fromkeys(curve["edit_kind"]))
    if len(kinds) == 2:
        kinds = [k for k in kinds if k != ALL]
    for ladder in dict.fromkeys(curve["ladder"]):
        for kind in kinds:
            block = curve[(curve["ladder"] == ladder) & (curve["edit_kind"] == kind)]
            if block.empty:
                continue
            head = ["harmonic_mean", "generalisation", "specificity"]
            metrics = [m for m in (*head, *(m for m in METRICS if m not in head)) if block[m].notna().any()]
            lines = [_table_line(line, metrics) for line in block.to_dict("records")]
            tables.append({"ladder": ladder, "kind": kind, "metrics": metrics, "lines": lines})
    return tables


def _table_line(line: dict, metrics: list[str]) -> dict:
    gaps = json.loads(line["gaps"])
    cells = []
    for metric in metrics:
        low, high = line[f"{metric}_low"], line[f"{metric}_high"]
        missing = pd.isna(line[metric])
        cells.append({
            "value": "n/a" if missing else number(line[metric]),
            "range": "" if missing or pd.isna(low) else f"{number(low)}–{number(high)}",
            "reason": gaps.get(metric, "not measured") if missing else "",
        })  # fmt: skip
    parameters, bits = line["parameters"], line["bits_per_byte_en"]
    return {
        "rung": line["rung"], "reason": line["reason"], "cells": cells, "where": where(line),
        "bits": "n/a" if pd.isna(bits) else f"{bits:.2f}",
        "parameters": "n/a" if pd.isna(parameters) else _compact(parameters),
        "known": f"{line['n_known']} of {line['n_cases']}", "n_errors": line["n_errors"],
        "chosen": f"{line['chosen_on'] or '-'} / {line['scored_on'] or '-'}",
    }  # fmt: skip


def _compact(n: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:.3g}{unit}"
    return f"{n:.0f}"


def _models(rows: pd.DataFrame) -> list[dict]:
    columns = [
        *RUNG,
        "model",
        "model_source",
        "model_hash",
        "parameters",
        "n_layers",
        "bits_per_byte_en",
        "bits_per_byte_fr",
    ]
    table = rows[columns].assign(**{c: rows[c].where(rows[c] != "") for c in ("model", "model_source", "model_hash")})
    table = table.groupby(list(RUNG), observed=True)[columns[3:]].first().reset_index()
    out = []
    for line in table.to_dict("records"):
        texts = {
            k: "unknown" if pd.isna(v) else v for k, v in line.items() if k in ("model", "model_source", "model_hash")
        }
        bits = {k: "n/a" if pd.isna(line[k]) else f"{line[k]:.3f}" for k in ("bits_per_byte_en", "bits_per_byte_fr")}
        parameters = "n/a" if pd.isna(line["parameters"]) else f"{line['parameters']:,.0f}"
        out.append(line | texts | bits | {"parameters": parameters})
    return out


def _settings(curve: pd.DataFrame) -> list[dict]:
    chosen = curve[(curve["edit_kind"] != ALL) & (curve["settings"] != "")]
    return chosen[["rung", "edit_kind", "method", "settings"]].to_dict("records")


def _facts(rows: pd.DataFrame) -> list[tuple[str, str]]:
    def listed(column: str) -> str:
        values = sorted(str(v) for v in set(rows.loc[rows["error"] == "", column]) if v != "")
        return ", ".join(values[:12]) + (f" and {len(values) - 12} more" if len(values) > 12 else "") or "not recorded"

    seconds = rows.drop_duplicates(["cell", "case"])[["seconds_edit", "seconds_eval"]].sum()
    return [
        ("Rows", f"{len(rows):,} (schema {SCHEMA_VERSION})"),
        ("Data sets", listed("dataset")),
        ("Methods", listed("method")),
        ("Edit kinds", ", ".join(k for k in EDIT_KINDS if k in set(rows["edit_kind"]))),
        ("Run seeds", listed("run_seed")),
        ("Time", f"{seconds['seconds_edit']:,.0f} s of edits, {seconds['seconds_eval']:,.0f} s of evaluation"),
        ("Versions", listed("versions")),
        ("Commit", listed("commit")),
    ]
