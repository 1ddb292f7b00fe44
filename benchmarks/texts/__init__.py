"""Fixed texts of our own: prose for bits per byte and drift, questions of general ability."""

from benchmarks.texts.fixed import LANGUAGES, ability_items, drift_texts, long_texts, strength_text

__all__ = [
    "LANGUAGES",
    "ability_items",
    "drift_texts",
    "long_texts",
    "strength_text",
]
