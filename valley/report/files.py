"""What a report can be besides its page: charts as PNG or SVG, tables as CSV, everything in words as Markdown."""

from __future__ import annotations

import re
from pathlib import Path

from editing.lazy import pandas as pd
from valley.report import provenance
from valley.report.charts.common import write_image
from valley.report.page import Report
from valley.report.tables import curve_tables
from valley.report.verdict import hypotheses_table, verdict
from valley.rows import ALL, LABELS, run_record, write_whole
from valley.text import clean

CURVE_FILES = {"strength": "editability_strength", "plane": "generalisation_specificity"}


def write_charts(report: Report, folder: Path, form: str) -> list[Path]:
    """Every view of every chart of the page as `report-CHART[-CHOICE].FORM`: the paths.

    Args:
        form: "png" or "svg".

    Raises:
        RowsError: the folder cannot be written.
    """
    made = []
    for chart in report.charts.values():
        for i, choice in enumerate(chart.views):
            tail = f"-{_slug(choice)}" if i else ""
            made.append(write_image(chart.still(choice), folder / f"report-{chart.name}{tail}.{form}"))
    return made


def write_curve_charts(report: Report, folder: Path) -> list[Path]:
    """Editability against strength and generalisation against specificity of each ladder as PNG: the paths.

    A ladder of which nothing was measured has no chart.

    Raises:
        RowsError: the folder cannot be written.
    """
    made = []
    for chart in report.curve_charts.values():
        kind, _, number = chart.name.rpartition("-")
        tail = f"-{int(number) + 1}" if len(report.ladders) > 1 else ""
        made.append(write_image(chart.still(), folder / f"{CURVE_FILES[kind]}{tail}.png"))
    return made


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60]


def write_tables(report: Report, folder: Path) -> list[Path]:
    """The curve, the points of both strength figures, the tests and the hypotheses as CSV: the paths.

    Raises:
        RowsError: the folder cannot be written.
    """
    judged = report.judged
    tables = {
        "curve": report.analysis.curve,
        "points": report.strength_points,
        "kinds": report.kind_points,
        "transfer": report.transfer_points,
        "hypotheses": pd.DataFrame(hypotheses_table(judged)),
    }
    if judged.shapes is not None:
        tables["tests"] = judged.shapes.tests
    if judged.specifications is not None:
        tables |= {"composites": judged.specifications.table, "composite-curves": judged.specifications.curves}
    made = []
    for name, table in tables.items():
        text = table.to_csv(index=False)
        path = folder / f"report-{name}.csv"
        made.append(write_whole(path, text))
    return made


def write_markdown(report: Report, path: Path) -> Path:
    """Verdict, tables and provenance as Markdown: the path.

    Raises:
        RowsError: the file cannot be written.
    """
    text = markdown(report)
    return write_whole(path, text)


def markdown(report: Report) -> str:
    """What `write_markdown` writes."""
    words = verdict(report.judged)
    out = [f"# Editability: {_safe(report.title)}", "", f"**{_safe(words['headline'])}**", ""]
    out += [_safe(" ".join(words["lede"])), ""]
    out += [f"* Minimum detectable depth, {_safe(one['whose'])}: {one['depth']}" for one in words["depths"]]
    out += [f"* {_safe(line)}" for line in words["shapes"]]
    for table in curve_tables(report.analysis.curve):
        kind = (
            "All edit kinds"
            if table["kind"] == ALL
            else f"{LABELS.get(table['kind'], table['kind'])} edits".capitalize()
        )
        out += ["", f"## {_safe(kind)}, ladder {_safe(table['ladder'])}", ""]
        head = ["rung", "bits/byte EN", "parameters", "best setting", "known", *(LABELS[m] for m in table["metrics"])]
        lines = []
        for line in table["lines"]:
            cells = [f"{cell['value']} {cell['range']}".strip() for cell in line["cells"]]
            if line["reason"]:
                cells = [f"n/a ({line['reason']})", *[""] * (len(table["metrics"]) - 1)]
            lines.append([line["rung"], line["bits"], line["parameters"], line["where"], line["known"], *cells])
        out += _table(head, lines)
    rows = hypotheses_table(report.judged)
    out += ["", "## Hypotheses", ""]
    out += _table(
        ["", "hypothesis", "verdict", "effect", "95% interval", "p (Holm)", "why"],
        [[h["id"], h["statement"], h["verdict"], h["effect"], h["range"], h["p"], h["reason"]] for h in rows],
    )
    about = run_record(report.run)
    out += ["", "## Provenance", ""]
    out += [
        f"* {name}: {_safe(value)}" for name, value in provenance.facts(report.analysis.rows, report.judged.plan, about)
    ]
    lines = provenance.commands(about, f"results/{report.title}", report.analysis.options)
    return "\n".join([*out, "", "```sh", *(clean(line).replace("`", "'") for line in lines), "```", ""])


def _table(head: list[str], lines: list[list[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *lines]
    return ["| " + " | ".join(cell if cell == "---" else _safe(cell) for cell in row) + " |" for row in rows]


def _safe(text: object) -> str:
    """`text` on one line, with nothing that Markdown or HTML would read as markup."""
    return re.sub(r"([\\`*\[\]<>|&#])", r"\\\1", clean(text))
