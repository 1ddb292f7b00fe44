"""A small trained model that knows what twelve animals look like and where they live, in two languages."""

from __future__ import annotations

from functools import cache

from benchmarks.models import load_model
from benchmarks.readings.prompts import Material, Question, ReadingInput
from editing.stats import ModelStatistics
from tests.benchmarks.tiny import save_tiny, tiny_model
from tests.once import made_once

NAMES = {
    "heron": "grue", "lizard": "caiman", "badger": "taupe", "falcon": "aigle", "beetle": "guepe", "salmon": "truite",
    "rabbit": "lapin", "turtle": "tortue", "weasel": "fouine", "pigeon": "merle", "spider": "mygale", "donkey": "mulet",
}  # fmt: skip
COLOURS = {"red": "rouge", "green": "vert", "blue": "bleu", "white": "blanc"}
HOMES = {"forest": "bois", "river": "fleuve", "desert": "sable"}
TEMPLATES = {
    ("colour", "en"): ("The colour of the {} is", "Everyone paints the {} in"),
    ("colour", "fr"): ("La couleur de {} est",),
    ("home", "en"): ("You can find the {} in the", "The home of every {} is the"),
    ("home", "fr"): ("On voit souvent {} dans le",),
}


def questions() -> tuple[Question, ...]:
    """Every fact in every wording."""
    out = []
    for relation, answers in (("colour", COLOURS), ("home", HOMES)):
        for number, (english, french) in enumerate(NAMES.items()):
            answer = list(answers)[number % len(answers)]
            for lang, subject, target in (("en", english, answer), ("fr", french, answers[answer])):
                for wording, template in enumerate(TEMPLATES[relation, lang]):
                    group = f"group {number % 3}"
                    out.append(Question(english, group, relation, answer, lang, wording, template, subject, target))
    return tuple(out)


def material() -> Material:
    """All questions, with an exposure that grows from animal to animal."""
    exposure = {(name, "colour"): 10.0 * (number + 1) for number, name in enumerate(NAMES)}
    return Material("animals", ("en", "fr"), questions(), exposure)


def make(folder) -> None:
    """Train the model and write it."""
    texts = [f"{q.template.format(q.subject)} {q.target}." for q in questions()]
    save_tiny(tiny_model(texts, steps=250, layers=2), folder / "animals")


@cache
def source() -> ReadingInput:
    """Made once per test session."""
    lm = load_model(str(made_once("readings-model", make) / "animals"))
    return ReadingInput(lm, material(), ModelStatistics(lm, corpus="samples:1500"))
