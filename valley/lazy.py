"""pandas, pyarrow and DuckDB, imported when they are first used: a command that reads no table does not wait for them.

from valley.lazy import pandas as pd
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from editing.lazy import Later

if TYPE_CHECKING:
    import duckdb as duckdb
    import pandas as pandas
    import pyarrow as pyarrow
    from pyarrow import parquet as parquet
else:
    duckdb = Later("duckdb")
    pandas = Later("pandas")
    pyarrow = Later("pyarrow")
    parquet = Later("pyarrow.parquet")

__all__ = ["duckdb", "pandas", "parquet", "pyarrow"]
