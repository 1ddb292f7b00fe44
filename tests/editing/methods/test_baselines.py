"""Steering, embedding-row and codebook edits, the controls, and all kinds of change side by side in one batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from editing.delta import Codebook, Delta, compose, label_of, settled
from editing.delta.changes import ChangeHook, Dense, LowRank, Shift, TokenShift, embedding_scale
from editing.errors import BadRequest
from editing.eval import continuation_logprobs, greedy, text_drift
from editing.methods import apply_sequence, make_method, taken_by
from editing.model.language_model import LanguageModel, hash_weights
from editing.run.trace import Trace
from editing.stats.statistics import ModelStatistics
from tests.editing import reference
from tests.editing.families import tiny_lm
from tests.editing.worked import PROMPTS, REQUESTS, TARGETS, model, session_statistics
from tests.tiers import fast_are


def gain(lm: LanguageModel, deltas: list[Delta]) -> float:
    """Mean rise of log P(target) of the first four requests' own prompts."""
    targets = [t[:1] for t in TARGETS[:4]]
    before = continuation_logprobs(lm, PROMPTS[:4], targets)
    after = continuation_logprobs(lm, PROMPTS[:4], targets, deltas, range(4))
    return sum(float(a[0] - b[0]) for a, b in zip(after, before, strict=True)) / 4


