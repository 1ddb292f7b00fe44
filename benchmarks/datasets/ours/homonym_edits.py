"""Edits of countries, with questions about the concept that bears, or would bear, the same name.

In a world `@homonymQ` a share Q of the concepts is called as a country is (benchmarks/world/knowledge.py). Each case
edits a fact of one of those countries; its `same_subject` probes are the facts of the concept that shares the country's
name at Q = 1, under the name that it has at share Q. So the questions are about the same things at every share, and at
share 0 the two names differ: what is lost of the concept's facts as the share rises is what the edit does
through the name.

`homonym_edits:0.5` has the names of share .5, `homonym_edits:rung` those of each rung's own world.
"""

from __future__ import annotations

from benchmarks.cases import Case
from benchmarks.datasets.asking import fact_case, grown_rung, turns
from benchmarks.world import homonym_pairs, knowledge
from editing.errors import BadRequest

DESCRIPTION = (
    "facts of countries, evaluated beside facts of the concept of the same name in worlds with homonyms "
    "(homonym_edits:0.5; homonym_edits:rung for each rung's own share)"
)
KINDS = ("fact",)
OF_RUNG = "rung"
SEED = 0  # of targets and neighbours: the same at every share


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """One case per country that a concept can share its name with, relations taking turns. `seed` is not used.

    Args:
        argument: share of the concepts that bear a country's name, 0 to 1; empty means 1.

    Raises:
        BadRequest: no such share.
    """
    share = _share(argument or "1")
    plain, world = knowledge(), knowledge(homonyms=share)
    name = f"homonym_edits:{argument or '1'}"
    by_relation: dict[str, list[Case]] = {}
    for number, (concept, country) in enumerate(homonym_pairs(plain.entities)):
        facts = world.about(country)
        fact = facts[number % len(facts)]
        case = fact_case(world, fact, name, SEED, drawn_in=plain, beside=world.about(concept))
        by_relation.setdefault(fact.relation, []).append(case)
    return turns(by_relation.values())


def for_model(argument: str, model: str) -> str:
    """The argument that `rung` stands for at a model: the share of homonyms of its world.

    Raises:
        BadRequest: a model that was not trained here.
    """
    if argument != OF_RUNG:
        return argument
    return f"{grown_rung('homonym_edits:rung', model).homonym:g}"


def _share(argument: str) -> float:
    try:
        share = float(argument)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        only = "only a run has rungs; " if argument == OF_RUNG else ""
        raise BadRequest(f"homonym_edits:{argument:.40}: {only}write a share from 0 to 1, such as homonym_edits:0.5")
    return share
