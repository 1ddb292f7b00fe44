"""One cell, measured: edit every case on its own, ask its probes before and after, and give the records.

What cells of one rung share (model, strength, statistics, the unedited model's answers) is in `Loaded`, made once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.cases import Case
from benchmarks.measure.answers import Base, measure, measure_base, measure_drift, own_wordings
from benchmarks.measure.known_facts import known_rates
from benchmarks.measure.records import probe_rows, unedited_row
from benchmarks.measure.strength import strength
from benchmarks.models import load_model
from benchmarks.sweep.cell import Cell, Task
from benchmarks.watch import Watch
from editing.errors import UserError
from editing.methods import make_method
from editing.methods.base import Method
from editing.model.language_model import LanguageModel
from editing.model.memory import MemoryPlan, plan_memory
from editing.model.sites import KINDS, Site
from editing.progress import progress
from editing.solve.value import uses_half
from editing.stats.statistics import CORPUS, ModelStatistics
from editing.text.requests import EditRequest


@dataclass
class Loaded:
    """A model in memory with what all cells of its rung share.

    Attributes:
        columns: the columns of the rows table that the model decides.
        bases: hash of cases -> the unedited model's answers to them, filled as cells need them.
        knows: hash of cases -> whether it knows each fact.
        watch: what the stages of the work take.
    """

    lm: LanguageModel
    columns: dict[str, object]
    statistics: ModelStatistics
    bases: dict[str, Base] = field(default_factory=dict)
    knows: dict[str, tuple[bool, ...]] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)

    def base(self, cell: Cell, cases: Sequence[Case]) -> Base:
        """The unedited model's answers to the cases of `cell` that are to be edited."""
        if cell.cases not in self.bases:
            with self.watch("unedited answers"):
                self.bases[cell.cases] = measure_base(self.lm, cases)
        return self.bases[cell.cases]

    def edited(self, cell: Cell, cases: Sequence[Case]) -> list[bool]:
        """Which cases of `cell` are to be edited: all, or those whose fact the model knows."""
        if not cell.known:
            return [True] * len(cases)
        if cell.cases not in self.knows:
            with self.watch("known facts"):
                known = measure_base(self.lm, [own_wordings(case) for case in cases], new_tokens=0).known
            self.knows[cell.cases] = tuple(map(bool, known))
        return list(self.knows[cell.cases])


def open_model(reference: str, device: str | None) -> LanguageModel:
    """Load a model onto a torch device; None is a GPU where there is one, else the CPU.

    Raises:
        BadModel: the reference cannot be resolved or loaded.
    """
    return load_model(reference, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))


def load_rung(
    reference: str, device: str | None, corpus: str, seed: int, quiet: bool = False, watch: Watch | None = None
) -> Loaded:
    """Load a model, measure its strength, make room for its statistics.

    Raises:
        BadModel: the reference cannot be resolved or loaded.
    """
    watch = watch or Watch()
    with watch("loading"):
        lm = open_model(reference, device)
    with watch("strength"):
        power, rates = strength(lm), known_rates(lm)
    columns = {
        "model_source": lm.source,
        "model_hash": lm.weight_hash,
        "bits_per_byte_en": power.bits_per_byte_en,
        "bits_per_byte_fr": power.bits_per_byte_fr,
        "bits_per_byte_world_en": power.bits_per_byte_world_en,
        "bits_per_byte_world_fr": power.bits_per_byte_world_fr,
        "parameters": float(lm.n_parameters),
        "parameters_without_embeddings": float(power.parameters_without_embeddings),
        "known_rate_en": rates.en,
        "known_rate_fr": rates.fr,
        "n_layers": lm.n_layers,
    }
    return Loaded(lm, columns, statistics_of(lm, seed, corpus, quiet), watch=watch)


def statistics_of(lm: LanguageModel, seed: int, corpus: str = CORPUS, quiet: bool = False) -> ModelStatistics:
    """The statistics of a model; making them, when they are not on disk, shows a bar on stderr."""
    return ModelStatistics(lm, corpus=corpus, seed=seed, progress=None if quiet else _Bar())


