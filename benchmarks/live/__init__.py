"""One model, now: an edit, a sequence of edits, a retargeting."""

from benchmarks.live.edit import chosen_cases, format_edit, run_edit, write_adapter
from benchmarks.live.retarget.run import run_retarget
from benchmarks.live.retarget.sweep import format_sweep, sweep_retarget
from benchmarks.live.retarget.table import format_retargeting, whole_json
from benchmarks.live.sequence import run_sequences

__all__ = [
    "chosen_cases",
    "format_edit",
    "format_retargeting",
    "format_sweep",
    "run_edit",
    "run_retarget",
    "run_sequences",
    "sweep_retarget",
    "whole_json",
    "write_adapter",
]
