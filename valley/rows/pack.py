"""`pack RUN --out DIR`: a run as one small file, to be kept beside a paper or in a repository.

Every judgement (curve, shapes, hypotheses, report) comes out of the packed run as it does out of the whole one but for
the rounding of measured numbers to four significant digits; what is left out (LEFT_OUT: continuations, and the
log-probabilities that no score reads) stands in run.json. So tables that must be rebuilt exactly are made from the
packed run. Nothing can be added to it. A crispness.csv in the folder of the run is packed
too: what hypotheses and report read of it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from editing.files import atomic_file, write_whole
from editing.lazy import pandas as pd
from editing.lazy import parquet as pq
from editing.lazy import pyarrow as pa
from valley.rows.plan_toml import write_plans
from valley.rows.readings import CRISPNESS, CRISPNESS_FILES, crispness_of
from valley.rows.run import RowsError, read_run_json
from valley.rows.schema import COLUMNS, read_run

DIGITS = 4
# What a rung is: exact, since curves are drawn over it.
EXACT = (
    "bits_per_byte",
    "parameters",
    "known_rate",
    "known_facts",
    "training_tokens",
    "depth",
    "dose",
    "hit_",
    "exact_",
)
LEFT_OUT = (
    "text_before", "text_after", "logp_before", "logp_old_before", "logp_old_after", "logp_rival_before",
)  # fmt: skip
CRISP = r"C_\w+|leak_\w+"  # measures of crispness that are kept, controls of the first
NAME = "packed.parquet"
# Order in the file: the probes of a case stand together, so that its texts repeat at once (a file a third smaller);
# `read_run` sorts.
STORED = (
    "edit_kind", "case", "probe", "probe_index", "rung_index", "run_seed", "method", "settings", "dose",
)  # fmt: skip
PAGE = 2**24  # bytes of a column's dictionary: prompts repeat, and one dictionary holds them all


@dataclass(frozen=True)
class Packed:
    """A packed run: its folder, rows, and bytes before and after."""

    folder: Path
    rows: int
    before: int
    after: int


def pack(run: Path, out: Path) -> Packed:
    """Write the cells of `run` as `out`/cells/packed.parquet, with its run.json and what is read of its crispness
    table.

    Raises:
        RowsError: not a run, a folder that holds another run's cells or cannot be written.
    """
    run, out = Path(run), Path(out)
    cells = out / "cells"
    if run.resolve() == out.resolve() or any(file.name != NAME for file in cells.glob("*.parquet")):
        raise RowsError(f"{out}: holds the cells of a run; give --out another folder")
    rows = rounded(read_run(run, doses=True))
    about = read_run_json(run)
    if (out / "run.json").is_file() and not _of_one_run(about, read_run_json(out)):
        raise RowsError(f"{out}: holds another run, packed; give --out another folder")
    table = pa.Table.from_pandas(rows, preserve_index=False).sort_by([(name, "ascending") for name in STORED])

    with atomic_file(cells / NAME) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=19, dictionary_pagesize_limit=PAGE)
    crispness = crispness_of(run)
    if crispness is not None:
        _crispness(crispness, out / CRISPNESS_FILES[-1])
    earlier = about.get("packed", {}).get("left_out", ())  # of a packed run, perhaps by a version that left out more
    about["packed"] = {"left_out": list(dict.fromkeys((*LEFT_OUT, *earlier))), "digits": DIGITS}
    text = json.dumps(about, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    write_whole(out / "run.json", text)
    write_plans(about, out)
    before = sum(file.stat().st_size for file in (run / "cells").glob("*.parquet"))
    return Packed(out, len(rows), before, (cells / NAME).stat().st_size)


def _of_one_run(one: Mapping, other: Mapping) -> bool:
    """Whether two run.json are of the same run, at whatever point of its progress."""
    return all(one.get(key) == other.get(key) for key in ("plan", "fixed_at"))


def rounded(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with measured numbers to DIGITS significant digits and LEFT_OUT empty; what a rung is stays as it was."""
    changed: dict[str, Any] = {}
    for name, (dtype, _) in COLUMNS.items():
        if name in LEFT_OUT:
            changed[name] = "" if dtype == "string" else np.nan
        elif dtype == "float64" and not name.startswith(EXACT):
            changed[name] = _significant(rows[name].to_numpy("float64"))
    return rows.assign(**changed).astype({name: dtype for name, (dtype, _) in COLUMNS.items() if name in LEFT_OUT})


def _crispness(table: pd.DataFrame, goal: Path) -> None:
    kept = table["measure"].str.fullmatch(CRISP) & table["direction"].eq("both")
    kept &= table["control"].eq("none") | table["measure"].str.startswith("C_")
    table = table.loc[kept, [*(name for name in ("en", "fr") if name in table), *CRISPNESS]]
    table = table.assign(value=_significant(table["value"].to_numpy("float64")))
    # neither the time of the day nor the name of a temporary file in the header: the same bytes twice
    write_whole(goal, gzip.compress(table.to_csv(index=False).encode("utf-8"), mtime=0))


def _significant(values: np.ndarray) -> np.ndarray:
    """`values` to DIGITS significant digits; 0, NaN and infinities as they are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = DIGITS - 1 - np.floor(np.log10(np.abs(values)))
        scale = 10.0**places
        rounded_values = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded_values) & (values != 0), rounded_values, values)
