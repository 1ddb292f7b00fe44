"""One cell, measured: edit every case on its own, ask its probes before and after, and give the records."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from math import ceil

from benchmarks.cases import Case
from benchmarks.chat import in_chat
from benchmarks.measure import (
    Base,
    Fitting,
    fit,
    known_rates,
    left_out_row,
    measure,
    measure_base,
    measure_drift,
    open_model,
    own_wordings,
    probe_rows,
    statistics_of,
    stored_base,
    strength,
)
from benchmarks.sweep.cell import Cell, Task
from benchmarks.watch import Watch
from editing.delta import Delta
from editing.errors import Unreachable, UserError
from editing.files import canonical
from editing.methods import edits_or_reasons, make_method
from editing.model import LanguageModel, Site
from editing.stats import ModelStatistics
from editing.text import EditRequest
from valley.rows import FULL


@dataclass
class Loaded:
    """A model in memory with what all cells of its rung share.

    Attributes:
        columns: the columns of the rows table that the model decides.
        bases: hash of cases and number format -> the unedited model's answers, filled as cells need them.
        knows: hash of cases and number format -> whether it knows each fact.
        edits: the last edits with what identifies them, and their seconds: the next cell measures them at other doses.
            In place of an edit that cannot be reached is the reason.
        watch: what the stages of the work take.
        fits: hash of cases -> per case, what of it the model can read.
    """

    lm: LanguageModel
    columns: dict[str, object]
    statistics: ModelStatistics
    bases: dict[tuple[str, str], Base] = field(default_factory=dict)
    knows: dict[tuple[str, str], tuple[bool, ...]] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)
    edits: tuple[str, list[Delta | Unreachable], float] | None = None
    fits: dict[str, dict[str, Fitting]] = field(default_factory=dict)

    def answering(self, cell: Cell) -> LanguageModel:
        """The model that answers the questions of `cell`: itself, or its bfloat16 copy."""
        return self.lm.half if cell.evaluation else self.lm

    def deltas(self, cell: Cell, requests: Sequence[EditRequest]) -> tuple[list[Delta | Unreachable], float]:
        """The edits of `cell`, or why there is none, and the seconds they took; those of the cell before where they are
        the same."""
        name = canonical([cell.method, cell.settings, cell.seed, cell.corpus, [asdict(one) for one in requests]])
        if self.edits is None or self.edits[0] != name:
            self.edits = None  # free their memory first
            began = time.perf_counter()
            with self.watch("edit"):
                method = make_method(cell.method, **json.loads(cell.settings))
                edits = edits_or_reasons(method.each, self.lm, requests, self.statistics)
                self.edits = name, edits, time.perf_counter() - began
        return self.edits[1], self.edits[2]

    def base(self, cell: Cell, cases: Sequence[Case]) -> Base:
        """The unedited model's answers to the cases of `cell` that are to be edited."""
        key = cell.cases, cell.evaluation
        if key not in self.bases:
            with self.watch("unedited answers"):
                self.bases[key] = stored_base(self.answering(cell), cases)
        return self.bases[key]

    def fittings(self, cell: Cell, cases: Sequence[Case]) -> dict[str, Fitting]:
        """Case id -> what of the case the model can read."""
        if cell.cases not in self.fits:
            self.fits[cell.cases] = {case.id: fit(self.lm, case) for case in cases}
        return self.fits[cell.cases]

    def edited(self, cell: Cell, cases: Sequence[Case]) -> list[bool]:
        """Which cases of `cell` are to be edited: all, or those whose fact the model knows."""
        if not cell.known:
            return [True] * len(cases)
        key = cell.cases, cell.evaluation
        if key not in self.knows:
            with self.watch("known facts"):
                known = measure_base(self.answering(cell), [own_wordings(case) for case in cases], new_tokens=0).known
            self.knows[key] = tuple(map(bool, known))
        return list(self.knows[key])


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
        "known_facts": float(rates.facts),
        "n_layers": lm.n_layers,
    }
    return Loaded(lm, columns, statistics_of(lm, seed, corpus, quiet), watch=watch)


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
    """All rows of a cell, apart from the columns that the sweep itself decides. A case that is not edited gets one row,
    and so does a probe that is too long for the model.

    Raises:
        UserError: the method cannot make these edits on this model.
    """
    cases = in_chat(loaded.lm, cases, cell.chat)
    fittings = loaded.fittings(cell, cases)
    left_out = [(case, row) for case in cases for row in fittings[case.id].rows]
    cases = [fitting.case for fitting in fittings.values() if fitting.case is not None]
    known = loaded.edited(cell, cases)
    left_out += [(case, left_out_row(case)) for case, edited in zip(cases, known, strict=True) if not edited]
    cases = [case for case, edited in zip(cases, known, strict=True) if edited]
    records = _edited_records(cell, cases, loaded) if cases else []
    knows = {record["case"]: record["known"] for record in records}  # a question of an edited case may be too long
    rows_left_out = [
        _about(cell, case) | {"known": knows.get(case.id, False), "dose": dose} | row
        for dose in doses_of(cell)
        for case, row in left_out
    ]
    for record in records:  # indices of the whole case, which pairs its probes across rungs
        record["probe_index"] = fittings[record["case"]].kept[record["probe_index"]]
    return records + rows_left_out


