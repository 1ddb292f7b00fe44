"""The report page, its charts and its files."""

from valley.report.charts.common import PALETTE, dress, records, still, write_image
from valley.report.files import write_charts, write_curve_charts, write_markdown, write_tables
from valley.report.page import Report, write_page
from valley.report.provenance import commands
from valley.report.run import Run, report_of

__all__ = [
    "PALETTE",
    "Report",
    "Run",
    "commands",
    "dress",
    "records",
    "report_of",
    "still",
    "write_charts",
    "write_curve_charts",
    "write_image",
    "write_markdown",
    "write_page",
    "write_tables",
]
