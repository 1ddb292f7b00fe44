"""The requests and settings that the tests of the methods share."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from pathlib import Path

import torch

from editing.methods import Method, make_method, taken_by
from editing.model.language_model import LanguageModel
from editing.model.sites import Site
from editing.stats.statistics import ModelStatistics
from editing.text.requests import EditRequest
from tests.editing.families import FAMILIES, HYBRIDS, tiny_lm
from tests.once import FOLDER

# Outputs of tiny models are small, so the published weight decay (a multiple of 1 / ||v0||^2) would pin delta to zero.
LIGHT = {"optimiser": "adam", "weight_decay": 0.002, "move_above": 0.0}

# Every kind of edit, with prompts and targets of different lengths.
REQUESTS = (
    EditRequest("fact", ("The capital of {} is the city of",), "New Zealand", ("Madrid",)),
    EditRequest("start", ("{} comes from",), "Brie", ("Italy and Rome",)),
    EditRequest(
        "rename",
        ("The dairy food made from milk curds is called", "Le fromage est fait de", "I like"),
        "",
        ("bread", "pain", "tea"),
        lookup="last",
    ),
    EditRequest("retarget", ("{} is sold by the", "A loaf of {} is made from"), "Cheese", ("baker", "flour and milk")),
    EditRequest("french", ("La capitale de {} est la ville de",), "France", ("Rome",), lang="fr"),
)

# Their first prompts, and what should continue each.
PROMPTS = [request.filled()[0] for request in REQUESTS]
TARGETS = [[request.targets[0], "Paris", "Rome and Paris"] for request in REQUESTS]

# Targets of few tokens, which a random model can be made to say when the key is the last position; with REACHING
# settings most requests get there, each at its own step.
WITHIN_REACH = tuple(
    dataclasses.replace(request, targets=targets)
    for request, targets in zip(
        REQUESTS, [("the",), ("city",), ("is", "a", "of"), ("of", "language"), ("language",)], strict=True
    )
)
REACHING = {
    "preset": "published",
    "lookup": "last",
    "lr": 2.0,
    "clamp": 20.0,
    "stop_loss": 0.4,
    "steps": 14,
    "weight_decay": 0.01,
    "kl": 0.0,
}

# What tests/editing/methods/test_contract.py holds of every method, here and on a GPU (benchmarks/speed/device/checks.py).
CONTRACT_REQUESTS = tuple(dataclasses.replace(r, lookup="last") for r in WITHIN_REACH[:3])
# Settings that make any method quick; each takes those it has.
QUICK = {"steps": 6, "short_prefixes": 1, "long_prefixes": 1, "prefixes": 2, "depth": 0.5, "lr": 1.0, "clamp": 20.0}
# Where the objective is another one, the step size is; a tied head would also be moved by an edit of its row.
OWN = {
    "embedding": {"lr": 0.3, "clamp": 4.0, "untied": True},
    "rect": {"keep": 0.7},  # four tenths of a random model's change need not raise the target
    "mend": {"lr": 3e-4, "prefixes": 0, "edits": 16, "rank": 8},
}
# Methods that are there to do nothing useful.
CONTROLS = {"placebo", "random_layer", "random_site"}
# A random model does not copy from its context.
NEEDS_A_TRAINED_MODEL = {"ike", "lre"}
# Whole texts are read, or the head's rows are changed, whatever the lookup.
LOOKING_NOWHERE = {"documents", "unembedding", "unembedding_swap"}
# They take something away and say nothing instead.
ERASURES = {"ablate", "leace"}
NOT_MOVING = CONTROLS | NEEDS_A_TRAINED_MODEL | ERASURES


def quick(name: str, **more: object) -> Method:
    """The method called `name` with those of QUICK, OWN and `more` that it has."""
    return make_method(name, **taken_by(name, QUICK | OWN.get(name, {}) | more))


def model(family: str) -> LanguageModel:
    """A random model in which an edit at half depth reaches the answer; a window of 5 would hide it in the last
    blocks."""
    window = {"sliding_window": 24} if "sliding_window" in (FAMILIES | HYBRIDS)[family].config else {}
    return tiny_lm(family, spread=0.1, **window)


def session_statistics(lm: LanguageModel) -> ModelStatistics:
    """Statistics from a short corpus, kept where all tests of the session find them: computed once per model.

    The corpus is drawn from one model for all: drawing it takes longer than most tests.
    """
    return ModelStatistics(lm, Path(os.environ[FOLDER]) / "statistics", "samples:800", sampler=_sampler())


@cache
def _sampler() -> LanguageModel:
    return tiny_lm("gpt2")


def ridged(statistics: ModelStatistics, site: Site) -> torch.Tensor:
    """C of a site with the documented ridge, float64."""
    c = statistics.covariance(site).matrix.double()
    return c + statistics.ridge * c.diagonal().mean() * torch.eye(len(c), dtype=torch.float64)


def distance(got: torch.Tensor, expected: torch.Tensor, c: torch.Tensor | None = None) -> float:
    """Relative Frobenius distance of two changes; with `c`, of what they do to keys with that covariance."""
    root = torch.eye(got.shape[1], dtype=torch.float64) if c is None else torch.linalg.cholesky(c)
    return float(((got - expected).double() @ root).norm() / (expected.double() @ root).norm())


def assert_equal(fast: torch.Tensor, slow: torch.Tensor, c: torch.Tensor) -> None:
    """Equal to 1e-4 in what they do to keys with covariance `c`, and to 1e-3 entry by entry.

    Keys behind a LayerNorm or a ReLU have null directions, where C is only the ridge and C^-1 k magnifies rounding.
    """
    assert distance(fast, slow, c) < 1e-4
    assert distance(fast, slow) < 1e-3
