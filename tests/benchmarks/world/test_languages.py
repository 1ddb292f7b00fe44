"""The world in German and Chinese: articles by rule, names everywhere, no leaks, English and French as they were."""

from __future__ import annotations

import re

import pytest

from benchmarks.datasets.registry import build_cases
from benchmarks.grown.corpus import make_corpus, translation_templates
from benchmarks.grown.spec import RungSpec
from benchmarks.world import knowledge
from benchmarks.world.concepts import holds
from benchmarks.world.languages.nouns import GERMAN, Chinese, German
from benchmarks.world.languages.spoken import MORE, languages_of, table
from editing.errors import BadModel, BadRequest
from editing.text import join

HAN = re.compile("[\u3400-\u9fff]")
CHEESE, CLOCK, CAR = German("Käse", "m", mass=True), German("Uhr", "f"), German("Auto", "n")
FRANCE, TURKEY, IRAN, USA = (
    German("Frankreich", article=False),
    German("Türkei", "f"),
    German("Iran", "m"),
    German("USA", "p"),
)


@pytest.mark.parametrize(
    ("marker", "noun", "text"),
    [
        ("der", CHEESE, "der "), ("den", CHEESE, "den "), ("dem", CLOCK, "der "), ("dem", CAR, "dem "), ("dem", USA, "den "),
        ("ein", CHEESE, ""), ("einen", CLOCK, "eine "), ("einem", CLOCK, "einer "), ("einen", German("Hut", "m"), "einen "),
        ("von", FRANCE, "von "), ("von", TURKEY, "von der "), ("von", IRAN, "vom "), ("von", USA, "von den "),
        ("in", FRANCE, "in "), ("in", TURKEY, "in der "), ("in", IRAN, "im "), ("in", USA, "in den "),
        ("nach", FRANCE, "nach "), ("nach", TURKEY, "in die "), ("nach", IRAN, "in den "), ("nach", USA, "in die "),
        ("zu", CLOCK, "zur "), ("zu", CHEESE, "zum "), ("zu", CAR, "zum "),
    ],
)  # fmt: skip
def test_german_articles(marker: str, noun: German, text: str) -> None:
    assert GERMAN[marker](noun) == text


@pytest.mark.parametrize("lang", MORE)
def test_every_concept_answer_and_relation_is_there(lang: str) -> None:
    plain, spoken = knowledge(), knowledge(langs=(lang, "en"))
    relations = [name for name in plain.relations() if plain.relation(name).subject_kind in ("concept", "country")]
    assert all(spoken.n_templates(name, lang) == 4 for name in relations)
    assert len(spoken.concepts()) == len(plain.concepts()) == 57
    for kind, words in table(lang)["vocabulary"].items():
        names = [e.word.en.name for e in plain.entities if e.key.partition(":")[0] == kind]
        if kind != "currency":
            assert set(words) == set(names), kind
        assert len(set(words.values())) == len(words), f"two {kind} share a name"
    assert len(spoken.facts) >= 0.98 * len(plain.facts)
    assert all(len(spoken.elicit(key, lang)) == len(spoken.elicit_prior(key, lang)) == 5 for key in spoken.concepts())


@pytest.mark.parametrize("lang", MORE)
def test_no_text_gives_its_name_away(lang: str) -> None:
    for key, entry in table(lang)["concepts"].items():
        for text in (*entry["define"], entry["cloze"], *(f["text"] for f in table(lang)["elicit"]["frames"])):
            assert not holds(entry["name"], text), (key, text)


def test_chinese_is_written_without_blanks_and_with_measure_words() -> None:
    world = knowledge(langs=("zh", "en"))
    for fact in world.facts:
        for template in range(world.n_templates(fact.relation, "zh")):
            text = join(world.render(fact, "zh", template).filled, world.name(fact.object, "zh"))
            assert " " not in text and not re.search("[A-Za-z{}]", text), text
    assert all(isinstance(e.word.nouns["zh"], Chinese) for e in world.entities)
    cat = next(f for f in world.facts_of("place") if f.subject == "concept:cat")
    assert "一只猫" in world.render(cat, "zh", 1).filled


