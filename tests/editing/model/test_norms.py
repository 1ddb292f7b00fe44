"""Norms behind maps: which models have them, what their formula gives, and the way back through them."""

from __future__ import annotations

import pytest
import torch

from editing.model import OutputNorm, output_norm
from tests.editing.families import tiny_lm
from tests.tiers import fast_are

WITH_NORMS = {
    "gemma2": ("post_feedforward_layernorm", "post_attention_layernorm"),
    "gemma3_text": ("post_feedforward_layernorm", "post_attention_layernorm"),
    "olmo2": ("post_feedforward_layernorm", "post_attention_layernorm"),
    "glm4": ("post_mlp_layernorm", "post_self_attn_layernorm"),
}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", fast_are(["gemma3_text", "glm4"], WITH_NORMS))
def test_norms_are_found_and_their_formula_is_theirs(family: str) -> None:
    lm = tiny_lm(family, spread=0.3)
    for kind, name in zip(("mlp", "attn"), WITH_NORMS[family], strict=True):
        for site in lm.sites(kind):
            assert site.norm == f"model.layers.{site.layer}.{name}"
            norm = output_norm(lm, site)
            assert norm is not None
            for length in (1.0, 1e-3):
                x = length * draw(5, lm.d_model)
                expected = lm.module.get_submodule(site.norm)(x[None])[0].double()
                torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "family", fast_are(["gpt2", "gemma"], ["gpt2", "llama", "gemma", "falcon", "gptj", "granite", "opt"])
)
def test_norms_in_front_of_maps_are_none_behind_them(family: str) -> None:
    lm = tiny_lm(family)
    assert not any(site.norm for kind in ("mlp", "value", "attn") for site in lm.sites(kind))
    assert output_norm(lm, lm.sites("mlp")[0]) is None


def test_what_can_be_reached_is_reached_and_the_rest_is_as_near_as_can_be() -> None:
    gain = draw(16, seed=1).abs() + 0.1
    norm = OutputNorm(gain.double(), 1e-6)
    x, other = draw(4, 16), draw(4, 16, seed=2)
    other = other * x.norm(dim=1, keepdim=True) / other.norm(dim=1, keepdim=True)
    there = norm.before(x, norm(other) - norm(x))
    torch.testing.assert_close(there, other, rtol=1e-5, atol=1e-5)
    far = 5 * draw(4, 16, seed=3)
    best = norm.before(x, far)
    torch.testing.assert_close(best.norm(dim=1), x.norm(dim=1))
    distance = (norm(best) - norm(x) - far).norm(dim=1)
    for seed in range(200):
        near = best + 0.05 * draw(4, 16, seed=seed) if seed % 2 else draw(4, 16, seed=seed)
        near = near * x.norm(dim=1, keepdim=True) / near.norm(dim=1, keepdim=True)
        assert bool(((norm(near) - norm(x) - far).norm(dim=1) >= distance - 1e-9).all())


def test_a_gain_of_zero_lets_nothing_through() -> None:
    gain = torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    norm, x = OutputNorm(gain, 0.0), draw(3, 4)
    best = norm.before(x, torch.tensor([[0.0, 9.0, 0.0, 1.0]]).expand(3, 4))
    assert bool(best.isfinite().all()) and bool((best[:, 1] == 0).all())
