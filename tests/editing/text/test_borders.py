"""Where a blank belongs between a prompt and its answer, and that both are scored as the one text they are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from editing.model.language_model import LanguageModel
from editing.text import border, escaped, join, prompt_answers, sentence, tokenise
from editing.text.borders import question
from tests.editing.families import SENTENCES, random_module
from tests.editing.families import tokenizer as byte_level

ATTACHED = [
    ("法国的首都是", "巴黎"),
    ("法国的首都是", "Paris"),
    ("法国的首都是：", "巴黎"),
    ("首都在2023", "变了"),
    ("フランスの首都は", "パリ"),
    ("เมืองหลวงของฝรั่งเศสคือ", "ปารีส"),
    ("ນະຄອນຫຼວງແມ່ນ", "ປາຣີ"),
    ("រាជធានីគឺ", "ប៉ារីស"),
    ("မြို့တော်မှာ", "ပါရီ"),
    ("རྒྱལ་ས་ནི་", "པ་རི"),
    ("The film is called “", "Alien"),
    ("La ville s'appelle «", "Paris"),
    ("La ville s'appelle «\u00a0", "Paris"),
    ("Die Stadt heißt „", "Paris"),
    ('He said "', "yes"),
    ("The city (", "Paris"),
    ("It costs $", "5"),
    ("Es kostet €", "5"),
    ("a so-called non-", "starter"),
    ("and/", "or"),
    ("La capitale de l'", "Italie"),
    ("La capitale de l’", "Italie"),
    ("Answer: ", "Paris"),
    ("Answer:\n", "Paris"),
    ("서울은 수도", "입니다"),
    ("프랑스", "의"),
    ("", "Paris"),
    ("Italy", "'s"),
    ("¿", "Qué"),
    ("snake_", "case"),
    ("It is number #", "5"),
    ("3+", "4"),
    ("The year 1914–", "18"),
]
SPACED = [
    ("The capital is", "Paris"),
    ("Die Hauptstadt ist", "Berlin"),
    ("Столица —", "Париж"),
    ("عاصمة فرنسا هي", "باريس"),
    ("בירת צרפת היא", "פריז"),
    ("프랑스의 수도는", "파리"),
    ("Fransa'nın başkenti", "Paris"),
    ("Who wrote it?", "Puccini"),
    ("The film “Alien” is by", "Scott"),
    ("The film “Alien”", "opened"),
    ("Das Wort „Haus“", "bedeutet"),
    ("La ville « Paris »", "est"),
    ('He said "yes"', "twice"),
    ("(in France)", "lives"),
    ("Das kostet 5 €", "mehr"),
    ("It is called", "北京"),
    ("Paris –", "city"),
    ("An empty dict is written", "{}"),
    ("It is below", ".5"),
    ("Who developed C#", "Microsoft"),
    ("Who wrote C++", "Stroustrup"),
    ("Who owns Disney+", "Disney"),
    ("De hoofdstad is", "'s-Hertogenbosch"),
]


@pytest.mark.parametrize(("prompt", "answer"), ATTACHED)
def test_nothing_stands_between(prompt: str, answer: str) -> None:
    assert border(prompt, answer) == ""


@pytest.mark.parametrize(("prompt", "answer"), SPACED)
def test_a_blank_stands_between(prompt: str, answer: str) -> None:
    assert border(prompt, answer) == " "


def test_marks_at_the_end_are_those_of_the_script() -> None:
    assert sentence("首都是巴黎") == "首都是巴黎。" and sentence("It is") == "It is." and sentence("It is!") == "It is!"
    assert question("什么名字") == "什么名字？" and question("谁？") == "谁？" and question("who") == "who?"
    assert question("qui ?") == "qui ?" and question("ما هي") == "ما هي؟"


WORDS = [
    *SENTENCES,
    "法国的首都是巴黎 罗马 柏林",
    "フランスの首都はパリ",
    "столица Франции Париж",
    "ปารีส",
    "한국의 수도는 서울",
]


def metaspace(scheme: str) -> PreTrainedTokenizerFast:
    """As SentencePiece, with (`always`) or without (`never`) a blank before the first word of a text."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    inner.decoder = decoders.Metaspace(prepend_scheme=scheme)
    special = ["<unk>", "<s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=560, special_tokens=special, show_progress=False)
    inner.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")


def wordpiece() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordPiece(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=["<unk>", "<s>"], show_progress=False)
    inner.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", unk_token="<unk>")


KINDS = {
    "byte-level": byte_level,
    "metaspace": lambda: metaspace("always"),
    "metaspace without a first blank": lambda: metaspace("never"),
    "wordpiece": wordpiece,
}


@pytest.fixture(scope="module", params=KINDS)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    tokenizer = KINDS[request.param]()
    return LanguageModel.wrap(random_module("gpt2", max(len(tokenizer), 700)), tokenizer, prefix_ids=(1,))


PROMPTS = st.sampled_from([prompt for prompt, _ in ATTACHED + SPACED if prompt] + ["The capital is ", "It is  "])
ANSWERS = st.sampled_from([answer for _, answer in ATTACHED + SPACED])


@settings(max_examples=60, deadline=None)
@given(prompt=PROMPTS, answers=st.lists(ANSWERS, min_size=1, max_size=4))
def test_what_is_scored_is_the_whole_text(lm: LanguageModel, prompt: str, answers: list[str]) -> None:
    (questions,) = prompt_answers(lm, [prompt], [answers])
    for answer, tokens in zip(answers, questions.answers, strict=True):
        assert [*questions.ids, *tokens] == lm.encode(join(prompt, answer)) and tokens
        if len(questions.ids) == len(lm.prefix_ids):  # an unknown word of WordPiece holds prompt and answer
            continue
        edited = tokenise(lm, escaped(prompt), "", "last", answer)
        assert [*edited.ids, edited.target[-1]] == lm.encode(join(prompt, answer))
        assert edited.lookup == edited.start - 1


def test_a_blank_at_the_end_changes_nothing(lm: LanguageModel) -> None:
    with_blank, without = prompt_answers(lm, ["The capital is ", "The capital is"], [["Paris", "tea"]] * 2)
    assert with_blank == without