def _about(cell: Cell, case: Case) -> dict:
    return {
        "case": case.id,
        "subject": case.subject,
        "relation": case.relation,
        "split": cell.side(case),
        "edit_lang": case.request.lang,
    }


def doses_of(cell: Cell) -> list[float]:
    """The multiples of its edits that a cell measures."""
    return json.loads(cell.doses) if cell.doses else [FULL]


def _edited_records(cell: Cell, cases: Sequence[Case], loaded: Loaded) -> list[dict]:
    edits, took = loaded.deltas(cell, [case.request for case in cases])
    doses = doses_of(cell)
    base = loaded.base(cell, cases)
    unreachable = {i: str(edit) for i, edit in enumerate(edits) if isinstance(edit, Unreachable)}
    records = [
        _about(cell, cases[i]) | {"known": base.known[i], "dose": dose} | left_out_row(cases[i], reason)
        for dose in doses
        for i, reason in unreachable.items()
    ]
    deltas = {i: edit for i, edit in enumerate(edits) if isinstance(edit, Delta)}
    # All doses of a case in the same passes, as many versions of the model at a time as there are cases.
    some, made = ceil(len(cases) / len(doses)), list(deltas)
    for at in range(0, len(made), some):
        records += _dosed_records(cell, cases, loaded, deltas, made[at : at + some], took)
    return records


def _dosed_records(
    cell: Cell, cases: Sequence[Case], loaded: Loaded, deltas: Mapping[int, Delta], chosen: Sequence[int], took: float
) -> list[dict]:
    """The records of the cases numbered `chosen` at every dose of the cell; `took`: seconds that all edits took."""
    lm, method, base = loaded.lm, make_method(cell.method, **json.loads(cell.settings)), loaded.base(cell, cases)
    versions = [(i, dose) for i in chosen for dose in doses_of(cell)]
    repeated = [cases[i] for i, _ in versions]
    dosed = [deltas[i] if dose == FULL else deltas[i].scaled(dose) for i, dose in versions]
    # No setting is chosen by its free text, which is a fifth of an evaluation.
    new_tokens = 0 if cell.development else base.new_tokens
    answering = loaded.answering(cell)
    if answering is not lm:  # a copy has another hash than the model that an edit names
        dosed = [Delta(delta.factors, context=delta.context) for delta in dosed]
    began = time.perf_counter()
    with loaded.watch("evaluation"):
        priors = [base.priors[i] for i, _ in versions]
        answers = measure(answering, repeated, priors, dosed, new_tokens=new_tokens, among=cases)
        drifts = measure_drift(answering, repeated, dosed)
    seconds = (time.perf_counter() - began) / len(versions)
    norms = {i: deltas[i].relative_norm(lm) for i in chosen}
    records = []
    for (i, dose), said, drift in zip(versions, answers, drifts, strict=True):
        placement = method.placement_of(lm, cases[i].request, deltas[i])
        about = _about(cell, cases[i]) | {
            "site": placement.site,
            "lookup": placement.lookup,
            "depth": placement.depth,
            "dose": dose,
            "known": base.known[i],
            "edit_norm": dose * norms[i],
            "seconds_edit": took / len(cases),
            "seconds_eval": seconds,
        }
        records += [about | row for row in probe_rows(cases[i], base.answers[i], base.priors[i], said, drift)]
    return records
