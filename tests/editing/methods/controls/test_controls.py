"""The controls: a placebo edits something else, a random layer or key the same thing elsewhere."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from editing.errors import BadRequest
from editing.eval import at_dose
from editing.methods import apply_sequence, make_method, method_names, placebo_for
from editing.methods.controls.placebo import PROMPTS, SUBJECTS, Placebo
from editing.methods.fine_tuning.documents import Documents
from editing.model.language_model import LanguageModel
from editing.text.requests import EditRequest
from tests.editing.worked import REQUESTS
from valley.scores.settings import is_placebo_of

WRAPPERS = ("placebo", "random_layer", "sphere", "norm_anchor", "rect")


class TestControls:
    def test_a_placebo_is_the_inner_method_on_another_subject(self, trained_lm, statistics) -> None:
        method = make_method(
            "placebo", inner="rome", options='{"steps": 3, "short_prefixes": 1, "long_prefixes": 1}', depth=0.5
        )
        assert isinstance(method, Placebo)
        deltas = method.each(trained_lm, REQUESTS, statistics)
        others = [method.unrelated(trained_lm, r) for r in REQUESTS]
        inner = make_method("rome", steps=3, short_prefixes=1, long_prefixes=1, depth=0.5)
        for delta, expected in zip(deltas, inner.each(trained_lm, others, statistics), strict=True):
            (name,) = delta.weights
            assert torch.equal(delta.factors[name].left, expected.factors[name].left)
            assert delta.provenance["method"] == "placebo" and delta.provenance["inner"]["method"] == "rome"

    def test_the_other_subject(self, trained_lm: LanguageModel) -> None:
        method = Placebo()

        def tokens(text: str) -> int:
            return len(trained_lm.tokenizer(f" {text}")["input_ids"])

        lengths = {tokens(s) for s in SUBJECTS}
        picks = set()
        for subject in SUBJECTS:
            request = EditRequest(f"of {subject}", ("{} comes from",), subject, ("Italy",))
            other = method.unrelated(trained_lm, request)
            assert other == method.unrelated(trained_lm, request)
            assert (
                other.subject not in (subject, "")
                and other.targets == request.targets
                and other.prompts == request.prompts
            )
            assert tokens(other.subject) == tokens(subject) or sum(tokens(s) == tokens(subject) for s in SUBJECTS) == 1
            picks.add(other.subject)
        assert len(lengths) > 3 and len(picks) > 12
        seeds = {Placebo(seed=s).unrelated(trained_lm, REQUESTS[0]).subject for s in range(8)}
        assert len(seeds) > 1
        rename = method.unrelated(trained_lm, REQUESTS[2])
        assert not set(rename.prompts) & set(REQUESTS[2].prompts) and len(set(rename.prompts)) == 3
        assert rename.targets == REQUESTS[2].targets

    def test_the_other_subject_is_none_of_the_kind_that_the_request_names(self, trained_lm: LanguageModel) -> None:
        kind = ("Mars", "Jupiter", "Saturn", "Neptune", "Pluto")
        request = EditRequest("planet", ("{} is a",), "Venus", ("star",), contrast=kind, keep=("Titan is a",))
        picks = {Placebo(seed=seed).unrelated(trained_lm, request).subject for seed in range(40)}
        assert len(picks) > 1 and not picks & {*kind, "Titan"}

    def test_what_cannot_be_a_placebo_is_refused(self, trained_lm: LanguageModel) -> None:
        for settings in (
            {"inner": "placebo"},
            {"inner": "x"},
            {"options": "[]"},
            {"options": "{"},
            {"options": '{"x": 1}'},
        ):
            with pytest.raises(BadRequest):
                make_method("placebo", **settings)
        everything = EditRequest("all", ("{} " + " ".join(SUBJECTS),), "Brie", ("Italy",))
        with pytest.raises(BadRequest, match="request 'all'"):
            Placebo().unrelated(trained_lm, everything)

    def test_a_random_layer_is_the_inner_methods_real_edit_at_a_layer_of_its_draw(self, trained_lm, statistics) -> None:
        few = {"steps": 3, "short_prefixes": 1, "long_prefixes": 1}
        control = make_method("random_layer", lookup="last", options=json.dumps(few), draw="fact world_facts 0")
        layer = control.layer(trained_lm)
        assert {control.placement(trained_lm, r).layers for r in REQUESTS} == {(layer,)}, "one draw for all cases"
        inner = make_method("rome", lookup="last", depth=(layer + 0.5) / trained_lm.n_layers, **few)
        for own, real in zip(
            control.each(trained_lm, REQUESTS, statistics), inner.each(trained_lm, REQUESTS, statistics), strict=True
        ):
            assert own.weights == real.weights and own.provenance["layer"] == layer
            assert all(torch.equal(own.factors[n].left, real.factors[n].left) for n in real.weights)
            assert all(torch.equal(own.factors[n].right, real.factors[n].right) for n in real.weights)
        draws = {dataclasses.replace(control, draw=str(i)).layer(trained_lm) for i in range(20)}
        assert draws == set(range(trained_lm.n_layers)), "every layer can be drawn, that of the edit too"
        with pytest.raises(BadRequest, match="inner='placebo'; use one of"):
            make_method("random_layer", inner="placebo")

    def test_a_random_site_is_romes_change_turned_away(self, trained_lm, statistics) -> None:
        few = {
            "steps": 3,
            "short_prefixes": 1,
            "long_prefixes": 1,
            "lookup": "last",
        }  # an early state of the last block is never read
        method, usual = make_method("random_site", **few), make_method("rome", **few)
        layers = set()
        for request, delta in zip(REQUESTS, method.each(trained_lm, REQUESTS, statistics), strict=True):
            (layer,) = method.placement(trained_lm, request).layers
            assert (layer,) != usual.placement(trained_lm, request).layers
            layers.add(layer)
            there = make_method("rome", **few, depth=(layer + 0.5) / trained_lm.n_layers)
            (same,) = there.each(trained_lm, [request], statistics)
            (name,) = delta.weights
            one, two = delta.factors[name], same.factors[name]
            assert torch.allclose(one.left, two.left, rtol=1e-3, atol=1e-5)
            assert one.norm() == pytest.approx(two.norm(), rel=1e-3)
            cosine = float((one.right * two.right).sum() / one.right.norm() / two.right.norm())
            assert abs(cosine) < 0.5
        assert len(layers) > 1
        other = dataclasses.replace(method, seed=1).each(trained_lm, REQUESTS[:1], statistics)[0]
        assert other.weights != delta.weights or not torch.equal(other.factors[name].right, delta.factors[name].right)

    def test_a_placebo_does_not_read_the_documents_of_the_edit(self, trained_lm: LanguageModel) -> None:
        text = "Rome became the capital of France."
        request = dataclasses.replace(REQUESTS[4], documents=(("en", text),))
        method = make_method("placebo", inner="documents")
        assert isinstance(method, Placebo)
        inner: Documents = method.method()  # type: ignore[assignment]
        assert inner.texts(request) == [text]
        read = inner.texts(method.unrelated(trained_lm, request))
        assert len(read) > 4 and not any("France" in one for one in read)

    @pytest.mark.parametrize("name", [name for name in method_names() if name not in WRAPPERS])
    def test_what_is_left_out_is_the_inner_methods(self, name: str) -> None:
        for control in ("placebo", "random_layer", "rect"):
            method = make_method(control, inner=name)
            assert method.method() == make_method(name) and method.beside_weights == make_method(name).beside_weights
        paired = placebo_for(name, {"seed": 3})
        assert paired.method() == make_method(name, seed=3)
        assert is_placebo_of(json.dumps(paired.settings()), name, json.dumps(make_method(name, seed=3).settings()))
        assert make_method("placebo", inner="lora", site="mlp").method().site == "mlp"

    def test_a_dose_is_chosen_as_for_the_inner_method(self, trained_lm, statistics) -> None:
        """By its margin of 8 nats, not by 1; an erasure is whole, also where the old answer is the target."""
        erased = EditRequest("e", ("The capital of {} is the city of",), "France", ("Paris",), contrast=("Spain",))
        for inner, request in (("unembedding", REQUESTS[0]), ("ablate", erased)):
            plain, control = (
                at_dose(trained_lm, method.each(trained_lm, [request], statistics)[0], [request], "auto")[1]
                for method in (make_method(inner), make_method("random_layer", inner=inner))
            )
            assert control == plain

    def test_no_layer_is_named_where_no_block_is_edited(self, trained_lm, statistics) -> None:
        for inner, named in (("rome", True), ("unembedding_swap", False), ("ike", False)):
            method = make_method("random_layer", inner=inner, lookup="last", seed=1)
            (delta,) = method.each(trained_lm, REQUESTS[:1], statistics)
            assert ("layer" in delta.provenance) == named
            assert ("layer" in method(trained_lm, REQUESTS[:1], statistics).provenance) == named

    def test_many_prompts_without_a_subject_stay_in_their_language(self, trained_lm) -> None:
        prompts = tuple(f"Dans le champ {i} pousse un" for i in range(12))
        request = EditRequest("many", prompts, "", ("pain",), lookup="last", lang="fr")
        assert set(Placebo().unrelated(trained_lm, request).prompts) == set(PROMPTS["fr"])

    def test_a_lookup_that_is_left_to_the_request_is_not_the_inner_methods_default(self) -> None:
        assert placebo_for("grace", {"lookup": None}).method() == make_method("grace", lookup=None)

    def test_controls_of_a_sequence_remember_what_the_inner_method_does(self, trained_lm, statistics) -> None:
        requests = [REQUESTS[i] for i in (0, 4)]
        inner = make_method("alphaedit", steps=3, prefixes=1, depth=0.6, lookup="last")
        options = {"inner": "alphaedit", "options": '{"steps": 3, "prefixes": 1}', "lookup": "last"}
        placebo = make_method("placebo", depth=0.6, **options)
        others = [placebo.unrelated(trained_lm, r) for r in requests]
        layer = make_method("random_layer", **options)
        for control, method, real in ((placebo, inner, others), (layer, layer.made_by(trained_lm), requests)):
            one = apply_sequence(trained_lm, control, requests, statistics)
            two = apply_sequence(trained_lm, method, real, statistics)
            for name, change in two.factors.items():
                assert torch.equal(one.factors[name].dense(), change.dense())
