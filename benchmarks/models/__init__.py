"""Models by reference: `resolve` finds one, `load_model` makes it ready to edit. Forms: `reference.py`."""

from benchmarks.models.reference import (
    Resolved,
    absent,
    at_hand,
    load_model,
    load_pair,
    parse,
    resolve,
    training_tokens,
)

__all__ = ["Resolved", "absent", "at_hand", "load_model", "load_pair", "parse", "resolve", "training_tokens"]
