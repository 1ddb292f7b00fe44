"""The inverse of a relation's affine map against full passes of transformers, one row of the Jacobian at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from editing.errors import Unreachable
from editing.methods import make_method
from editing.methods.linear.lre import inverse, jacobian
from editing.model.hooks import hooked
from editing.model.language_model import LanguageModel
from editing.solve import states
from editing.stats.guards import SMALL_COSINE
from editing.stats.statistics import ModelStatistics
from editing.text import tokenise
from editing.text.requests import EditRequest
from tests.editing.families import tiny_lm
from tests.editing.worked import REQUESTS, session_statistics
from tests.tiers import fast_are

REQUEST = EditRequest("fact", ("The capital of {} is the city of",), "France", ("Rome",))


def literal(lm: LanguageModel, text: str, path: str, at: int, size: int) -> torch.Tensor:
    """do/ds by autograd through the whole model, s the output of `path` at token `at`, o the last block's at the end."""
    shift, kept = torch.zeros(size, requires_grad=True), []

    def add(module, args, output):
        return output + torch.nn.functional.one_hot(torch.tensor(at), output.shape[1]).float()[None, :, None] * shift

    def keep(module, args, output):
        kept.append((output if torch.is_tensor(output) else output[0])[0, -1])

    with torch.enable_grad(), hooked(lm, [(path, add), (lm.layout.blocks[-1], keep)]):
        lm.module(input_ids=torch.tensor([lm.encode(text)]))
        return torch.stack([torch.autograd.grad(o, shift, retain_graph=True)[0] for o in kept[0]])


@pytest.mark.parametrize("family", fast_are(["gemma3_text"], ["gpt2", "llama", "gemma3_text"]))
def test_the_jacobian_is_that_of_the_whole_model(family: str) -> None:
    lm = tiny_lm(family, spread=0.2)
    site = lm.sites("mlp")[1]
    prompt = tokenise(lm, REQUEST.prompts[0], REQUEST.subject, "subject_last")
    slow = literal(lm, REQUEST.filled()[0], site.path, prompt.lookup, site.size)
    assert torch.allclose(jacobian(lm, prompt, site), slow, atol=1e-4 * float(slow.abs().max()))


def test_the_inverse_is_that_of_the_best_low_rank_map() -> None:
    w = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    assert np.allclose(inverse(w, 1.0), np.linalg.pinv(w.double().numpy()))
    left, values, right = np.linalg.svd(w.double().numpy(), full_matrices=False)
    low = left[:, :2] * values[:2] @ right[:2]
    assert np.allclose(inverse(w, 0.4), np.linalg.pinv(low, rcond=1e-9))


def test_the_subjects_output_moves_by_delta(trained_lm: LanguageModel, tmp_path: Path) -> None:
    statistics = ModelStatistics(trained_lm, tmp_path, "identity")
    method = make_method("lre", lookup="subject_last", depth=0.3, prefixes=0, rank=0.3, beta=1.0)
    (delta,) = method.each(trained_lm, [REQUEST], statistics)
    site = trained_lm.sites("mlp")[1]
    prompt = tokenise(trained_lm, REQUEST.prompts[0], REQUEST.subject, "subject_last")
    w = literal(trained_lm, REQUEST.filled()[0], site.path, prompt.lookup, site.size)
    states = []
    hook = (trained_lm.layout.blocks[-1], lambda m, a, o: states.append((o if torch.is_tensor(o) else o[0])[0, -1]))
    text = REQUEST.filled()[0]
    with torch.no_grad(), hooked(trained_lm, [hook]):
        for read in (f"{text} Rome. {text}", text):
            trained_lm.module(input_ids=torch.tensor([trained_lm.encode(read)]))
    step = inverse(w, 0.3).float() @ (states[0] - states[1])
    outputs = []
    watch = (site.path, lambda m, a, o: outputs.append(o[0, prompt.lookup]))
    ids = torch.tensor([trained_lm.encode(text)])
    with torch.no_grad(), hooked(trained_lm, [watch]):
        trained_lm.module(input_ids=ids)
        with delta.applied(trained_lm):
            trained_lm.module(input_ids=ids)
    assert torch.allclose(outputs[1] - outputs[0], step, atol=2e-3 * float(step.abs().max()))


def test_a_key_far_from_its_direction_is_warned_of() -> None:
    """As with ROME: the change is as many times longer as the cosine is small."""
    lm = tiny_lm("gpt2", spread=0.3)
    statistics, site = session_statistics(lm), lm.site("mlp", 2)
    cosines = []
    for request in REQUESTS[:2]:
        method = make_method("lre", prefixes=20, depth=0.5, lookup="last")
        (delta,) = method.each(lm, [request], statistics)
        u = delta.factors[site.weight].right[:, 0]
        key = states(lm, [tokenise(lm, request.prompts[0], request.subject, "last")], [(site.path, "input")])
        cosines.append(abs(float(u @ key[site.path, "input"][0])) / float(key[site.path, "input"].norm()))
        assert ("warnings" in delta.provenance) == (cosines[-1] < SMALL_COSINE)
    assert min(cosines) < SMALL_COSINE < max(cosines)


def test_a_state_that_nothing_reads_is_refused(trained_lm: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="nothing reads"):
        make_method("lre", lookup="subject_last", depth=0.99).each(
            trained_lm, [REQUEST], ModelStatistics(trained_lm, tmp_path, "identity")
        )
