"""Two presets for every method; edits that cannot be reached; edits that move to the last token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.sweep.cell import Cell
from editing.errors import BadRequest, Unreachable
from editing.files import canonical
from editing.methods import make_method, method_names, settings_before_presets
from editing.solve import FORMER
from editing.stats.statistics import ModelStatistics
from tests.editing import reference
from tests.editing.worked import REQUESTS, distance, model, ridged, session_statistics

PRESETS = ("scale_free", "published")


@pytest.mark.parametrize("name", method_names())
def test_every_method_has_two_presets(name: str) -> None:
    free, published = (make_method(name, preset=preset) for preset in PRESETS)
    assert free == make_method(name) and published.settings()["preset"] == "published"
    assert make_method(name, **published.settings()) == published
    with pytest.raises(BadRequest, match="preset='mine'; it must be one of scale_free, published"):
        make_method(name, preset="mine")
    if "optimiser" in published.settings():
        assert published.settings()["optimiser"] == "adam"


def test_published_constants_are_those_of_the_papers() -> None:
    for name, constants in {
        "rome": {"lr": 0.5, "weight_decay": 0.5, "clamp": 4.0, "steps": 20, "kl": 0.0625},
        "memit": {"covariance_weight": 15000.0, "lr": 0.5, "clamp": 0.75, "steps": 25},
        "pmet": {"covariance_weight": 6000.0, "lr": 0.2, "kl": 1.0, "steps": 30},
        "emmet": {"slack": 0.1, "span": 0.0},
        "alphaedit": {"null_threshold": 0.02, "l2": 10.0, "units": "absolute"},
        "ultraedit": {"rate": 1e-6, "ridge": 1.0, "units": "absolute", "warmup": 0},
        "ft_l": {"lr": 5e-4, "bound": 5e-4, "units": "absolute"},
        "grace": {"radius": 1.0, "units": "absolute", "lookup": "last", "weight_decay": 0.0},
    }.items():
        assert constants.items() <= make_method(name, preset="published").settings().items(), name
    assert make_method("memit", preset="published", lr=0.1).settings()["lr"] == 0.1


@pytest.mark.parametrize("name", ["memit", "alphaedit"])
def test_scale_free_edits_do_not_depend_on_the_length_of_the_keys(name: str) -> None:
    """The same function with keys ten times as long and a map ten times as small: the same edit."""
    changes = []
    for factor in (1.0, 10.0):
        lm = model("gpt2")
        site = lm.sites("mlp")[2]
        activation = lm.module.get_submodule(site.path.replace("c_proj", "act"))
        activation.register_forward_hook(lambda module, args, output, factor=factor: output * factor)
        with torch.no_grad():
            lm.module.get_submodule(site.path).weight /= factor
        statistics = session_statistics(lm)
        method = make_method(name, depth=0.5, lookup="last", steps=4, span=0.0)
        (delta,) = method.each(lm, REQUESTS[:1], statistics)
        changes.append(delta.factors[site.weight].dense() * factor)
    assert distance(changes[1], changes[0]) < 1e-2


def test_lambda_writes_the_same_share_at_every_width(tmp_path: Path) -> None:
    """One key writes q / (q + lambda): with identity statistics q = ||k||^2, and lambda is a multiple of d_in."""
    lm = model("gpt2")
    site = lm.sites("mlp")[2]
    statistics = ModelStatistics(lm, tmp_path, "identity")
    for preset, weight in (("scale_free", 0.05 * site.d_in), ("published", 0.05)):
        place = {"depth": 0.5, "lookup": "last", "steps": 3, "prefixes": 0, "span": 0.0}
        method = make_method("memit", preset=preset, covariance_weight=0.05, **place)
        (delta,) = method.each(lm, REQUESTS[:1], statistics)
        texts = reference.texts_of(lm, REQUESTS[0], [], "last")
        key = reference.read(lm, texts, site.path, "input")[0].double()
        change = delta.factors[site.weight]
        c = 1 + statistics.ridge  # the ridge on the identity
        expected = float(key @ key) / c / (float(key @ key) / c + weight)
        assert float(change.right[:, 0].double() @ key) == pytest.approx(expected, rel=1e-4)


def test_adams_steps_are_in_units_of_v0() -> None:
    """Against the literal search, in both presets, with the KL term at the last token too."""
    lm = model("llama")
    statistics = session_statistics(lm)
    for preset, lookup in (("scale_free", "subject_last"), ("scale_free", "last"), ("published", "last")):
        few = {"steps": 5, "short_prefixes": 1, "long_prefixes": 1, "optimiser": "adam", "kl": 0.5}
        few |= {"weight_decay": 0.002} if preset == "published" else {}
        method = make_method("rome", preset=preset, depth=0.5, lookup=lookup, move_above=0.0, **few)
        (delta,) = method.each(lm, REQUESTS[:1], statistics)
        site = lm.sites("mlp")[2]
        prefixes = statistics.prefixes({5: 1, 10: 1})
        expected = reference.rome(lm, REQUESTS[0], method, ridged(statistics, site), prefixes)
        assert distance(delta.factors[site.weight].dense(), expected) < 1e-3
        assert "kl" not in delta.provenance["optimiser"]
    (rename,) = make_method("rome", depth=0.5, steps=2).each(lm, [REQUESTS[2]], statistics)
    assert rename.provenance["optimiser"]["kl"] == "none: no prompt has a subject"


@pytest.mark.parametrize("name", ["rome", "memit", "pmet", "grace", "ultraedit"])
def test_an_edit_that_nothing_reads_is_refused(name: str) -> None:
    """The MLP of the last block at the subject, with the prompt going on behind it."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    for preset in PRESETS:
        method = make_method(name, preset=preset, lookup="subject_last", depth=0.99)
        with pytest.raises(Unreachable, match="request 'fact': no token of the target depends on") as caught:
            method.each(lm, REQUESTS[:1], statistics)
        assert "\n" not in str(caught.value)


