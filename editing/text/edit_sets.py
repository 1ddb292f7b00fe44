"""Edits that are made together: which of them say the same twice, and which exclude each other.

Two requests are about one fact where their prompts, subject filled in, and their language are the same but for case and
blanks. With the same target one of them is a duplicate; with different targets they exclude each other: together no
method can make both, and one after another the later one overwrites the earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing.text.requests import EditRequest


@dataclass(frozen=True)
class EditSet:
    """Indices into a sequence of requests.

    Attributes:
        duplicates: requests whose like, target included, came before.
        excluding: requests with another one about the same fact and another target.
        overwritten: requests that a later one about the same fact, with another target, undoes.
    """

    requests: int
    duplicates: tuple[int, ...]
    excluding: tuple[int, ...]
    overwritten: tuple[int, ...]

    def notes(self) -> tuple[str, ...]:
        """One line each about duplicates and contradictions; none where every request is about a different fact."""
        lines = {
            "exclude each other: same prompt, other target": self.excluding,
            "repeat an earlier request": self.duplicates,
        }
        return tuple(f"{len(which)} of {self.requests} requests {what}" for what, which in lines.items() if which)


def edit_set(requests: Sequence[EditRequest]) -> EditSet:
    """How the requests, in the order in which they are made, relate to each other."""
    by_fact: dict[tuple, list[int]] = {}
    targets = []  # in the order of the sorted prompts, so that the order in a request says nothing
    for i, request in enumerate(requests):
        pairs = sorted(zip(map(_fold, request.filled()), map(_fold, request.targets), strict=True))
        by_fact.setdefault((request.lang, *(prompt for prompt, _ in pairs)), []).append(i)
        targets.append(tuple(target for _, target in pairs))
    duplicates, excluding, overwritten = [], [], []
    for same in by_fact.values():
        kinds = {targets[i] for i in same}
        duplicates += [i for n, i in enumerate(same) if targets[i] in {targets[j] for j in same[:n]}]
        excluding += same if len(kinds) > 1 else []
        overwritten += [i for i in same if targets[i] != targets[same[-1]]]
    return EditSet(len(requests), *(tuple(sorted(which)) for which in (duplicates, excluding, overwritten)))


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())
