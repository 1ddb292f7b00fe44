"""Crispness: every measure equals a literal loop on small models of several families, and known answers come out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.crispness.measure import COLUMNS, CONTROLS, DIRECTIONS, MEASURES, PARTS, Setup, crispness
from benchmarks.crispness.measures import (
    centred_cosines,
    direction_cosines,
    key_contrast,
    mutual_neighbours,
    partner_cosines,
    rank_alignment,
)
from benchmarks.crispness.pairs import Pairs, concept_pairs, facts, frames
from benchmarks.crispness.patching import patch, read_texts
from benchmarks.crispness.reading import gradient_vectors, optimised_vectors, untrained
from editing.errors import BadModel, BadRequest
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from tests.editing.families import random_module, tiny_lm
from tests.tiers import fast_are

pytestmark = pytest.mark.usefixtures("own_cache")

FAMILIES = ("gpt2", "gemma3_text", "opt")
PAIRS = concept_pairs()
# A literal loop passes every name through the model alone; it says the same of the pairs of two types as of all.
KEYS, GROUPS = zip(
    *((k, g) for k, g in zip(PAIRS.keys, PAIRS.groups, strict=True) if g in ("food", "animal")), strict=True
)
FEW = replace(PAIRS, keys=KEYS, groups=GROUPS)
SETUP = Setup(corpus="samples:1500")


@pytest.fixture(scope="module", params=fast_are(["gpt2"], FAMILIES))
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    lengths = {"max_position_embeddings": 512} | ({"n_positions": 512} if request.param == "gpt2" else {})
    return tiny_lm(request.param, **lengths)


@pytest.fixture(scope="module")
def statistics(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> ModelStatistics:
    return ModelStatistics(lm, tmp_path_factory.mktemp("cache"), SETUP.corpus)


@pytest.fixture(scope="module")
def frame(lm: LanguageModel, statistics: ModelStatistics) -> pd.DataFrame:
    return crispness(lm, ["cheese", "dog"], SETUP, statistics=statistics, pairs=FEW)


def value(frame: pd.DataFrame, concept: str, measure: str, layer: int, direction: str = "both", control: str = "none"):
    keys = (frame["concept"] == concept) & (frame["measure"] == measure) & (frame["layer"] == layer)
    (result,) = frame[keys & (frame["direction"] == direction) & (frame["control"] == control)]["value"]
    return result


def plain(lm: LanguageModel, ids, hooks=()) -> torch.Tensor:
    """Logits (T, vocabulary) of one sequence, without batches, prefixes or shortcuts."""
    handles = [lm.module.get_submodule(path).register_forward_hook(hook) for path, hook in hooks]
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        out = lm.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    for handle in handles:
        handle.remove()
    return out


def looked_up(lm: LanguageModel, prompt, path: str, side: str) -> np.ndarray:
    calls = []

    def look(module, args, output):
        raw = args[0] if side == "input" else output[0] if isinstance(output, tuple) else output
        calls.append(raw.reshape(-1, raw.shape[-1])[prompt.lookup].numpy().astype(float))

    with torch.no_grad():
        plain(lm, prompt.ids[: prompt.lookup + 1], [(path, look)])
    return calls[0]


def test_key_leaks_are_those_of_a_literal_inverse(lm, statistics, frame) -> None:
    layer = 1
    site = lm.sites()[layer]
    matrix = statistics.covariance(site).matrix.double().numpy()
    inverse = np.linalg.inv(matrix + np.eye(len(matrix)) * statistics.ridge * matrix.diagonal().mean())
    key = {}
    for lang in FEW.langs:
        for name, part in zip(FEW.keys, frames(lm, FEW, lang), strict=True):
            if FEW.known.entity(name).group == "food":
                key[name, lang] = np.mean([looked_up(lm, p, site.path, "input") for p in part], axis=0)
    cheese = key["concept:cheese", "en"], key["concept:cheese", "fr"]
    for here, there, lang, direction in ((0, 1, "fr", "en-fr"), (1, 0, "en", "fr-en")):
        k = cheese[here]
        own = cheese[there] @ inverse @ k / (k @ inverse @ k)
        others = [
            v @ inverse @ k / (k @ inverse @ k) for (n, side), v in key.items() if side == lang and "cheese" not in n
        ]
        assert value(frame, "cheese", "leak_translation", layer, direction) == pytest.approx(own, rel=1e-3, abs=1e-4)
        assert value(frame, "cheese", "leak_siblings", layer, direction) == pytest.approx(
            np.mean(others), rel=1e-3, abs=1e-4
        )
        assert value(frame, "cheese", "C_key", layer, direction) == pytest.approx(
            own - np.mean(others), rel=1e-3, abs=2e-4
        )


def test_alignment_is_that_of_a_literal_search(lm, frame) -> None:
    layer = 2
    block = lm.layout.blocks[layer]
    state = {
        lang: np.array(
            [np.mean([looked_up(lm, p, block, "output") for p in own], axis=0) for own in frames(lm, FEW, lang)]
        )
        for lang in FEW.langs
    }
    en, fr = (state[lang] - state[lang].mean(0) for lang in FEW.langs)
    n = len(en)
    cosine = [[float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in fr] for a in en]
    column = list(zip(*cosine, strict=True))
    for concept in ("cheese", "dog"):
        i = FEW.keys.index(f"concept:{concept}")
        hit = max(cosine[i]) == cosine[i][i] and max(column[i]) == cosine[i][i]
        chance = 1 / (2 * n - 1)
        assert value(frame, concept, "C_align", layer) == pytest.approx((hit - chance) / (1 - chance))
        places = [sum(v > cosine[i][i] for v in line) / (n - 1) for line in (cosine[i], column[i])]
        assert value(frame, concept, "align_rank", layer) == pytest.approx(1 - sum(places), abs=1e-5)


def test_patching_is_that_of_whole_forward_passes(lm, frame) -> None:
    layer, seed = 2, SETUP.seed
    block = lm.layout.blocks[layer]
    cheese = FEW.keys.index("concept:cheese")

    def probability(source: int, base: int) -> float:
        text = FEW.known.elicit(FEW.keys[source], "en")[0]
        state = []
        with torch.no_grad():
            plain(
                lm,
                lm.encode(text),
                [(block, lambda m, a, out: state.append((out[0] if isinstance(out, tuple) else out)[0, -1]))],
            )
            start = lm.encode(FEW.known.elicit(FEW.keys[base], "fr")[0])
            whole = lm.encode(FEW.known.elicit(FEW.keys[base], "fr")[0] + " fromage")

            def put(module, args, out):
                value = (out[0] if isinstance(out, tuple) else out).clone()
                value[0, len(start) - 1] = state[0]
                return (value, *out[1:]) if isinstance(out, tuple) else value

            logp = plain(lm, whole, [(block, put)]).log_softmax(-1)
        assert whole[: len(start)] == start
        return float(torch.stack([logp[t - 1, whole[t]] for t in range(len(start), len(whole))]).sum().exp())

    bases, others = FEW.patch_bases(cheese, seed), FEW.patch_others(cheese, seed)
    own = np.mean([probability(cheese, base) for base in bases])
    other = np.mean([probability(o, base) for o in others for base in bases])
    nats = [np.mean([np.log(probability(o, base)) for base in bases]) for o in (cheese, *others)]
    assert value(frame, "cheese", "patch_nats", layer, "en-fr") == pytest.approx(nats[0] - np.mean(nats[1:]), abs=1e-3)
    assert value(frame, "cheese", "patch_own", layer, "en-fr") == pytest.approx(own, rel=1e-3)
    assert value(frame, "cheese", "patch_other", layer, "en-fr") == pytest.approx(other, rel=1e-3)
    assert value(frame, "cheese", "C_patch", layer, "en-fr") == pytest.approx(own - other, rel=1e-3, abs=1e-9)


class OneBase(Pairs):
    """Every name is listened for in one prompt only."""

    def patch_bases(self, j: int, seed: int) -> tuple[int, ...]:
        return super().patch_bases(j, seed)[:1]


def test_a_state_patched_into_its_own_place_changes_nothing(lm) -> None:
    pairs = OneBase(FEW.known, FEW.keys, FEW.groups)
    (base,), layers = pairs.patch_bases(0, 0), range(lm.n_layers)
    texts = read_texts(lm, pairs, "fr", layers, [(base, 0)])
    result = patch(lm, pairs, texts, texts, layers, [(base, 0)])
    text = pairs.known.elicit(pairs.keys[base], "fr")[0]
    start, whole = lm.encode(text), lm.encode(text + " fromage")
    with torch.no_grad():
        logp = plain(lm, whole).log_softmax(-1)
    clean = float(torch.stack([logp[t - 1, whole[t]] for t in range(len(start), len(whole))]).sum().exp())
    assert [result.probability[layer][base, 0] for layer in layers] == pytest.approx([clean] * lm.n_layers, rel=1e-3)


def test_edit_vectors_are_single_gradients(lm) -> None:
    prompts = facts(lm, FEW, "fr", 0)[:3]
    sites = lm.sites()
    result = gradient_vectors(lm, prompts, sites, batch_tokens=100)
    for i, prompt in enumerate(prompts):
        site = sites[1]
        leaf = torch.zeros(site.d_out, requires_grad=True)

        def add(module, args, out, prompt=prompt, leaf=leaf):
            mark = torch.zeros(len(prompt.ids), 1)
            mark[prompt.lookup] = 1
            return out + (mark * leaf).reshape(out.shape)

        with torch.enable_grad():
            logp = plain(lm, prompt.ids, [(site.path, add)]).log_softmax(-1)
            total = torch.stack([logp[prompt.start - 1 + t, token] for t, token in enumerate(prompt.target)]).sum()
            (gradient,) = torch.autograd.grad(total, leaf)
        torch.testing.assert_close(result[i, 1], gradient, rtol=1e-3, atol=1e-6)
    # nothing behind the last block reads the subject's place: no direction, and no number for it
    assert (result[:, -1] == 0).all()


def test_optimised_edit_vectors_set_out_along_the_gradient(lm, statistics) -> None:
    prompts, sites = facts(lm, FEW, "en", 0)[:3], lm.sites()[:2]
    result = optimised_vectors(lm, prompts, sites, steps=2)
    first = gradient_vectors(lm, prompts, sites)
    assert result.shape == first.shape
    # the second pass only measures, so one step of Adam was made: the gradient's signs, scaled
    cosine = torch.nn.functional.cosine_similarity(result, first, dim=-1)
    assert (cosine > 0.3).all() and (cosine < 0.999).all()
    alone = optimised_vectors(lm, prompts[1:2], sites[1:], steps=2)
    torch.testing.assert_close(result[1:2, 1:], alone, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("lm", ["gpt2"], indirect=True)  # nothing of it is a matter of the family
def test_steps_change_only_the_directions(lm, statistics, frame) -> None:
    other = crispness(lm, ["cheese"], replace(SETUP, steps=2, controls=("none",)), statistics=statistics, pairs=FEW)
    assert value(other, "cheese", "C_key", 1) == value(frame, "cheese", "C_key", 1)
    assert value(other, "cheese", "C_dir", 1) != value(frame, "cheese", "C_dir", 1)
    assert set(other["control"]) == {"none"}
    # behind the last block nothing reads the subject's place: the search has nothing to find there
    last = lm.n_layers - 1
    assert np.isnan(value(other, "cheese", "C_dir", last)) and np.isnan(value(frame, "cheese", "C_dir", last))


@pytest.mark.parametrize("lm", fast_are(["gpt2"], ["gpt2", "gemma3_text"]), indirect=True)
def test_other_sites(lm, statistics, frame) -> None:
    setup = replace(SETUP, site="value", controls=("none",))
    other = crispness(lm, ["cheese"], setup, statistics=statistics, pairs=FEW)
    assert set(other["site"]) == {"value"}
    assert value(other, "cheese", "C_key", 1) != value(frame, "cheese", "C_key", 1)
    assert value(other, "cheese", "C_align", 1) == value(frame, "cheese", "C_align", 1)
    # values are read by later positions even in the last block: there they have a direction, which the MLP has not
    assert np.isfinite(value(other, "cheese", "C_dir", lm.n_layers - 1))


@pytest.mark.parametrize("lm", ["gpt2"], indirect=True)  # nothing of it is a matter of the family
def test_a_layer_without_the_site_is_refused(lm, statistics) -> None:
    with pytest.raises(BadRequest, match="no site mlp in layer 7"):
        crispness(lm, ["cheese"], replace(SETUP, layers=(0, 7)), statistics=statistics, pairs=FEW)


def test_rows_are_complete(lm, frame) -> None:
    assert list(frame.columns) == list(COLUMNS)
    assert set(frame["measure"]) == {*MEASURES, *PARTS} and set(frame["control"]) == set(CONTROLS)
    assert set(frame["direction"]) == set(DIRECTIONS) and set(frame["concept"]) == {"cheese", "dog"}
    keys = ["concept", "layer", "measure", "direction", "control"]
    assert not frame.duplicated(keys).any() and set(frame["layer"]) == set(range(lm.n_layers))
    assert frame["depth"].max() == 1
    none = frame["value"].isna()
    assert set(frame[none]["measure"]) == {"C_dir"} and set(frame[none]["layer"]) == {lm.n_layers - 1}


@pytest.mark.parametrize("lm", ["gpt2"], indirect=True)  # nothing of it is a matter of the family
def test_same_seed_same_table(lm, statistics, frame) -> None:
    again = crispness(lm, ["cheese", "dog"], SETUP, statistics=statistics, pairs=FEW)
    pd.testing.assert_frame_equal(frame, again)
    setup = replace(SETUP, seed=1, controls=("none", "random"))
    other = crispness(lm, ["cheese"], setup, statistics=statistics, pairs=FEW)
    assert value(other, "cheese", "C_key", 1) == value(frame, "cheese", "C_key", 1)
    assert value(other, "cheese", "C_key", 1, control="random") != value(frame, "cheese", "C_key", 1, control="random")


def test_untrained_twin(lm) -> None:
    one, two, other = untrained(lm, 0), untrained(lm, 0), untrained(lm, 1)
    assert one.weight_hash == two.weight_hash != other.weight_hash
    assert one.weight_hash != lm.weight_hash and one.n_parameters == lm.n_parameters
    before = torch.get_rng_state()
    untrained(lm, 2)
    assert torch.equal(before, torch.get_rng_state())


def word_model(shared: bool) -> LanguageModel:
    """A GPT-2 over words in which a state depends on its own word alone; with `shared`, translations share a row."""
    known = PAIRS.known
    texts = [p for lang in PAIRS.langs for k in PAIRS.keys for p in known.elicit(k, lang)]
    for relation in known.schema:
        if relation.subject_kind == "concept":
            for k in PAIRS.keys:
                texts += [t.prompt(known.entity(k).word) for lang in PAIRS.langs for t in relation.templates(lang)]
    texts += [e.word.name(lang) for e in known.entities for lang in PAIRS.langs]
    words = sorted({w for t in texts for w in re.findall(r"\w+|[^\w\s]+", t)})
    vocabulary = {w: i for i, w in enumerate(["<unk>", "<|endoftext|>", *words])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>", eos_token="<|endoftext|>")
    module = random_module("gpt2", len(vocabulary), seed=3, n_embd=64, hidden_size=64)
    with torch.no_grad():
        module.transformer.wpe.weight.zero_()
        for block in module.transformer.h:
            block.attn.c_proj.weight.zero_()
            block.attn.c_proj.bias.zero_()
        table = module.transformer.wte.weight
        if shared:
            last = lambda text: vocabulary[re.findall(r"\w+|[^\w\s]+", text)[-1]]  # noqa: E731
            for i in range(PAIRS.n):
                table[last(PAIRS.name(i, "fr"))] = table[last(PAIRS.name(i, "en"))]
    return LanguageModel.wrap(module, tokenizer, name="words")


@pytest.mark.slow
def test_names_that_share_a_row_are_maximally_crisp_and_shuffled_pairs_are_not(tmp_path: Path) -> None:
    result = {}
    for shared in (True, False):
        model = word_model(shared)
        statistics = ModelStatistics(model, tmp_path, "samples:3000")
        setup = Setup(corpus="samples:3000", controls=("none", "random", "shuffled"))
        result[shared] = crispness(model, (), setup, statistics=statistics)
    both = result[True][result[True]["direction"] == "both"]

    def mean(frame: pd.DataFrame, measure: str, control: str) -> float:
        return frame[(frame["measure"] == measure) & (frame["control"] == control)]["value"].mean()

    assert value(result[True], "cheese", "leak_translation", 0, "en-fr") == pytest.approx(1, abs=1e-4)
    assert all(value(result[True], "cheese", "C_align", layer) == pytest.approx(1) for layer in range(4))
    assert mean(both, "leak_translation", "none") > 0.9 and mean(both, "C_align", "none") > 0.9
    assert mean(both, "C_key", "none") > 0.6
    for control in ("random", "shuffled"):
        assert mean(both, "C_align", control) < 0.05 and abs(mean(both, "C_key", control)) < 0.15
    unlike = result[False][result[False]["direction"] == "both"]
    assert mean(unlike, "C_align", "none") < 0.3 and mean(unlike, "C_key", "none") < 0.3
    # a state that nothing reads has no edit vector
    assert both[both["measure"] == "C_dir"]["value"].isna().all()


def test_measures_on_answers_known_by_hand() -> None:
    cosines = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.2, 0.8], [0.4, 0.5, 0.1]])
    identity, shifted = torch.arange(3), torch.tensor([0, 2, 1])
    assert mutual_neighbours(cosines, identity).tolist() == pytest.approx([1, -0.25, -0.25])
    assert mutual_neighbours(cosines, shifted).tolist() == pytest.approx([1, 1, 1])
    assert mutual_neighbours(torch.ones(3, 3), identity).tolist() == pytest.approx([-0.25] * 3)
    assert rank_alignment(cosines, identity).tolist() == pytest.approx([1, -0.5, -1])
    assert rank_alignment(torch.ones(3, 3), identity).tolist() == [0, 0, 0]
    assert partner_cosines(cosines, shifted).tolist() == pytest.approx([0.9, 0.8, 0.5])
    own, rest = key_contrast(cosines.double(), identity, [(1, 2), (2,), (0,)])
    assert own.tolist() == pytest.approx([0.9, 0.2, 0.1])
    assert rest[:2].tolist() == pytest.approx([0.35, 0.5]) and rest[2].item() == pytest.approx(0.2)
    assert key_contrast(cosines, torch.tensor([1, 1, 1]), [(1,), (2,), (1, 0)])[1].isnan().tolist() == [
        True,
        False,
        False,
    ]
    points = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(centred_cosines(points, points + 7).diagonal(), torch.ones(5, dtype=torch.float64))
    holed = points.clone()
    holed[2] = 0
    assert direction_cosines(points, holed).isnan().sum().item() == 5


def test_chance_level_of_mutual_neighbours() -> None:
    draws = torch.Generator().manual_seed(0)
    scores = [mutual_neighbours(torch.rand(6, 6, generator=draws), torch.arange(6)).mean() for _ in range(3000)]
    assert abs(torch.stack(scores).mean().item()) < 0.01


def test_partners() -> None:
    for seed in (0, 1):
        for draw in range(3):
            partner = PAIRS.shuffled_partners(draw, seed)
            assert sorted(partner) == list(range(PAIRS.n)) and all(i != p for i, p in enumerate(partner))
            assert all(PAIRS.groups[i] != PAIRS.groups[p] for i, p in enumerate(PAIRS.random_partners(draw, seed)))
    for j in range(PAIRS.n):
        assert not {j} & {*PAIRS.patch_bases(j, 0), *PAIRS.patch_others(j, 0)}
        assert not set(PAIRS.patch_bases(j, 0)) & set(PAIRS.patch_others(j, 0))
    assert PAIRS.keys[0] == "concept:cheese"
    assert PAIRS.chosen(["fromage", "cheese"]) == (0,)
    for wrong in ("chese", "piano", "table"):
        with pytest.raises(BadRequest, match=wrong):
            PAIRS.chosen([wrong])


def test_a_short_context_is_told() -> None:
    with pytest.raises(BadModel, match="longer context"):
        read_texts(tiny_lm("gpt2"), PAIRS, "fr", [0], [(i, 0) for i in range(PAIRS.n)])
