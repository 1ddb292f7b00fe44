"""Models by reference: `resolve` finds one, `load_model` makes it ready to edit. Forms: `reference.py`."""

from benchmarks.models.reference import Resolved, absent, load_model, load_pair, parse, resolve, training_tokens

__all__ = ["Resolved", "absent", "load_model", "load_pair", "parse", "resolve", "training_tokens"]
