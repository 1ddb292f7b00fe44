"""Texts to keep: their keys as read one by one, the solve against a dense one, and what an edit does to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from editing.errors import BadRequest
from editing.methods import make_method
from editing.solve import kept_keys, states
from editing.stats import solve_keeping
from editing.text import EditRequest, escaped, tokenise
from tests.editing.families import tiny_lm
from tests.editing.worked import ridged
from tests.tiers import fast_are

SHORT = {"short_prefixes": 0, "long_prefixes": 0, "site": "mlp", "depth": 0.9}
KEEP = (
    "The capital of Italy is the city of",
    "The capital of Spain is the city of",
    "The capital of {Peru} is the city of",
    "Zoe likes",
)
RENAME = EditRequest("r", ("The capital of France is the city of",), "", ("Rome",), "last", keep=KEEP)


@pytest.mark.parametrize("family", fast_are(("gpt2", "lfm2"), ("gpt2", "llama", "gemma3_text", "lfm2", "jamba")))
def test_keys_are_those_of_each_text_read_alone(family: str) -> None:
    """Three of the texts begin alike and are read once; one is too short to be of their form."""
    lm = tiny_lm(family)
    site = lm.sites("attn" if family == "jamba" else "mlp")[-1]
    together = kept_keys(lm, site, KEEP)
    for text, key in zip(KEEP, together, strict=True):
        alone = states(lm, [tokenise(lm, escaped(text), "", "last")], [(site.path, "input")])[site.path, "input"]
        torch.testing.assert_close(key, alone[0], rtol=1e-4, atol=1e-5)


def test_the_solve_is_that_of_the_sum(trained_lm, statistics) -> None:
    site = trained_lm.sites("mlp")[1]
    kept, keys = torch.randn(5, site.d_in), torch.randn(site.d_in, 3)
    c, d = ridged(statistics, site).double(), kept.T.double() @ kept.double() / len(kept)
    mean = statistics.covariance(site).matrix.diagonal().double().mean()
    for weight in (0.1, 30.0):
        dense = torch.linalg.solve(c + weight * mean / d.diagonal().mean() * d, keys.double())
        torch.testing.assert_close(solve_keeping(statistics, site, keys, kept, weight), dense, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["rome", "r_rome"])
def test_an_edit_acts_less_on_what_it_keeps(trained_lm, statistics, name: str) -> None:
    """The output at the kept texts moves by u . k; the edit's own prompt still gets its whole change."""
    plain, keeping = (make_method(name, **SHORT, keep_weight=w) for w in (0.0, 10.0))
    (before,), (after,) = (m.each(trained_lm, [RENAME], statistics) for m in (plain, keeping))
    site = trained_lm.site("mlp", plain.placement(trained_lm, RENAME).layers[0])
    own, *kept = (
        (delta.factors[site.weight].dense() @ kept_keys(trained_lm, site, [*RENAME.prompts, *KEEP]).T).norm(dim=0)
        for delta in (before, after)
    )
    moved, (kept,) = own, kept
    assert moved[0] > 0 and torch.isclose(moved[0], kept[0], rtol=0.02)
    assert kept[1:3].max() < 0.5 * moved[1:3].min()
    assert after.provenance["kept_texts"] == 4 and "kept_texts" not in before.provenance


def test_a_batch_keeps_for_each_request_its_own_texts(trained_lm, statistics) -> None:
    method = make_method("rome", **SHORT, keep_weight=1.0)
    other = replace(RENAME, id="other", targets=("Oslo",), keep=KEEP[:1])
    together = method.each(trained_lm, [RENAME, other], statistics)
    for request, delta in zip((RENAME, other), together, strict=True):
        (alone,) = method.each(trained_lm, [request], statistics)
        ((name, change),) = delta.factors.items()
        torch.testing.assert_close(change.dense(), alone.factors[name].dense(), rtol=1e-3, atol=1e-5)


def test_what_cannot_be_kept_is_refused(trained_lm, statistics) -> None:
    method = make_method("rome", **SHORT, keep_weight=1.0)
    with pytest.raises(BadRequest, match="'r': no texts to keep"):
        method.each(trained_lm, [replace(RENAME, keep=())], statistics)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(BadRequest, match="keep_weight"):
            make_method("rome", keep_weight=value)
    for text in (RENAME.prompts[0], f" {RENAME.prompts[0]} "):
        with pytest.raises(BadRequest, match="to be edited and to be kept; leave it out"):
            replace(RENAME, keep=(*KEEP, text))
    for text, why in (("", "empty text to keep"), (3, "give a text"), ("\ud800", "half a character")):
        with pytest.raises(BadRequest, match=why):
            replace(RENAME, keep=(text,))
