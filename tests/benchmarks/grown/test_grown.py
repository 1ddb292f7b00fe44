"""Grown rungs: what is stated and what is held back, the tokenizer, the optimiser, and rungs that are the same every
time."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.grown import RungSpec, grow, read_card
from benchmarks.grown.corpus import Corpus, Split, make_corpus
from benchmarks.grown.muon import orthogonalise, squares
from benchmarks.grown.recall import answered
from benchmarks.grown.rungs import ARCHITECTURES, build, ground
from benchmarks.grown.tokenizer import END, train_tokenizer
from benchmarks.grown.train import IGNORED, Recipe, SlicedLoss, batches, segments
from benchmarks.models import load_model
from benchmarks.world.facts import LANGS
from benchmarks.world.knowledge import knowledge
from editing.errors import BadData, BadModel, NoSite
from tests.benchmarks.forks import fork

TINY = RungSpec("gpt2", 1, 32, countries=8, recipe=Recipe(tokens=12_000, batch=512))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(knowledge())


def test_what_is_held_back_is_never_trained(corpus: Corpus) -> None:
    trained = {s.text for s in corpus.train}
    assert corpus.held and not trained & {s.text for s in corpus.held}
    about = {(s.fact, s.lang) for s in corpus.sentences("seen", "en") + corpus.sentences("seen", "fr")}
    for lang in LANGS:
        assert all((s.fact, lang) in about for s in corpus.sentences("template", lang))
        assert all((s.fact, lang) not in about for s in corpus.sentences("language", lang))
        assert len(corpus.sentences("language", lang)) > 100


def test_every_fact_is_told_in_one_or_two_languages(corpus: Corpus) -> None:
    world = knowledge()
    about = {fact: {lang for s in corpus.train if s.fact == fact for lang in [s.lang]} for fact in world.facts}
    alone = sum(len(langs) == 1 for langs in about.values()) / len(about)
    assert all(about.values()) and 0.25 < alone < 0.35
    assert not make_corpus(world, Split(one_language=0.0)).sentences("language", "fr")


def test_a_larger_world_leaves_the_fate_of_a_fact(corpus: Corpus) -> None:
    small = make_corpus(knowledge(20))
    known = set(knowledge(20).facts)
    of_both = {s.text for s in corpus.train if s.fact in known}
    assert {s.text for s in small.train if s.fact in of_both or s.fact in known} <= of_both
    assert make_corpus(knowledge(), Split(seed=1)).hash != corpus.hash == make_corpus(knowledge()).hash


def test_sentences_look_like_text(corpus: Corpus) -> None:
    for s in corpus.train + corpus.held:
        assert s.text.startswith(s.prompt) and s.text.endswith(s.target + ".") and s.text[0].isupper(), s.text
        assert "{" not in s.text and "  " not in s.text, s.text


def test_split_refuses_a_bad_fraction() -> None:
    with pytest.raises(BadData, match="one_language"):
        Split(one_language=1.5)


def test_tokenizer_is_deterministic_and_reads_anything(corpus: Corpus, tmp_path: Path) -> None:
    texts = [s.text for s in corpus.train]
    tokenizer = train_tokenizer(texts)
    assert tokenizer.backend_tokenizer.to_str() == train_tokenizer(texts).backend_tokenizer.to_str()
    assert len(tokenizer) <= 3000 and tokenizer.eos_token == END and tokenizer.eos_token_id == 0
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("La capitale de l'Allemagne s'appelle Berlin.", "Où? 日本 🧀 #x_1\n\ttab", texts[0]):
        ids = loaded(text)["input_ids"]
        assert ids == tokenizer(text)["input_ids"] and loaded.decode(ids).strip() == text.strip()
        spans = loaded(text, return_offsets_mapping=True)["offset_mapping"]
        assert spans[-1][1] == len(text) and all(a <= b for a, b in spans)
    spans = loaded("La capitale de l'Allemagne s'appelle", return_offsets_mapping=True)["offset_mapping"]
    assert "Allemagne" in {"La capitale de l'Allemagne s'appelle"[a:b].strip() for a, b in spans}
    assert loaded("cheese")["input_ids"] == loaded(" cheese")["input_ids"] and len(loaded("cheese")["input_ids"]) == 1
    words = {w for e in knowledge().entities for lang in LANGS for w in knowledge().name(e.key, lang).split()}
    assert sum(len(loaded(w)["input_ids"]) == 1 for w in words) / len(words) > 0.9


def test_batches_hold_every_sentence_once_per_epoch() -> None:
    rng = np.random.default_rng(0)
    sentences = [[100 + i] * int(rng.integers(1, 20)) for i in range(200)]
    recipe = Recipe(batch=256, length=64, alone=0.0, company=0.5)
    values = {i: 0 for i in range(200)}
    pairs = zip(batches(sentences, 0, recipe, seed=3), batches(sentences, 0, recipe, seed=3), strict=False)
    together, filled = 0, []
    for batch, again in itertools.islice(pairs, 400):
        assert batch.shape == (4, 65) and (batch == again).all() and (batch[:, 0] == 0).all()
        for row in batch:
            inside = row[row != IGNORED]
            assert inside[-1] == 0 and (row[len(inside) :] == IGNORED).all()
            filled.append(len(inside) / len(row))
            together += int(((inside[1:] != inside[:-1]) & (inside[1:] > 0) & (inside[:-1] > 0)).sum())
        for token in batch[batch >= 100]:
            values[int(token) - 100] += 1
    times = [values[i] / len(ids) for i, ids in enumerate(sentences)]
    assert all(t == int(t) for t in times) and max(times) - min(times) <= 2 < min(times) and together > 100
    assert sum(filled) / len(filled) > 0.8
    with pytest.raises(BadData, match="a sentence has 80 tokens"):
        next(batches([[1] * 80], 0, recipe, seed=0))


def test_documents_of_a_row_do_not_see_each_other() -> None:
    spec = replace(TINY, layers=2)
    model = build(spec, 50, 0).eval()
    one, two = [0, 5, 6, 7], [0, 8, 9, 10, 11]
    positions, mask = segments(torch.tensor([one + two]), end=0)
    assert positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 4]]
    hide = torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)
    with torch.no_grad():
        row = model(torch.tensor([one + two]), attention_mask=hide, position_ids=positions).logits[0]
        apart = torch.cat([model(torch.tensor([ids])).logits[0] for ids in (one, two)])
    assert torch.allclose(row, apart, atol=1e-5)


def test_sliced_loss_is_cross_entropy() -> None:
    g = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(300, 16, generator=g), torch.randn(50, 16, generator=g)
    labels = torch.randint(0, 50, (300,), generator=g)
    hidden.requires_grad_(), weight.requires_grad_()
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, labels, reduction="sum")
    loss = SlicedLoss.apply(hidden, weight, labels, torch.float32)
    assert torch.allclose(loss, expected, rtol=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(loss / 7, (hidden, weight)),
        torch.autograd.grad(expected / 7, (hidden, weight)),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 48), (1, 64, 16)])
def test_orthogonalise_evens_out_singular_values(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    out = orthogonalise(matrices)
    values = torch.linalg.svdvals(out)
    assert out.shape == matrices.shape and values.min() > 0.3 and values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    assert ((out * (u @ vh)).sum((1, 2)) / out.norm(dim=(1, 2)) / (u @ vh).norm(dim=(1, 2))).min() > 0.95
    assert [s.shape for s in squares(torch.zeros(8, 24))] == [(8, 8)] * 3 and len(squares(torch.zeros(8, 32))) == 1


WRONG = (
    "",
    "people",
    "people0",
    "people1.5",
    "people007",
    "people99999",
    "zipf-people9",
    "zipf0",
    "zipf9",
    "zipf-zipf",
)
WRONG += (
    "step",
    "step3",
    "step2",
    "step1024",
    "people250 ",
    "cats",
    "people250-",
    "step64@zipf",
    "batch",
    "batch64",
    "batch200",
    "batch1536-zipf",
)


def test_names() -> None:
    spec = RungSpec.parse("llama-4x192-s2")
    assert (spec.architecture, spec.layers, spec.width, spec.seed, spec.name) == ("llama", 4, 192, 2, "llama-4x192-s2")
    for name in (
        "gpt2-2x128",
        "gpt2attn-1x64-s3",
        "gpt2-4x192-s1@people250",
        "llama-1x64@zipf",
        "gpt2-1x64@zipf0.5-step64",
        "gpt2-1x64@people9-zipf0.5-batch1536-step64",
    ):
        assert RungSpec.parse(name).name == name
    spec = RungSpec.parse("gpt2-4x192-s1@people250-zipf-step64")
    assert (spec.people, spec.zipf, spec.step, spec.seed) == (250, 1.0, 64, 1)
    assert spec.recipe.tokens > 2 * Recipe().tokens and spec.finished.name == "gpt2-4x192-s1@people250-zipf"
    for wrong in (
        "gpt2",
        "gpt2-2x100",
        "bert-2x64",
        "gpt2-0x64",
        "../x",
        "gpt2-2x128-s",
        "",
        *(f"gpt2-2x128@{o}" for o in WRONG),
    ):
        with pytest.raises(BadModel, match=r"\A[^\n]+\Z"):
            RungSpec.parse(wrong)
    with pytest.raises(BadModel, match="gpt2-2x128"):
        grow("nonsense")
    with pytest.raises(BadModel, match=r"step3; use one of step4, step8, .*, step512\Z"):
        RungSpec.parse("gpt2-2x128@step3")


def test_the_first_rungs_keep_their_keys() -> None:
    """Rungs that people have grown are found again: options that say nothing are no part of what is hashed."""
    recipe = {
        "tokens": 700_000, "length": 128, "batch": 768, "alone": 0.7, "company": 0.1, "matrix_lr": 0.015,
        "embedding_lr": 0.01, "vector_lr": 0.005, "warmup": 0.02, "decay": 0.5,
    }  # fmt: skip
    assert RungSpec.parse("gpt2-2x128").identity() == {
        "architecture": "gpt2", "layers": 2, "width": 128, "seed": 0, "countries": 60, "vocabulary": 3000,
        "split": {"seed": 0, "one_language": 0.3}, "recipe": recipe,
    }  # fmt: skip
    assert {fact.relation for fact in knowledge().facts}.isdisjoint({"in_country", "born_in", "based_in"})


def test_options_change_the_key_and_steps_do_not() -> None:
    names = ("gpt2-1x64", "gpt2-1x64@people30", "gpt2-1x64@people31", "gpt2-1x64@zipf", "gpt2-1x64@zipf0.5")
    assert len({ground(RungSpec.parse(name)).key for name in names}) == len(names)
    assert ground(RungSpec.parse("gpt2-1x64@step64")).key == ground(RungSpec.parse("gpt2-1x64")).key


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A cache that holds TINY, and the steps that its training counted."""
    cache, steps = tmp_path_factory.mktemp("grown"), []
    grow(TINY, cache=cache, progress=lambda done, *_: steps.append(done))
    return cache, steps


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=() if name == "gpt2" else pytest.mark.slow) for name in ARCHITECTURES]
)
def test_a_rung_is_the_same_every_time_and_loads_plainly(
    architecture: str, grown: tuple[Path, list[int]], tmp_path: Path
) -> None:
    spec = replace(TINY, architecture=architecture)
    state = torch.random.get_rng_state()
    threads = torch.get_num_threads()
    first = grow(spec, cache=grown[0], progress=False)
    second = grow(spec, cache=tmp_path, progress=False)
    assert first.name == second.name and weights(first) == weights(second) == read_card(first)["weights"]
    assert torch.equal(torch.random.get_rng_state(), state) and torch.get_num_threads() == threads
    model, tokenizer = AutoModelForCausalLM.from_pretrained(first), AutoTokenizer.from_pretrained(first)
    sentence = ground(spec).corpus.train[0]
    assert tokenizer(sentence.text)["input_ids"] == ground(spec).tokenizer(sentence.text)["input_ids"]
    assert model.config.model_type == architecture.removesuffix("attn") and model.dtype == torch.float32
    card = read_card(first)
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["losses"][0][1] > card["loss"] + 1 and card["tokens"] > 0 and card["recall"]["seen"]["en"]["n"] > 100


