"""Transformers trained here, from scratch, on a small bilingual world: the controlled end of the ladder."""

from benchmarks.grown.corpus import KINDS, Corpus, make_corpus
from benchmarks.grown.frequency import frequencies
from benchmarks.grown.recall import measure_recall
from benchmarks.grown.rungs import ground, grow, is_grown, read_card
from benchmarks.grown.spec import KNOWN, RungSpec, build
from benchmarks.grown.train import Trainer, one_torch_thread

__all__ = [
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
    "read_card",
]
