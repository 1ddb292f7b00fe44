"""What every registered method must keep; a new method is tested by being there."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from benchmarks.commands.catalogue import describe_entry, format_description
from editing.delta.delta import Delta, compose, delta_hooks
from editing.errors import BadData, BadModel, BadRequest, NoSite, UserError
from editing.eval import continuation_logprobs
from editing.methods import make_method, method_names, registry
from editing.methods.base import block_at
from editing.model.hooks import hooked
from editing.model.language_model import LanguageModel, hash_weights
from editing.run.forward import forward, pad
from editing.stats.statistics import ModelStatistics
from tests.editing.families import tiny_lm
from tests.editing.worked import (
    CONTRACT_REQUESTS,
    CONTROLS,
    LOOKING_NOWHERE,
    NEEDS_A_TRAINED_MODEL,
    NOT_MOVING,
    distance,
    quick,
    session_statistics,
)

METHODS = tuple(registry())
REQUESTS = CONTRACT_REQUESTS


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm("gpt2", spread=0.3)


@pytest.fixture(scope="module")
def statistics(lm: LanguageModel) -> ModelStatistics:
    return session_statistics(lm)


@pytest.fixture(scope="module")
def edits(lm: LanguageModel, statistics: ModelStatistics) -> dict[str, list[Delta]]:
    """`each` of every method on the same requests, computed once."""
    return {name: quick(name).each(lm, REQUESTS, statistics) for name in METHODS}


def logits(lm: LanguageModel, text: str = "The capital of France is the") -> torch.Tensor:
    with torch.no_grad():
        return lm.module(input_ids=torch.tensor([lm.encode(text)])).logits[0]


def same(one: Delta, two: Delta) -> bool:
    """Bit for bit."""
    if one.weights != two.weights or one.context != two.context:
        return False
    return all(
        torch.equal(getattr(one.factors[n], f.name), getattr(two.factors[n], f.name))
        for n in one.weights
        for f in dataclasses.fields(one.factors[n])
    )


def test_there_are_methods() -> None:
    assert {"rome", "memit"} <= set(method_names())
    assert all(registry()[name].name == name and registry()[name].summary for name in METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_bits_and_the_model_is_left_as_it_was(
    name: str, lm: LanguageModel, statistics: ModelStatistics, edits: dict[str, list[Delta]]
) -> None:
    before, answer, method = hash_weights(lm.module), logits(lm), quick(name)
    again = method.each(lm, REQUESTS, statistics)
    assert all(same(one, two) for one, two in zip(edits[name], again, strict=True))
    method(lm, REQUESTS[:2], statistics)
    assert hash_weights(lm.module) == before == lm.weight_hash
    assert torch.equal(logits(lm), answer)
    assert not any(p.requires_grad for p in lm.module.parameters()) and not lm.module.training


@pytest.mark.parametrize("name", METHODS)
def test_the_model_is_left_as_it_was_when_the_method_fails(
    name: str, lm: LanguageModel, statistics: ModelStatistics
) -> None:
    """The head fails at one of the first runs, as an interrupt would."""
    before, answer, method = hash_weights(lm.module), logits(lm), quick(name)
    failed = 0
    for allowed in (0, 1, 5):
        runs = 0

        def fail(module: torch.nn.Module, args: tuple, output: object, allowed: int = allowed) -> None:
            nonlocal runs
            runs += 1
            if runs > allowed:
                raise KeyboardInterrupt

        with hooked(lm, [(lm.layout.blocks[-1], fail)]):
            try:
                method(lm, REQUESTS[:2], statistics)
            except KeyboardInterrupt:
                failed += 1
        assert hash_weights(lm.module) == before
        assert torch.equal(logits(lm), answer)
    assert failed or not runs  # what never runs the last block has nothing that can fail there


@pytest.mark.parametrize("name", METHODS)
def test_edits_computed_together_are_independent(
    name: str, lm: LanguageModel, statistics: ModelStatistics, edits: dict[str, list[Delta]]
) -> None:
    for request, together in ((REQUESTS[0], edits[name][0]), (REQUESTS[2], edits[name][2])):
        (alone,) = quick(name).each(lm, [request], statistics)
        assert alone.weights == together.weights and alone.context == together.context
        for place in alone.weights:
            one, two = alone.factors[place], together.factors[place]
            if hasattr(one, "dense"):
                assert distance(two.dense(), one.dense()) < 1e-3
            for text in ("The capital of France is the", "I like"):
                with alone.applied(lm):
                    by_itself = logits(lm, text)
                with together.applied(lm):
                    assert torch.allclose(logits(lm, text), by_itself, atol=1e-3 * float(by_itself.abs().max()))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_a_delta_is_reverted_bit_for_bit(
    name: str, error: type[BaseException] | None, lm: LanguageModel, edits: dict[str, list[Delta]]
) -> None:
    delta, before, plain = edits[name][0], hash_weights(lm.module), logits(lm)
    try:
        with delta.applied(lm) as edited:
            assert edited is lm
            if any(n.endswith(".weight") for n in delta.weights):
                assert hash_weights(lm.module) != before
            if error:
                raise error
    except (ZeroDivisionError, KeyboardInterrupt):
        assert error
    assert hash_weights(lm.module) == before and torch.equal(logits(lm), plain)


@pytest.mark.parametrize("name", METHODS)
def test_hooks_and_weights_agree(name: str, lm: LanguageModel, edits: dict[str, list[Delta]]) -> None:
    """Every delta, and none at all, each on its own row of one batch."""
    deltas = edits[name]
    ids = lm.encode("The dairy food made from milk curds is called")
    rows = [2, -1, 0, 1]
    with torch.no_grad():
        hooks = delta_hooks(lm, deltas, rows)
        hooked_logits = forward(lm, pad([ids] * 4, lm, side="right"), hooks=hooks)
        assert hooked_logits is not None
        for row, got in zip(rows, hooked_logits, strict=True):
            with (deltas[row] if row >= 0 else Delta({})).applied(lm):
                expected = lm.module(input_ids=torch.tensor([ids])).logits[0, -1]
            assert float((got - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("name", [n for n in METHODS if n not in NOT_MOVING])
def test_the_target_becomes_likelier(name: str, lm: LanguageModel, edits: dict[str, list[Delta]]) -> None:
    for request, delta in zip(REQUESTS, edits[name], strict=True):
        targets = [[t] for t in request.targets]
        before = continuation_logprobs(lm, request.filled(), targets)
        after = continuation_logprobs(lm, request.filled(), targets, [delta])
        assert sum(float(a[0]) for a in after) > sum(float(b[0]) for b in before), request.id


@pytest.mark.parametrize("name", METHODS)
def test_provenance_says_how_to_do_it_again(name: str, lm: LanguageModel, edits: dict[str, list[Delta]]) -> None:
    record = json.loads(json.dumps(edits[name][0].provenance))
    assert record["method"] == name and record["settings"] == json.loads(json.dumps(quick(name).settings()))
    assert record["model"] == lm.name and record["model_hash"] == lm.weight_hash
    assert record["requests"][0]["id"] == REQUESTS[0].id and record["requests"][0]["targets"] == ["the"]
    assert record["statistics"]["corpus"] == "samples:800" and record["statistics"]["seed"] == 0
    assert make_method(record["method"], **record["settings"]) == quick(name)


@pytest.mark.parametrize("name", METHODS)
def test_save_and_load(name: str, lm: LanguageModel, edits: dict[str, list[Delta]], tmp_path: Path) -> None:
    delta = edits[name][1]
    loaded = Delta.load(delta.save(tmp_path / "delta"))
    assert same(loaded, delta) and dict(loaded.provenance) == json.loads(json.dumps(dict(delta.provenance)))
    delta.save(tmp_path / "delta")  # over itself
    assert sorted(p.name for p in (tmp_path / "delta").iterdir()) == ["delta.json", "delta.safetensors"]


@pytest.mark.parametrize("n_layers", [22, 47, 50, 126])
def test_a_block_over_the_number_of_blocks_is_its_depth(n_layers: int) -> None:
    assert [block_at(block / n_layers, n_layers) for block in range(n_layers)] == list(range(n_layers))


@pytest.mark.parametrize("name", METHODS)
def test_placement_and_depth(name: str, lm: LanguageModel) -> None:
    for depth in (0.0, 0.3, 0.99):
        method = quick(name, depth=depth)
        place = method.placement(lm, REQUESTS[0])
        assert all(0 <= layer < lm.n_layers for layer in place.layers) and 0 <= place.depth <= 1


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_says_what_it_means(name: str) -> None:
    for field in dataclasses.fields(registry()[name]):
        meaning, unit, choices = (field.metadata[key] for key in ("help", "unit", "choices"))
        assert re.match(r"[a-z][a-z',]* \S", meaning) and not meaning.endswith("."), f"{field.name}: {meaning!r}"
        assert isinstance(unit, str) and len(unit) <= 15, f"{field.name}: {unit!r}"
        assert field.default is None or not choices or field.default in choices, field.name
        if choices:
            with pytest.raises(BadRequest, match=f"{field.name}='nonsense'; it must be one of {choices[0]}"):
                make_method(name, **{field.name: "nonsense"})


@pytest.mark.parametrize("name", METHODS)
def test_a_description_fits_a_terminal(name: str) -> None:
    lines = format_description(describe_entry(name)).split("\n")
    assert len(lines) == 2 + len(dataclasses.fields(registry()[name]))
    assert max(map(len, lines)) <= 120, max(lines, key=len)


@pytest.mark.parametrize("name", METHODS)
def test_bad_settings_are_refused_in_one_line(name: str) -> None:
    fields = {f.name for f in dataclasses.fields(registry()[name])}
    wrong = {
        "steps": ["3", -1, True, 2.5], "site": ["mlpp", 3], "depth": [1.0, -0.1, "deep"],
        "lookup": ["first", 0], "seed": [None, "x"], "lr": ["fast", -1.0], "clamp": ["c", None],
    }  # fmt: skip
    for key in fields & set(wrong):
        for value in wrong[key]:
            with pytest.raises(BadRequest, match=key) as caught:
                make_method(name, **{key: value})
            assert "\n" not in str(caught.value)
    with pytest.raises(BadRequest, match="no setting 'stepz'"):
        make_method(name, stepz=3)


def test_unknown_method() -> None:
    with pytest.raises(BadRequest, match=r"no method 'nonsense'; use one of .*rome"):
        make_method("nonsense")


@pytest.mark.parametrize("name", METHODS)
def test_a_subject_that_is_not_there_is_refused(name: str, lm: LanguageModel, statistics: ModelStatistics) -> None:
    """A rename has no subject; a method set to look at one must say so, or have no use for it."""
    method = quick(name, lookup="subject_last")
    if "lookup" not in method.settings() or name in NEEDS_A_TRAINED_MODEL | LOOKING_NOWHERE:
        pytest.skip("this method looks nowhere")
    rename = REQUESTS[2]
    try:
        method.each(lm, [rename], statistics)
    except UserError as error:
        assert "subject" in str(error) and "\n" not in str(error)
    else:
        assert name in CONTROLS, "a missing subject went unnoticed"


def test_a_missing_site_is_named() -> None:
    lm = tiny_lm("gpt2")
    for block in lm.module.transformer.h:
        block.mlp = torch.nn.Identity()
    whole = tiny_lm("gpt2")
    checked = 0
    for name in METHODS:
        if "site" in quick(name).settings() and quick(name, site="mlp").placement(whole, REQUESTS[0]).site == "mlp":
            with pytest.raises(NoSite, match="mlp"):
                quick(name, site="mlp").placement(lm, REQUESTS[0])
            checked += 1
    assert checked >= 2


class TestDamage:
    """Deltas on disk that are not what was saved."""

    @pytest.fixture
    def folder(self, edits: dict[str, list[Delta]], tmp_path: Path) -> Path:
        return edits["rome"][0].save(tmp_path / "delta")

    def test_truncated(self, folder: Path) -> None:
        path = folder / "delta.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(BadData, match="damaged"):
            Delta.load(folder)

    def test_flipped_bit(self, folder: Path) -> None:
        path = folder / "delta.safetensors"
        data = bytearray(path.read_bytes())
        data[-5] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(BadData, match="damaged"):
            Delta.load(folder)

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99}', '{"format": "x"}'])
    def test_bad_record(self, folder: Path, text: str) -> None:
        (folder / "delta.json").write_text(text)
        with pytest.raises(BadData) as caught:
            Delta.load(folder)
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(BadData, match="no readable delta"):
            Delta.load(tmp_path / "nowhere")

    def test_foreign_folder_is_not_written_to(self, edits: dict[str, list[Delta]], tmp_path: Path) -> None:
        (tmp_path / "precious.txt").write_text("mine")
        with pytest.raises(BadData, match="other files"):
            edits["rome"][0].save(tmp_path)
        with pytest.raises(BadData, match="is a file"):
            edits["rome"][0].save(tmp_path / "precious.txt")
        assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("name", METHODS)
def test_dose(name: str, lm: LanguageModel, edits: dict[str, list[Delta]], tmp_path: Path) -> None:
    """Half an edit is half the change, exactly; what has no half says so, and so does its method."""
    delta = edits[name][0]
    assert quick(name).has_dose == delta.has_dose
    if not delta.has_dose:
        with pytest.raises(BadRequest, match="no dose"):
            delta.scaled(0.5)
        return
    half = 0.5 * delta
    assert same(half.scaled(2), delta) and same(1.0 * delta, delta) and not same(half, delta)
    assert half.relative_norm(lm) == pytest.approx(0.5 * delta.relative_norm(lm), rel=1e-6)
    loaded = Delta.load(half.save(tmp_path / "half"))
    assert same(loaded, half) and loaded.provenance["dose"] == 0.5 and loaded.scaled(2).provenance["dose"] == 1.0


def test_a_dose_that_is_no_number_is_refused(edits: dict[str, list[Delta]]) -> None:
    with pytest.raises(BadRequest, match="nan: not a finite number"):
        edits["rome"][0].scaled(float("nan"))


def test_a_delta_of_another_model_is_refused(lm: LanguageModel, edits: dict[str, list[Delta]]) -> None:
    other = tiny_lm("gpt2", n_embd=64, hidden_size=64)
    before = hash_weights(other.module)
    with pytest.raises(BadModel, match="another model"), edits["rome"][0].applied(other):
        pass
    assert hash_weights(other.module) == before
    with pytest.raises((BadModel, AttributeError)), edits["rome"][0].applied(tiny_lm("llama")):
        pass


def test_compose_and_scale(lm: LanguageModel, edits: dict[str, list[Delta]]) -> None:
    one, two = edits["rome"][:2]
    place = one.weights[0]
    both = compose([one, two])
    assert torch.allclose(both.factors[place].dense(), one.factors[place].dense() + two.factors[place].dense())
    assert both.factors[place].norm() == pytest.approx(float(both.factors[place].dense().norm()), rel=1e-5)
    undone = compose([one, two, one.scaled(-1)])
    assert distance(undone.factors[place].dense(), two.factors[place].dense()) < 1e-5
    weight = lm.weight(place)
    assert one.relative_norm(lm) == pytest.approx(float(one.factors[place].dense().norm() / weight.norm()), rel=1e-5)
