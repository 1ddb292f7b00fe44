"""The report: one HTML page that needs no network. Rows in, page out; every string in it is text, never markup."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import jinja2
import numpy as np
from altair.utils.schemapi import debug_mode
from markupsafe import Markup
from scipy.interpolate import PchipInterpolator

from editing.lazy import pandas as pd
from valley.report import provenance
from valley.report.cases import shown_cases
from valley.report.charts.common import Chart, javascript
from valley.report.charts.depth import crispness_chart, depth_chart
from valley.report.charts.plane import plane_chart
from valley.report.charts.readings import readings_chart
from valley.report.charts.specification import specification_chart
from valley.report.charts.strength import editability_chart, kinds_chart, transfer_chart
from valley.report.tables import curve_tables
from valley.report.verdict import Judged, hypotheses_table, tests, verdict
from valley.rows import ALL, LABELS, run_record, write_whole
from valley.scores import (
    Analysis,
    AnalysisPlan,
    StrengthAxis,
    axes_of,
    depth_scores,
    editability_points,
    failures,
    kind_points,
    points,
    strengths,
    transfer_points,
    unmeasurable,
)
from valley.text import clean, embed, format_gates, unlike_kinds
from valley.verdicts import NAMED

MAX_CASES = 5000
TEMPLATES = Path(__file__).parent / "templates"
# Olah's and Hubinger's diagram, redrawn as a schematic: interpretability against strength, both without a scale.
CONJECTURE = (
    (0.0, 0.90), (0.08, 0.88), (0.16, 0.78), (0.25, 0.52), (0.33, 0.30), (0.40, 0.24), (0.47, 0.31), (0.55, 0.55),
    (0.63, 0.76), (0.70, 0.82), (0.77, 0.76), (0.85, 0.52), (0.92, 0.27), (1.0, 0.10),
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """Everything a report says, made when first requested and then kept.

    Attributes:
        analysis: what `valley.scores.curve.analyse` gave.
        title: name of the run. run: its folder, where run.json is; None for rows without one.
        crispness: table of `ladder crispness`, or None.
        max_cases: at most so many cases are listed, taken in turn from every rung and edit kind.
        caution: what `valley.scores.plan.stored` said of the analysis plan.
        plan: the analysis plan, for what the options of the analysis do not say.
        readings: table of `valley read`, or None.
    """

    analysis: Analysis
    title: str
    run: Path | None = None
    crispness: pd.DataFrame | None = None
    max_cases: int = MAX_CASES
    caution: str = ""
    plan: AnalysisPlan = field(default_factory=AnalysisPlan)
    readings: pd.DataFrame | None = None

    @cached_property
    def judged(self) -> Judged:
        return Judged(self.analysis, self.crispness, self.caution, self.plan, self.readings)

    @property
    def ladders(self) -> list[str]:
        return sorted(set(self.analysis.curve["ladder"]))

    @cached_property
    def plane(self) -> pd.DataFrame:
        """Every setting as a point of specificity and generalisation, see `valley.scores.points.points`."""
        return points(self.analysis)

    @cached_property
    def axes(self) -> dict[str, tuple[StrengthAxis, ...]]:
        """Ladder -> its strength axes, the primary one first."""
        strong = strengths(self.analysis.rows)
        return {ladder: axes_of(strong[strong["ladder"] == ladder]) for ladder in self.ladders}

    @cached_property
    def strength_points(self) -> pd.DataFrame:
        """Editability of every model and size, see `valley.scores.editability_points`."""
        return editability_points(self.analysis)

    @cached_property
    def kind_points(self) -> pd.DataFrame:
        """Every probe kind of every model and size, see `valley.scores.kind_points`."""
        return kind_points(self.analysis)

    @cached_property
    def transfer_points(self) -> pd.DataFrame:
        """Transfer of every model and size, see `valley.scores.transfer_points`."""
        return transfer_points(self.analysis)

    @cached_property
    @debug_mode(False)  # Altair checks every part against Vega-Lite's schema, for a second; a test checks the whole
    def curve_charts(self) -> dict[str, Chart]:
        """Editability against strength, and generalisation against specificity, of each ladder that has something to
        show."""
        edits = self.strength_points
        made = []
        for i, ladder in enumerate(self.ladders):
            made.append(editability_chart(f"strength-{i}", edits[edits["ladder"] == ladder], self.axes[ladder]))
            made.append(plane_chart(f"plane-{i}", self.plane[self.plane["ladder"] == ladder]))
        return {chart.name: chart for chart in made if chart is not None}

    @cached_property
    @debug_mode(False)
    def charts(self) -> dict[str, Chart]:
        """Those that have something to show, by name."""
        depths, kinds, moved = depth_scores(self.analysis, self.plane), self.kind_points, self.transfer_points
        made = []
        for i, ladder in enumerate(self.ladders):
            made.append(kinds_chart(f"kinds-{i}", kinds[kinds["ladder"] == ladder], self.axes[ladder]))
            made.append(depth_chart(f"depth-{i}", depths[depths["ladder"] == ladder]))
            made.append(transfer_chart(f"transfer-{i}", moved[moved["ladder"] == ladder], self.axes[ladder]))
            every = self.judged.specifications
            if self.readings is not None:
                edits = self.strength_points
                made.append(
                    readings_chart(f"readings-{i}", edits[edits["ladder"] == ladder], self.readings, self.axes[ladder])
                )
            if every is not None:
                curves = every.curves[every.curves["ladder"] == ladder]
                made.append(specification_chart(f"specification-{i}", curves))
        if self.crispness is not None:
            made.append(crispness_chart(self.crispness, list(dict.fromkeys(self.analysis.curve["rung"]))))
        return self.curve_charts | {chart.name: chart for chart in made if chart is not None}

    @cached_property
    def page(self) -> str:
        """The whole page as text."""
        return _render(self)


def write_page(report: Report, path: Path) -> Path:
    """Write the page of `report`, atomically: the path.

    Raises:
        RowsError: an unreadable run.json, or the file cannot be written.
    """
    text = report.page
    return write_whole(path, text)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    return environment.get_template("report.html")


def _render(report: Report) -> str:
    analysis, judged, charts = report.analysis, report.judged, report.charts
    rows, curve = analysis.rows, analysis.curve
    about = run_record(report.run)
    cases, n_cases = shown_cases(analysis, report.max_cases)
    gaps = unmeasurable(rows).groupby(["edit_kind", "probe", "reason"])["n"].sum().reset_index()
    return _template().render(
        title=report.title,
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),
        vega=Markup(javascript()) if charts else "",
        charts=charts,
        chart_data=embed({name: {"views": c.views, "rows": c.rows} for name, c in charts.items()}),
        ladders=report.ladders,
        verdict=verdict(judged),
        conjecture=_conjecture(),
        tables=curve_tables(curve),
        tests=tests(judged),
        shape_names=NAMED,
        hypotheses=hypotheses_table(judged),
        unlike=unlike_kinds(curve),
        gates=format_gates(curve),
        ruler=analysis.ruler,
        options=analysis.options,
        case_data=embed(cases),
        n_shown=len(cases["cases"]),
        n_cases=n_cases,
        rung_names=list(dict.fromkeys(curve["rung"])),
        edit_kinds=[k for k in dict.fromkeys(curve["edit_kind"]) if k != ALL],
        labels=LABELS,
        failures=failures(rows).head(200).to_dict("records"),
        n_failures=int((rows["error"] != "").sum()),
        gaps=gaps.sort_values(["n", "edit_kind", "probe"], ascending=[False, True, True]).to_dict("records"),
        models=provenance.models(rows),
        settings=provenance.settings(curve),
        facts=provenance.facts(rows, judged.plan, about),
        commands=provenance.commands(about, f"results/{report.title}", analysis.options),
        plan=provenance.plan_text(about).splitlines(),
        crispness=report.crispness is not None,
        readings=report.readings is not None,
    )


def _conjecture() -> str:
    """Olah's diagram as the path of an SVG: strength 40 to 340 to the right, interpretability 230 to 30 upwards."""
    x, y = np.array(CONJECTURE).T
    fine = np.linspace(0, 1, 121)
    heights = PchipInterpolator(x, y)(fine)
    return "M" + " L".join(f"{40 + 300 * a:.1f},{230 - 200 * b:.1f}" for a, b in zip(fine, heights, strict=True))
