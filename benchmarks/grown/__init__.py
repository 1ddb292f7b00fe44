"""Transformers trained here, from scratch, on a small bilingual world: the controlled end of the ladder."""

from benchmarks.grown.rungs import KNOWN, RungSpec, grow, is_grown, read_card

__all__ = ["KNOWN", "RungSpec", "grow", "is_grown", "read_card"]
