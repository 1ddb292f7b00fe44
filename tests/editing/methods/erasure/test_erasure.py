"""Erasures against literal formulas, and the cases that ask for them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch

import editing
from benchmarks.cases import cases_digest
from benchmarks.datasets import build_cases
from benchmarks.datasets.ours.erasures import erase_case
from benchmarks.measure import probe_rows
from benchmarks.measure.answers import Answer
from editing.delta import Affine, Delta
from editing.errors import BadData, BadRequest
from editing.methods import apply_sequence, make_method
from editing.methods.erasure.leace import eraser
from editing.methods.erasure.samples import read_stream, stream
from editing.model.hooks import hooked
from editing.model.language_model import LanguageModel
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest

REQUEST = EditRequest(
    "erase", ("{} comes from", "A loaf of {} is made from"), "Cheese", ("Italy",), contrast=("Bread", "Butter", "Honey")
)


@pytest.fixture(scope="module")
def lm(trained_lm: LanguageModel) -> LanguageModel:
    return trained_lm


def literal_states(lm: LanguageModel, names: tuple[str, ...], path: str) -> torch.Tensor:
    """(texts, d_model) behind one module at the last token of each name; without drawn texts."""
    outputs = []
    for name in names:
        for frame in (*REQUEST.prompts, "{} is a"):
            end = frame.format(name).index(name) + len(name)
            encoding = lm.tokenizer(frame.format(name), return_offsets_mapping=True, add_special_tokens=False)
            at = max(i for i, (a, b) in enumerate(encoding["offset_mapping"]) if a < end)
            read: list[torch.Tensor] = []
            hook = (path, lambda module, args, out, read=read: read.append(out if torch.is_tensor(out) else out[0]))
            with torch.no_grad(), hooked(lm, [hook]):
                lm.module(input_ids=torch.tensor([lm.prefix_ids + tuple(encoding["input_ids"])]))
            outputs.append(read[0][0, at + len(lm.prefix_ids)])
    return torch.stack(outputs)


@pytest.mark.parametrize(
    ("by", "centre", "own"),
    [("ablate", "kind", True), ("ablate", "zero", False), ("swap", "kind", False), ("swap", "kind", True)],
)
def test_ablation_is_the_papers(by: str, centre: str, own: bool, lm: LanguageModel, statistics) -> None:
    method = make_method("ablate", by=by, centre=centre, own=own, prefixes=0, depth=0.5)
    (delta,) = method.each(lm, [REQUEST], statistics)
    paths = ["transformer.wte", *lm.layout.blocks]
    means = {p: [literal_states(lm, names, p).mean(0) for names in (("Cheese",), REQUEST.contrast)] for p in paths}

    def behind(path: str):
        one, other = means[path if own else lm.layout.blocks[2]]
        r = (one - other) / (one - other).norm()
        of_own, of_kind = means[path]
        middle = {"ablate": of_kind, "swap": (of_own + of_kind) / 2}[by] if centre == "kind" else torch.zeros(len(r))

        def hook(module, args, output):
            x = output if torch.is_tensor(output) else output[0]
            x = x - {"ablate": 1, "swap": 2}[by] * ((x - middle) @ r)[..., None] * r
            return x if torch.is_tensor(output) else (x, *output[1:])

        return path, hook

    ids = torch.tensor([lm.encode("Cheese is sold by the")])
    with torch.no_grad(), hooked(lm, [behind(path) for path in paths]):
        literal = lm.module(input_ids=ids).logits
    with torch.no_grad(), delta.applied(lm):
        assert torch.allclose(lm.module(input_ids=ids).logits, literal, atol=1e-3)


def test_leace_is_theorem_4_3() -> None:
    """Against explicit matrices; afterwards the class means are equal, and no affine map that does so moves less."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, generator=draw) @ torch.randn(6, 6, generator=draw) + torch.randn(6, generator=draw)
    z = (torch.arange(60) < 20).float()
    x[z > 0] += torch.tensor([2.0, 0, -1, 0, 0, 1])
    for shrinkage in (0.0, 0.1):
        change = eraser(x, z, shrinkage)
        data, label, mean = x.double().numpy(), z.double().numpy(), x.double().numpy().mean(0)
        sigma = np.cov(data.T, bias=True)
        sigma = (1 - shrinkage) * sigma + shrinkage * np.trace(sigma) / 6 * np.eye(6)
        values, vectors = np.linalg.eigh(sigma)
        w = np.linalg.pinv(vectors @ np.diag(values**0.5) @ vectors.T)
        cross = ((data - mean).T @ (label - label.mean()) / 60)[:, None]
        p = (w @ cross) @ np.linalg.pinv(w @ cross)
        literal = data - (data - mean) @ (np.linalg.pinv(w) @ p @ w).T
        erased = (x + change.of(x)).double().numpy()
        assert np.allclose(erased, literal, atol=1e-4)
        assert np.allclose(erased[label > 0].mean(0), erased[label == 0].mean(0), atol=1e-4)
    r = cross[:, 0] / np.linalg.norm(cross)
    ablated = data - ((data - mean) @ r)[:, None] * r
    change = eraser(x, z, 0.0)
    assert float(change.of(x).square().sum()) <= ((ablated - data) ** 2).sum() * (1 + 1e-6)