def test_an_edit_moves_to_the_last_token_where_the_subject_is_not_read() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    few = {"steps": 3, "short_prefixes": 1, "long_prefixes": 0, "depth": 0.99}
    method, request = make_method("rome", **few), REQUESTS[0]
    (delta,) = method.each(lm, [request], statistics)
    (there,) = make_method("rome", lookup="last", **few).each(lm, [request], statistics)
    (name,) = delta.weights
    assert torch.equal(delta.factors[name].dense(), there.factors[name].dense())
    assert delta.provenance["moved"]["to"] == "last" and delta.provenance["moved"]["loss_at_subject"] is None
    assert method.placement_of(lm, request, delta).lookup == "last" != method.placement(lm, request).lookup
    assert method(lm, [request], statistics).provenance["moved"]["to"] == "last"
    with pytest.raises(Unreachable):
        make_method("rome", move_above=0.0, **few).each(lm, [request], statistics)


@pytest.mark.parametrize("name", method_names())
def test_infinite_settings_and_no_steps_are_refused(name: str) -> None:
    """They ended in NaN, in a traceback, or in an edit that changes nothing."""
    for key, value in make_method(name).settings().items():
        if isinstance(value, float):
            with pytest.raises(BadRequest, match=f"{key}=inf; it must be a finite number"):
                make_method(name, **{key: float("inf")})
        if key == "steps":
            with pytest.raises(BadRequest, match="steps=0; it must be 1 or more"):
                make_method(name, steps=0)


