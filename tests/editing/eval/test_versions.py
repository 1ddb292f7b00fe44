"""What several versions of a model have in common is read once, and gives what reading each by itself gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editing.delta.delta import Delta, LowRank
from editing.eval import replies, text_drift, versions
from editing.eval.continuations import Stretch, _beginnings
from editing.eval.versions import lowest_block
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
    monkeypatch.setattr(versions, "FEW", 1)
    monkeypatch.setattr(versions, "_joined", lambda several: parts.append(joined(several)) or parts[-1])
    together = replies(lm, prompts, answers, 3, deltas, rows)
    assert [one.below is not None for one in parts] == [shared and not lm.layout.recurrent]
    for i, said in enumerate(together):
        (alone,) = replies(lm, [prompts[i]], [answers[i]], 3, [deltas[rows[i]]])
        assert said.logp == pytest.approx(alone.logp, rel=1e-4, abs=1e-3) and said.text == alone.text


def test_candidates_that_begin_alike_are_read_together() -> None:
    tokens = [((1, 2), (1, 2, 3), (1, 4), (5,)), ((1, 2), (7, 8, 9))]
    whole = [Stretch(r, c, 1, len(text)) for r, row in enumerate(tokens) for c, text in enumerate(row) if len(text) > 1]
    served = {(r, text): sorted(one.text for one in ones) for r, text, ones in _beginnings(whole, tokens)}
    assert served == {(0, (1, 2)): [0, 1, 2], (1, (1,)): [0], (1, (7, 8)): [1]}
    second = [Stretch(1, 1, 1, 2), Stretch(0, 1, 2, 3)]
    assert [(r, text) for r, text, _ in _beginnings(second, tokens)] == [(1, (7,)), (0, (1, 2))]