def test_behind_no_block_does_a_mean_tell_the_subject(lm: LanguageModel, statistics: ModelStatistics) -> None:
    method = make_method("leace", prefixes=2)
    (delta,) = method.each(lm, [REQUEST], statistics)
    own, kind = method.texts(lm, REQUEST, statistics)
    assert len(own) == 9 and len(kind) == 27
    plain, erased = (read_stream(lm, own + kind, stream(lm, range(lm.n_layers)), d) for d in (None, delta))
    for before, after in zip(plain, erased, strict=True):
        gap = [float((s[:9].mean(0) - s[9:].mean(0)).norm()) for s in (before, after)]
        assert gap[1] < 0.01 * gap[0]


def test_an_affine_change_has_doses_and_sums() -> None:
    draw = torch.Generator().manual_seed(0)
    one, two = (Affine(*(torch.randn(*s, generator=draw) for s in ((5, 1), (5, 1), (5,)))) for _ in range(2))
    x = torch.randn(3, 5, generator=draw)
    assert torch.allclose(one.scaled(0.5).of(x), one.of(x) / 2)
    from editing.delta import add_changes

    assert torch.allclose(add_changes(one, two).of(x), one.of(x) + two.of(x), atol=1e-5)
    assert repr(Delta({"a.output": one})).startswith("Delta(1 Affine")


def test_cases_ask_for_anything_but_the_old_answer() -> None:
    case = erase_case("cheese")
    assert case.kind == "erase" and "bread" in case.request.contrast and "cheese" not in case.request.contrast
    gone = [p for p in case.probes if p.generalises]
    assert gone and all(p.away and p.old != p.answer for p in gone)
    assert not any(p.away for p in case.probes if not p.generalises)
    kinds = {p.kind for c in build_cases("erasures", "erase") for p in c.probes}
    assert {"efficacy", "paraphrase", "relation", "cross_lingual", "neighbour", "same_subject"} <= kinds
    with pytest.raises(BadRequest, match="unknown concept"):
        erase_case("chese")
    with pytest.raises(BadData, match="no old answer to get away from"):
        replace(gone[0], old=None)
    assert cases_digest([case]) != cases_digest([replace(case, request=replace(case.request, contrast=("bread",)))])