def test_alphaedit_moves_in_sequences_too() -> None:
    """Its first step is the single edit, at the last token, and what it remembers are the keys there."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    method, request = make_method("alphaedit", steps=3, prefixes=1, depth=0.99), REQUESTS[0]
    (alone,) = method.each(lm, [request], statistics)
    delta, memory = method.step(lm, [request], statistics)
    assert alone.provenance["moved"]["to"] == delta.provenance["moved"]["to"] == "last"
    there = make_method("alphaedit", steps=3, prefixes=1, depth=0.99, lookup="last").step(lm, [request], statistics)
    for name, change in there[0].factors.items():
        assert torch.equal(delta.factors[name].dense(), change.dense())
        assert torch.equal(alone.factors[name].dense(), change.dense())
        path = name.removesuffix(".weight")
        assert torch.equal(memory[path], there[1][path])
    again, longer = method.step(lm, [request], statistics, memory)
    assert all(longer[path].shape[1] == 2 for path in longer)
    assert any(not torch.equal(again.factors[n].dense(), delta.factors[n].dense()) for n in again.weights)


def test_moving_keeps_the_search_that_ends_lower() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    few = {"steps": 3, "short_prefixes": 1, "long_prefixes": 0, "depth": 0.5}
    plain = make_method("rome", move_above=0.0, **few).each(lm, REQUESTS[:2], statistics)
    last = make_method("rome", lookup="last", **few).each(lm, REQUESTS[:2], statistics)
    for i, delta in enumerate(make_method("rome", move_above=1e-6, **few).each(lm, REQUESTS[:2], statistics)):
        losses = [d[i].provenance["optimiser"]["loss"] for d in (plain, last)]
        assert delta.provenance["optimiser"]["loss"] == pytest.approx(min(losses), rel=1e-4)
        assert ("moved" in delta.provenance) == (losses[1] < losses[0])


def test_what_moves_is_decided_by_the_loss_at_the_subject() -> None:
    lm = model("gpt2")
    statistics = session_statistics(lm)
    few = {"steps": 3, "short_prefixes": 1, "long_prefixes": 0, "depth": 0.5}
    (plain,) = make_method("rome", move_above=0.0, **few).each(lm, REQUESTS[:1], statistics)
    loss = plain.provenance["optimiser"]["loss"]
    for threshold, moves in ((loss + 0.01, False), (loss - 0.01, True)):
        (delta,) = make_method("rome", move_above=threshold, **few).each(lm, REQUESTS[:1], statistics)
        assert ("moved" in delta.provenance) == moves
    for settings in (make_method(name).settings() for name in method_names()):
        if settings.get("move_above"):  # an edit that was finished stays
            assert settings["stop_loss"] < settings["move_above"] == 0.1


def test_a_rank_one_edit_may_be_longer_than_the_published_one() -> None:
    """On a model whose logits are bounded a search for v* goes as far as the clamp lets it."""
    lm = model("gpt2")
    statistics = session_statistics(lm)
    few = {"steps": 30, "short_prefixes": 0, "long_prefixes": 0, "depth": 0.5, "lookup": "last", "weight_decay": 0.0}
    published = make_method("rome", preset="published").settings()["clamp"]
    norms = [
        make_method("rome", **few, **own).each(lm, REQUESTS[:1], statistics)[0].provenance["optimiser"]["delta_norm"]
        for own in ({"clamp": published}, {})
    ]
    assert 1.2 * norms[0] < norms[1] <= 2.001 * norms[0]


@pytest.mark.parametrize("name", method_names())
def test_the_former_defaults_are_named(name: str) -> None:
    assert make_method(name, preset=FORMER).settings() == settings_before_presets(name)
    with pytest.raises(BadRequest, match="preset"):
        make_method(name, preset="none")


def test_rows_from_before_there_were_presets_keep_their_address() -> None:
    """A stored cell without a preset is completed by the defaults of its time, and stands where it stood."""

    def cell(name: str, **settings: object) -> Cell:
        return Cell("", "r", 0, "m", name, canonical(make_method(name, **settings).settings()), "fact", "d", 0, "", "")

    old = {"clamp": 3.0, "covariance_weight": 100.0, "kl": 0.0625, "lr": 0.5, "weight_decay": 0.5, "steps": 25}
    again = cell("memit", preset="published", clamp=3.0, covariance_weight=100.0)
    assert again.has_settings(canonical(old)) and again.changed_settings == '{"clamp":3.0,"covariance_weight":100.0}'
    assert not cell("memit", clamp=3.0, covariance_weight=100.0).has_settings(canonical(old))
    relative = cell("alphaedit", preset="published", units="relative", null_threshold=0.5, l2=0.1)
    assert relative.changed_settings == "{}" and relative.has_settings('{"l2":0.1,"units":"relative"}')
    for name in method_names():
        at_first = cell(name, **settings_before_presets(name))
        assert at_first.changed_settings == "{}" and at_first.has_settings("{}")
        assert cell(name).changed_settings != "{}" and not cell(name).has_settings("{}")
        assert cell(name).has_settings(cell(name).settings)