def test_a_grown_rung_is_kept_and_a_half_made_one_is_not_taken(grown: tuple[Path, list[int]], tmp_path: Path) -> None:
    cache, steps = grown
    folder = grow(TINY, cache=cache, progress=False)
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert grow(TINY, cache=cache, progress=lambda done, *_: steps.append(done)) == folder
    assert steps == list(range(1, TINY.recipe.steps + 1)), "trained once"
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp

    def interrupt(done: int, total: int, loss: float) -> None:
        raise KeyboardInterrupt

    other = replace(TINY, seed=5, recipe=Recipe(tokens=2_000, batch=512))
    with pytest.raises(KeyboardInterrupt):
        grow(other, cache=tmp_path, progress=interrupt)
    left = [p.name for p in (tmp_path / "grown").iterdir() if not p.name.endswith(".lock")]
    assert left == []
    regrown = grow(other, cache=tmp_path, progress=False)
    assert read_card(regrown)["spec"]["seed"] == 5 and weights(regrown) != weights(folder)
    with pytest.raises(BadModel, match="not the card of a grown rung"):
        read_card(tmp_path)
    with pytest.raises(BadModel, match="--device 'cudaa': not a torch device"):
        grow(replace(other, seed=6), cache=tmp_path, progress=False, device="cudaa")


