"""French questions about a Wikidata relation that are right for every name: `Zurich, ville jumelée :` and its like.

Machine-translated patterns are not used: even those of mParaRel that are marked as checked hold "le capital de" and
"joue le instrument", and any sentence with an article before the answer fits half of the answers. A label and a colon
need neither article nor agreement. Only the frame with `de` depends on the name: it elides before a vowel, and is
left out where the spelling does not show it (h, y, digits, other scripts) or where `de` contracts ("Le
Caire", "Les Abymes").
"""

from __future__ import annotations

import re
import unicodedata

from benchmarks.world import elides

LABELS = {
    "P17": "pays",
    "P19": "lieu de naissance",
    "P20": "lieu de décès",
    "P27": "pays de citoyenneté",
    "P30": "continent",
    "P36": "capitale",
    "P37": "langue officielle",
    "P39": "fonction",
    "P47": "pays voisin",
    "P101": "domaine de spécialité",
    "P103": "langue maternelle",
    "P106": "profession",
    "P108": "employeur",
    "P127": "propriétaire",
    "P131": "entité administrative supérieure",
    "P136": "genre musical",
    "P138": "origine du nom",
    "P140": "religion",
    "P159": "ville du siège",
    "P176": "fabricant",
    "P178": "développeur",
    "P190": "ville jumelée",
    "P264": "maison de disques",
    "P276": "lieu",
    "P364": "langue originale",
    "P407": "langue de rédaction",
    "P413": "poste sur le terrain",
    "P449": "diffuseur d'origine",
    "P463": "organisation d'appartenance",
    "P495": "pays d'origine",
    "P740": "lieu de fondation",
    "P937": "ville de travail",
    "P1303": "instrument de musique",
    "P1412": "langue parlée",
}
# Countries and regions among the subjects would need an article after `de`: "la langue officielle de la Suisse".
WITHOUT_DE = ("P17", "P30", "P36", "P37", "P47", "P131", "P138", "P190", "P276", "P463", "P495")
CONTRACTS = re.compile(r"(le|les|la|l['’])\b", re.IGNORECASE)


def frames(relation: str, subject: str) -> list[str]:
    """Prompts with `{}` for the subject that end right before the answer; none for an unknown relation."""
    label = LABELS.get(relation)
    if label is None:
        return []
    made = [f"{{}}, {label} :", f"Sujet : {{}}. {label.capitalize()} :"]
    particle = None if relation in WITHOUT_DE else de(subject)
    return made if particle is None else [*made, f"{label.capitalize()} {particle}{{}} :"]


def prior(relation: str) -> str:
    """The subject-free prompt of every frame of the relation."""
    return f"{LABELS[relation].capitalize()} :"


def de(name: str) -> str | None:
    """`de ` or `d'`, as `name` wants it; None where its spelling does not tell."""
    first = unicodedata.normalize("NFD", name.lower())[:1]
    if not ("a" <= first <= "z" or first in "œæ") or first in "hy" or CONTRACTS.match(name):
        return None
    return "d'" if elides(name) else "de "
