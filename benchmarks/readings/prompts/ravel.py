"""RAVEL (Huang et al. 2024, "RAVEL: Evaluating interpretability methods on disentangling language model
representations"): entities with several attributes and prompts for each, from the files of explanare/ravel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.readings.prompts.material import Question
from editing.errors import BadData
from editing.text import escaped

KINDS = ("city", "nobel_prize_winner", "occupation", "physical_object", "verb")
SLOT = "%s"


@dataclass(frozen=True)
class Ravel:
    """The entities of one kind.

    Attributes:
        answers: entity -> attribute -> answer, "" where it has none.
        templates: attribute -> its prompts with one slot `{}`; only attributes that an entity has.
    """

    kind: str
    answers: Mapping[str, Mapping[str, str]]
    templates: Mapping[str, tuple[str, ...]]

    def question(self, entity: str, relation: str, wording: int) -> Question:
        """One attribute of an entity, in the prompt of this number."""
        answer, template = self.answers[entity][relation], self.templates[relation][wording]
        return Question(entity, self.kind, relation, answer, "en", wording, template, entity, answer)

    def having(self, relation: str) -> list[str]:
        """The entities with an answer, by name."""
        return sorted(name for name, answers in self.answers.items() if answers.get(relation))


def read_ravel(folder: Path, kind: str = "city") -> Ravel:
    """The entities and prompts of a kind; prompts without exactly one place for the entity are left out.

    Raises:
        BadData: an unknown kind of entity, a file that is missing or not of this form.
    """
    if kind not in KINDS:
        raise BadData(f"ravel: no kind {kind!r:.60}; use one of {', '.join(KINDS)}")
    answers = _attributes(folder / f"ravel_{kind}_entity_attributes.json")
    file = folder / f"ravel_{kind}_attribute_to_prompts.json"
    prompts = _prompts(file)
    # A blank at the end belongs to the answer, see editing/text/tokens.py.
    templates = {
        relation: tuple(escaped(text).replace(SLOT, "{}") for text in texts if text.count(SLOT) == 1)
        for relation, texts in prompts.items()
        if any(own.get(relation) for own in answers.values())
    }
    if not templates:
        raise BadData(
            f"{file}: none of its attributes ({', '.join(prompts):.80}) is one of the entities'; name RAVEL's"
        )
    return Ravel(kind, answers, templates)


def _attributes(path: Path) -> dict[str, dict[str, str]]:
    """entity -> attribute -> answer, "" where it has none."""
    table = _table(path)
    for entity, answers in table.items():
        if not isinstance(answers, dict):
            raise BadData(f'{path}: {entity!r:.60}: write its attributes as {{"Country": "France"}}')
        for relation, answer in answers.items():
            if not isinstance(answer, str):
                raise BadData(f'{path}: {entity!r:.60}: {relation} is {answer!r:.40}; write one text, "" for none')
    return table


def _prompts(path: Path) -> dict[str, list[str]]:
    """attribute -> prompts, one of them at least with one place for the entity."""
    table = _table(path)
    for relation, texts in table.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BadData(f"{path}: {relation!r:.60}: write a list of prompts")
        if not any(text.count(SLOT) == 1 for text in texts):
            raise BadData(f"{path}: {relation!r:.60}: no prompt has the entity's place {SLOT} once; write one with it")
    return table


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: not readable as JSON ({error!s:.120}); name the folder of RAVEL's files") from error
    if not isinstance(table, dict) or not table:
        raise BadData(f"{path}: no table of entities; name the folder of RAVEL's files")
    return table
