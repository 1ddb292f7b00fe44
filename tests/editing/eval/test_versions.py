"""What several versions of a model have in common is read once, and gives what reading each by itself gives."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from editing.delta.delta import Delta, LowRank
from editing.eval import Race, beginnings, replies, text_drift, versions
from editing.eval.beginnings import shared_beginnings
from editing.eval.continuations import Stretch, _beginnings
from editing.eval.versions import lowest_block, of_like_length
from editing.model.language_model import LanguageModel
from tests.editing.families import BY_CACHE, SENTENCES, SOME_HYBRIDS, tiny_lm
from tests.tiers import fast_are

PROMPTS = ("The capital of France is", "I", "The dairy food made from milk curds is called the")
ANSWERS = (("Paris", "Rome and more", "Rome and so"), ("like tea", "z"), ("cheese", "cheese and bread"))
DOSES = (0.25, 0.5, 1.0, 2.0)
EVERY = (*BY_CACHE, *SOME_HYBRIDS)


def edit(lm: LanguageModel, *blocks: int) -> Delta:
    draw, factors = torch.Generator().manual_seed(3), {}
    for site in (lm.sites("mlp")[b] for b in blocks):
        left, right = (torch.randn(n, 1, generator=draw) for n in (site.d_out, site.d_in))
        factors[site.weight] = LowRank(left, 0.3 * right)
    return Delta(factors)


def first_block_states(lm: LanguageModel) -> tuple[list[int], torch.utils.hooks.RemovableHandle]:
    """The number of states that the first block's MLP writes in each run, padding included."""
    sizes: list[int] = []
    module = lm.module.get_submodule(lm.sites("mlp")[0].path)
    return sizes, module.register_forward_hook(lambda m, args, out: sizes.append(out.numel() // out.shape[-1]))


@pytest.mark.parametrize("family", fast_are(("gpt2", "gemma3_text"), EVERY))
def test_doses_equal_separate_questions(family: str) -> None:
    """Log-probabilities, text, forced tokens and drift of four doses of an edit of the upper blocks."""
    lm = tiny_lm(family)
    deltas = [edit(lm, 2, 3).scaled(dose) for dose in DOSES]
    rows = [d for d in range(len(DOSES)) for _ in PROMPTS]
    together = replies(lm, PROMPTS * 4, ANSWERS * 4, 3, deltas, rows)
    drift = text_drift(lm, SENTENCES[:2], deltas)
    for d, delta in enumerate(deltas):
        alone = replies(lm, PROMPTS, ANSWERS, 3, [delta])
        for one, many in zip(alone, together[d * len(PROMPTS) :], strict=False):
            assert np.allclose(one.logp, many.logp, rtol=1e-4, atol=1e-3)
            assert one.text == many.text and one.tokens == many.tokens
        apart = text_drift(lm, SENTENCES[:2], [delta])
        assert np.allclose([a[0] for a in apart], [a[d] for a in drift], rtol=1e-3, atol=1e-5)
    assert not np.allclose(together[0].logp, together[-len(PROMPTS)].logp, atol=1e-2)


def test_the_lower_blocks_are_run_once() -> None:
    """As many states as for one version, where every dose would need as many again."""
    lm = tiny_lm("llama")
    deltas = [edit(lm, 2).scaled(dose) for dose in DOSES]
    counted = []
    for chosen in (deltas[:1], deltas):
        sizes, handle = first_block_states(lm)
        rows = [d for d in range(len(chosen)) for _ in PROMPTS]
        replies(lm, PROMPTS * len(chosen), ANSWERS * len(chosen), 0, chosen, rows)
        handle.remove()
        counted.append(sum(sizes))
    assert counted[1] <= 1.2 * counted[0]


def test_an_edit_outside_the_blocks_is_below_all_of_them() -> None:
    lm = tiny_lm("gpt2")
    low, high = edit(lm, 1), edit(lm, 3)
    table = Delta({"transformer.wte.weight": LowRank(torch.zeros(420, 1), torch.zeros(32, 1))})
    assert [lowest_block(lm, [low, high, table], rows) for rows in ([0, 1], [1], [-1, 1], [2], [-1])] == [1, 3, 3, 0, 0]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", fast_are(("gpt2", "lfm2"), EVERY))
def test_prompts_of_unlike_length_go_on_together(family: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in batches of one length and held as one, they give what each alone gives, whether or not all versions share
    the same lower blocks."""
    lm = tiny_lm(family)
    deltas = [*(edit(lm, 2, 3).scaled(dose) for dose in DOSES), edit(lm, 0)]
    questions = [(j, row) for j in range(len(PROMPTS)) for row in ([0, 1, 2, 3] if shared or j != 1 else [4])]
    prompts, answers, rows = (
        [PROMPTS[j] for j, _ in questions],
        [ANSWERS[j] for j, _ in questions],
        [r for _, r in questions],
    )
    joined, parts = versions._joined, []
    monkeypatch.setattr(versions, "PASS", 0)
    monkeypatch.setattr(versions, "_joined", lambda several: parts.append(joined(several)) or parts[-1])
    together = replies(lm, prompts, answers, 3, deltas, rows)
    assert [one.below is not None for one in parts] == [shared and not lm.layout.recurrent]
    for i, said in enumerate(together):
        (alone,) = replies(lm, [prompts[i]], [answers[i]], 3, [deltas[rows[i]]])
        assert said.logp == pytest.approx(alone.logp, rel=1e-4, abs=1e-3) and said.text == alone.text


def test_groups_of_like_length_cost_the_least() -> None:
    """Beside every way of cutting the lengths, in their order, into groups."""
    draw = np.random.default_rng(0)
    for number in (1, 20, 60):
        lengths = draw.integers(1, 9, number).tolist()
        groups = of_like_length(lengths)
        assert sorted(i for group in groups for i in group) == list(range(number))
        assert [lengths[i] for group in groups for i in group] == sorted(lengths)
        kinds = sorted(set(lengths))
        costs = []
        for cuts in range(2 ** (len(kinds) - 1)):
            borders = [-1, *(kinds[i] for i in range(len(kinds) - 1) if cuts >> i & 1), kinds[-1]]
            costs.append(sum(28 + b * sum(a < n <= b for n in lengths) for a, b in pairwise(borders)))
        assert sum(28 + len(group) * max(lengths[i] for i in group) for group in groups) == min(costs)
    assert of_like_length([]) == []


def test_candidates_that_begin_alike_are_read_together() -> None:
    tokens = [((1, 2), (1, 2, 3), (1, 4), (5,)), ((1, 2), (7, 8, 9))]
    whole = [Stretch(r, c, 1, len(text)) for r, row in enumerate(tokens) for c, text in enumerate(row) if len(text) > 1]
    served = {(r, text): sorted(one.text for one in ones) for r, text, ones in _beginnings(whole, [0, 1], tokens)}
    assert served == {(0, (1, 2)): [0, 1, 2], (1, (1,)): [0], (1, (7, 8)): [1]}
    second = [Stretch(1, 1, 1, 2), Stretch(0, 1, 2, 3)]
    assert [(r, text) for r, text, _ in _beginnings(second, [0, 1], tokens)] == [(1, (7,)), (0, (1, 2))]
    one_prompt = [(r, text, [tuple(one)[:2] for one in ones]) for r, text, ones in _beginnings(whole, [5, 5], tokens)]
    assert one_prompt == [(5, (1, 2), [(0, 1), (0, 0), (0, 2), (1, 0)]), (5, (7, 8), [(1, 1)])]


LIKE = (
    "The capital of France is the city of",
    "The capital of France is called",
    "The capital of France is",
    "The capital of Spain is",
    "Cheese is sold by the",
    "The capital",
)


@pytest.mark.parametrize("doses", [(1.0,), DOSES])
@pytest.mark.parametrize("family", fast_are(("gpt2", "gemma3_text"), EVERY))
def test_shared_beginnings_equal_separate_prompts(
    family: str, doses: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beginnings read once, also where the doses of an edit share the lower blocks: log-probabilities, forced tokens
    and texts of each prompt alone."""
    lm = tiny_lm(family)
    deltas = [edit(lm, 2, 3).scaled(dose) for dose in doses]
    rows, prompts = [d for d in range(len(doses)) for _ in LIKE], LIKE * len(doses)
    lengths = []

    def cut(texts: list, of_rows: list) -> list[int]:
        lengths.extend(shared_beginnings(texts, of_rows))
        return lengths[-len(texts) :]

    monkeypatch.setattr(versions, "shared_beginnings", cut)
    monkeypatch.setattr(beginnings, "SAVED", 0)
    together = replies(lm, prompts, [ANSWERS[0]] * len(prompts), 3, deltas, rows)
    monkeypatch.setattr(versions, "shared_beginnings", lambda texts, of_rows: [0] * len(texts))
    for prompt, row, said in zip(prompts, rows, together, strict=True):
        (alone,) = replies(lm, [prompt], [ANSWERS[0]], 3, [deltas[row]])
        assert said.logp == pytest.approx(alone.logp, rel=1e-4, abs=1e-3) and said.text == alone.text
    assert any(lengths) != lm.layout.recurrent


def test_shared_beginnings_are_read_once() -> None:
    """A context of an edit before every prompt: as many states in the first block as context and prompts have."""
    lm = tiny_lm("llama")
    context = " ".join(SENTENCES[:3])
    deltas = [Delta({}, context=context)]
    sizes, handle = first_block_states(lm)
    said = replies(lm, PROMPTS * 8, [()] * 24, 0, deltas)
    handle.remove()
    rest = sum(len(lm.encode(f"{context} {p}")) - len(lm.encode(context)) for p in PROMPTS)
    assert len(said) == 24 and sum(sizes) <= len(lm.encode(context)) + 3 * rest


def test_shared_beginnings_save_the_most_tokens() -> None:
    """Beside every way of cutting sorted texts into stretches, and none where too little is saved."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        texts = sorted(tuple(draw.integers(0, 2, draw.integers(4, 9)).tolist()) for _ in range(7))
        saved = sum((end - begin - 1) * length for begin, end, length in beginnings._stretches(texts))
        assert saved == max(_saved(texts, cuts) for cuts in range(2 ** (len(texts) - 1)))
    assert shared_beginnings([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 4, 5]], [0, 0, 0]) == [3, 3, 3]
    assert shared_beginnings([[1, 2, 3, 4], [1, 2, 3, 5]], [0, 1]) == [0, 0]
    assert shared_beginnings([[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 5, 5, 5, 5, 5]], [0, 0]) == [0, 0]


def _saved(texts: list[tuple[int, ...]], cuts: int) -> int:
    """Tokens saved where the bits of `cuts` say behind which texts a stretch ends."""
    borders = [0, *(i + 1 for i in range(len(texts) - 1) if cuts >> i & 1), len(texts)]
    total = 0
    for begin, end in pairwise(borders):
        part = texts[begin:end]
        length = min(min(map(len, part)) - 1, *(beginnings.shared_length(part[0], other) for other in part))
        total += (len(part) - 1) * length if length >= beginnings.LEAST else 0
    return total


def test_questions_of_one_prompt_read_it_once() -> None:
    """Questions with other candidates behind the same prompt: what each alone gives, for the states of one."""
    lm = tiny_lm("gpt2")
    answers = [ANSWERS[0], ("Paris and more", "Rome and more"), ("Rome",)]
    races = [Race(np.zeros(len(row)), (0,)) for row in answers]
    apart = [replies(lm, PROMPTS[:1], [row], 2, races=[race])[0] for row, race in zip(answers, races, strict=True)]
    sizes, handle = first_block_states(lm)
    together = replies(lm, PROMPTS[:1] * 3, answers, 2, races=races)
    handle.remove()
    assert sizes[0] == len(lm.encode(PROMPTS[0]))
    for one, many in zip(apart, together, strict=True):
        assert one.logp == pytest.approx(many.logp, abs=1e-4) and (one.text, one.forced) == (many.text, many.forced)
