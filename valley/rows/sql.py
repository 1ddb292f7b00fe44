"""`rows RUN --sql`: questions to the table of a run, answered by DuckDB from the Parquet files, column by column."""

from __future__ import annotations

from pathlib import Path

from editing.errors import BadRequest
from editing.lazy import duckdb
from editing.lazy import pandas as pd
from valley.rows.schema import cell_files, connect, read_run, select_rows

# What fits on a terminal.
OVERVIEW = (
    "rung", "method", "site", "lookup", "dose", "edit_kind", "split", "case", "probe", "lang", "value", "reason",
    "error",
)  # fmt: skip


def all_rows(run: Path, overview: bool = False) -> pd.DataFrame:
    """The rows of `run` at every dose in their fixed order, with the columns OVERVIEW or all of them."""
    return read_run(run, OVERVIEW, doses=True) if overview else read_run(run, doses=True)


def ask_rows(run: Path, sql: str) -> pd.DataFrame:
    """The answer to one SELECT over the rows of `run`, which it calls `rows`; columns: `valley.rows.schema.COLUMNS`.

    The statement can read the files of that table and nothing else: no other file, no network, no setting.

    Raises:
        RowsError: no such run, or rows that cannot be read.
        BadRequest: not SQL, more than one statement, or one that does more than read; one line.
    """
    select, files = select_rows(run), [str(file) for file in cell_files(run)]
    connection = connect()
    try:
        connection.execute("SET allowed_paths = ?", [files])
        connection.execute(f"CREATE TEMP VIEW rows AS {select}")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        statements = connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise BadRequest(f"--sql {sql!r:.80}: write one SELECT over the table rows")
        return connection.execute(statements[0]).df()
    except duckdb.Error as error:
        hint = " ".join(str(error).split("\n\nLINE")[0].split())
        quoted = '; the column case stands in quotes: "case"' if isinstance(error, duckdb.ParserException) else ""
        raise BadRequest(f"--sql {sql!r:.80}: {hint:.300}{quoted}") from error
    finally:
        connection.close()


def format_rows(answer: pd.DataFrame, most: int = 40) -> str:
    """The answer as text: its first `most` lines and how many there are."""
    width = 60
    short = answer.head(most).map(lambda value: value if not isinstance(value, str) else value[:width])
    text = short.to_string(index=False, na_rep="")
    left = len(answer) - len(short)
    return f"{text}\n... {left:,} more; --csv or --json prints all" if left else text
