"""Fixed texts: one long per language for strength, four short for drift, and questions of general ability.

They are what `bits per byte` means in every row, so changing a word changes the axis: `strength` caches by text hash.
The prose states no fact of the training world, and none of these texts is part of any training text made here.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "fr")


@cache
def strength_text(lang: str) -> str:
    """About 4 kB of ordinary prose, half explanatory, half narrative."""
    return _read(f"{lang}.txt")


@cache
def drift_texts() -> dict[str, tuple[str, ...]]:
    """Four unrelated paragraphs of about 40 words per language, none of them in the strength text."""
    return {lang: tuple(p.strip() for p in _read(f"drift_{lang}.txt").split("\n\n")) for lang in LANGUAGES}


@cache
def long_texts() -> dict[str, tuple[str, ...]]:
    """All paragraphs of our prose, at least 2,000 tokens per language in the tokenizers of small models."""
    names = ("{}.txt", "drift_{}.txt", "more_{}.txt")
    return {
        lang: tuple(p.strip() for name in names for p in _read(name.format(lang)).split("\n\n")) for lang in LANGUAGES
    }


@cache
def ability_items() -> dict[str, dict[str, tuple[tuple[str, ...], ...]]]:
    """Language -> topic -> (prompt, right answer, three wrong answers): what no edit of a fact should touch."""
    table = tomllib.loads(_read("ability.toml"))
    return {
        lang: {topic: tuple(map(tuple, items)) for topic, items in topics.items()} for lang, topics in table.items()
    }


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8").strip()
