"""Changes of one place by different methods (steering and an erasure, for one) as one change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing.delta import Affine, Codebook, Delta, Shift, chained, compose
from editing.errors import BadRequest

PLACE = "transformer.h.1.output"


def drawn(*sizes: tuple[int, ...]) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(*size, generator=draw) for size in sizes]


def test_a_vector_and_an_affine_change(tmp_path: Path) -> None:
    left, right, offset, vector, x = drawn((5, 2), (5, 2), (5,), (5,), (3, 5))
    affine, shift = Affine(left, right, offset), Shift(vector)
    for pair in ((affine, shift), (shift, affine)):
        whole = compose([Delta({PLACE: one}) for one in pair])
        again = Delta.load(whole.save(tmp_path / type(pair[0]).__name__)).factors[PLACE]
        assert isinstance(again, Affine)
        assert torch.allclose(again.of(x), affine.of(x) + vector, atol=1e-5)
        assert torch.allclose(0.5 * again.of(x), whole.scaled(0.5).factors[PLACE].of(x), atol=1e-5)
    behind = chained({PLACE: shift}, {PLACE: affine})[PLACE]
    assert torch.allclose(behind.of(x), vector + affine.of(x + vector), atol=1e-5)
    before = chained({PLACE: affine}, {PLACE: shift})[PLACE]
    assert torch.allclose(before.of(x), affine.of(x) + vector, atol=1e-5)


def test_a_codebook_and_a_vector_are_refused_by_their_place() -> None:
    keys, values, vector = drawn((1, 5), (1, 5), (5,))
    book = Codebook(keys, values, torch.ones(1), torch.ones(1, dtype=torch.long))
    with pytest.raises(BadRequest, match=f"{PLACE}: Shift and Codebook of one place do not add up; make one"):
        compose([Delta({PLACE: Shift(vector)}), Delta({PLACE: book})])


def test_changes_of_different_models_are_refused() -> None:
    """Their sum named no model, so that any model of these shapes took it."""
    (vector,) = drawn((5,))
    one, two = (Delta({PLACE: Shift(vector)}, {"model_hash": name * 64}) for name in "ab")
    with pytest.raises(BadRequest, match="changes of 2 models have no sum"):
        compose([one, two])
    by_hand = Delta({PLACE: Shift(vector)})
    assert compose([one, by_hand, one]).provenance["model_hash"] == "a" * 64
    assert "model_hash" not in compose([by_hand, by_hand]).provenance
