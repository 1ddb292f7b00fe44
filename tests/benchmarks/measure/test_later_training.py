"""Later training beside an edit: close to training the edited model, and what `decay` probes are evaluated behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.cases import Case, Probe
from benchmarks.measure.answers import measure, measure_base
from benchmarks.measure.later_training import later_training, train
from benchmarks.texts.fixed import strength_text
from editing.delta.delta import Delta, LowRank, compose
from editing.eval.bits_per_byte import bits_per_byte
from editing.text.requests import EditRequest

pytestmark = pytest.mark.usefixtures("own_cache")


def test_it_is_nearly_the_training_of_the_edited_model(tiny_lm) -> None:
    lm = tiny_lm("gpt2")
    site, draw = lm.sites("mlp")[1], torch.Generator().manual_seed(1)
    edit = Delta({site.weight: LowRank(*(0.1 * torch.randn(d, 1, generator=draw) for d in (site.d_out, site.d_in)))})
    shared = train(lm, steps=10)
    with shared.applied(lm):
        trained = bits_per_byte(lm, strength_text("en"))
    assert trained < bits_per_byte(lm, strength_text("en"))
    with edit.applied(lm):
        after = train(lm, steps=10)
    for name in shared.weights:
        one, two = shared.factors[name].dense(), after.factors[name].dense()
        assert float((one - two).norm() / two.norm()) < 0.2


def test_decay_is_asked_under_the_edit_and_the_training(tiny_lm) -> None:
    lm = tiny_lm("gpt2")
    site, draw = lm.sites("mlp")[1], torch.Generator().manual_seed(2)
    edit = Delta({site.weight: LowRank(*(torch.randn(d, 1, generator=draw) for d in (site.d_out, site.d_in)))})
    efficacy = Probe("efficacy", "The town is", ("red", "old"), 0, 1)
    request = EditRequest("a", ("The {} is",), "town", ("red",))
    case = Case("a", "fact", request, (efficacy, replace(efficacy, kind="decay")), "town", "r", "d")
    base = measure_base(lm, [case])
    assert np.allclose(base.answers[0][0].logp, base.answers[0][1].logp)  # the unedited model is not trained on
    ((plain, decayed),) = measure(lm, [case], base.priors, [edit])
    literal = replace(case, probes=(efficacy,))
    ((direct,),) = measure(lm, [literal], [base.priors[0][:1]], [compose([edit, later_training(lm)])])
    assert np.allclose(decayed.logp, direct.logp, atol=1e-5) and not np.allclose(decayed.logp, plain.logp, atol=1e-4)
