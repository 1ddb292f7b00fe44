"""The learned rename at the head: against a literal solution, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from editing.delta import Delta
from editing.errors import BadRequest
from editing.eval import at_dose, target_margins
from editing.methods import make_method
from editing.methods.vocabulary.unembedding import Answers, _replaced
from editing.model import LanguageModel, head_site
from editing.text import EditRequest
from tests.editing.families import SENTENCES, tiny_lm
from tests.editing.solve.test_least_change import literal_change
from tests.editing.worked import model, session_statistics
from tests.tiers import fast_are

KEEP = ("The capital of Italy is", "Zoe likes the", "A loaf of bread is made from")
RENAME = EditRequest("r", ("The capital of France is", "I like"), "", ("Rome", "tea"), "last", keep=KEEP)
# Tied and untied heads, a soft cap behind the head (gemma2), a factor behind it (cohere, granite).
HEADS = ("gpt2", "gemma3_text", "llama", "gemma2", "cohere", "granite")


def read(lm: LanguageModel, ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads at every token, and the logits, by a plain run of the model."""
    store: list[torch.Tensor] = []
    handle = lm.module.get_output_embeddings().register_forward_pre_hook(lambda m, a: store.append(a[0][0]))
    with torch.no_grad():
        logits = lm.module(input_ids=torch.tensor([ids])).logits[0]
    handle.remove()
    return store[0].double(), logits.double()


def forced(lm: LanguageModel, request: EditRequest) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """State, logits and token of every position that predicts a token of a target."""
    out = []
    for prompt, target in zip(request.filled(), request.targets, strict=True):
        ids, begin = lm.encode(f"{prompt} {target}"), len(lm.encode(prompt))
        states, logits = read(lm, ids)
        out += [(states[at - 1], logits[at - 1], ids[at]) for at in range(begin, len(ids))]
    return out


def dense(lm: LanguageModel, delta: Delta) -> torch.Tensor:
    """The change of the head's rows."""
    (weight,) = [change for name, change in delta.factors.items() if name.endswith(".weight")]
    return weight.dense().double()


@pytest.mark.parametrize("family", fast_are(["gpt2"], ["gpt2", "llama"]))
def test_it_is_the_literal_solution(family: str) -> None:
    """One run per prompt and text, C by one outer product per token, every constraint written out."""
    lm = tiny_lm(family, spread=0.1)
    statistics = session_statistics(lm)
    request = replace(RENAME, prompts=RENAME.prompts[:1], targets=("the",))
    (delta,) = make_method("unembedding", margin=0.5, pull=0.4, keep_weight=2.0).each(lm, [request], statistics)
    states = torch.cat([read(lm, sequence)[0] for sequence in statistics.sequences()])
    c = states.T @ states / len(states)
    mean = c.diagonal().mean()
    kept = torch.stack([read(lm, lm.encode(text))[0][-1] for text in KEEP])
    k = kept.T @ kept / len(kept)
    metric = c + statistics.ridge * mean * torch.eye(len(c)) + 2.0 * mean / k.diagonal().mean() * k
    ((state, logits, target),) = forced(lm, request)
    rows = lm.module.get_output_embeddings().weight.detach().double()
    old = int(logits.argmax())
    pulled = torch.zeros_like(rows)
    pulled[old] = 0.4 * (rows[target] - rows[old])
    learned = literal_change(
        state[None].numpy(), metric.numpy(), (logits + pulled @ state)[None].numpy(), [target], 0.5
    )
    expected = pulled + torch.from_numpy(learned)
    assert float((dense(lm, delta) - expected).norm() / expected.norm()) < 0.01
    assert delta.provenance["replaced"] == [[lm.tokenizer.decode([old]), lm.tokenizer.decode([target])]]


@pytest.mark.parametrize("family", fast_are(("gemma3_text", "gemma2", "cohere"), HEADS))
def test_targets_lead_and_states_stay(family: str) -> None:
    """With the edit in the weights: every target token leads, all that the head reads is as it was, also of other text
    with the changed tokens in it."""
    lm = model(family)
    statistics = session_statistics(lm)
    (delta,) = make_method("unembedding", margin=0.5).each(lm, [RENAME], statistics)
    tokens = [i for i, row in enumerate(dense(lm, delta)) if row.any()]
    texts = [lm.encode(SENTENCES[0]), [*lm.prefix_ids, *tokens]]
    before = [read(lm, ids)[0] for ids in texts]
    with delta.applied(lm):
        after = [read(lm, ids)[0] for ids in texts]
        answers = forced(lm, RENAME)
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4 * float(one.abs().max()))
    soft_cap = 0.1 if family == "gemma2" else 0.0
    for _, logits, target in answers:
        others = logits.clone()
        others[target] = -torch.inf
        assert logits[target] - others.max() >= 0.5 - soft_cap - 1e-3