def literal_direction(
    lm: LanguageModel, texts: list[reference.Text], path: str, limit: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Six steps of Adam at 0.1 RMS of the output on the vector itself, weight decay 0.02, one text in a pass."""
    vector = torch.zeros(lm.d_model, requires_grad=True)
    optimiser = torch.optim.Adam([vector], lr=0.1 * float(scale) / lm.d_model**0.5)

    def add(output: object) -> object:
        return (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector  # type: ignore[operator]

    for _ in range(6):
        optimiser.zero_grad()
        loss = 0.02 * torch.norm(vector) / scale
        for text in texts:
            ids = torch.tensor([[*text.ids, *text.target[:-1]]])
            with Trace(lm.module, path, edit_output=add):
                logits = lm.module(input_ids=ids, use_cache=False).logits[0]
            log_p = logits.log_softmax(-1)[len(text.ids) - 1 :]
            loss = loss - log_p[range(len(text.target)), text.target].mean() / len(texts)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            if vector.norm() > limit:
                vector *= limit / vector.norm()
    return vector.detach()


class TestSteering:
    @pytest.mark.parametrize(
        ("family", "at"),
        fast_are(
            [("gemma2", "site"), ("gpt2", "block")],
            [(f, "site") for f in ("gpt2", "gemma2", "opt")] + [(f, "block") for f in ("gpt2", "llama", "falcon")],
        ),
    )
    def test_the_fitted_direction_equals_the_literal_one(self, family: str, at: str) -> None:
        """Full passes, torch's Adam, the vector added at every position, clamped after each step."""
        lm = model(family)
        statistics = session_statistics(lm)
        method = make_method("steer", by="fit", at=at, depth=0.5, steps=6, prefixes=2, clamp=0.7, widest=0.0, lr=0.1)
        path = lm.layout.blocks[2] if at == "block" else lm.sites("mlp")[2].path
        chosen = [REQUESTS[0], REQUESTS[2]]
        for request, delta in zip(chosen, method.each(lm, chosen, statistics), strict=True):
            texts = reference.texts_of(lm, request, statistics.prefixes({10: 2}), request.lookup)
            scale = reference.read(lm, [t for t in texts if t.bare], path, "output").mean(0).norm()
            vector = literal_direction(lm, texts, path, limit=0.7 * scale, scale=scale)
            result = delta.factors[f"{path}.output"]
            assert isinstance(result, Shift) and float((result.vector - vector).norm() / vector.norm()) < 2e-3
            assert float(result.vector.norm()) <= 0.7 * float(scale) * (1 + 1e-5)

    def test_the_bound_grows_only_where_the_target_is_not_reached(
        self, trained_lm, statistics: ModelStatistics
    ) -> None:
        """Of two edits one reaches its target under the first bound and is what it is without growth."""
        few = {"depth": 0.5, "prefixes": 1, "lr": 0.1, "clamp": 0.8, "weight_decay": 0.0}
        fixed = make_method("steer", widest=0.0, **few).each(trained_lm, REQUESTS, statistics)
        losses = sorted(d.provenance["optimiser"]["loss"] for d in fixed)
        between = (losses[0] + losses[1]) / 2
        grown = make_method("steer", widest=2.0, reached=between, **few).each(trained_lm, REQUESTS, statistics)
        bounds = []
        for before, after in zip(fixed, grown, strict=True):
            (one,), (other,) = before.factors.values(), after.factors.values()
            notes = before.provenance["optimiser"], after.provenance["optimiser"]
            bounds.append(notes[1]["clamp"])
            assert torch.equal(one.vector, other.vector) == (notes[0]["loss"] < between)
            assert notes[1]["loss"] <= notes[0]["loss"] and notes[1]["steps"] >= notes[0]["steps"]
            # the smallest bound that reaches it, or the last one up to 2
            assert notes[1]["loss"] < between or bounds[-1] == pytest.approx(0.8 * 1.5**2)
        assert min(bounds) == 0.8 and max(bounds) > 1

    def test_a_direction_is_fitted_in_the_precision_asked_for(self, trained_lm, statistics: ModelStatistics) -> None:
        result = []
        for precision in ("float32", "bfloat16"):
            method = make_method("steer", depth=0.5, steps=6, prefixes=1, lr=0.1, clamp=4.0, precision=precision)
            deltas = method.each(trained_lm, REQUESTS[:2], statistics)
            result.append(torch.stack([d.factors[f"{trained_lm.sites()[2].path}.output"].vector for d in deltas]))
        assert not torch.equal(*result)
        assert bool((torch.cosine_similarity(*result) > 0.9).all())

    def test_by_value_is_what_rome_finds(self) -> None:
        lm = model("llama")
        statistics = session_statistics(lm)
        method = make_method("steer", by="value", optimiser="adam", depth=0.5, steps=6, prefixes=2, strength=2.0)
        (delta,) = method.each(lm, REQUESTS[:1], statistics)
        texts = reference.texts_of(lm, REQUESTS[0], statistics.prefixes({10: 2}), "subject_last")
        result = reference.optimise(lm, REQUESTS[0], texts, "subject_last", lm.sites()[2].path, None, method)
        vector = delta.factors[f"{lm.sites()[2].path}.output"].vector
        assert float((vector - 2 * result.delta).norm() / vector.norm()) < 1e-3

    def test_by_means_is_a_difference_of_states(self, trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
        (delta,) = make_method("steer", by="means", depth=0.5).each(trained_lm, [REQUESTS[3]], statistics)
        path, total = trained_lm.sites()[2].path, torch.zeros(trained_lm.d_model)
        for prompt, target in zip(REQUESTS[3].filled(), REQUESTS[3].targets, strict=True):
            length = len(trained_lm.tokenizer(f" {target}")["input_ids"])
            (own,) = greedy(trained_lm, [prompt], length)
            for answer, sign in ((target, 1), (own.strip(), -1)):
                ids = trained_lm.encode(f"{prompt} {answer}")
                total += (
                    sign * reference.read(trained_lm, [reference.Text(ids, len(ids) - 1, [], True)], path, "output")[0]
                )
        assert torch.allclose(delta.factors[f"{path}.output"].vector, total / 2, atol=1e-4)
        assert float(total.norm()) > 0.1

    def test_only_value_rows_of_a_fused_map_move(self, trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
        (delta,) = make_method("steer", site="value", depth=0.5, steps=3).each(trained_lm, REQUESTS[:1], statistics)
        site = trained_lm.sites("value")[2]
        vector = delta.factors[f"{site.path}.output"].vector
        assert site.rows and vector[list(site.rows)].any() and not vector[: site.rows[0]].any()

    def test_it_works(self, trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
        for by, least in (("fit", 2), ("value", 0.3)):
            method = make_method("steer", by=by, clamp=4.0, optimiser="adam")
            assert gain(trained_lm, method.each(trained_lm, REQUESTS[:4], statistics)) > least

    @pytest.mark.parametrize("settings", [{"by": "magic"}, {"at": "head"}])
    def test_bad_settings(self, settings: dict) -> None:
        with pytest.raises(BadRequest, match="it must be one of"):
            make_method("steer", **settings)


class TestEmbeddingRow:
    @pytest.mark.parametrize(
        "family", fast_are(["gpt2", "gemma3_text"], ["gpt2", "llama", "gemma3_text", "gemma2", "opt", "bloom"])
    )
    def test_it_equals_the_literal_one(self, family: str) -> None:
        lm = model(family)
        statistics = session_statistics(lm)
        method = make_method("embedding", optimiser="adam", steps=6, prefixes=2, lr=0.05)
        table = lm.module.get_input_embeddings()
        path = next(p for p, m in lm.module.named_modules() if m is table)
        chosen = [REQUESTS[0], REQUESTS[1]]
        for request, delta in zip(chosen, method.each(lm, chosen, statistics), strict=True):
            texts = reference.texts_of(lm, request, statistics.prefixes({10: 2}), "subject_last")
            slow = reference.optimise(lm, request, texts, "subject_last", path, None, method)
            token = texts[0].ids[texts[0].lookup]
            change = delta.factors[f"{path}.weight"]
            assert isinstance(change, LowRank) and torch.nonzero(change.left[:, 0]).flatten().tolist() == [token]
            row = change.dense()[token] * embedding_scale(table)
            assert float((row - slow.delta).norm() / slow.delta.norm()) < 1e-3

    def test_gemma_scales_its_embedding(self) -> None:
        assert embedding_scale(tiny_lm("gemma3_text").module.get_input_embeddings()) == pytest.approx(32**0.5, rel=1e-5)
        assert embedding_scale(tiny_lm("gpt2").module.get_input_embeddings()) == 1.0

    def test_a_tied_head_changes_unless_untied(self, trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
        tied, untied = (
            make_method("embedding", untied=u).each(trained_lm, REQUESTS[1:2], statistics)[0] for u in (False, True)
        )
        assert isinstance(untied.factors["transformer.wte.output"], TokenShift)
        token = int(untied.factors["transformer.wte.output"].ids[0])
        ids = torch.tensor([trained_lm.encode("The capital of")])
        assert token not in ids.flatten().tolist()
        with torch.no_grad():
            plain = trained_lm.module(input_ids=ids).logits[0, -1]
            with tied.applied(trained_lm):
                moved = trained_lm.module(input_ids=ids).logits[0, -1] - plain
            with untied.applied(trained_lm):
                still = trained_lm.module(input_ids=ids).logits[0, -1] - plain
        assert not still.any() and torch.nonzero(moved).flatten().tolist() == [token]

    def test_it_works(self, trained_lm: LanguageModel, statistics: ModelStatistics) -> None:
        for untied in (True, False):
            for settings in ({}, {"clamp": 20.0, "optimiser": "adam"}):
                method = make_method("embedding", untied=untied, **settings)
                assert gain(trained_lm, method.each(trained_lm, REQUESTS[:4], statistics)) > 1

    @pytest.mark.parametrize("factor", [1.0, 30.0])
    def test_a_row_is_lengthened_by_at_most_itself_in_a_table_of_any_scale(self, factor: float) -> None:
        lm = model("gpt2")
        table = lm.module.get_input_embeddings()
        with torch.no_grad():
            table.weight.mul_(factor)
        settings = {"steps": 4, "prefixes": 0, "lr": 2.0, "optimiser": "adam"}  # long steps, so that the bound acts
        (delta,) = make_method("embedding", **settings).each(lm, REQUESTS[1:2], session_statistics(lm))
        change = delta.factors["transformer.wte.weight"].dense()
        token = int(change.abs().sum(1).argmax())
        bound = make_method("embedding", preset="published").settings()["clamp"] / 2 * float(table.weight[token].norm())
        assert float(change[token].norm()) == pytest.approx(bound, rel=1e-4)


class TestCodebook:
    @pytest.mark.parametrize("factor", [1.0, 30.0])
    def test_by_default_it_fires_at_keys_nearer_than_most_of_their_length(self, factor: float) -> None:
        lm = model("gpt2")
        site = lm.sites("mlp")[2]
        activation = lm.module.get_submodule(site.path.replace("c_proj", "act"))
        activation.register_forward_hook(lambda module, args, output: output * factor)
        (delta,) = make_method("grace", depth=0.5, steps=2).each(lm, REQUESTS[1:2], session_statistics(lm))
        (book,) = delta.factors.values()
        assert isinstance(book, Codebook)
        key, stray = book.keys[0], torch.randn(book.keys.shape[1], generator=torch.Generator().manual_seed(0))
        near, far = (key + share * key.norm() * stray / stray.norm() for share in (0.75, 0.85))
        inside = [float((x - key).norm()) <= float(book.radius[0]) for x in (near, far)]
        assert inside == [True, False]

    def test_it_answers_where_it_fires_and_is_blind_elsewhere(self, trained_lm, statistics) -> None:
        deltas = make_method("grace", radius=0.05).each(trained_lm, REQUESTS[:4], statistics)
        assert gain(trained_lm, deltas) > 3
        assert all(len(d.factors[d.weights[0]].keys) == len(r.prompts) for d, r in zip(deltas, REQUESTS, strict=False))
        ids = torch.tensor([trained_lm.encode("Therefore the river runs through the old town")])
        with torch.no_grad():
            plain = trained_lm.module(input_ids=ids).logits
            for delta in deltas:
                with delta.applied(trained_lm):
                    assert torch.equal(trained_lm.module(input_ids=ids).logits, plain)

    @pytest.mark.parametrize("tokens", [3, 60])
    def test_whether_it_fires_does_not_depend_on_the_length_of_the_text(self, tokens: int) -> None:
        """Absolute radii at long keys: states at .9 and 1.1 of the radius, in a short and in a long text."""
        draw = torch.Generator().manual_seed(0)
        key = 200 * torch.randn(256, generator=draw)
        away = torch.nn.functional.normalize(torch.randn(2 * tokens, 256, generator=draw), dim=1)
        read = key + away * torch.tensor([0.9, 1.1]).repeat(tokens)[:, None]
        book = Codebook(key[None], torch.full((1, 8), 7.0), torch.ones(1), torch.zeros(1, dtype=torch.long))
        hook = ChangeHook(torch.nn.Linear(256, 8), [book], torch.zeros(1, dtype=torch.long))
        fired = hook(None, (read[None],), torch.zeros(1, 2 * tokens, 8))[0, :, 0] == 7
        assert fired.tolist() == [True, False] * tokens

    def test_the_splitting_rule(self) -> None:
        def entry(x: float, label: str) -> Codebook:
            return Codebook(
                torch.tensor([[x, 0.0]]), torch.tensor([[x]]), torch.ones(1), torch.tensor([label_of((label,))])
            )

        def book(*entries: Codebook) -> list[tuple[float, float]]:
            parts = zip(*((e.keys, e.values, e.radius, e.labels) for e in entries), strict=True)
            whole = settled(Codebook(*(torch.cat(part) for part in parts)))
            composed = compose([Delta({"x.output": e}) for e in entries]).factors["x.output"]
            assert isinstance(composed, Codebook) and torch.equal(
                whole.keys, composed.keys
            )  # within one call and across
            assert torch.allclose(whole.radius, composed.radius) and torch.equal(whole.values, composed.values)
            return [
                (float(k[0]), pytest.approx(float(r), rel=1e-4)) for k, r in zip(whole.keys, whole.radius, strict=True)
            ]

        assert book(entry(0, "a"), entry(3, "b")) == [(0.0, 1.0), (3.0, 1.0)]  # far apart
        assert book(entry(0, "a"), entry(1.5, "a")) == [(0.0, 1.5)]  # same target: the ball grows to reach it
        assert book(entry(0, "a"), entry(0.5, "a")) == [(0.0, 1.0)]  # already inside
        assert book(entry(0, "a"), entry(1.5, "b")) == [(0.0, 0.75), (1.5, 0.75)]  # another target: halves
        assert book(entry(0, "a"), entry(1, "b"), entry(4, "b"), entry(2.4, "b")) == [
            (0.0, 0.5),
            (1.0, 1.4),
            (4.0, 1.0),
        ]

    def test_a_newer_edit_of_the_same_prompt_replaces_the_older_one(self, trained_lm, statistics) -> None:
        first = dataclasses.replace(REQUESTS[0], prompts=REQUESTS[0].prompts[:1], targets=REQUESTS[0].targets[:1])
        second = dataclasses.replace(first, id="again", targets=("Rome",))
        method = make_method("grace", radius=0.05, depth=0.5)

        def likely(delta: Delta) -> list[float]:
            texts = [request.targets[0] for request in (first, second)]
            return continuation_logprobs(trained_lm, first.filled()[:1], [texts], [delta], [0])[0].tolist()

        _, alone = likely(method.each(trained_lm, [second], statistics)[0])
        joint = method(trained_lm, [first, second], statistics)
        piled = apply_sequence(trained_lm, method, [first, second], statistics)
        for delta in (joint, piled, compose(method.each(trained_lm, [first, second], statistics))):
            (book,) = delta.factors.values()
            old, new = likely(delta)
            assert isinstance(book, Codebook) and len(book.keys) == 1
            assert new > old and new == pytest.approx(alone, abs=0.5)

    def test_several_requests_share_one_book(self, trained_lm, statistics) -> None:
        joint = make_method("grace", radius=0.05, depth=0.5)(trained_lm, REQUESTS[:4], statistics)
        (book,) = joint.factors.values()
        assert isinstance(book, Codebook) and len(book.keys) == sum(len(r.prompts) for r in REQUESTS[:4])
        assert gain(trained_lm, [joint] * 4) > 3

    def test_a_fused_value_map_is_refused(self, trained_lm, statistics) -> None:
        with pytest.raises(BadRequest, match="queries and keys"):
            make_method("grace", site="value").each(trained_lm, REQUESTS[:1], statistics)


@pytest.mark.parametrize("family", fast_are(["gemma3_text"], ["gpt2", "gemma3_text", "opt"]))
def test_all_kinds_of_change_in_one_batch(family: str, tmp_path: Path) -> None:
    """Each sequence under its own delta equals one delta at a time; tied heads, scaled embeddings and flattened inputs
    included."""
    lm = tiny_lm(family, spread=0.1)
    statistics = session_statistics(lm)
    names = ("rome", "ft_m", "lora", "ike", "steer", "grace", "embedding", "random_site")
    few = {"steps": 3, "short_prefixes": 1, "long_prefixes": 1}
    few |= {"prefixes": 1}
    own = {"embedding": {"clamp": 20.0}, "ft_m": {"lr": 0.05}, "lora": {"more_sites": "mlp", "steps": 8, "lr": 0.01}}
    deltas = [make_method(n, **taken_by(n, few | own.get(n, {}))).each(lm, REQUESTS[1:2], statistics)[0] for n in names]
    deltas += make_method("embedding", untied=True, steps=3, prefixes=1).each(lm, REQUESTS[1:2], statistics)
    deltas += make_method("steer", at="block", by="means").each(lm, REQUESTS[1:2], statistics)
    # several kinds at one place: a dense and a low-rank change of an embedding, and both shifts of its output
    (place,) = deltas[6].weights
    path = place.removesuffix(".weight")
    draw = torch.Generator().manual_seed(0)
    deltas.append(Delta({place: Dense(0.05 * torch.randn(lm.weight(place).shape, generator=draw))}))
    deltas.append(Delta({f"{path}.output": Shift(torch.randn(lm.d_model, generator=draw))}))
    prompts = [PROMPTS[1], PROMPTS[0]]
    rows = [r for r in range(-1, len(deltas)) for _ in prompts]
    before = hash_weights(lm.module)
    together = continuation_logprobs(lm, prompts * (len(deltas) + 1), [TARGETS[1]] * len(rows), deltas, rows)
    said = greedy(lm, prompts * (len(deltas) + 1), 4, deltas, rows)
    drift, bits = text_drift(lm, ["I like tea and bread."], deltas)
    plain = together[: len(prompts)]
    for d, delta in enumerate(deltas):
        texts = [f"{delta.context} {p}".strip() for p in prompts]
        own = slice((d + 1) * len(prompts), (d + 2) * len(prompts))
        with delta.applied(lm):
            alone = continuation_logprobs(lm, texts, [TARGETS[1]] * len(prompts))
            assert greedy(lm, texts, 4) == said[own], delta.weights
        for one, two in zip(alone, together[own], strict=True):
            assert np.allclose(one, two, atol=2e-4 * abs(one).max()), delta.weights
        assert any(not np.allclose(a, b, atol=1e-3) for a, b in zip(together[own], plain, strict=True)), delta.weights
        loaded = Delta.load(delta.save(tmp_path / f"delta{d}"))
        assert loaded.context == delta.context and loaded.weights == delta.weights
        for name, change in delta.factors.items():
            read = loaded.factors[name]
            assert type(read) is type(change)
            assert all(torch.equal(getattr(read, f.name), getattr(change, f.name)) for f in dataclasses.fields(change))
    assert np.isfinite(drift).all() and np.isfinite(bits).all() and (drift[[1, 2]] > 0).all()
    assert hash_weights(lm.module) == before