def grow_tiny(cache: Path) -> str:
    return str(grow(replace(TINY, recipe=Recipe(tokens=4_000, batch=512)), cache=cache, progress=False))


def test_an_attention_only_rung_has_no_mlp_to_edit(tmp_path: Path) -> None:
    folder = grow(replace(TINY, architecture="gpt2attn", layers=2), cache=tmp_path, progress=False)
    lm = load_model(str(folder))
    with pytest.raises(NoSite, match="no site of kind 'mlp'"):
        lm.sites("mlp")
    assert len(lm.sites("attn")) == len(lm.sites("value")) == 2
    said: list[torch.Tensor] = []
    for block in lm.module.transformer.h:
        block.mlp.register_forward_hook(lambda module, args, output: said.append(output))
    lm.module(torch.tensor([[0, 5, 9, 300]]))
    assert len(said) == 2 and not any(out.any() for out in said)
    card = read_card(folder)
    assert card["losses"][0][1] > card["loss"] + 0.5


def test_two_processes_grow_one_rung(tmp_path: Path) -> None:
    pair = [fork(lambda: grow_tiny(tmp_path), tmp_path / f"stderr-{i}") for i in range(2)]
    assert [child.wait() for child in pair] == [0, 0], [child.log.read_text() for child in pair]
    (folder,) = (path for path in (tmp_path / "grown").iterdir() if path.is_dir())
    assert weights(folder) == json.loads((folder / "card.json").read_text())["weights"]


