"""Many edits evaluated in one pass equal each edit applied, one prompt at a time, and reverted."""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from editing.delta.delta import Delta, LowRank
from editing.errors import BadRequest
from editing.eval import Race, bits_per_byte, continuation_logprobs, greedy, replies, text_drift
from editing.eval.continuations import _in_the_race
from editing.model.language_model import LanguageModel, hash_weights
from editing.text import join
from tests.editing.families import BY_CACHE, SENTENCES, SOME_HYBRIDS, tiny_lm
from tests.tiers import fast_are

PROMPTS = ("The capital of France is", "La capitale de l'", "I", "The dairy food made from milk curds is called the")
ANSWERS = (("Paris", "Rome and more", "x"), ("Italie", "Espagne"), ("like tea", "z"), ("cheese",))


def edits(lm: LanguageModel) -> list[Delta]:
    """Three changes of different ranks, each at an MLP and an attention site."""
    draw = torch.Generator().manual_seed(1)
    result = []
    for rank in (1, 2, 3):
        factors = {}
        kind = "value" if len(lm.layout.sites["value"]) == lm.n_layers else "attn"  # hybrids have some values only
        for site in (lm.sites("mlp")[1], lm.sites(kind)[2]):
            left, right = (torch.randn(n, rank, generator=draw) for n in (site.d_out, site.d_in))
            factors[site.weight] = LowRank(left, 0.3 * right)
        result.append(Delta(factors))
    return result


def slow_logprob(lm: LanguageModel, prompt: str, answer: str) -> float:
    """One forward pass of the whole text, summed by hand."""
    start, whole = lm.encode(prompt), lm.encode(join(prompt, answer))
    assert whole[: len(start)] == start
    log_p = lm.module(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(log_p[i - 1, whole[i]]) for i in range(len(start), len(whole)))


@pytest.mark.parametrize("family", fast_are(("gpt2", "gemma3_text"), [*BY_CACHE, *SOME_HYBRIDS]))
def test_one_pass_equals_one_by_one(family: str) -> None:
    lm = tiny_lm(family)
    deltas, before = edits(lm), hash_weights(lm.module)
    rows = [d for d in range(-1, 3) for _ in PROMPTS]
    fast = continuation_logprobs(lm, PROMPTS * 4, ANSWERS * 4, deltas, rows)
    said = replies(lm, PROMPTS * 4, ANSWERS * 4, 4, deltas, rows, batch_tokens=16)
    small, texts = [r.logp for r in said], [r.text for r in said]
    assert greedy(lm, PROMPTS * 4, 4, deltas, rows) == texts
    drift, bits = text_drift(lm, SENTENCES[:2], deltas)
    plain = {}
    for text in SENTENCES[:2]:
        plain[text] = lm.module(input_ids=torch.tensor([lm.encode(text)])).logits[0].log_softmax(-1)
    moved = 0.0
    for row, delta in enumerate([None, *deltas]):
        with delta.applied(lm) if delta else nullcontext():
            for j, (prompt, answers) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
                n = row * len(PROMPTS) + j
                slow = [slow_logprob(lm, prompt, a) for a in answers]
                assert np.allclose(fast[n], slow, rtol=1e-4, atol=1e-3)
                assert np.allclose(fast[n], small[n], rtol=1e-4, atol=1e-3)
                moved = max(moved, float(np.abs(fast[n] - fast[j]).max()))
                assert texts[n] == slow_greedy(lm, prompt, 4)
            for t, text in enumerate(SENTENCES[:2]):
                if delta:
                    log_p = lm.module(input_ids=torch.tensor([lm.encode(text)])).logits[0].log_softmax(-1)
                    base, ids = plain[text][:-1], lm.encode(text)[1:]
                    divergence = float((base.exp() * (base - log_p[:-1])).sum(-1).mean())
                    nats = -sum(float(log_p[i, token]) for i, token in enumerate(ids))
                    assert drift[row - 1, t] == pytest.approx(divergence, rel=1e-3)
                    assert bits[row - 1, t] == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-4)
    assert moved > 0.1 and hash_weights(lm.module) == before


