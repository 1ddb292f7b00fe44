"""Whom a question is about, when the file does not say: it is matched with the templates of the file's own edits.

"Michel Rocard is a native speaker of" matches "{} is a native speaker of", so its subject is Michel Rocard and its
subject-free prompt is "It is a native speaker of".
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.datasets.reading.fields import prior
from editing.text import SLOT, escaped, parts

WORDS = 3  # of a template besides its subject; fewer fit anything
SUBJECT = 100  # characters


class Frames:
    """English templates with one slot, found by the word they end with."""

    def __init__(self, templates: Iterable[str]) -> None:
        self._by_end: dict[str, list[tuple[str, str]]] = {}
        for template in sorted(templates, key=lambda t: (-len(t), t)):  # the longest, most telling one first
            head, tail = parts(template) or (template, "")
            if tail.split() and len(head.split()) + len(tail.split()) >= WORDS:
                self._by_end.setdefault(tail.split()[-1], []).append((head, tail))

    def match(self, prompt: str) -> tuple[str, str] | None:
        """The prior and the subject of a prompt that a template fits."""
        words = prompt[-SUBJECT:].split()
        for head, tail in self._by_end.get(words[-1], []) if words else []:
            subject = prompt[len(head) : -len(tail)]
            if prompt.startswith(head) and prompt.endswith(tail) and 0 < len(subject.strip()) <= SUBJECT:
                return prior(f"{escaped(head)}{SLOT}{escaped(tail)}", "en"), subject.strip()
        return None
