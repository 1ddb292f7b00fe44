"""`LanguageModel.generate` writes the likeliest tokens, whatever the model's own settings of generation say."""

from __future__ import annotations

import threading

import pytest
import torch

from editing.errors import BadRequest, UserError
from editing.model.language_model import LanguageModel
from tests.editing.families import random_module, tiny_lm, tokenizer
from tests.editing.text.test_borders import metaspace

PROMPT = "The capital of France is"


def likeliest(lm: LanguageModel, tokens: int) -> str:
    """One token after another, by the logits alone."""
    ids = lm.encode(PROMPT)
    start = len(ids)
    with torch.no_grad():
        for _ in range(tokens):
            ids.append(int(lm.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return lm.tokenizer.decode(ids[start:], skip_special_tokens=True)


@pytest.mark.parametrize(
    "rule",
    [{"repetition_penalty": 3.0}, {"no_repeat_ngram_size": 1}, {"num_beams": 4}, {"suppress_tokens": [5]}],
    ids=str,
)
def test_rules_of_the_models_own_settings_do_not_count(rule: dict) -> None:
    lm = tiny_lm("gpt2", seed=3)
    expected = likeliest(lm, 12)
    own = lm.module.generation_config
    if "suppress_tokens" in rule:
        rule = {"suppress_tokens": lm.encode(PROMPT + expected)[len(lm.encode(PROMPT)) :]}
    own.update(**rule)
    assert lm.generate(PROMPT, 12) == expected
    assert lm.module.generation_config is own


def test_the_blank_before_the_first_word_of_sentencepiece_is_there() -> None:
    lm = LanguageModel.wrap(random_module("gpt2", 700, seed=1), metaspace("always"), prefix_ids=(1,))
    assert lm.text_behind(lm.encode(PROMPT), lm.encode("Rome in Italy")[1:]) == " Rome in Italy"
    ids = lm.encode(PROMPT)
    with torch.no_grad():
        for _ in range(12):
            ids.append(int(lm.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert PROMPT + lm.generate(PROMPT, 12) == lm.tokenizer.decode(ids, skip_special_tokens=True)


def test_a_second_thread_is_refused() -> None:
    lm, refused = tiny_lm("gpt2"), []

    def generate() -> None:
        try:
            lm.generate(PROMPT, 2)
        except UserError as error:
            refused.append(str(error))

    with lm.state.running(lm.name):
        thread = threading.Thread(target=generate)
        thread.start()
        thread.join()
    assert refused and "two threads run this model at once" in refused[0]


def test_nothing_to_go_on_from_is_one_line() -> None:
    lm = LanguageModel.wrap(random_module("gpt2", len(tokenizer())), tokenizer(), prefix_ids=())
    with pytest.raises(BadRequest, match="has no tokens; write some text"):
        lm.generate("")
