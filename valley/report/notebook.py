"""`valley.show`: a run's report inside a notebook, and the one way from a run folder to a report."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

from valley.report.page import MAX_CASES, Report, write_page
from valley.rows import crispness_of, read_run
from valley.scores import analyse, stored, with_options


def report_of(
    run: str | Path, *, min_known: int = 50, crispness: str | Path | None = None, max_cases: int = MAX_CASES
) -> Report:
    """The report of a run folder; stores the analysis plan's hash there before any score is read.

    Args:
        min_known: fewer known cases are not measurable.
        crispness: a crispness.csv; None takes the one in the run folder where there is one.

    Raises:
        RowsError: no such run, unsound rows or tables.
    """
    run = Path(run)
    caution = stored(with_options(min_known=min_known), run)
    table = crispness_of(run, crispness)
    return Report(analyse(read_run(run), min_known), run.resolve().name, run, table, max_cases, caution)


@dataclass(frozen=True)
class Shown:
    """A report that a notebook displays. `report` holds its tables and charts; `save` writes the page."""

    report: Report
    height: int = 800

    def _repr_html_(self) -> str:
        """The page in a frame of its own: its style and script cannot touch the notebook, nor the notebook them."""
        page = html.escape(self.report.page, quote=True)
        style = f"width:100%;height:{self.height}px;border:1px solid #8886"
        title = html.escape(f"Report of {self.report.title}", quote=True)
        return f'<iframe sandbox="allow-scripts" title="{title}" style="{style}" srcdoc="{page}"></iframe>'

    def save(self, path: str | Path) -> Path:
        """Write the page: its path.

        Raises:
            RowsError: the file cannot be written.
        """
        return write_page(self.report, Path(path))


def show(
    run: str | Path,
    *,
    min_known: int = 50,
    crispness: str | Path | None = None,
    max_cases: int = MAX_CASES,
    height: int = 800,
) -> Shown:
    """The report of a run folder for a notebook; the same page as `valley report RUN` writes.

    Args:
        min_known: fewer known cases are not measurable.
        crispness: a crispness.csv of `ladder crispness`; None takes the one in the run folder where there is one.
        max_cases: list at most this many edits. height: of the frame, in pixels.

    Raises:
        RowsError: no such run, unsound rows or tables; one line that names the file and the fix.
    """
    return Shown(report_of(run, min_known=min_known, crispness=crispness, max_cases=max_cases), height)
