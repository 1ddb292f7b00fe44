"""Known-fact rates: the rule of two thirds, the same sample for everybody, and a cache that is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure.answers import PRIOR_WEIGHT
from benchmarks.measure.known_facts import FACTS, KnownRates, known_rates, sample
from benchmarks.models import training_tokens
from editing.eval import continuation_logprobs
from editing.text import join
from tests.benchmarks.tiny import save_tiny, tiny_model


def test_the_sample_is_fixed_and_mixed() -> None:
    english, french = sample("en"), sample("fr")
    assert len(english) == len(french) == FACTS and all(len(fact) == 3 for fact in english)
    assert len({fact[0].relation for fact in english}) == 4
    assert [fact[0].relation for fact in english] == [fact[0].relation for fact in french]
    assert all(p.candidates[p.answer] and len(p.candidates) > 3 for fact in english for p in fact)


@pytest.fixture(scope="module")
def half_taught():
    """A model trained on all sentences of half of the English facts, one of three of the others, and no French."""
    texts = []
    for i, fact in enumerate(sample("en")):
        texts += [join(p.prompt, p.candidates[p.answer]) + "." for p in (fact if i % 2 else fact[:1])]
    return tiny_model(texts, steps=100)


@pytest.fixture(scope="module")
def cache(half_taught, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the model's rates."""
    folder = tmp_path_factory.mktemp("cache")
    known_rates(half_taught, cache=folder)
    return folder


def test_rates_are_those_of_a_literal_count(half_taught, cache: Path) -> None:
    result = known_rates(half_taught, cache=cache)
    for lang, rate in (("en", result.en), ("fr", result.fr)):
        sentences = [p for fact in sample(lang) for p in fact]
        candidates = [p.candidates for p in sentences]
        said = continuation_logprobs(half_taught, [p.prompt for p in sentences], candidates)
        priors = continuation_logprobs(half_taught, [p.prior for p in sentences], candidates)
        right = iter(
            np.argmax(one - PRIOR_WEIGHT * prior) == p.answer
            for one, prior, p in zip(said, priors, sentences, strict=True)
        )
        known = sum(sum(next(right) for _ in fact) >= 2 for fact in sample(lang))
        assert rate == pytest.approx(known / FACTS)
    assert result.en > 0.2 and result.fr < result.en and result.facts == FACTS


def test_second_call_reads_what_the_first_wrote(half_taught, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    first = known_rates(half_taught, cache=tmp_path)
    (file,) = (tmp_path / "strength").glob("known-*.json")
    file.write_text(json.dumps(first.__dict__ | {"en": 0.123}))
    assert known_rates(half_taught, cache=tmp_path) == KnownRates(0.123, first.fr, FACTS)
    file.write_text("[]")
    assert known_rates(half_taught, cache=tmp_path) == first


def test_training_tokens_come_from_the_ladder_or_the_card(half_taught, tmp_path: Path) -> None:
    folder = save_tiny(half_taught, tmp_path / "m")
    assert training_tokens(str(folder), 7) == 7 and np.isnan(training_tokens(str(folder)))
    (folder / "card.json").write_text('{"tokens": 1234}')
    assert training_tokens(str(folder)) == 1234
    assert np.isnan(training_tokens("gpt2")) and training_tokens("gpt2", 40) == 40
