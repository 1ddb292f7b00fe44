"""Readings beside the public code that they follow, on the small model. A checkout is named by an environment variable
and stays outside this repository; without it a test is skipped.

    VALLEY_RELATIONS   evandez/relations: the linear approximation of a relation
    VALLEY_PYVENE      stanfordnlp/pyvene: the rotated-space intervention of DAS
    VALLEY_ROME        kmeng01/rome: causal tracing
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch

from benchmarks.readings.linearity import affine_maps
from benchmarks.readings.prompts import Prepared
from benchmarks.readings.prompts.rotations import orthonormal, swapped
from benchmarks.readings.tracing import subject_span
from editing.model import LanguageModel
from editing.run.trace import Trace, TraceDict
from editing.text import tokenise
from tests.benchmarks.readings.small import source

pytestmark = pytest.mark.usefixtures("own_cache")


def checkout(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"{variable} names no checkout")
    return Path(folder)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch):
    """`modules(folder, packages, absent)`: imports from a checkout, without running the packages' own __init__, with
    third-party libraries that the tested function does not use replaced by placeholders. Undone after the test."""

    def prepare(folder: Path, packages: tuple[str, ...], absent: tuple[str, ...] = ()) -> None:
        monkeypatch.syspath_prepend(str(folder))
        for name in packages:
            package = types.ModuleType(name)
            package.__path__ = [str(folder / name.replace(".", "/"))]
            monkeypatch.setitem(sys.modules, name, package)
        for name in absent:
            monkeypatch.setitem(sys.modules, name, MagicMock(name=name))

    before = set(sys.modules)
    yield prepare
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("src", "pyvene", "experiments", "util", "dsets", "rome", "baukit"):
            del sys.modules[name]


def test_the_affine_map_of_evandez_relations(modules) -> None:
    """Their Jacobian and bias give the same products and constants. The prompt begins with the looked-up token, since
    their cache of what stands before it is extended in place by transformers 5."""
    folder = checkout("VALLEY_RELATIONS")
    baukit = types.ModuleType("baukit")
    baukit.Trace, baukit.TraceDict = Trace, TraceDict  # type: ignore[attr-defined]
    modules(folder, ("src", "src.utils"), ("dataclasses_json", "src.data", "src.utils.tokenizer_utils"))
    sys.modules["baukit"] = baukit
    sys.modules["dataclasses_json"].DataClassJsonMixin = object  # type: ignore[attr-defined]
    functional, models = importlib.import_module("src.functional"), importlib.import_module("src.models")
    lm = LanguageModel.wrap(source().lm.module, source().lm.tokenizer, prefix_ids=())
    prompt = tokenise(lm, "{} colour of the heron is", "The", "subject_last", "red")
    assert prompt.lookup == 0
    text = lm.tokenizer(["The colour of the heron is"], return_tensors="pt", add_special_tokens=False)
    pair = models.ModelAndTokenizer(model=lm.module, tokenizer=lm.tokenizer)
    theirs = functional.order_1_approx(
        mt=pair, prompt="The colour of the heron is", h_layer=0, h_index=0, z_layer=lm.n_layers - 1, inputs=text
    )
    inputs = torch.randn(4, lm.d_model, generator=torch.Generator().manual_seed(0))
    ours = affine_maps(lm, [prompt], 0, inputs)
    torch.testing.assert_close(ours.products[0], inputs @ theirs.weight.T, rtol=1e-4, atol=1e-4)
    bias = ours.outputs[0] - ours.at_examples[0]
    torch.testing.assert_close(bias, theirs.bias[0].detach(), rtol=1e-4, atol=1e-4)


def test_the_swap_of_pyvene(modules) -> None:
    """The same orthonormal basis in their rotated-space intervention gives the same swapped states and, for a loss of
    these, the same gradient of the basis, so that the searches differ in how they keep it orthonormal alone: theirs by
    torch's parametrization, the one here by a QR decomposition in every step."""
    folder = checkout("VALLEY_PYVENE")
    modules(folder, ("pyvene", "pyvene.models"), ())
    interventions = importlib.import_module("pyvene.models.interventions")
    generator = torch.Generator().manual_seed(1)
    basis = orthonormal(torch.randn(16, 5, generator=generator))
    theirs = interventions.LowRankRotatedSpaceIntervention(embed_dim=16, low_rank_dimension=5)
    theirs.rotate_layer.weight = basis
    torch.nn.utils.parametrize.remove_parametrizations(theirs.rotate_layer, "weight")
    base, other = torch.randn(2, 7, 16, generator=generator)
    result = theirs(base, other)
    result = getattr(result, "output", result)
    free = basis.clone().requires_grad_(True)
    torch.testing.assert_close(swapped(base, other, free), result, rtol=1e-5, atol=1e-5)
    for states in (swapped(base, other, free), result):
        states.square().sum().backward()
    torch.testing.assert_close(free.grad, theirs.rotate_layer.weight.grad, rtol=1e-4, atol=1e-4)


def test_the_trace_of_rome(modules) -> None:
    """Their batch of one clean and several noisy runs with one restored state gives the same probability as runs here
    under the same noise."""
    folder = checkout("VALLEY_ROME")
    absent = ("datasets", "matplotlib", "matplotlib.pyplot", "dsets", "rome", "rome.tok_dataset", "util.globals",
              "util.runningstats")  # fmt: skip
    modules(folder, ("experiments", "util"), absent)
    traced = importlib.import_module("experiments.causal_trace")
    lm, place = source().lm, source().best_wording("home", "en")[0]
    prompt, (start, end) = source().prompts[place], subject_span(source(), place)
    ids = torch.tensor([list(prompt.ids[: prompt.start])])
    runs, layer, scale = 3, 1, 0.5
    token = prompt.target[0]
    theirs = traced.trace_with_patch(
        lm.module, {"input_ids": ids.repeat(1 + runs, 1)}, [(end - 1, lm.layout.blocks[layer])], [token], (start, end),
        noise=scale,
    )  # fmt: skip
    import numpy as np

    noise = np.random.RandomState(1).randn(runs, end - start, lm.d_model) * scale
    short = tokenise(lm, source().question(place).template, source().question(place).subject, "subject_last", "")
    question = type(short)(short.ids, short.lookup, short.start, (token,), short.head)
    prepared = Prepared.of(lm, [question] * runs, [start] * runs)
    hidden = prepared.behind[0].clone()
    hidden[:, : end - start] += torch.tensor(noise, dtype=hidden.dtype)
    states = prepared.outputs(hidden)[layer + 1].clone()
    states[:, end - 1 - start] = prepared.behind[layer + 1][:, end - 1 - start]
    with torch.no_grad():
        ours = prepared.answers(layer, list(range(runs)), states).logp.exp().mean()
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)
