"""RAVEL (Huang et al. 2024, "RAVEL: Evaluating interpretability methods on disentangling language model
representations"): entities with several attributes and prompts for each, from the files of explanare/ravel."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks.readings.prompts.material import Material, Question
from editing.errors import BadData
from editing.text import escaped

KINDS = ("city", "nobel_prize_winner", "occupation", "physical_object", "verb")
SLOT = "%s"


def ravel_material(folder: Path, kind: str = "city", entities: int = 200, wordings: int = 3, seed: int = 0) -> Material:
    """`entities` drawn at random, each asked for every attribute in the first `wordings` prompts of the file.

    Raises:
        BadData: an unknown kind of entity, a file that is missing or not of this form.
    """
    if kind not in KINDS:
        raise BadData(f"ravel: no kind {kind!r:.60}; use one of {', '.join(KINDS)}")
    attributes = _attributes(folder / f"ravel_{kind}_entity_attributes.json")
    file = folder / f"ravel_{kind}_attribute_to_prompts.json"
    prompts = _prompts(file)
    names = sorted(attributes)
    chosen = random.Random(f"{seed}/ravel/{kind}").sample(names, min(entities, len(names)))
    questions = []
    for relation, texts in prompts.items():
        for wording, text in enumerate([t for t in texts if t.count(SLOT) == 1][:wordings]):
            # A blank at the end belongs to the answer, see editing/text/tokens.py.
            template = escaped(text).replace(SLOT, "{}")
            for entity in chosen:
                answer = attributes[entity].get(relation, "")
                if answer:
                    questions.append(Question(entity, kind, relation, answer, "en", wording, template, entity, answer))
    if not questions:
        raise BadData(
            f"{file}: none of its attributes ({', '.join(prompts):.80}) is one of the entities'; name RAVEL's"
        )
    return Material(f"ravel:{kind}", ("en",), tuple(questions))


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