class _Bar:
    """A progress callback that shows one bar per label and removes it when full."""

    def __init__(self) -> None:
        self._label, self._done = "", 0
        self._bar: Any = None

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._bar is None or self._label != label:
            self._label, self._bar, self._done = label, progress(total, f"{label}: ", leave=False), 0
        self._bar.update(done - self._done)
        self._done = done
        if done >= total:
            self._bar.close()
            self._bar = None


def planned(
    lm: LanguageModel, methods: Iterable[Method], requests: Sequence[EditRequest]
) -> tuple[LanguageModel, MemoryPlan]:
    """`lm` with batches that fit into memory when `methods` edit it, and the plan that says so.

    Raises:
        OutOfMemory: nothing fits; one line that says what to change.
    """
    sites: dict[Site, None] = {}
    covariance = half = False
    for method in methods:
        covariance |= method.uses_covariance
        half |= uses_half(lm, getattr(method, "precision", "float32"))
        for request in requests:
            with suppress(UserError):  # what cannot be placed fails in its own cell, with its reason
                place = method.placement(lm, request)
                kind = place.site if place.site in KINDS else "attn"  # below the blocks: as much as the lowest of them
                layers = place.layers if place.site in KINDS else (0,)
                sites |= dict.fromkeys(lm.sites(kind)[layer] for layer in layers)
    plan = plan_memory(lm, tuple(sites), covariance=covariance, half=half)
    return lm.with_batches(plan.batch_scale), plan


def prepare(tasks: Sequence[Task], loaded: Loaded) -> None:
    """Make the covariances that `tasks` need in one pass over the corpus, instead of one pass per cell."""
    sites: dict[Site, None] = {}
    for cell, cases in tasks:
        method = make_method(cell.method, **json.loads(cell.settings))
        for case in cases:
            with suppress(UserError):  # what cannot be placed fails in its own cell, with its reason
                sites |= dict.fromkeys(method.edited_sites(loaded.lm, case.request))
    with loaded.watch("statistics"):
        loaded.statistics.prepare(sites)


def cell_records(cell: Cell, cases: Sequence[Case], loaded: Loaded) -> list[dict]:
    """All rows of a cell, apart from the columns that the sweep itself decides. A case that is not edited gets one row.

    Raises:
        UserError: the method cannot make these edits on this model.
    """
    wanted = loaded.edited(cell, cases)
    left = [
        _about(cell, case) | {"known": False} | unedited_row(case)
        for case, go in zip(cases, wanted, strict=True)
        if not go
    ]
    cases = [case for case, go in zip(cases, wanted, strict=True) if go]
    return _edited_records(cell, cases, loaded) + left if cases else left


def _about(cell: Cell, case: Case) -> dict:
    return {
        "case": case.id,
        "subject": case.subject,
        "relation": case.relation,
        "split": cell.side(case),
        "edit_lang": case.request.lang,
    }


def _edited_records(cell: Cell, cases: Sequence[Case], loaded: Loaded) -> list[dict]:
    lm, method, watch = loaded.lm, make_method(cell.method, **json.loads(cell.settings)), loaded.watch
    requests = [case.request for case in cases]
    base = loaded.base(cell, cases)
    began = time.perf_counter()
    with watch("edit"):
        deltas = method.each(lm, requests, loaded.statistics)
    edited = time.perf_counter()
    with watch("evaluation"):
        answers = measure(lm, cases, base.priors, deltas, new_tokens=base.new_tokens)
        drifts = measure_drift(lm, cases, deltas)
    evaluated = time.perf_counter()
    records = []
    for i, (case, delta) in enumerate(zip(cases, deltas, strict=True)):
        placement = method.placement(lm, case.request)
        about = _about(cell, case) | {
            "site": placement.site,
            "lookup": placement.lookup,
            "depth": placement.depth,
            "known": base.known[i],
            "edit_norm": delta.relative_norm(lm),
            "seconds_edit": (edited - began) / len(cases),
            "seconds_eval": (evaluated - edited) / len(cases),
        }
        records += [about | row for row in probe_rows(case, base.answers[i], base.priors[i], answers[i], drifts[i])]
    return records
