"""Where the subject ends and the target begins, for tokenizers of several kinds."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from editing.errors import BadModel, BadRequest
from editing.model.language_model import LanguageModel
from editing.text.borders import join
from editing.text.contexts import build_contexts
from editing.text.requests import EditRequest
from editing.text.tokens import continuation_ids, prompt_answers, tokenise
from tests.editing.families import SENTENCES, random_module
from tests.editing.families import tokenizer as byte_level


def metaspace() -> PreTrainedTokenizerFast:
    """As SentencePiece: a blank becomes part of the next word, also before the first one."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    special = ["<unk>", "<s>", *(f"<0x{i:02X}>" for i in range(256))]
    inner.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")


def words() -> PreTrainedTokenizerFast:
    """One token per word or mark, in lower case."""
    inner = Tokenizer(models.WordLevel(unk_token="<unk>"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.train_from_iterator(
        SENTENCES, trainers.WordLevelTrainer(special_tokens=["<unk>", "<s>"], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="<s>", unk_token="<unk>")


KINDS = {"byte-level": byte_level, "metaspace": metaspace, "words": words}


@pytest.fixture(scope="module", params=KINDS)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    return wrap(KINDS[request.param]())


def wrap(tokenizer: Any, **more: Any) -> LanguageModel:
    return LanguageModel.wrap(random_module("gpt2", max(len(tokenizer), 600)), tokenizer, **more)


CASES = {
    "in the middle": ("The capital of {} is the city of", "France"),
    "of two words": ("The capital of {} is", "New Zealand"),
    "at the start": ("{} comes from", "Brie"),
    "at the end": ("The capital of France is the city of {}", "Paris"),
    "after an elision": ("La capitale de l'{} est la ville de", "Italie"),
    "with accents": ("Le {} est fait de lait", "pâté de café"),
    "in quotes": ('The "{}" is', "cheese"),
    "before a comma": ("In {}, the capital is", "Spain"),
    "with a blank behind": ("The capital of {}is", "France "),
    "in another script": ("{} is the capital", "東京"),
    "seen twice": ("The cheese is cheese and {} is", "cheese"),
}


@pytest.mark.parametrize("before", ["", "Therefore the river runs. "])
@pytest.mark.parametrize("case", CASES)
def test_the_lookup_is_the_last_token_of_the_subject(case: str, before: str, lm: LanguageModel) -> None:
    """By characters: the token covers the subject's last character and none before it in the text comes later."""
    template, subject = CASES[case]
    prompt = tokenise(lm, template, subject, "subject_last", before=before)
    text = before + template.replace("{}", subject)
    end = len(before) + template.index("{}") + len(subject.rstrip())
    offsets = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    index = prompt.lookup - len(lm.prefix_ids)
    start, stop = offsets[index]
    assert start < end <= stop
    assert all(a >= end for a, b in offsets[index + 1 :] if b > a) or prompt.ids[prompt.lookup + 1 :] == ()
    assert list(prompt.ids) == lm.encode(text) and prompt.start == len(prompt.ids) and prompt.target == ()


def test_last_is_the_last_token_before_the_target(lm: LanguageModel) -> None:
    prompt = tokenise(lm, "The capital of France is", "", "last", "the city")
    bare = lm.encode("The capital of France is")
    assert prompt.lookup == len(bare) - 1 == prompt.start - 1
    assert [*prompt.ids, prompt.target[-1]] == lm.encode("The capital of France is the city")
    assert prompt.ids[: prompt.start] == tuple(bare)


@pytest.mark.parametrize("lookup", ["last", "subject_last"])
def test_a_prompt_that_ends_in_a_blank_is_read_before_it_with_and_without_a_target(lm, lookup: str) -> None:
    texts = ["The capital of {} is ", "The capital of {} is"]
    one, two = (tokenise(lm, text, "France", lookup) for text in texts)
    with_target = tokenise(lm, texts[0], "France", lookup, "Paris")
    assert one == two and (one.lookup, one.start) == (with_target.lookup, with_target.start)


def test_the_target_behind_an_elision_has_no_blank(lm: LanguageModel) -> None:
    prompt = tokenise(lm, "La capitale de l'", "", "last", "Italie")
    whole = lm.encode("La capitale de l'Italie")
    assert [*prompt.ids[: prompt.start], *prompt.target] == whole
    assert prompt.target == continuation_ids(lm, "La capitale de l'", "Italie")
    text = "".join(lm.tokenizer.decode(prompt.target).split()).lower()
    assert text.endswith("italie") or text in ("<unk>", "<s>")


def test_a_token_over_the_border_belongs_to_the_answer(lm: LanguageModel) -> None:
    """Every answer is scored as part of the whole text, from the place where the first of them begins."""
    for answers in (["s own"], ["s own", "Paris", "tea"]):
        (questions,) = prompt_answers(lm, ["The capital of France'"], [answers])
        for answer, tokens in zip(answers, questions.answers, strict=True):
            assert [*questions.ids, *tokens] == lm.encode(join("The capital of France'", answer))


def test_byte_level_continuations_carry_their_blank() -> None:
    lm = wrap(byte_level())
    assert lm.tokenizer.convert_ids_to_tokens(list(continuation_ids(lm, "The capital is", "city")))[0] == "Ġcity"
    assert lm.tokenizer.decode(continuation_ids(lm, "Le caf", "é")) == " é"
    assert lm.tokenizer.decode(continuation_ids(lm, "", "The")) == "The"


def test_a_subject_that_vanishes_is_refused() -> None:
    lm = wrap(words())
    with pytest.raises(BadRequest, match="is not in the prompt"):
        tokenise(lm, "The capital is", "France", "subject_last")
    with pytest.raises(BadRequest, match="is not in the prompt"):
        tokenise(lm, "The {} is", " ", "subject_last")
    with pytest.raises(BadRequest, match="no tokens"):
        tokenise(lm, "", "", "last")


def test_a_target_that_vanishes_is_refused() -> None:
    """It took the prompt's last token with it: the key was read at the token before."""
    tokenizer = words()
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()
    with pytest.raises(BadRequest, match="has no tokens for this model"):
        tokenise(wrap(tokenizer), "The capital of {} is", "France", "subject_last", "\u200b")


def test_prefix_is_the_tokenizers_own_or_the_separator() -> None:
    assert wrap(byte_level()).prefix_ids == (0,)
    bos = words()
    assert wrap(bos).prefix_ids == (bos.bos_token_id,)  # it is also the end-of-sequence token
    assert wrap(metaspace()).prefix_ids == ()  # a declared BOS that is never put in front was never seen in training
    assert wrap(byte_level(), prefix_ids=(5, 6)).encode("The")[:2] == [5, 6]
    assert wrap(byte_level(), prefix_ids=()).encode("The") == byte_level()("The")["input_ids"]


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(BadModel, match="no fast version"):
        LanguageModel.wrap(random_module("gpt2"), Slow(), name="slow")
    with pytest.raises(BadModel, match="slow: no tokenizer; give"):
        LanguageModel.wrap(random_module("gpt2"), None, name="slow")


def test_contexts_go_round_the_prompts() -> None:
    lm = wrap(byte_level())
    request = EditRequest("r", ("{} is sold by the", "A loaf of {} is made from"), "Cheese", ("baker", "flour"))
    contexts = build_contexts(lm, request, ["The dog", "I like tea", "Because"])
    texts = [lm.tokenizer.decode(p.ids[1 : p.start]) for p in contexts.prompts]
    assert texts == [
        "Cheese is sold by the",
        "A loaf of Cheese is made from",
        "The dog. Cheese is sold by the",
        "I like tea. A loaf of Cheese is made from",
        "Because. Cheese is sold by the",
    ]
    assert [lm.tokenizer.decode(p.target) for p in contexts.prompts] == [
        " baker",
        " flour",
        " baker",
        " flour",
        " baker",
    ]
    assert contexts.n_bare == 2 and contexts.essence is not None
    assert lm.tokenizer.decode(contexts.essence.ids[1:]) == "Cheese is a"
    french = build_contexts(lm, EditRequest("r", ("{} est",), "Le pain", ("bon",), lang="fr"), [])
    assert french.essence is not None and lm.tokenizer.decode(french.essence.ids[1:]) == "Le pain est un"
    last = build_contexts(lm, request, [], lookup="last").essence
    assert last is not None and last.ids == contexts.essence.ids and last.lookup == len(last.ids) - 1
    bare = EditRequest("r", ("The food is called",), "", ("bread",), lookup="last")
    assert build_contexts(lm, bare, [], lookup="last").essence is None
