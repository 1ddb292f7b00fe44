"""How records are read that leave their language or their subject's place open: one line for each kind, with counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol


class Edit(Protocol):
    """What a record says of its edit.

    Attributes:
        lang: ISO 639 code of its prompt.
        named: whether the record names that language.
        mentions: how often the prompt names the subject.
    """

    @property
    def lang(self) -> str: ...
    @property
    def named(self) -> bool: ...
    @property
    def mentions(self) -> int: ...


def readings_of(edits: Sequence[Edit]) -> list[str]:
    """One line each about what the records of a file leave open, and how they are read."""
    lines = []
    several = sum(one.mentions > 1 for one in edits)
    if several:
        lines.append(f"{several} prompts name their subject more than once; the last mention is edited")
    langs = Counter(one.lang for one in edits if not one.named)
    if langs:
        each = ", ".join(f"{lang} ({count})" for lang, count in langs.most_common())
        lines.append(f"{langs.total()} records name no language; by their script they are read as {each}")
    return lines
