"""Facts about invented people, edited to another object. Only rungs trained on a world with people know them.

`people_facts:100` takes the first 100 people (default 250). An edit of a birthplace or an employer is also evaluated
through every chain that starts with the edited fact (`multi_hop`): who was born elsewhere was born in another country,
where people pay otherwise.
"""

from __future__ import annotations

from benchmarks.cases import Case
from benchmarks.datasets.asking import fact_cases
from benchmarks.world import knowledge
from editing.errors import BadRequest

DESCRIPTION = "birthplace, profession, employer... of 250 invented people (people_facts:N for N people), with multi-hop"
KINDS = ("fact",)
PEOPLE = 250
LEAST = 20  # fewer leave no neighbours to ask about


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """Every case of this data set, the relations taking turns.

    Args:
        argument: number of people; empty means PEOPLE.

    Raises:
        BadRequest: not a number in range.
    """
    people = int(argument) if argument.isdecimal() and argument.isascii() else 0 if argument else PEOPLE
    if people < LEAST:
        raise BadRequest(
            f"people_facts:{argument:.40}: not a number of people; write {LEAST} or more: people_facts:250"
        )
    return fact_cases(knowledge(people=people), "human", "people_facts", seed)