@pytest.mark.parametrize("pick", [0, 1, 2])
def test_a_probe_counts_where_the_old_answer_was_given(pick: int) -> None:
    case = erase_case("cheese")
    probe = replace(case.probes[0], candidates=("milk", "flour", "wood"), answer=1, old=0, rival=None)
    case = replace(case, probes=(probe,))

    def says(at: int) -> Answer:
        return Answer(np.where(np.arange(3) == at, -0.1, -3.0), probe.candidates[at])

    (row,) = probe_rows(case, [says(0)], [np.zeros(3)], [says(pick)], {})
    assert row["value"] == row["hit_after"] == row["exact_after"] == float(pick != 0)
    assert (row["margin_after"] > 0) == (pick != 0) and row["hit_before"] == 0
    (row,) = probe_rows(case, [says(2)], [np.zeros(3)], [says(pick)], {})
    assert np.isnan(row["value"]) and row["reason"] == "unknown to the unedited model"


@pytest.mark.parametrize("name", ["ablate", "leace"])
def test_erasures_made_together_are_made_one_after_another(name: str, lm: LanguageModel, statistics) -> None:
    """Each is found, and acts, behind those before it, in one call as in a sequence; the last one is whole."""
    kind = {"contrast": ("New Zealand",), "prompts": ("The capital of {} is the city of",), "targets": ("Italy",)}
    requests = [replace(REQUEST, id=subject, subject=subject, **kind) for subject in ("France", "Spain", "Italy")]
    method = make_method(name, prefixes=1)
    joint = method(lm, requests, statistics)
    piled = apply_sequence(lm, method, requests, statistics)
    ids = torch.tensor([lm.encode("The capital of Italy is the city of")])
    (path,) = stream(lm, [2])
    own, others = method.texts(lm, requests[-1], statistics)

    def gap(delta: Delta | None) -> float:
        (read,) = read_stream(lm, own + others, [path], delta)
        return float((read[: len(own)].mean(0) - read[len(own) :].mean(0)).norm())

    with torch.no_grad(), ExitStack() as one_behind_another:
        for request in requests:
            (delta,) = method.each(lm, [request], statistics)
            one_behind_another.enter_context(delta.applied(lm))
        expected = lm.module(input_ids=ids).logits
    for whole in (joint, piled):
        with torch.no_grad(), whole.applied(lm):
            assert torch.allclose(lm.module(input_ids=ids).logits, expected, atol=1e-3 * float(expected.abs().max()))
        assert gap(whole) < (1e-3 if name == "leace" else 0.25) * gap(None)


@pytest.mark.parametrize("name", ["ablate", "leace"])
def test_an_erasure_is_whole_whatever_the_model_says(name: str, lm: LanguageModel, statistics) -> None:
    """The old answer as the target: the smallest dose at which the model gives it is no edit."""
    request = editing.Request("The capital of {} is the city of", "France", "Paris", contrast=("Spain", "Italy"))
    delta = editing.edit(lm, request, name, statistics=statistics)
    (expected,) = make_method(name).each(lm, [request], statistics)
    for place, change in expected.factors.items():
        assert torch.equal(delta.factors[place].left, change.left) and float(change.norm()) > 0
    half = editing.edit(lm, request, name, statistics=statistics, dose=0.5)
    assert half.provenance["dose"] == 0.5


@pytest.mark.parametrize("name", ["ablate", "leace"])
def test_where_subject_and_kind_are_alike_nothing_is_erased(name: str, lm: LanguageModel, statistics) -> None:
    """Behind the embedding the prompts' last token is the same: the rounding of its mean had a direction of length 1."""
    prompts = ("{} comes from", "A loaf of {} is made from", "{} is sold by the")
    request = replace(REQUEST, prompts=prompts, targets=("Italy",) * 3, lookup="last")
    (delta,) = make_method(name).each(lm, [request], statistics)
    embedding, *blocks = (change.norm() for change in delta.factors.values())
    assert embedding == 0 and min(blocks) > 0.9


def test_an_erasure_needs_another_thing_of_the_kind() -> None:
    with pytest.raises(BadRequest, match="method ablate: kin=0; it must be 1 or more"):
        make_method("ablate", kin=0)
