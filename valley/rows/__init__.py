"""The one table: its schema, its kinds, reading and packing runs."""

from valley.rows.crispness import crispness_of
from valley.rows.documents import first_problem, hint, one_of
from valley.rows.files import write_whole
from valley.rows.kinds import (
    ALL,
    ALL_DEV,
    CASE,
    CONTROLS,
    EDIT_KINDS,
    GENERALISATION,
    LABELS,
    MEANINGS,
    METRICS,
    NET,
    PLACEBO,
    PROBE_KINDS,
    RANDOM_LAYER,
    RANDOM_SITE,
    RUNG,
    SETTING,
    SPECIFICITY,
    STRATA,
    EditKind,
    kind_order,
)
from valley.rows.pack import pack
from valley.rows.run import read_run_json, run_record, unequal_keys
from valley.rows.schema import COLUMNS, SCHEMA_VERSION, RowsError, preferred, probability_margin, read_run, to_frame
from valley.rows.sql import all_rows, ask_rows, format_rows

__all__ = [
    "ALL",
    "ALL_DEV",
    "CASE",
    "COLUMNS",
    "CONTROLS",
    "EDIT_KINDS",
    "GENERALISATION",
    "LABELS",
    "MEANINGS",
    "METRICS",
    "NET",
    "PLACEBO",
    "PROBE_KINDS",
    "RANDOM_LAYER",
    "RANDOM_SITE",
    "RUNG",
    "SCHEMA_VERSION",
    "SETTING",
    "SPECIFICITY",
    "STRATA",
    "EditKind",
    "RowsError",
    "all_rows",
    "ask_rows",
    "crispness_of",
    "first_problem",
    "format_rows",
    "hint",
    "kind_order",
    "one_of",
    "pack",
    "preferred",
    "probability_margin",
    "read_run",
    "read_run_json",
    "run_record",
    "to_frame",
    "unequal_keys",
    "write_whole",
]
