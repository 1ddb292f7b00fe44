"""Large libraries, imported when they are first used: a command that reads and judges no table does not wait for them.

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
    from scipy import special as special
    from scipy import stats as stats
else:
    duckdb = Later("duckdb")
    pandas = Later("pandas")
    pyarrow = Later("pyarrow")
    parquet = Later("pyarrow.parquet")
    special = Later("scipy.special")
    stats = Later("scipy.stats")

__all__ = ["duckdb", "pandas", "parquet", "pyarrow", "special", "stats"]