def test_a_dose_is_chosen_by_its_own_margin() -> None:
    lm = model("gpt2")
    (delta,) = make_method("unembedding", margin=0.5).each(lm, [RENAME], session_statistics(lm))
    _, dose = at_dose(lm, delta, [RENAME])
    assert dose.margin == 0.5 and dose.reached == dose.prompts == 2 and dose.value is not None
    assert dose.value <= 1 + 1 / 256
    assert (target_margins(lm, delta, [RENAME], [1.0]) >= 0.5).all()


def test_texts_to_keep_change_less() -> None:
    """What the head gives behind them moves less by half at least, and the targets still lead."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    plain, keeping = (
        make_method("unembedding", margin=0.5, keep_weight=w).each(lm, [RENAME], statistics)[0] for w in (0.0, 30.0)
    )
    kept = torch.stack([read(lm, lm.encode(text))[0][-1] for text in KEEP])
    moved = [float((kept @ dense(lm, delta).T).square().mean()) for delta in (plain, keeping)]
    assert moved[1] < 0.25 * moved[0]
    assert keeping.provenance["kept_texts"] == 3 and "kept_texts" not in plain.provenance
    assert (target_margins(lm, keeping, [RENAME], [1.0]) >= 0.5).all()


def test_one_change_carries_out_several_requests() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    other = EditRequest("fact", ("{} comes from",), "Brie", ("Italy and Rome",))
    method = make_method("unembedding", margin=0.5, pull=0.3)
    joint = method(lm, [RENAME, other], statistics)
    assert (target_margins(lm, joint, [RENAME, other], [1.0]) >= 0.5).all()
    assert [r["id"] for r in joint.provenance["requests"]] == ["r", "fact"]
    parts = method.each(lm, [RENAME, other], statistics)
    assert all(d.provenance["requests"][0]["id"] == r.id for d, r in zip(parts, (RENAME, other), strict=True))


def test_a_target_that_leads_already_changes_nothing() -> None:
    lm = model("gpt2")
    prompt = next(
        (p, w) for p in ("I like", "The capital of", "Brie comes from", "The river", "It is", "A loaf of", "We see")
        if (w := lm.tokenizer.decode([int(read(lm, lm.encode(p))[1][-1].argmax())])).startswith(" ")
        and w.strip().isalpha()
    )  # fmt: skip
    said = EditRequest("same", (prompt[0],), "", (prompt[1].strip(),), "last")
    (delta,) = make_method("unembedding", margin=0.0, pull=0.4).each(lm, [said], session_statistics(lm))
    norms = [change.norm() for change in delta.factors.values()]
    assert not delta.provenance["replaced"] and np.max([0.0, *norms]) < 0.05


def test_a_target_is_not_replaced() -> None:
    """Token 1 is said in both prompts, and is the target of the first one."""
    logits = torch.tensor([[0.0, 9.0, 0.0, 5.0], [0.0, 9.0, 0.0, 5.0]])
    assert _replaced(Answers(torch.zeros(2, 4), logits, 1.0, [1, 2], [True, True])) == {3: 2}


def test_what_cannot_be_done_is_refused_in_one_line() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    with pytest.raises(BadRequest, match="'r': no texts to keep") as nothing:
        make_method("unembedding", keep_weight=1.0).each(lm, [replace(RENAME, keep=())], statistics)
    with pytest.raises(BadRequest, match="no change of the head found") as alike:
        make_method("unembedding").each(lm, [replace(RENAME, prompts=("I like", "I like"))], statistics)
    with pytest.raises(BadRequest, match="no request") as none:
        make_method("unembedding")(lm, [], statistics)
    assert not any("\n" in str(error.value) for error in (nothing, alike, none))
    for key in ("margin", "pull", "keep_weight"):
        for value in (-1.0, float("inf"), float("nan")):
            with pytest.raises(BadRequest, match=key):
                make_method("unembedding", **{key: value})


def test_the_site_of_the_head() -> None:
    for family in ("gpt2", "llama"):
        lm = tiny_lm(family)
        site = head_site(lm.module, lm.n_layers)
        assert lm.module.get_submodule(site.path) is lm.module.get_output_embeddings()
        assert (site.d_out, site.d_in) == tuple(lm.module.get_output_embeddings().weight.shape)
