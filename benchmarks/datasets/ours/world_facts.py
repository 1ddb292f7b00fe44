"""World facts: capital, currency, language and continent of countries (CLDR, GeoNames), edited to another object.

`world_facts:fr` makes the same edits in French; `cross_lingual` then asks in English. `world_facts:zh-de-en` edits in
Chinese and asks in German and English too.
"""

from __future__ import annotations

from benchmarks.cases import Case
from benchmarks.datasets.asking import fact_cases
from benchmarks.world import LANGS, knowledge, languages_of
from editing.errors import BadRequest

DESCRIPTION = (
    "capital, currency, language, continent of 60 countries (CLDR, GeoNames), "
    "English and French (world_facts:fr edits in French; world_facts:zh-de: in Chinese, German too)"
)
KINDS = ("fact",)


def cases(kind: str, seed: int, argument: str = "") -> list[Case]:
    """Every case of this data set, the relations taking turns, the best known countries first.

    Args:
        argument: the language of the edits, en or fr; empty means en. Or languages such as "de-en-zh": edits in the
            first, `cross_lingual` in each of the others.

    Raises:
        BadRequest: a language that this world does not speak.
    """
    if argument in ("", *LANGS):
        lang = argument or LANGS[0]
        return fact_cases(knowledge(), "country", "world_facts" if lang == "en" else f"world_facts:{lang}", seed, lang)
    langs = languages_of(argument)
    if len(langs) < 2:
        raise BadRequest(
            f"world_facts:{argument:.40}: no such languages; write world_facts or world_facts:fr, or several as de-zh"
        )
    return fact_cases(knowledge(langs=langs), "country", f"world_facts:{argument}", seed, langs[0])
