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
    attributes = _table(folder / f"ravel_{kind}_entity_attributes.json")
    prompts = _table(folder / f"ravel_{kind}_attribute_to_prompts.json")
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
    return Material(f"ravel:{kind}", ("en",), tuple(questions))


def _table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: not readable as JSON ({error!s:.120}); name the folder of RAVEL's files") from error
    if not isinstance(table, dict) or not table:
        raise BadData(f"{path}: no table of entities; name the folder of RAVEL's files")
    return table
