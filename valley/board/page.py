"""The board as one HTML page that needs no network: sortable and filterable; every string in it is text."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from editing.lazy import pandas as pd
from valley.board.table import records
from valley.rows import write_whole
from valley.text import embed

FOLDER = Path(__file__).parent


def write_board(table: pd.DataFrame, path: Path) -> Path:
    """Write the page of `valley.board.board`'s table, atomically: the path.

    Raises:
        RowsError: the file cannot be written.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True)
    text = environment.get_template("board.html").render(
        data=embed(records(table)), script=Markup((FOLDER / "board.js").read_text("utf-8")), count=len(table),
        runs=table["run"].nunique(),
    )  # fmt: skip
    return write_whole(path, text)
