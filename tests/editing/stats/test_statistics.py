"""Covariances and prefixes: right, cached, and honest about damage."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch

from editing.errors import BadData, BadRequest
from editing.model import head_site
from editing.model.language_model import LanguageModel
from editing.run import forward, pad
from editing.stats.corpus import corpus_hash
from editing.stats.covariance import Products, covariances
from editing.stats.sampling import OPENINGS, _by_inverse, sample_prefixes, sample_tokens
from editing.stats.statistics import ModelStatistics
from tests.editing.families import SENTENCES, random_module, tiny_lm
from tests.editing.same_weights import changed_copy, heads, lowercase
from tests.editing.text.test_borders import metaspace

SHORT = {"n_positions": 40, "max_position_embeddings": 40}  # a text is drawn in 39 steps


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm("gpt2", **SHORT)


def literal(lm: LanguageModel, sequences: list[list[int]], path: str, d_in: int) -> torch.Tensor:
    """One sequence and one token at a time, in float64."""
    total, count = torch.zeros(d_in, d_in, dtype=torch.float64), 0
    calls: list[torch.Tensor] = []
    handle = lm.module.get_submodule(path).register_forward_hook(lambda m, a, o: calls.append(a[0].detach()))
    for sequence in sequences:
        calls.clear()
        with torch.no_grad():
            lm.module(input_ids=torch.tensor([sequence]))
        for key in calls[0].reshape(-1, d_in).double():
            total += torch.outer(key, key)
            count += 1
    handle.remove()
    return total / count


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "bloom"])
def test_covariance_equals_a_literal_loop(family: str) -> None:
    lm = tiny_lm(family)
    sequences = [lm.encode(s)[: 5 + 3 * i] for i, s in enumerate(SENTENCES)]
    sites = [lm.sites("mlp")[0], lm.sites("mlp")[2], lm.sites("value")[1], lm.sites("attn")[2]]
    sites.append(head_site(lm.module, lm.n_layers))
    result = covariances(lm, sequences, sites, batch_tokens=60)
    assert set(result) == {s.path for s in sites}
    for site in sites:
        slow = literal(lm, sequences, site.path, site.d_in)
        fast = result[site.path]
        assert fast.tokens == sum(map(len, sequences)) and 0 < fast.error < 1
        assert float((fast.matrix.double() - slow).norm() / slow.norm()) < 1e-5


def test_one_text_has_no_error_estimate(lm: LanguageModel, tmp_path: Path) -> None:
    statistics = ModelStatistics(lm, tmp_path, "samples:20")
    result = statistics.covariance(lm.sites()[0])
    assert result.error != result.error  # NaN: nothing to compare it with
    assert "relative error unknown" in statistics.format()


@pytest.mark.parametrize("lengths", [(6, 6, 6, 6), (2, 9, 4, 7)], ids=["one length", "ragged"])
@pytest.mark.parametrize("d_in", [5, 30], ids=["longer than wide", "wider than long"])
def test_the_error_is_the_standard_error_over_texts(lengths: tuple[int, ...], d_in: int) -> None:
    """Against the residuals S_i - n_i C of each text, summed one by one, in two batches."""
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randn(n, d_in, generator=generator) * (1 + i) for i, n in enumerate(lengths)]
    sums = Products.empty(d_in)
    for pair in (texts[:2], texts[2:]):
        padded = torch.nn.utils.rnn.pad_sequence(pair, batch_first=True, padding_value=7.0)
        mask = torch.arange(padded.shape[1])[None] < torch.tensor([len(t) for t in pair])[:, None]
        sums.add(Products.of(padded, mask))
    result, n = sums.covariance(), sum(lengths)
    literal_c = sum(t.double().T @ t.double() for t in texts) / n
    left = sum(float((t.double().T @ t.double() - len(t) * literal_c).norm()) ** 2 for t in texts)
    assert torch.allclose(result.matrix.double(), literal_c, atol=1e-4) and result.tokens == n
    assert result.error == pytest.approx((left * 4 / 3) ** 0.5 / n / float(literal_c.norm()), rel=1e-4)


def test_the_error_is_how_far_independent_corpora_are_from_the_truth() -> None:
    """Tokens of one text share a long direction, as rare topics do; the truth is known by construction."""
    generator, d_in, texts, length = torch.Generator().manual_seed(1), 8, 40, 12
    truth = torch.eye(d_in, dtype=torch.float64)
    truth[0, 0] += 9.0
    stated, actual = [], []
    for _ in range(1000):
        keys = torch.randn(texts, length, d_in, generator=generator)
        keys[:, :, 0] += 3.0 * torch.randn(texts, 1, generator=generator)
        sums = Products.empty(d_in)
        sums.add(Products.of(keys, torch.ones(texts, length, dtype=torch.bool)))
        result = sums.covariance()
        stated.append((result.error * float(result.matrix.norm())) ** 2)
        actual.append(float((result.matrix.double() - truth).norm()) ** 2)
    assert sum(stated) / sum(actual) == pytest.approx(1, abs=0.15)


def test_solve_is_the_inverse_of_the_ridged_matrix(lm: LanguageModel, tmp_path: Path) -> None:
    statistics, site = ModelStatistics(lm, tmp_path, "samples:500"), lm.sites()[1]
    keys = torch.randn(site.d_in, 3, generator=torch.Generator().manual_seed(0))
    c = statistics.covariance(site).matrix.double()
    c = c + 1e-4 * c.diagonal().mean() * torch.eye(len(c), dtype=torch.float64)
    assert torch.allclose(c @ statistics.solve(site, keys), keys.double(), atol=1e-8)


def test_second_time_comes_from_the_cache(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = lm.sites()[:2]
    first = ModelStatistics(lm, tmp_path, "samples:500")
    first.prepare(sites)
    prefixes = first.prefixes({5: 2, 10: 1})

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("editing.stats.statistics.covariances", refuse)
    monkeypatch.setattr("editing.stats.statistics.sample_prefixes", refuse)
    second = ModelStatistics(lm, tmp_path, "samples:500")
    second.prepare(sites)
    for site in sites:
        assert torch.equal(first.covariance(site).matrix, second.covariance(site).matrix)
        assert first.covariance(site).tokens == second.covariance(site).tokens
    assert second.prefixes({5: 2, 10: 1}) == prefixes
    with pytest.raises(AssertionError, match="computed again"):
        ModelStatistics(lm, tmp_path, "samples:600").prepare(sites)
    with pytest.raises(AssertionError, match="computed again"):
        ModelStatistics(lm, tmp_path, "samples:500", seed=1).prepare(sites)
    with pytest.raises(AssertionError, match="computed again"):
        ModelStatistics(tiny_lm("gpt2", seed=1, **SHORT), tmp_path, "samples:500").prepare(sites)


def test_same_seed_same_numbers_in_another_cache(lm: LanguageModel, tmp_path: Path) -> None:
    one, two, other = (
        ModelStatistics(lm, tmp_path / n, "samples:500", seed=s) for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    site = lm.sites()[0]
    assert torch.equal(one.covariance(site).matrix, two.covariance(site).matrix)
    assert not torch.equal(one.covariance(site).matrix, other.covariance(site).matrix)
    assert one.prefixes({5: 3}) == two.prefixes({5: 3}) != other.prefixes({5: 3})


def test_samples_of_another_model(lm: LanguageModel, tmp_path: Path) -> None:
    """The text is the sampler's, the keys are the model's own, and neither is taken for the other later."""
    other = tiny_lm("gpt2", seed=5, **SHORT)
    site = lm.sites()[1]
    theirs = ModelStatistics(other, tmp_path, "samples:600")
    theirs.covariance(other.sites()[1])
    mixed = ModelStatistics(lm, tmp_path, "samples:600", sampler=other).covariance(site).matrix
    assert not list(tmp_path.glob(f"statistics/{lm.weight_hash[:24]}-*/samples-*"))
    (drawn,) = tmp_path.glob(f"statistics/{other.weight_hash[:24]}-*/samples-*")
    sequences = [[*lm.prefix_ids, *piece] for piece in json.loads(drawn.read_text())]
    torch.testing.assert_close(mixed, covariances(lm, sequences, [site])[site.path].matrix)
    own = ModelStatistics(lm, tmp_path, "samples:600").covariance(site).matrix
    assert not torch.allclose(mixed, own)
    again = ModelStatistics(lm, tmp_path, "samples:600", sampler=other).covariance(site).matrix
    assert torch.equal(mixed, again)


def test_statistics_are_of_this_tokenizer_and_configuration(lm: LanguageModel, tmp_path: Path) -> None:
    """A corrected tokenizer.json or config.json beside the same weights was given the covariances of before."""
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    site, corpus = lm.sites()[2], f"text:{tmp_path / 'text.txt'}"

    before = ModelStatistics(lm, tmp_path, corpus).covariance(site).matrix
    for changed in (changed_copy(lm, lowercase), changed_copy(lm, heads(2))):
        own = ModelStatistics(changed, tmp_path / "apart", corpus).covariance(site).matrix
        assert torch.equal(ModelStatistics(changed, tmp_path, corpus).covariance(site).matrix, own)
        assert not torch.equal(own, before)
    same = ModelStatistics(changed_copy(lm, lambda _: None), tmp_path, corpus)
    assert torch.equal(same.covariance(site).matrix, before) and len(list(tmp_path.glob("statistics/*"))) == 3


def test_statistics_of_another_reading_of_the_same_weights_are_refused(lm: LanguageModel, tmp_path: Path) -> None:
    statistics = ModelStatistics(lm, tmp_path, "identity")
    statistics.refuse_other(LanguageModel.wrap(lm.module, copy.deepcopy(lm.tokenizer), prefix_ids=lm.prefix_ids))
    lower = changed_copy(lm, lowercase).tokenizer
    for tokenizer, prefix_ids in ((lower, lm.prefix_ids), (lm.tokenizer, (5,))):
        with pytest.raises(
            BadRequest, match="of the same weights, has another tokenizer, configuration or first token"
        ):
            statistics.refuse_other(LanguageModel.wrap(lm.module, tokenizer, prefix_ids=prefix_ids))


def test_prefixes(lm: LanguageModel, tmp_path: Path) -> None:
    statistics = ModelStatistics(lm, tmp_path)
    result = statistics.prefixes({5: 4, 10: 3})
    assert len(result) == 7 and all(p.strip() == p and "{" not in p and "\n" not in p for p in result)
    assert statistics.prefixes({5: 0, 10: 2}) == statistics.prefixes({10: 2})
    assert statistics.prefixes({5: 0}) == ()


def test_prefixes_of_sentencepiece_keep_the_blank_behind_their_opening() -> None:
    """Its decoder leaves out the blank before the first word of what it is given."""
    lm = LanguageModel.wrap(random_module("gpt2", 700, seed=1), metaspace("always"), prefix_ids=(1,))
    whole = [
        lm.tokenizer.decode([*lm.encode(opening)[1:], *row], skip_special_tokens=True)
        for i, opening in enumerate(OPENINGS[:3])
        for row in sample_tokens(lm, 4, 4, seed=500 + i, top_k=5, opening=opening).tolist()
    ]
    prefixes = sample_prefixes(lm, {5: 3}, seed=0)
    assert set(prefixes) <= {" ".join(text.split()).rstrip(" .") for text in whole}
    assert any(prefix.startswith(f"{opening} ") for prefix, opening in zip(prefixes, OPENINGS, strict=False))


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"not a safetensors file"])
def test_damaged_covariance_names_the_file(lm: LanguageModel, tmp_path: Path, content: bytes) -> None:
    site = lm.sites()[0]
    ModelStatistics(lm, tmp_path, "samples:500").prepare([site])
    (path,) = tmp_path.rglob(f"{site.path}.safetensors")
    path.write_bytes(content)
    with pytest.raises(BadData, match="damaged covariance") as caught:
        ModelStatistics(lm, tmp_path, "samples:500").prepare([site])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_prefixes_name_the_file(lm: LanguageModel, tmp_path: Path) -> None:
    ModelStatistics(lm, tmp_path).prefixes({5: 2})
    (path,) = tmp_path.rglob("prefixes-*.json")
    path.write_text('["The')
    with pytest.raises(BadData, match="damaged"):
        ModelStatistics(lm, tmp_path).prefixes({5: 2})


def test_identity_is_asked_for_by_name(lm: LanguageModel, tmp_path: Path) -> None:
    statistics, site = ModelStatistics(lm, tmp_path, "identity"), lm.sites()[0]
    assert torch.equal(statistics.covariance(site).matrix, torch.eye(site.d_in))
    assert statistics.describe()["corpus"] == "identity" and not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    "corpus", ["", "samples", "samples:", "samples:0", "samples:-5", "samples:x", "text:", "wiki:3"]
)
def test_unknown_corpora_are_refused(lm: LanguageModel, corpus: str) -> None:
    with pytest.raises(BadRequest, match="write samples:NUMBER"):
        ModelStatistics(lm, corpus=corpus)


def test_text_corpora(lm: LanguageModel, tmp_path: Path) -> None:
    """A file, and a folder with the same text, give the covariance of that text."""
    folder = tmp_path / "texts"
    folder.mkdir()
    text = "\n".join(SENTENCES)
    (folder / "a.txt").write_text(text, encoding="utf-8")
    (folder / "b.md").write_text("not read")
    site = lm.sites()[1]
    by_file = ModelStatistics(lm, tmp_path / "1", f"text:{folder / 'a.txt'}").covariance(site)
    by_folder = ModelStatistics(lm, tmp_path / "2", f"text:{folder}").covariance(site)
    assert torch.equal(by_file.matrix, by_folder.matrix)
    ids = lm.tokenizer(text)["input_ids"]
    pieces = [[0, *ids[i : i + 39]] for i in range(0, len(ids), 39)]  # the model has 40 positions
    slow = literal(lm, pieces, site.path, site.d_in)
    assert float((by_file.matrix.double() - slow).norm() / slow.norm()) < 1e-5
    (folder / "a.txt").write_text(text + " More.", encoding="utf-8")
    changed = ModelStatistics(lm, tmp_path / "1", f"text:{folder / 'a.txt'}").covariance(site)
    assert not torch.equal(changed.matrix, by_file.matrix)


def test_unreadable_text_corpora(lm: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "bytes.bin").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()
    for name in ("missing.txt", "blank.txt", "bytes.bin", "empty"):
        with pytest.raises(BadData, match=name) as caught:
            ModelStatistics(lm, tmp_path / "cache", f"text:{tmp_path / name}").prepare([lm.sites()[0]])
        assert "\n" not in str(caught.value)


def test_samples_fit_a_short_context(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2", n_positions=32, max_position_embeddings=32)
    assert ModelStatistics(lm, tmp_path, "samples:300").covariance(lm.sites()[0]).tokens >= 300


def test_a_spectrum_is_kept_on_disk(lm: LanguageModel, tmp_path: Path) -> None:
    site = lm.sites("mlp")[1]
    first = ModelStatistics(lm, tmp_path, "samples:400")
    values, vectors = first.spectrum(site)
    matrix = first.covariance(site).matrix.double()
    assert torch.allclose(vectors @ torch.diag(values) @ vectors.T, matrix, atol=1e-4 * float(matrix.abs().max()))
    (file,) = tmp_path.rglob(f"{site.path}.spectrum.safetensors")
    again = ModelStatistics(lm, tmp_path, "samples:400").spectrum(site)
    assert torch.equal(again[0], values) and torch.equal(again[1], vectors)
    file.write_bytes(b"nonsense")
    with pytest.raises(BadData, match="damaged spectrum"):
        ModelStatistics(lm, tmp_path, "samples:400").spectrum(site)


def test_drawing_by_the_inverse_follows_the_distribution(lm: LanguageModel) -> None:
    """20,000 first tokens beside the model's probabilities; no token of probability 0, whatever the variate."""
    with torch.no_grad():
        logits = forward(lm, pad([list(lm.prefix_ids) or [lm.pad_id]], lm, side="left"))
    assert logits is not None
    expected = logits[0].double().softmax(-1)
    drawn = sample_tokens(lm, 20_000, 1, seed=3, inverse=True)[:, 0].bincount(minlength=len(expected)) / 20_000
    deviation = (drawn.double() - expected) / (expected / 20_000).sqrt()
    assert float(deviation.abs().max()) < 5 and 0.8 < float(deviation.square().mean()) < 1.25
    share = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]).repeat(4000, 1)
    assert set(_by_inverse(share, torch.Generator().manual_seed(0))[:, 0].tolist()) == {1, 3}


