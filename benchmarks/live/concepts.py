"""The concepts that an edit names: of the suite, of a file of one's own, or, for unknown words, of a draft."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.datasets import UnknownConcept, find_concept
from benchmarks.live.draft import draft_concepts, format_draft
from benchmarks.measure import open_model
from benchmarks.world import Knowledge, knowledge, own_knowledge
from editing.errors import BadRequest
from editing.model import LanguageModel


def halves(text: str, option: str) -> tuple[str, str]:
    """OLD and NEW of `OLD=NEW`.

    Raises:
        BadRequest: the text has another form.
    """
    old, equals, new = (" ".join(part.split()) for part in text.partition("="))
    if not (old and equals and new) or "=" in new:
        raise BadRequest(f"{option} {text!r} is not of the form OLD=NEW; write for example {option} cheese=bread")
    return old, new


@dataclass
class OpenModel:
    """A model by its reference, loaded when it is first called for and then kept."""

    reference: str
    device: str | None = None

    def __call__(self) -> LanguageModel:
        return self._lm

    @cached_property
    def _lm(self) -> LanguageModel:
        return open_model(self.reference, self.device)


def concepts_for(
    words: Sequence[str],
    file: str | Path,
    model: OpenModel,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
) -> Knowledge:
    """Knowledge in which each of `words` is a concept.

    Args:
        file: of one's own concepts, or empty. model: drafts what is unknown.

    Raises:
        BadRequest: a word that the file does not describe.
        UserError: a malformed file, no such model.
    """
    known = own_knowledge(file) if file else knowledge()
    unknown = [word for word in words if not _is_concept(known, word, file)]
    if not unknown:
        return known
    lm = model()  # first: a wrong reference is one line of error, with nothing said about drafting before it
    say(f"no concept of the suite is called {' or '.join(map(repr, unknown))}: drafting with the model itself")
    draft = draft_concepts(lm, unknown, seed, say)
    say(format_draft(draft))
    draft_command = f"valley concepts draft {shlex.join(unknown)} --model {shlex.quote(model.reference)} --seed {seed}"
    say(f"to correct this draft: `{draft_command} --out concepts.toml`, edit the file, add --concepts concepts.toml")
    return draft.knowledge


def _is_concept(known: Knowledge, word: str, file: str | Path) -> bool:
    try:
        find_concept(known, word)
    except UnknownConcept as error:
        if file:
            raise BadRequest(f"{file}: {error}, or add a [[concept]] of that name to the file") from error
        return False
    return True
