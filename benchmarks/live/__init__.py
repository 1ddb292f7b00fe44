"""One model, now: an edit, a sequence of edits, a retargeting."""

from benchmarks.live.chat import format_chat, run_chat
from benchmarks.live.concepts import OpenModel, concepts_for
from benchmarks.live.defaults import USUAL, usual_settings
from benchmarks.live.draft import Draft, as_toml, draft_concepts, format_draft, refuse_existing, write_draft
from benchmarks.live.edit import chosen_cases, run_edit
from benchmarks.live.edit_text import format_edit
from benchmarks.live.export import write_export
from benchmarks.live.languages import format_languages, run_languages
from benchmarks.live.reproduce import format_reproduced, reproduce_change
from benchmarks.live.retarget.run import run_retarget
from benchmarks.live.retarget.sweep import format_sweep, sweep_retarget
from benchmarks.live.retarget.table import format_retargeting, whole_json
from benchmarks.live.sequence import run_sequences

__all__ = [
    "USUAL",
    "Draft",
    "OpenModel",
    "as_toml",
    "chosen_cases",
    "concepts_for",
    "draft_concepts",
    "format_chat",
    "format_draft",
    "format_edit",
    "format_languages",
    "format_reproduced",
    "format_retargeting",
    "format_sweep",
    "refuse_existing",
    "reproduce_change",
    "run_chat",
    "run_edit",
    "run_languages",
    "run_retarget",
    "run_sequences",
    "sweep_retarget",
    "usual_settings",
    "whole_json",
    "write_draft",
    "write_export",
]
