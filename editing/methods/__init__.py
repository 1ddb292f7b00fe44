"""Editing methods, one file each in a folder per family; tests/editing/methods/test_contract.py is the contract of
all."""

from editing.methods.base import Method, Placement, block_at
from editing.methods.by_name import (
    FAST,
    make_method,
    method_file,
    method_names,
    placebo_for,
    registry,
    settings_before_presets,
    taken_by,
    takers,
)
from editing.methods.locate_then_edit.moving import edits_or_reasons
from editing.methods.locate_then_edit.spread import Spread
from editing.methods.peers import process as easyedit_process
from editing.methods.peers.easyedit import changes_in, checkout, easyedit_editors, is_easyedit, run_easyedit
from editing.methods.peers.hparams import module_names
from editing.methods.sequence import Step, apply_sequence

__all__ = [
    "FAST",
    "Method",
    "Placement",
    "Spread",
    "Step",
    "apply_sequence",
    "block_at",
    "changes_in",
    "checkout",
    "easyedit_editors",
    "easyedit_process",
    "edits_or_reasons",
    "is_easyedit",
    "make_method",
    "method_file",
    "method_names",
    "module_names",
    "placebo_for",
    "registry",
    "run_easyedit",
    "settings_before_presets",
    "taken_by",
    "takers",
]
