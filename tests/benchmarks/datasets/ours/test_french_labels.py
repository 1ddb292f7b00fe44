"""Our own French questions: elision, and silence where the spelling of a name does not tell."""

from __future__ import annotations

import pytest

from benchmarks.datasets.reading.french_labels import LABELS, de, frames, prior


@pytest.mark.parametrize(
    ("name", "particle"),
    [
        ("Danielle Darrieux", "de "),
        ("Edwin de Northumbrie", "d'"),
        ("Élodie", "d'"),
        ("Œdipe", "d'"),
        ("Hélène", None),
        ("Yves", None),
        ("50 Cent", None),
        ("Le Caire", None),
        ("Les Abymes", None),
        ("L'Aquila", None),
        ("Lens", "de "),
        ("Пушкин", None),
        ("", None),
    ],
)
def test_de(name, particle):
    assert de(name) == particle


def test_frames_end_before_a_bare_answer():
    assert frames("P103", "Anna") == [
        "{}, langue maternelle :",
        "Sujet : {}. Langue maternelle :",
        "Langue maternelle d'{} :",
    ]
    assert (
        len(frames("P37", "Anna")) == len(frames("P103", "Hugo")) == 2
    )  # a country needs an article, an h decides nothing
    assert prior("P103") == "Langue maternelle :" and frames("P0", "Anna") == []


@pytest.mark.parametrize("relation", LABELS)
def test_every_label_is_a_plain_noun_phrase(relation):
    label = LABELS[relation]
    assert label == label.strip().lower() and not label.endswith(("de", "à", "en")) and "{" not in label
