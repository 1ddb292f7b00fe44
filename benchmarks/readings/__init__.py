"""Readings: what a model holds of a concept, read without changing a weight; one file per reading, model -> rows."""

from benchmarks.readings.base import COLUMNS, Reading
from benchmarks.readings.by_name import make_reading, reading_names, registry
from benchmarks.readings.figure import readings_chart
from benchmarks.readings.heat_map import MAP_TITLES, HeatMap, heat_map_chart, heat_map_of
from benchmarks.readings.run import Read, format_read, make_readings, run_readings, summary

__all__ = [
    "COLUMNS",
    "MAP_TITLES",
    "HeatMap",
    "Read",
    "Reading",
    "format_read",
    "heat_map_chart",
    "heat_map_of",
    "make_reading",
    "make_readings",
    "reading_names",
    "readings_chart",
    "registry",
    "run_readings",
    "summary",
]
