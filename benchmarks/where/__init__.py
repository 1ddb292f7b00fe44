"""Where to edit one model: an adaptive search within a budget of minutes, its choice beside the localiser's map."""

from benchmarks.where.choice import Choice, choices, read_choice, write_choices
from benchmarks.where.run import Where, format_where, run_where

__all__ = ["Choice", "Where", "choices", "format_where", "read_choice", "run_where", "write_choices"]
