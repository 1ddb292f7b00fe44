"""`valley.Run`: a run folder judged from Python or in a notebook, and the one way from a run folder to a report."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from editing.lazy import pandas as pd
from valley.report.page import MAX_CASES, Report, write_page
from valley.report.verdict import hypotheses_table
from valley.rows import RowsError, crispness_of, read_run, readings_of
from valley.scores import SCORE_COLUMNS, analyse, former_metric, published_scores, stored, with_options

FRAME_HEIGHT = 800  # pixels of the report in a notebook
VERDICT_COLUMNS = ["ladder", "edit_kind", "outcome", "text", "share", "bound", "detectable"]


def report_of(
    run: str | Path,
    *,
    min_known: int | None = None,
    which: str | None = None,
    metric: str | None = None,
    crispness: str | Path | None = None,
    max_cases: int = MAX_CASES,
) -> Report:
    """The report of a run folder; stores the analysis plan's hash there before any score is read.

    Args:
        min_known: fewer known facts are not measurable. which: stratum of the cases that count. metric: the score. None
            is what the analysis plan stored in the run says, and the default of a plan where none is stored.
        crispness: a crispness.csv; None takes the one in the run folder where there is one.
        max_cases: list at most this many edits.

    Raises:
        RowsError: no such run, unsound rows or tables.
    """
    run = Path(run)
    plan = with_options(run, min_known=min_known, which=which, metric=metric)
    caution = stored(plan, run)
    table, readings = crispness_of(run, crispness), readings_of(run)
    rows = read_run(run, doses=True, categories=True)
    analysis = analyse(rows, plan.min_known, plan.bootstrap, plan.seed, which=plan.which, metric=plan.metric)
    cautions = "; ".join(filter(None, (caution, former_metric(plan), analysis.note)))
    return Report(analysis, run.resolve().name, run, table, max_cases, cautions, plan, readings)


@dataclass(frozen=True)
class Run:
    """A finished run: its tables as pandas, its verdict, its report. Read when first needed, scored once.

        run = valley.Run("results/first", min_known=10)
        run.curve()       # one line per rung and edit kind
        run               # in a notebook: the report

    Attributes:
        folder: the run folder. min_known, which, metric: as in the analysis plan; None is what the run's stored plan
            says.
        crispness: a crispness.csv of `ladder crispness`; None takes the one in the run folder where there is one.

    Raises:
        RowsError: from every method: no such run, unsound rows or tables; one line that names the file and the fix.
    """

    folder: str | Path
    min_known: int | None = None
    which: str | None = None
    metric: str | None = None
    crispness: str | Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.folder, str | Path):
            raise RowsError(f"{self.folder!r:.80}: {type(self.folder).__name__}, not the path of a run folder")
        if not Path(self.folder).is_dir():
            raise RowsError(f"{self.folder}: no such run folder; make one with `python cli.py bench`")

    @cached_property
    def page(self) -> Report:
        """Tables, charts and tests, each made when first used."""
        return report_of(
            self.folder, min_known=self.min_known, which=self.which, metric=self.metric, crispness=self.crispness
        )

    @property
    def rows(self) -> pd.DataFrame:
        """One row per probe of an edited case."""
        return self.page.analysis.rows

    def curve(self) -> pd.DataFrame:
        """Per rung and edit kind the best setting's scores with 95% intervals, or the reason why there are none."""
        return self.page.analysis.curve

    def scores(self, metrics: str = "ours") -> pd.DataFrame:
        """Scores of every setting by the definitions `metrics`: "ours", "counterfact" or "easyedit".

        Raises:
            RowsError: no such definitions.
        """
        rows = read_run(Path(self.folder), SCORE_COLUMNS, categories=True)
        options = self.page.analysis.options
        return published_scores(rows, metrics, options["which"], options["metric"])

    def verdict(self) -> pd.DataFrame:
        """What all composites say together, a line per ladder and edit kind: VERDICT_COLUMNS.

        `outcome` is a shape such as "valley", "no valley" or "inconclusive", `text` the reasons, `share` the share
        of the composites that agree, `bound` the depth below which a valley cannot be excluded, `detectable` the
        smallest depth that this run would show 80% of the time.
        """
        every = self.page.judged.specifications
        lines = [] if every is None else [
            (*key, one.verdict.outcome, one.verdict.text, one.share, one.verdict.bound, one.verdict.detectable)
            for key, one in every.combined.items()
        ]  # fmt: skip
        return pd.DataFrame(lines, columns=VERDICT_COLUMNS)

    def hypotheses(self) -> pd.DataFrame:
        """Every hypothesis with effect, interval, corrected p and verdict, as the report prints them."""
        return pd.DataFrame(hypotheses_table(self.page.judged))

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one page that needs no network, to `path` or to report.html in the folder: the path."""
        return write_page(self.page, Path(self.folder) / "report.html" if path is None else Path(path))

    def _repr_html_(self) -> str:
        """The report in a sandboxed frame: its style and script cannot touch the notebook, nor the notebook them."""
        page = html.escape(self.page.page, quote=True)
        style = f"width:100%;height:{FRAME_HEIGHT}px;border:1px solid #8886"
        title = html.escape(f"Report of {self.page.title}", quote=True)
        return f'<iframe sandbox="allow-scripts" title="{title}" style="{style}" srcdoc="{page}"></iframe>'