def test_bits_of_a_text_that_is_cut_are_over_the_bytes_that_are_read() -> None:
    lm = tiny_lm("gpt2")
    text = "The quiet river runs through the old town, and nobody minds. " * 12 + "é" * 99
    read = lm.encode(text)[: lm.max_length]
    begins = lm.tokenizer.decode(read[len(lm.prefix_ids) :])
    assert text.startswith(begins) and len(begins) < len(text)
    with torch.no_grad():
        log_p = lm.module(input_ids=torch.tensor([read])).logits[0].log_softmax(-1)
    nats = -sum(float(log_p[i, token]) for i, token in enumerate(read[1:]))
    assert lm.prefix_ids  # so that every token of the text is predicted
    _, bits = text_drift(lm, [text], [Delta({})])
    assert bits[0, 0] == pytest.approx(nats / math.log(2) / len(begins.encode()), rel=1e-4)


def slow_greedy(lm: LanguageModel, prompt: str, count: int) -> str:
    ids = lm.encode(prompt)
    begin = len(ids)
    for _ in range(count):
        ids.append(int(lm.module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    tokens = ids[begin:]
    return lm.tokenizer.decode(tokens[: tokens.index(0)] if 0 in tokens else tokens)


NAMES = (
    "Paris", "Rome", "Madrid", "the city of Wellington", "bread", "cheese", "flour and milk", "dog", "tea", "x"
)  # fmt: skip


@pytest.mark.parametrize("family", fast_are(("gpt2", "gemma3_text"), [*BY_CACHE, "lfm2"]))
def test_a_race_has_the_winner_and_the_margins_of_the_whole_field(family: str) -> None:
    """Only losers may be left unfinished, and what is needed is exact; also of edited versions."""
    lm = tiny_lm(family)
    draw = np.random.default_rng([*BY_CACHE, "lfm2"].index(family))
    deltas, rows = edits(lm), [d for d in range(-1, 3) for _ in PROMPTS]
    prompts = [*PROMPTS] * 4
    answers = [list(draw.permutation(NAMES)) for _ in prompts]
    priors = [draw.normal(size=len(NAMES)) for _ in prompts]
    whole = continuation_logprobs(lm, prompts, answers, deltas, rows)
    said = replies(lm, prompts, answers, 0, deltas, rows, races=[Race(prior, (2, 5)) for prior in priors])
    unfinished = 0
    for full, fast, prior in zip(whole, [r.logp for r in said], priors, strict=True):
        assert fast[[2, 5]] == pytest.approx(full[[2, 5]], rel=1e-4)
        best = int((full - prior).argmax())
        assert int((fast - prior).argmax()) == best and fast[best] == pytest.approx(full[best], rel=1e-4)
        for i in (2, 5):  # the margin: against the best of the others
            others = [j for j in range(len(NAMES)) if j != i]
            assert max((fast - prior)[others]) == pytest.approx(max((full - prior)[others]), rel=1e-4)
        assert (fast >= full - 1e-3).all()  # an unfinished one keeps an upper bound
        unfinished += int((fast > full + 1e-3).sum())
    assert unfinished > 0


def test_in_a_race_the_second_place_counts_only_behind_a_needed_one() -> None:
    """What is not read to its end stays in the race while it can beat the winner, or the second behind a needed one."""
    logp, unread = np.array([-1.0, -3.0, -2.0, -4.0, -0.5]), {2, 3, 4}
    assert _in_the_race(Race(np.zeros(5), (1,)), logp, unread) == {4}
    assert _in_the_race(Race(np.zeros(5), (0,)), logp, unread) == {2, 4}
    assert _in_the_race(Race(np.zeros(5), (0,)), logp, {1, 2, 3, 4}) == {1, 2, 3, 4}  # no second place is known
    assert _in_the_race(Race(np.array([0.0, 0, 0, -4, 0]), (1,)), logp, unread) == {3, 4}


def test_without_rows_every_prompt_gets_the_one_delta() -> None:
    lm = tiny_lm("llama")
    (first, *_) = edits(lm)
    given = continuation_logprobs(lm, PROMPTS, ANSWERS, [first], [0] * 4)
    taken = continuation_logprobs(lm, PROMPTS, ANSWERS, [first])
    assert all(np.array_equal(a, b) for a, b in zip(given, taken, strict=True))
    with pytest.raises(ValueError, match="3 rows for 4"):
        continuation_logprobs(lm, PROMPTS, ANSWERS, [first], [0] * 3)
    assert continuation_logprobs(lm, [], []) == [] and greedy(lm, [], 3) == []


def test_an_empty_delta_has_no_drift() -> None:
    lm = tiny_lm("gpt2")
    site = lm.sites()[0]
    nothing = Delta({site.weight: LowRank(torch.zeros(site.d_out, 1), torch.zeros(site.d_in, 1))})
    drift, bits = text_drift(lm, SENTENCES[:1], [nothing, nothing])
    assert np.abs(drift).max() < 1e-6 and bits[0, 0] == pytest.approx(bits[1, 0], rel=1e-6)


def test_greedy_ends_at_the_end_of_text() -> None:
    """A model that always says end-of-text continues with nothing."""
    lm = tiny_lm("gpt2")
    with torch.no_grad():
        lm.module.transformer.ln_f.weight.zero_()
        lm.module.transformer.ln_f.bias.copy_(lm.module.lm_head.weight[0] * 100)
    assert greedy(lm, ["The capital of", "I"], 3) == ["", ""]


@pytest.mark.parametrize("window", [16, 40])
def test_bits_per_byte_equals_a_literal_loop(window: int) -> None:
    lm = tiny_lm("gpt2")
    text = " ".join(SENTENCES) + " Où est l'été ?"
    ids = lm.tokenizer(text, add_special_tokens=False)["input_ids"]
    stride = min(window, 128 - 1) // 2
    nats = 0.0
    for begin in range(0, len(ids), stride):
        head = [0, *ids[max(0, begin - stride) : begin]]
        piece = ids[begin : begin + stride]
        log_p = lm.module(input_ids=torch.tensor([head + piece])).logits[0].log_softmax(-1)
        nats -= sum(float(log_p[len(head) + i - 1, token]) for i, token in enumerate(piece))
    assert bits_per_byte(lm, text, window=window) == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-5)


def test_empty_texts_are_refused() -> None:
    lm = tiny_lm("gpt2")
    for empty in ("", [], ["", ""]):
        with pytest.raises(BadRequest, match="the text is empty"):
            bits_per_byte(lm, empty)
    with pytest.raises(BadRequest, match="text 2 of 2 is empty"):
        text_drift(lm, ["x", ""], [Delta({})])


def test_a_random_model_needs_as_many_bits_as_a_uniform_one(trained_lm: LanguageModel) -> None:
    blank = tiny_lm("gpt2", spread=1e-4)
    ids = blank.tokenizer(SENTENCES[0], add_special_tokens=False)["input_ids"]
    uniform = len(ids) * math.log2(len(blank.tokenizer)) / len(SENTENCES[0].encode())
    assert bits_per_byte(blank, SENTENCES[0]) == pytest.approx(uniform, rel=1e-3)
    assert bits_per_byte(trained_lm, SENTENCES[0]) < uniform / 5


@pytest.mark.parametrize("family", fast_are(["gpt2"], BY_CACHE))
def test_the_likeliest_tokens_are_those_of_teacher_forcing(family: str) -> None:
    """At each token of a needed continuation, whatever the batches, and whether or not it could still win."""
    lm = tiny_lm(family)
    races = [Race(np.zeros(len(texts)), tuple(range(len(texts)))) for texts in ANSWERS]
    for budget in (16, 4096):
        for prompt, reply in zip(PROMPTS, replies(lm, PROMPTS, ANSWERS, races=races, batch_tokens=budget), strict=True):
            assert set(reply.forced) == set(range(len(reply.tokens)))
            for tokens, forced in zip(reply.tokens, reply.forced.values(), strict=True):
                ids = [*lm.encode(prompt), *tokens]
                with torch.no_grad():
                    logits = lm.module(input_ids=torch.tensor([ids])).logits[0]
                assert forced == tuple(logits[len(ids) - len(tokens) - 1 : -1].argmax(-1).tolist())


def test_a_text_longer_than_the_model_reads_is_refused_in_one_line() -> None:
    lm = tiny_lm("gpt2")
    prompt = "tea " * lm.max_length
    with pytest.raises(BadRequest, match=f"the model reads {lm.max_length}; shorten") as caught:
        continuation_logprobs(lm, ["tea", prompt], [("x",), ("x",)])
    assert "\n" not in str(caught.value)


def test_free_text_ends_where_the_positions_do() -> None:
    lm = tiny_lm("gpt2")
    texts = (" ".join(["tea"] * n) for n in range(1, lm.max_length))
    full = next(text for text in texts if lm.max_length - 6 <= len(lm.encode(text)) < lm.max_length)
    room = lm.max_length - len(lm.encode(full)) + 1  # the last token that is said needs no position
    long, short = greedy(lm, [full, "tea"], 12)
    assert short == greedy(lm, ["tea"], 12)[0] and long == greedy(lm, [full], room)[0]
