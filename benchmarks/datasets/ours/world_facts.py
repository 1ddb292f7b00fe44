"""World facts: capital, currency, language and continent of countries (CLDR, GeoNames), edited to another object.

`world_facts:fr` makes the same edits in French; `cross_lingual` then asks in English.
"""

from __future__ import annotations

from benchmarks.cases import Case
from benchmarks.datasets.asking import fact_cases
from benchmarks.world import LANGS, knowledge
from editing.errors import BadRequest

DESCRIPTION = (
    "capital, currency, language, continent of 60 countries (CLDR, GeoNames), "
    "English and French (world_facts:fr edits in French)"
)
KINDS = ("fact",)


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """Every case of this data set, the relations taking turns, the best known countries first.

    Args:
        argument: the language of the edits, en or fr; empty means en.

    Raises:
        BadRequest: another language.
    """
    lang = argument or "en"
    if lang not in LANGS:
        raise BadRequest(f"world_facts:{argument:.40}: no such language; write world_facts or world_facts:fr")
    return fact_cases(knowledge(), "country", "world_facts" if lang == "en" else f"world_facts:{lang}", seed, lang)
