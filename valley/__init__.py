"""Rows -> scores, curve, tests, figures, report. Knows pandas, never torch.

import valley
valley.show("results/demo", min_known=2)   # the report, in a notebook
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from valley.report.notebook import Shown

__all__ = ["show"]


def show(
    run: str | Path,
    *,
    min_known: int = 50,
    crispness: str | Path | None = None,
    max_cases: int = 5000,
    height: int = 800,
) -> Shown:
    """The report of a run folder for a notebook; the same page as `python cli.py report RUN` writes.

    Args:
        min_known: fewer known cases are not measurable.
        crispness: a crispness.csv of `ladder crispness`; None takes the one in the run folder where there is one.
        max_cases: list at most so many edits. height: of the frame, in pixels.

    Raises:
        valley.rows.schema.RowsError: no such run, unsound rows or tables; one line that names the file and the mend.
    """
    from valley.report.notebook import Shown, report_of  # heavy: pandas, scipy, altair

    return Shown(report_of(run, min_known=min_known, crispness=crispness, max_cases=max_cases), height)
