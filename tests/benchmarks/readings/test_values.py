"""Readings give what a literal computation gives, and find what was planted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.crispness.pairs import fitting
from benchmarks.readings import make_reading
from benchmarks.readings.interchange import Interchange, _Swaps
from benchmarks.readings.interference import mean_squared_cosine, off_diagonal_mean
from benchmarks.readings.linearity import affine_maps
from benchmarks.readings.prompts import (
    Material,
    Prepared,
    Question,
    ReadingInput,
    answer_scores,
    block_states,
    read_out,
)
from benchmarks.readings.prompts.linear_maps import fit_classes, most_telling, predict
from benchmarks.readings.prompts.rotations import (
    Training,
    class_subspace,
    learn_subspace,
    orthonormal,
    principal_subspace,
    random_subspace,
    swapped,
)
from benchmarks.readings.prompts.swaps import base_key, base_prompt, draw_swaps
from benchmarks.readings.tracing import TOKENS, subject_span, token_columns, with_noise
from tests.benchmarks.readings.small import source
from tests.editing.families import tiny_lm

pytestmark = pytest.mark.usefixtures("own_cache")


def plain(ids, hooks=()) -> torch.Tensor:
    """Logits (T, vocabulary) of one sequence, without batches, prefixes or shortcuts."""
    module = source().lm.module
    handles = [module.get_submodule(path).register_forward_hook(hook) for path, hook in hooks]
    with torch.no_grad():
        logits = module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return logits


def probability(prompt, hooks=()) -> float:
    logp = plain(prompt.ids, hooks).log_softmax(-1)
    return float(sum(logp[prompt.start - 1 + t, token] for t, token in enumerate(prompt.target)).exp())


def test_the_small_model_knows_its_facts() -> None:
    assert source().right.mean() > 0.7


def test_answers_equal_those_of_single_runs() -> None:
    prompts = source().prompts[:7]
    answers = answer_scores(source().lm, prompts, batch_tokens=40)
    assert answers.logp.exp().tolist() == pytest.approx([probability(p) for p in prompts], rel=1e-4)


def test_the_state_behind_the_last_block_reads_out_as_the_logits() -> None:
    lm, prompts = source().lm, source().prompts[:5]
    states = block_states(lm, prompts, [lm.n_layers - 1])[:, 0]
    expected = torch.stack([plain(p.ids)[p.lookup] for p in prompts])
    torch.testing.assert_close(read_out(lm, states), expected, rtol=1e-4, atol=1e-4)


def test_overlaps_equal_a_double_loop() -> None:
    vectors = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    literal = np.mean([float(unit[i] @ unit[j]) ** 2 for i in range(6) for j in range(6) if i != j])
    assert mean_squared_cosine(vectors) == pytest.approx(literal)
    assert mean_squared_cosine(vectors[:, :2].repeat(1, 5)) > 1 / 10  # two dimensions in ten
    assert mean_squared_cosine(torch.eye(5)) == pytest.approx(0)
    assert off_diagonal_mean(torch.ones(4, 4) + torch.eye(4)) == 1


def test_an_affine_map_is_the_jacobian() -> None:
    """The directional derivative along a state equals the Jacobian of autograd times that state."""
    lm = source().lm
    places = source().best_wording("colour", "en")[:2]
    prompts = [source().prompts[i] for i in places]
    inputs = block_states(lm, [source().prompts[i] for i in source().best_wording("colour", "en")[2:5]], [0])[:, 0]
    maps = affine_maps(lm, prompts, 0, inputs)
    block, last = lm.layout.blocks[0], lm.layout.blocks[-1]
    for i, prompt in enumerate(prompts):

        def through(state: torch.Tensor, prompt=prompt) -> torch.Tensor:
            kept = []

            def put(module, args, output):
                value = (output[0] if isinstance(output, tuple) else output).clone()
                value[:, prompt.lookup] = state
                return (value, *output[1:]) if isinstance(output, tuple) else value

            def keep(module, args, output):
                kept.append((output[0] if isinstance(output, tuple) else output)[0, prompt.start - 1])

            handles = [
                lm.module.get_submodule(path).register_forward_hook(hook) for path, hook in ((block, put), (last, keep))
            ]
            lm.module(input_ids=torch.tensor([list(prompt.ids)]), use_cache=False)
            for handle in handles:
                handle.remove()
            return kept[0]

        state = block_states(lm, [prompt], [0])[0, 0]
        jacobian = torch.autograd.functional.jacobian(through, state)
        torch.testing.assert_close(maps.products[i], inputs @ jacobian.T, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(maps.at_examples[i], jacobian @ state, rtol=1e-3, atol=1e-4)


def test_a_restored_state_equals_a_plain_run_with_hooks() -> None:
    """Causal tracing, literally: noise on the subject's embeddings, one clean state put back by a hook."""
    src, lm = source(), source().lm
    places = src.best_wording("home", "en")[:3]
    reading = make_reading("tracing", draws=1, facts=3)
    trace = reading.trace(src, places)
    spans = [subject_span(src, i) for i in places]
    prepared = Prepared.of(lm, [src.prompts[i] for i in places], [start for start, _ in spans])
    subjects = torch.cat([prepared.behind[0][r, : b - a] for r, (a, b) in enumerate(spans)])
    from editing.seeds import seed_for

    noisy = with_noise(prepared, spans, 3.0 * float(subjects.std()), seed_for(0, "tracing/0/0"))
    embedding = "transformer.drop"
    for row, place in enumerate(places):
        prompt, (start, end) = src.prompts[place], spans[row]

        def spoil(module, args, output, row=row, start=start, end=end):
            output = output.clone()
            output[:, start:end] = noisy[row, : end - start]
            return output

        spoilt = probability(prompt, [(embedding, spoil)])
        assert trace.noisy[row] == pytest.approx(spoilt, abs=1e-5)
        layer, token = 1, TOKENS.index("subject_last")
        column = start + token_columns(prompt, spans[row])[token]
        clean: list[torch.Tensor] = []

        def keep(module, args, output, clean=clean):
            clean.append((output[0] if isinstance(output, tuple) else output).clone())

        plain(prompt.ids, [(lm.layout.blocks[layer], keep)])

        def put_back(module, args, output, clean=clean, column=column):
            value = (output[0] if isinstance(output, tuple) else output).clone()
            value[:, column] = clean[0][:, column]
            return (value, *output[1:]) if isinstance(output, tuple) else value

        restored = probability(prompt, [(embedding, spoil), (lm.layout.blocks[layer], put_back)])
        effect = trace.effects["indirect_effect", "none"][row, layer, token]
        assert effect == pytest.approx(restored - spoilt, abs=1e-5)
        path = lm.sites("mlp")[layer].path
        clean.clear()
        plain(prompt.ids, [(path, keep)])
        restored = probability(prompt, [(embedding, spoil), (path, put_back)])
        assert trace.effects["mlp_effect", "none"][row, layer, token] == pytest.approx(restored - spoilt, abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_attribution_is_the_effect_of_little_noise(family: str) -> None:
    """To first order, in models whose blocks hold more than keys and values too."""
    lm = tiny_lm(family)
    texts = ("The capital of France is", "The dairy food made from milk curds is called the")
    prompts = [fitting(lm, text, "", "last", " Paris") for text in texts]
    reading = make_reading("tracing", draws=1, noise=0.01, layers=0)
    trace = reading.trace_prompts(lm, prompts, [(1, 3), (2, 5)], [[0, 1], [1, 2]])
    for control in ("none", "other_noise"):
        effect = trace.effects["indirect_effect", control] / trace.noisy[:, None, None]
        attribution = trace.effects["attribution", control]
        assert np.abs(attribution).max() > 1e-3
        np.testing.assert_allclose(attribution, effect, atol=0.05 * np.abs(attribution).max())


def test_restoring_every_subject_token_at_the_embedding_restores_the_answer() -> None:
    """A subject of one token: its clean embedding back is the clean run."""
    trace = make_reading("tracing", draws=1).trace(source(), source().best_wording("home", "en")[:4])
    assert (trace.clean - trace.noisy).mean() > 0.1


def test_probes_find_planted_classes_and_no_others() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    features = rng.normal(size=(60, 10))
    features[:, 4] += 3 * (labels == 1)
    features[:, 7] += 3 * (labels == 2)
    assert set(most_telling(features, labels, 2)) == {4, 7}
    weights = fit_classes(features[::2], labels[::2], 3)
    assert (predict(weights, features[1::2]) == labels[1::2]).mean() > 0.8
    random = rng.permutation(labels)
    weights = fit_classes(features[::2], random[::2], 3)
    assert (predict(weights, features[1::2]) == random[1::2]).mean() < 0.65


def test_a_subspace_is_orthonormal_and_a_swap_stays_inside() -> None:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(30, 8, generator=generator)
    for basis in (
        random_subspace(8, 3, 0),
        principal_subspace(states, 3),
        class_subspace(states, ["a", "b", "c"] * 10, 3),  # two dimensions of class means, one filled up
    ):
        torch.testing.assert_close(basis.T @ basis, torch.eye(3), rtol=0, atol=1e-5)
        moved = swapped(states, states.flip(0), basis)
        torch.testing.assert_close(moved @ basis, states.flip(0) @ basis, rtol=0, atol=1e-5)
        outside = torch.eye(8) - basis @ basis.T
        torch.testing.assert_close(moved @ outside, states @ outside, rtol=0, atol=1e-5)
    whole = orthonormal(torch.randn(8, 8, generator=generator))
    torch.testing.assert_close(swapped(states, states.flip(0), whole), states.flip(0), rtol=0, atol=1e-5)


def test_the_search_finds_a_planted_direction() -> None:
    """States whose label is read off one direction: the learned subspace holds it."""
    generator = torch.Generator().manual_seed(2)
    planted = torch.nn.functional.normalize(torch.randn(12, generator=generator), dim=0)
    base, other = torch.randn(2, 200, 12, generator=generator)

    def loss(basis: torch.Tensor, members: list[int]) -> torch.Tensor:
        moved = swapped(base[members], other[members], basis)
        wrong = (moved - other[members]) @ planted
        kept = (moved - base[members]) @ (torch.eye(12) - torch.outer(planted, planted))
        return (wrong**2).mean() + (kept**2).mean()

    start = random_subspace(12, 1, 5)
    basis = learn_subspace(loss, start, 200, Training(steps=200, lr=0.05), 0)
    assert float((planted @ basis).norm()) > 0.98 > float((planted @ start).norm())


def test_swaps_ask_for_what_the_source_entity_has() -> None:
    src = source()
    entities = sorted({q.entity for q in src.material.questions})
    swaps = draw_swaps(src, "colour", entities, ("en", "fr"), 20, np.random.default_rng(0))
    assert {swap.moves for swap in swaps} == {True, False}
    for swap in swaps:
        base, other = src.question(swap.base), src.question(swap.source)
        assert base.lang == "fr" and other.lang == "en" and other.relation == "colour"
        assert base.entity == swap.entity and other.answer == swap.answer
        if swap.moves:
            assert base.relation == "colour" and base.answer != swap.answer and swap.target != base.target
        else:
            assert base.relation == "home" and swap.target == base.target


def test_swaps_are_about_every_other_attribute() -> None:
    """More questions than swaps, attribute by attribute and wording by wording, as a file has them."""
    entities = [f"city {i}" for i in range(12)]
    questions = tuple(
        Question(name, "city", f"attribute {r}", f"{r}-{i % 5}", "en", wording, "{} is", name, f"{r}-{i % 5}")
        for r in range(6) for wording in range(3) for i, name in enumerate(entities)
    )  # fmt: skip
    src = ReadingInput(source().lm, Material("cities", ("en",), questions), source().statistics)
    src.__dict__["right"] = np.ones(len(questions), bool)  # a cached property, which would ask the model
    swaps = draw_swaps(src, "attribute 0", entities, ("en", "en"), 64, np.random.default_rng(0))
    kept = Counter(questions[swap.base].relation for swap in swaps if not swap.moves)
    assert len(kept) == 5 and min(kept.values()) >= 5 and sum(kept.values()) == 64
    moved = Counter(swap.base for swap in swaps if swap.moves)
    assert len(moved) == 36 and sorted(moved.values()) == [1] * 8 + [2] * 28, "36 questions, then 28 of them again"


def test_the_search_ends_with_the_first_pass_that_is_good_enough() -> None:
    """Ten swaps in batches of four make a pass of three steps."""

    def steps_with(enough: float) -> int:
        calls = []

        def loss(basis: torch.Tensor, members: list[int]) -> torch.Tensor:
            calls.append(1.0 if len(calls) < 3 else 0.1)
            return calls[-1] + 0 * basis.sum()

        learn_subspace(loss, random_subspace(6, 2, 0), 10, Training(steps=12, batch=4, enough=enough), 0)
        return len(calls)

    assert [steps_with(enough) for enough in (0.0, 0.2, 2.0)] == [12, 6, 3]


def test_a_swap_equals_a_plain_run_with_a_hook() -> None:
    """Two sets that share prompts, one swap drawn twice: log-probabilities and answers are those of single runs."""
    src, layer = source(), 0
    entities = sorted({q.entity for q in src.material.questions})
    drawn = draw_swaps(src, "colour", entities, ("en", "en"), 8, np.random.default_rng(0))
    sets = _Swaps.read(src, [drawn[:9], [*drawn[5:], drawn[5]]], [layer])
    basis = random_subspace(src.lm.d_model, src.lm.d_model // 2, 3)
    for read in sets:
        assert len(read.bases.prompts) < sum(len(one.swaps) for one in sets)
        with torch.no_grad():
            answers = read.answers(layer, basis, list(range(len(read.swaps))))
        for number, swap in enumerate(read.swaps):
            prompt, other = base_prompt(src, *base_key(swap)), src.prompts[swap.source]
            put = block_states(src.lm, [other], [layer])[0, 0]

            def exchange(module, args, output, prompt=prompt, put=put):
                value = (output[0] if isinstance(output, tuple) else output).clone()
                value[:, prompt.lookup] = swapped(value[:, prompt.lookup], put[None], basis)
                return (value, *output[1:]) if isinstance(output, tuple) else value

            logits = plain(prompt.ids, [(src.lm.layout.blocks[layer], exchange)])
            said = logits.argmax(-1)[prompt.start - 1 :].tolist()
            expected = sum(
                float(logits.log_softmax(-1)[prompt.start - 1 + t, token]) for t, token in enumerate(prompt.target)
            )
            assert float(answers.logp[number]) == pytest.approx(expected, abs=1e-4)
            assert bool(answers.exact[number]) == (said == list(prompt.target))
        assert read.exact(layer, basis) == answers.exact.tolist()


def test_answers_by_length_equal_those_of_one_batch() -> None:
    src = source()
    prompts = sorted(src.prompts[:40:5], key=lambda p: -len(p.ids))
    prepared = Prepared.of(src.lm, prompts, [2] * len(prompts))  # other numbers of tokens behind the cut
    assert len({len(p.ids) for p in prompts}) > 1
    small = replace(src.lm, batch_scale=0.01)  # about ten tokens in a batch
    rows = [3, 0, 7, 5, 1, 1]
    hidden = prepared.behind[1][rows] + 0.1
    with torch.no_grad():
        whole = prepared.answers(0, rows, hidden)
        parts = replace(prepared, lm=small).answers_by_length(0, rows, lambda members: hidden[members])
    torch.testing.assert_close(parts.logp, whole.logp, rtol=1e-4, atol=1e-4)
    assert parts.exact.tolist() == whole.exact.tolist()


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_a_state_put_behind_any_layer_gives_what_a_plain_run_gives(family: str) -> None:
    """Also where a block keeps no keys and values: everything left of the cut is read again then."""
    lm = tiny_lm(family)
    texts = ("The capital of France is", "The dairy food made from milk curds is called the")
    prompts = [fitting(lm, text, "", "last", " Paris") for text in texts]
    prepared = Prepared.of(lm, prompts, [2, 4])
    row, column, token = prepared.places([0, 1])
    index = torch.arange(2)
    with torch.no_grad():
        whole = [lm.module(input_ids=torch.tensor([p.ids])).logits[0].log_softmax(-1) for p in prompts]
    cuts = torch.tensor(prepared.cuts)
    for layer in range(-1, lm.n_layers):
        with torch.no_grad():
            logits = prepared.run(layer, index, prepared.behind[layer + 1], (row, column))
        for n, (r, c, t) in enumerate(zip(row.tolist(), (column + cuts[row]).tolist(), token.tolist(), strict=True)):
            assert float(logits[n].log_softmax(-1)[t]) == pytest.approx(float(whole[r][c, t]), abs=1e-4)


def test_interchange_leaves_the_ends_out_in_deep_models_only() -> None:
    reading = Interchange()
    assert reading.places(2) == [-1, 0] and reading.places(8) == reading.chosen_layers(-1, 6) == [-1, 1, 4, 6]
    assert reading.places(30) == [9, 18] and replace(reading, ends=True).places(30) == [-1, 9, 18, 28]
    assert replace(reading, layers=0).places(30) == list(range(-1, 29))


def test_unembeddings_of_tokens_that_are_never_written_do_not_count() -> None:
    """Training left their rows in one direction; spread at random, they move the overlap of the vocabulary alone."""
    written = {token for sequence in source().statistics.sequences() for token in sequence}
    weight = source().lm.module.get_output_embeddings().weight
    others = [token for token in range(len(weight)) if token not in written]
    before = make_reading("interference")._unembeddings(source())
    assert len(others) > 9
    with torch.no_grad():
        kept = weight[others].clone()
        weight[others] = torch.randn(kept.shape, generator=torch.Generator().manual_seed(0))
        after = make_reading("interference")._unembeddings(source())
        weight[others] = kept
    values = [{row["control"]: row["value"] for row in rows} for rows in (before, after)]
    assert values[0]["none"] == values[1]["none"] and values[1]["vocabulary"] < values[0]["vocabulary"] / 2
    rows = weight[sorted(written)].double()
    unit = rows / rows.norm(dim=1, keepdim=True)
    gram = (unit @ unit.T) ** 2
    assert values[0]["none"] == pytest.approx(float(off_diagonal_mean(gram)))
