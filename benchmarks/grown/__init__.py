"""Transformers trained here, from scratch, on a small bilingual world: the controlled end of the ladder.

The trainer imports torch; its names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.grown.corpus import KINDS, Corpus, make_corpus
from benchmarks.grown.frequency import frequencies
from benchmarks.grown.recall import measure_recall
from benchmarks.grown.rungs import ground, grow, is_grown, read_card
from benchmarks.grown.spec import DIALS, KNOWN, RungSpec, build, planted_dial

if TYPE_CHECKING:
    from benchmarks.grown.train import Trainer, one_torch_thread

__all__ = [
    "DIALS",
    "KINDS",
    "KNOWN",
    "Corpus",
    "RungSpec",
    "Trainer",
    "build",
    "frequencies",
    "ground",
    "grow",
    "is_grown",
    "make_corpus",
    "measure_recall",
    "one_torch_thread",
    "planted_dial",
    "read_card",
]


def __getattr__(name: str) -> Any:
    if name not in ("Trainer", "one_torch_thread"):
        raise AttributeError(f"module 'benchmarks.grown' has no attribute {name!r}")
    return getattr(import_module("benchmarks.grown.train"), name)
