"""The knowledge base: every sentence it can say, checked structurally, and its invariants."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.world.concepts import EDIT_PROMPTS
from benchmarks.world.countries import best_known
from benchmarks.world.facts import LANGS, Fact
from benchmarks.world.french import elides
from benchmarks.world.knowledge import Knowledge, draw_candidates, knowledge
from editing.errors import BadData, BadRequest
from editing.text import join

# Contractions and elisions that French demands; their absence is a mistake in any sentence.
BAD_FRENCH = [
    r"\b[Dd]e le\b",
    r"\b[Dd]e les\b",
    r"\bà le\b",
    r"\bà les\b",
    r"\b[Dd]u la\b",
    r"\bdu l'",
    r"\b(le|la|de|que|ne|se|je) (?=[aeiouàâéèêëîïôûœAEIOUÀÂÉÈÊËÎÏÔÛŒ])",
    r"\b(du|au) (?=[aeiouàâéèêëîïôûœAEIOUÀÂÉÈÊËÎÏÔÛŒ])",
    r"\b[Ss]i il",
    r"[{}<>\[\]|]",
    r"  ",
    r" [,.]",
    r"\s$",
    r"' ",
    r"\u2019",
]


@pytest.fixture(scope="module", params=[0, 80], ids=["plain", "people"])
def known(request: pytest.FixtureRequest) -> Knowledge:
    return knowledge(people=request.param)


def sentences(known: Knowledge, lang: str) -> list[str]:
    """Every sentence: all facts under all templates, all eliciting texts, all priors."""
    out = []
    for fact in known.facts:
        for template in range(known.n_templates(fact.relation, lang)):
            said = known.render(fact, lang, template)
            out.append(join(said.filled, said.target))
    for chain in known.chains():
        for template in range(len(chain.form.templates(lang))):
            said = known.render_chain(chain, lang, template)
            out.append(join(said.filled, said.target))
    for form in known.forms:
        out += [template.prior() for template in form.templates(lang)]
    for concept in known.concepts():
        out += [join(text, known.name(concept, lang)) for text in known.elicit(concept, lang)]
    for relation in known.relations():
        out += [known.prior(relation, lang, template) for template in range(known.n_templates(relation, lang))]
    return out


def test_all_french_sentences_are_contracted_and_elided(known):
    said = sentences(known, "fr")
    assert len(said) > 2000
    faults = [(pattern, text) for text in said for pattern in BAD_FRENCH if re.search(pattern, text)]
    assert not faults, faults[:5]


@pytest.mark.parametrize("text", ["La couleur de le pain", "le animal", "du eau", "à  la mer", "le prix de Iran"])
def test_the_french_check_finds_mistakes(text):
    assert any(re.search(pattern, text) for pattern in BAD_FRENCH)


def test_mute_h_is_elided_and_aspirated_h_is_not(known):
    for text in sentences(known, "fr"):
        for article, word in re.findall(r"\b(le |la |de |l'|d')([hH]\w+)", text):
            assert article.endswith("'") == elides(word), text


def test_all_english_sentences_are_well_formed(known):
    for text in sentences(known, "en"):
        assert not re.search(r"[{}<>\[\]|]|  | [,.]|\s$|\u2019", text), text
        assert not re.search(r"\b[Aa] (?=[aeio])|\b[Aa]n (?=[^aeiouAEIOUh\s])", text), text
        assert not re.search(r"\bthe the\b|\bthe a\b", text), text


def test_articles_of_countries(known):
    def say(country: str, relation: str, lang: str, template: int) -> str:
        fact = next(f for f in known.facts_of(relation) if f.subject == f"country:{country}")
        said = known.render(fact, lang, template)
        return join(said.filled, said.target)

    assert say("US", "capital", "en", 0) == "The capital of the United States is the city of Washington"
    assert say("FR", "capital", "en", 0) == "The capital of France is the city of Paris"
    assert say("US", "capital", "fr", 0) == "La capitale des États-Unis s'appelle Washington"
    assert say("DE", "capital", "fr", 0) == "La capitale de l'Allemagne s'appelle Berlin"
    assert say("JP", "capital", "fr", 2) == "Au Japon, la capitale a pour nom Tokyo"
    assert say("FR", "capital", "fr", 2) == "En France, la capitale a pour nom Paris"
    assert say("GB", "capital", "fr", 0) == "La capitale du Royaume-Uni s'appelle Londres"
    assert say("MX", "currency", "fr", 0) == "Au Mexique, on paie toujours en pesos"


def test_the_suite_is_as_large_as_promised(known):
    assert len(known.concepts()) >= 44
    assert len({known.entity(key).group for key in known.concepts()}) >= 8
    assert len(known.countries()) == 60
    for relation in known.relations():
        for lang in LANGS:
            texts = {template.text for template in known.relation(relation).templates(lang)}
            assert 4 <= len(texts) == known.n_templates(relation, lang) <= 6
    for key in known.concepts():
        assert len(known.siblings(key)) >= 3
        assert len(known.about(key)) >= 3
        for lang, least in (("en", 6), ("fr", 4)):
            texts = known.elicit(key, lang)
            assert len(set(texts)) == len(texts) >= least
            assert len(known.elicit_prior(key, lang)) == len(texts)


def test_held_out_eliciting_texts_are_new(known):
    for key in known.concepts():
        texts = known.elicit(key, "en")
        assert len(texts) > EDIT_PROMPTS and not set(texts[EDIT_PROMPTS:]) & set(texts[:EDIT_PROMPTS])


def test_no_template_opens_with_its_subject(known):
    for relation in known.relations():
        for lang in LANGS:
            chained = [template for form in known.forms for template in form.templates(lang)]
            for template in (*known.relation(relation).templates(lang), *chained):
                assert not template.text.startswith(("{", "[{}", "[{the}", "[{a}")), template.text


def test_concept_relations_share_their_objects(known):
    for relation in ("category", "color", "material", "place", "person", "activity"):
        counts = Counter(fact.object for fact in known.facts_of(relation))
        shared = sum(n for n in counts.values() if n > 1)
        assert shared >= 0.6 * len(known.facts_of(relation)), relation


def test_candidates_hold_the_target_and_differ(known):
    for fact in known.facts:
        for lang in LANGS:
            target = known.name(fact.object, lang)
            names = known.candidates(fact.relation, lang, target)
            assert target in names and len(set(names)) == len(names) <= 20
            assert len(names) == min(20, len(known.objects(fact.relation)))
            assert names == known.candidates(fact.relation, lang, target)


def test_draw_candidates_keeps_what_must_be_there():
    assert set(draw_candidates("abcdef", ("x", "a", "x"), 4, "s")) > {"x", "a"}
    assert len(draw_candidates("abcdef", ("x", "a"), 4, "s")) == 4
    assert draw_candidates("abcdef", ("x",), 4, "s") == draw_candidates("abcdef", ("x",), 4, "s")
    assert len(draw_candidates("ab", ("x", "y", "z"), 2, "s")) == 3


def test_contradictions_are_refused(known):
    fact = known.facts_of("capital")[0]
    other = known.facts_of("capital")[1].object
    with pytest.raises(BadData, match="two objects"):
        replace(known, facts=(*known.facts, Fact(fact.subject, "capital", other)))
    with pytest.raises(BadData, match="unknown entity"):
        replace(known, facts=(*known.facts, Fact("country:XX", "capital", other)))
    twin = replace(known.entities[0], key="category:twin")
    with pytest.raises(BadData, match="share the en name"):
        replace(known, entities=(*known.entities, twin))


def test_best_known_countries_are_nested_and_bounded():
    assert best_known(80)[:20] == best_known(20)
    assert {"FR", "US", "JP"} < set(best_known(60))
    with pytest.raises(BadRequest, match="countries=3"):
        best_known(3)
    assert len(knowledge(100).countries()) == 100