@pytest.mark.parametrize("vocabulary", [5, 256, 1000])
def test_drawing_in_pieces_gives_the_tokens_of_one_running_sum(vocabulary: int) -> None:
    share = (3 * torch.randn(400, vocabulary, generator=torch.Generator().manual_seed(1))).softmax(-1)
    below = share.cumsum(-1, dtype=torch.float64)
    level = torch.rand(400, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * below[:, -1:]
    literal = torch.searchsorted(below, level, right=True).clamp(max=vocabulary - 1)
    assert torch.equal(_by_inverse(share, torch.Generator().manual_seed(2)), literal)


@pytest.mark.parametrize(("number", "counts"), [(20_000, [157]), (20_481, [80, 81]), (128, [1])])
def test_texts_are_drawn_in_equal_batches(
    number: int, counts: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of a batch reads all weights, so a small last batch would cost nearly as much as a full one."""
    lm, drawn = tiny_lm("gpt2", n_positions=256, max_position_embeddings=256), []

    def count(lm: LanguageModel, texts: int, length: int, **settings: object) -> torch.Tensor:
        drawn.append(texts)
        return torch.zeros(texts, length, dtype=torch.long)

    monkeypatch.setattr("editing.stats.statistics.sample_tokens", count)
    assert len(ModelStatistics(lm, tmp_path, f"samples:{number}").sequences()) == sum(counts)
    assert drawn == counts


def test_prefixes_are_those_of_the_unedited_model(tmp_path: Path) -> None:
    """Where they are first drawn while an edit is in the weights."""
    lm = tiny_lm("gpt2", **SHORT)
    counts = {5: 4}
    expected = ModelStatistics(lm, tmp_path / "one", "samples:400").prefixes(counts)
    weight = lm.sites("mlp")[0].weight
    with lm.writing() as weights:
        weights.write(weight, 50 * torch.randn(lm.values(weight).shape, generator=torch.Generator().manual_seed(0)))
        edited = sample_prefixes(lm, counts, seed=0)
        got = ModelStatistics(lm, tmp_path / "two", "samples:400").prefixes(counts)
    assert got == expected != edited


def test_a_byte_order_mark_is_no_text_of_a_corpus_and_its_hash_is_that_of_the_text(tmp_path) -> None:
    hashes = []
    for text in ("A quiet river.", "\ufeffA quiet river.", "A quiet town."):
        (tmp_path / "text.txt").write_text(text, encoding="utf-8")
        hashes.append(corpus_hash(f"text:{tmp_path / 'text.txt'}"))
    assert hashes[0] == hashes[1] != hashes[2] and corpus_hash("samples:500") == ""
