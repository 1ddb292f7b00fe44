"""Open a model for measuring: the model itself, its statistics, and what its edits will take of memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from benchmarks.models import load_model
from editing.errors import UserError
from editing.lazy import torch
from editing.methods import Method
from editing.model import EXPERT, KINDS, LanguageModel, MemoryPlan, Site, plan_memory
from editing.progress import progress
from editing.solve import uses_half
from editing.stats import CORPUS, ModelStatistics
from editing.text import EditRequest

UNITS = {"sampling": "tokens", "covariance": "sequences"}


class _Bar:
    """A progress callback that shows one bar per label."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._label = ""

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._bar is None or self._label != label:
            self._bar, self._label = progress(total, f"{label}: ", UNITS[label], leave=False), label
        self._bar.update(done - self._bar.n)
        if done >= total:
            self._bar.close()
            self._bar = None


def open_model(reference: str, device: str | None) -> LanguageModel:
    """Load a model onto a torch device; None is a GPU where there is one, else the CPU.

    Raises:
        BadModel: no such device; the reference cannot be resolved or loaded.
    """
    return load_model(reference, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))


def statistics_of(lm: LanguageModel, seed: int, corpus: str = CORPUS, quiet: bool = False) -> ModelStatistics:
    """The statistics of a model; making them, when they are not on disk, shows a bar on stderr."""
    return ModelStatistics(lm, corpus=corpus, seed=seed, progress=None if quiet else _Bar())


def planned(
    lm: LanguageModel, methods: Iterable[Method], requests: Sequence[EditRequest], half: bool = False
) -> tuple[LanguageModel, MemoryPlan]:
    """`lm` with batches that fit into memory when `methods` edit it, and the plan that says so.

    Args:
        half: whether its bfloat16 copy is needed whatever the methods do.

    Raises:
        OutOfMemory: nothing fits; one line that says what to change.
    """
    sites: dict[Site, None] = {}
    covariance = False
    for method in methods:
        covariance |= method.uses_covariance
        half |= uses_half(lm, getattr(method, "precision", "float32"))
        for request in requests:
            with suppress(UserError):  # what cannot be placed fails in its own cell, with its reason
                place = method.placement(lm, request)
                if place.site == EXPERT:  # each request may be sent to another one
                    sites |= dict.fromkeys(s for i in place.layers for s in lm.expert_sites(i)[: len(requests)])
                    continue
                kind = place.site if place.site in KINDS else "attn"  # below the blocks: as much as the lowest of them
                layers = place.layers if place.site in KINDS else (0,)
                sites |= dict.fromkeys(lm.site(kind, layer) for layer in layers)
    plan = plan_memory(lm, tuple(sites), covariance=covariance, half=half)
    return lm.with_batches(plan.batch_scale), plan
