"""French articles in front of a noun: elision, contraction, gender, number, and the prepositions of country names.

Every function returns the words that stand before the bare noun, with the blank (or the apostrophe) that joins them:
`de(Noun("Allemagne", "f")) == "de l'"`, so that `de(noun) + noun.name` is correct French.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from editing.errors import BadData

# Words whose h is aspirated (no elision), as far as our vocabulary needs them; every other h is mute.
ASPIRATED = ("hache", "haie", "halle", "hamac", "hamster", "hangar", "haricot", "harpe", "hérisson", "héron", "héros")
ASPIRATED += (
    "hêtre",
    "hibou",
    "hockey",
    "hollande",
    "homard",
    "honduras",
    "hongrie",
    "houblon",
    "housse",
    "houx",
    "hutte",
)


@dataclass(frozen=True)
class Noun:
    """A French noun as far as its article goes.

    Attributes:
        name: the bare noun, "fromage".
        gender: "m" or "f".
        plural: "États-Unis", "Pays-Bas".
        article: False for the names that take none: "Cuba", "Madagascar", "Israël".
        mass: no plural in ordinary use ("le fromage", "l'eau"), so it is named with the definite article.
    """

    name: str
    gender: Literal["m", "f"] = "m"
    plural: bool = False
    article: bool = True
    mass: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name != self.name.strip():
            raise BadData(f"French noun {self.name!r}: empty or padded; write the bare noun")
        if self.gender not in ("m", "f"):
            raise BadData(f"French noun {self.name!r}: unknown gender {self.gender!r}; use m or f")

    @property
    def elides(self) -> bool:
        return elides(self.name)


def elides(word: str) -> bool:
    """Whether `le` and `de` lose their vowel before `word`. An initial y does not count as a vowel ("le Yémen")."""
    plain = unicodedata.normalize("NFD", word.lower().replace("œ", "oe").replace("æ", "ae"))
    if plain.startswith("h"):
        first = word.lower().replace("-", " ").split()[0]
        return not first.startswith(ASPIRATED)
    return plain[:1] in tuple("aeiou")


def le(noun: Noun) -> str:
    if not noun.article:
        return ""
    if noun.plural:
        return "les "
    if noun.elides:
        return "l'"
    return "le " if noun.gender == "m" else "la "


def de(noun: Noun) -> str:
    """ "du ", "de la ", "de l'", "des "; "de " or "d'" before a name without article."""
    if not noun.article:
        return bare_de(noun)
    if noun.plural:
        return "des "
    return "du " if le(noun) == "le " else "de " + le(noun)


def au(noun: Noun) -> str:
    """ "au ", "à la ", "à l'", "aux "; "à " before a name without article."""
    if noun.article and noun.plural:
        return "aux "
    return "au " if le(noun) == "le " else "à " + le(noun)


def en(noun: Noun) -> str:
    """Being in a country: "en France", "en Iran", "au Japon", "aux États-Unis", "à Cuba", "en Israël"."""
    if noun.article and noun.plural:
        return "aux "
    if not noun.article:
        return "en " if noun.elides else "à "
    return "en " if noun.gender == "f" or noun.elides else "au "


def un(noun: Noun) -> str:
    if noun.plural:
        return "des "
    return "un " if noun.gender == "m" else "une "


def named(noun: Noun) -> str:
    """The article under which a thing is named: "s'appelle un chien", "s'appelle l'eau"."""
    return le(noun) if noun.mass else un(noun)


def bare_de(noun: Noun) -> str:
    """ "de " or "d'" without any article: "le nom de fromage", "le nom d'eau"."""
    return "d'" if noun.elides else "de "


def feminine(noun: Noun) -> str:
    """The ending of an adjective or participle that agrees: "fait" + "e"."""
    return "e" if noun.gender == "f" else ""


def pronoun(noun: Noun) -> str:
    """The subject pronoun, without a blank: "il", "elle", "ils", "elles"."""
    return ("il" if noun.gender == "m" else "elle") + ("s" if noun.plural else "")