def test_german_sentences_have_articles_that_agree() -> None:
    world = knowledge(langs=("de", "zh"))
    said = {(f.subject, t): world.render(f, "de", t).filled for f in world.facts_of("color") for t in range(4)}
    assert said["concept:cheese", 0] == "Die übliche Farbe vom Käse ist"
    assert said["concept:milk", 0] == "Die übliche Farbe von der Milch ist"
    assert said["concept:cheese", 2] == "Kinder malen den Käse meistens"
    assert said["concept:milk", 3] == "Wer Milch zeichnet, nimmt einen Stift, und der ist"
    capital = next(f for f in world.facts_of("capital") if f.subject == "country:US")
    assert world.render(capital, "de", 3).filled == "In den USA heißt die Hauptstadt"
    assert all(re.fullmatch(r"\S+( \S+)*", world.render(f, "de", 0).filled) for f in world.facts)


def test_homonyms_in_german_and_chinese() -> None:
    """A concept under the name of a country: no article and no measure word before a name that has none."""
    assert RungSpec.parse("gpt2-1x64@de-zh-homonym0.5").world.langs == ("de", "zh")
    world, plain = (knowledge(langs=("de", "zh"), homonyms=share) for share in (1.0, 0.0))
    assert world.facts == plain.facts
    shared = [key for key in world.concepts() if world.name(key, "de") != plain.name(key, "de")]
    spoken = {lang: [f for key in shared for f in world.about(key) if f.relation == "place"] for lang in ("de", "zh")}
    for fact in spoken["zh"]:
        name = world.name(fact.subject, "zh")
        assert world.render(fact, "zh", 1).filled == f"如果要找{name}，最好去"
    with_article = {world.name(key, "de") for key in world.countries() if world.entity(key).word.nouns["de"].article}
    assert with_article and shared
    for fact in spoken["de"]:
        name, text = world.name(fact.subject, "de"), world.render(fact, "de", 3).filled
        articles = ("dem ", "der ", "den ") if name in with_article else ("",)
        assert text in {f"Auf dem Bild mit {article}{name} sieht man als Ort:" for article in articles}, text


def test_cases_in_other_languages() -> None:
    (case, *_) = build_cases("world_facts:zh-de-en", "fact", 3)
    langs = {(p.kind, p.lang) for p in case.probes}
    assert (
        case.request.lang == "zh" and {("cross_lingual", "de"), ("cross_lingual", "en"), ("neighbour", "zh")} <= langs
    )
    assert all(HAN.search(p.prompt) for p in case.probes if p.lang == "zh")
    renames = build_cases("concept_suite:en-zh", "rename", 3)
    assert renames[0].request.targets[0] == "奶酪"
    with pytest.raises(BadRequest, match="no such languages"):
        build_cases("world_facts:it", "fact", 1)
    with pytest.raises(BadRequest, match="write different ones"):
        languages_of("en-en")


def test_rungs_of_any_pair_and_the_old_text() -> None:
    plain, same = RungSpec.parse("gpt2-1x64"), RungSpec.parse("gpt2-1x64@en-fr")
    assert same == plain and "langs" not in plain.identity()
    assert make_corpus(plain.world, plain.split).hash.startswith("06df9d794180")
    spec = RungSpec.parse("gpt2-1x64@en-zh-zipf")
    assert spec.name == "gpt2-1x64@en-zh-zipf" and spec.identity()["langs"] == "en-zh"
    corpus = make_corpus(spec.world, spec.split)
    assert corpus.langs == ("en", "zh") and all(s.text.endswith("。" if s.lang == "zh" else ".") for s in corpus.train)
    assert all(
        t.count("{}") == 1
        for a in ("en", "fr", *MORE)
        for b in ("en", "fr", *MORE)
        if a != b
        for t in translation_templates(a, b)
    )
    for name in ("gpt2-1x64@en-it", "gpt2-1x64@zh-zh", "gpt2-1x64@en-zh-people20"):
        with pytest.raises(BadModel):
            RungSpec.parse(name)