def test_recall_counts_only_whole_targets() -> None:
    """The batched count against one greedy decoding per sentence, on an untrained model made to say some right
    answers."""
    on = ground(TINY)
    model = build(TINY, len(on.tokenizer), on.tokenizer.eos_token_id).eval()
    sentences = on.corpus.train[::400]
    ids = on.tokenizer([s.text for s in sentences])["input_ids"]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        for text in ids[::2]:
            row = torch.tensor([[0, *text]])
            model(row, labels=row).loss.backward()
        optimiser.step()
    right = answered(model, on.tokenizer, sentences, batch=4)
    for sentence, hit in zip(sentences, right, strict=True):
        prompt = torch.tensor([[0, *on.tokenizer(sentence.prompt)["input_ids"]]])
        n = len(on.tokenizer(sentence.text)["input_ids"]) - prompt.shape[1]
        said = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=max(n, 1), do_sample=False)
        text = on.tokenizer.decode(said[0, prompt.shape[1] :]).strip()
        assert hit == (text == sentence.target), (text, sentence.target)
    assert any(right) and not all(right)


@pytest.mark.slow
def test_the_reference_rung_knows_its_world(tmp_path: Path) -> None:
    recall = read_card(grow("gpt2-2x128", cache=tmp_path))["recall"]
    for lang in LANGS:
        assert recall["seen"][lang]["recall"] >= 0.95 and recall["template"][lang]["recall"] >= 0.9
        assert recall["language"][lang]["recall"] > recall["language"][lang]["chance"]
