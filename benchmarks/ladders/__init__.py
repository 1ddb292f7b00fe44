"""An ordered family of models, weakest first: TOML in catalogue/, trained, measured, exported."""

from benchmarks.ladders.export import export_ladder
from benchmarks.ladders.fetch import fetch, format_needs, needs
from benchmarks.ladders.grow import format_grown, grow_ladder
from benchmarks.ladders.ladder import LadderFile, Rung, choose_rungs, ladder_names, load_ladder, present_rungs
from benchmarks.ladders.strength import format_strength, ladder_strength
from benchmarks.ladders.table import format_sizes, ladder_table, write_table

__all__ = [
    "LadderFile",
    "Rung",
    "choose_rungs",
    "export_ladder",
    "fetch",
    "format_grown",
    "format_needs",
    "format_sizes",
    "format_strength",
    "grow_ladder",
    "ladder_names",
    "ladder_strength",
    "ladder_table",
    "load_ladder",
    "needs",
    "present_rungs",
    "write_table",
]
