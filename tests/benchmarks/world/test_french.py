"""French articles, elision and contraction, word by word."""

from __future__ import annotations

import pytest

from benchmarks.world import french
from benchmarks.world.french import Noun
from benchmarks.world.templates import English, Template, bilingual, english_a, english_the
from editing.errors import BadData

CHEESE = Noun("fromage", mass=True)
MEAT = Noun("viande", "f", mass=True)
WATER = Noun("eau", "f", mass=True)
AXE = Noun("hache", "f")
HOSPITAL = Noun("hôpital")
EGG = Noun("œuf")
STATES = Noun("États-Unis", plural=True)
JAPAN = Noun("Japon")
IRAN = Noun("Iran")
CUBA = Noun("Cuba", article=False)
ISRAEL = Noun("Israël", article=False)


@pytest.mark.parametrize(
    ("function", "noun", "expected"),
    [
        (french.le, CHEESE, "le "),
        (french.le, MEAT, "la "),
        (french.le, WATER, "l'"),
        (french.le, AXE, "la "),
        (french.le, HOSPITAL, "l'"),
        (french.le, EGG, "l'"),
        (french.le, STATES, "les "),
        (french.le, CUBA, ""),
        (french.de, CHEESE, "du "),
        (french.de, MEAT, "de la "),
        (french.de, HOSPITAL, "de l'"),
        (french.de, STATES, "des "),
        (french.de, CUBA, "de "),
        (french.de, ISRAEL, "d'"),
        (french.au, CHEESE, "au "),
        (french.au, AXE, "à la "),
        (french.au, WATER, "à l'"),
        (french.au, STATES, "aux "),
        (french.en, Noun("France", "f"), "en "),
        (french.en, JAPAN, "au "),
        (french.en, IRAN, "en "),
        (french.en, STATES, "aux "),
        (french.en, CUBA, "à "),
        (french.en, ISRAEL, "en "),
        (french.un, AXE, "une "),
        (french.un, STATES, "des "),
        (french.named, CHEESE, "le "),
        (french.named, HOSPITAL, "un "),
        (french.bare_de, EGG, "d'"),
        (french.bare_de, AXE, "de "),
    ],
)
def test_articles(function, noun, expected):
    assert function(noun) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [("eau", True), ("Éthiopie", True), ("Yémen", False), ("Honduras", False), ("herbe", True), ("Haïti", True)],
)
def test_elision_knows_aspirated_h_and_y(word, expected):
    assert french.elides(word) is expected


@pytest.mark.parametrize(("name", "gender"), [("", "m"), (" pain", "m"), ("pain", "n")])
def test_a_noun_is_checked(name, gender):
    with pytest.raises(BadData, match="French noun"):
        Noun(name, gender)


def test_english_articles():
    assert english_a(English("axe", a=True)) == "an "
    assert english_a(English("knife", a=True)) == "a "
    assert english_a(English("bread")) == ""
    assert english_the(English("Netherlands", the=True)) == "the "


def test_template_marks_prompt_and_prior():
    word = bilingual(English("United States", the=True), STATES)
    assert Template("The capital [of {the}{}] is", "en").prompt(word) == "The capital of the {} is"
    assert Template("The capital [of {the}{}] is", "en").prior() == "The capital is"
    assert Template("[{En}{}|Ici], on parle", "fr").prompt(word) == "Aux {}, on parle"
    assert Template("[{En}{}|Ici], on parle", "fr").prior() == "Ici, on parle"


@pytest.mark.parametrize("text", ["no slot is", "[of {}] and {} is", "of {} is", " [{}] is", "[x] of {} is"])
def test_a_template_is_checked(text):
    with pytest.raises(BadData, match="template"):
        Template(text, "en")


def test_an_unknown_marker_is_named():
    with pytest.raises(BadData, match=r"unknown marker \{of\}"):
        Template("The name [{of}{}] is", "en").prompt(bilingual(English("bread"), CHEESE))
