"""One edit, live: what the model answers before and after, on every probe, with the edit really in its weights.

The answers after the edit come from the changed weights (not from the hooks a sweep uses); afterwards the weights'
hash is taken again and compared. Only the weights of an offloaded model are left alone: there the edit runs as hooks.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path

import numpy as np

from benchmarks.cases import KINDS as PROBE_KINDS
from benchmarks.cases import Case
from benchmarks.chat import in_chat
from benchmarks.datasets import (
    account,
    erase_case,
    read_cases,
    rename_case,
    retarget_case,
    with_common_probes,
    with_form,
)
from benchmarks.live.concepts import OpenModel, concepts_for, halves
from benchmarks.live.doubts import doubts
from benchmarks.measure import (
    Answer,
    Base,
    fit,
    measure,
    measure_base,
    measure_drift,
    planned,
    probe_rows,
    statistics_of,
)
from benchmarks.provenance import versions
from benchmarks.watch import Watch
from benchmarks.world import knowledge, own_knowledge
from editing.delta import Delta, compose, refuse_foreign_folder
from editing.easyedit import Hparams, method_of, read_hparams
from editing.errors import BadModel, BadRequest
from editing.eval import AUTO, at_dose, check_dose
from editing.files import made_folder
from editing.lazy import pandas as pd
from editing.methods import make_method
from editing.model import LanguageModel, format_plan, hash_weights
from editing.progress import announce
from editing.stats import CORPUS, refuse_missing_corpus
from editing.text import edit_set
from valley.rows import picked, written

SHOWN = ("probe", "lang", "prompt", "answer", "old", "pick_before", "pick_after", "text_before", "text_after")
SCORED = (
    "hit_before",
    "hit_after",
    "value",
    "exact_before",
    "exact_after",
    "logp_before",
    "logp_after",
    "n_candidates",
    "entropy_before",
    "entropy_after",
    "text_bits_before",
    "text_bits_after",
)


@dataclass(frozen=True)
class LiveEdit:
    """What one edit did: a record per probe and per probe kind. A value None was not measurable.

    Attributes:
        notes: what a reader must know: of settings from a peer's file, of requests that exclude or repeat each other,
            and why the edit may not be trusted.
        dose: `Dose.record`: the multiple of the change that was used, and how it was chosen.
    """

    model: dict
    method: str
    settings: dict
    placement: dict
    requests: list[dict]
    probes: list[dict]
    summary: list[dict]
    known: list[bool | None]
    edit_norm: float
    dose: dict
    seconds: dict[str, float]
    restored: bool
    saved: str
    versions: dict[str, str]
    form: str = "weights"  # or "hooks": where the edit was when the probes were evaluated
    notes: tuple[str, ...] = ()
    renames: bool = False  # whether all edits are renames

    def as_json(self) -> dict:
        return asdict(self)


def chosen_cases(
    rename: str = "",
    retarget: str = "",
    fact: str | Path = "",
    erase: str = "",
    concepts: str | Path = "",
    seed: int = 0,
    model: OpenModel | None = None,
) -> tuple[Case, ...]:
    """The cases of exactly one of `--rename OLD=NEW`, `--retarget FROM=TO`, `--erase CONCEPT`, `--fact FILE`.

    Args:
        fact: a file of any form of `list datasets`, stated before the path or detected.
        concepts: a file of one's own concepts. seed: of a draft.
        model: drafts concepts that are in neither suite nor file; without it, they are refused.

    Raises:
        BadRequest, BadData: none or several given, not of the form A=B, unknown concept, malformed file.
    """
    options = {"--rename": rename, "--retarget": retarget, "--erase": erase, "--fact": fact}
    given = [name for name, value in options.items() if value]
    if len(given) != 1:
        raise BadRequest(f"{' and '.join(given) or 'nothing'} to do; give one of {', '.join(options)}")
    if fact and concepts:
        raise BadRequest("--concepts has nothing to do with --fact; leave one of them out")
    if fact:
        case_set = read_cases(with_form(str(fact), "fact_file"), "fact")
        for line in account(str(fact), case_set.left_out, case_set.records, case_set.notes):
            print(line, file=sys.stderr)
        return with_common_probes(case_set.cases)
    words: tuple[str, ...] = (" ".join(erase.split()),) if erase else halves(rename or retarget, given[0])
    known = own_knowledge(concepts) if concepts else knowledge()
    if model is not None:
        known = concepts_for(words[:1] if rename else words, concepts, model, seed)
    make: Callable[..., Case] = rename_case if rename else retarget_case if retarget else erase_case
    return with_common_probes([make(*words, known=known)])


def run_edit(
    reference: str | OpenModel,
    cases: Sequence[Case],
    method: str = "rome",
    settings: dict | None = None,
    device: str | None = None,
    seed: int = 0,
    save: str | Path = "",
    hparams: str | Path = "",
    corpus: str = "",
    dose: str | float = AUTO,
    add: Sequence[str | Path] = (),
    chat: str = "",
    rounding: str = "nearest",
) -> LiveEdit:
    """Edit one model by all `cases` together and ask their probes before and after.

    `reference` may be a model that was used before. `hparams` is one of EasyEdit's hyper-parameter files; it then says
    which method, and `settings` go over its own.
    `corpus` is the text of the covariance (see `ModelStatistics`) instead of the file's or the usual one.
    `dose` is "auto" or a number, see editing/eval/dose.py.
    `add` names saved changes of the same model that stand in its weights beside the new one; that one is computed on
    the unedited model, and their sum is evaluated and saved.
    `chat` is the form of edit and probes, see benchmarks/chat.py.
    `rounding` says how the change is written into 16-bit weights while probes are evaluated: to the "nearest" value,
    "stochastic" (with `seed`), or not at all but as "hooks".

    Raises:
        UserError: unknown method, setting or model; an impossible request; a `save` folder in use or not writable; a
            method without doses; a change in `add` that belongs to another model.
    """
    editor = make_method(method_of(hparams) if hparams else method, **(settings or {}))
    dose = check_dose(dose)
    if corpus:
        refuse_missing_corpus(corpus)
    if save:
        _check_folder(Path(save))
    watch = Watch()
    with watch("load"):
        model = reference if isinstance(reference, OpenModel) else OpenModel(reference, device)
        lm = model()
        earlier = [saved_delta(folder, lm) for folder in add]
        stated = read_hparams(hparams, lm.n_layers) if hparams else Hparams(editor, None, (), "")
        editor = make_method(editor.name, **(stated.method.settings() | (settings or {})))
        cases, unread, too_long = _fitting(lm, in_chat(lm, cases, chat))
        requests = [case.request for case in cases]
        lm, plan = planned(lm, [editor], requests)
        announce(format_plan(plan))
        whole = lm.weight_hash
    with watch("ask_before"):
        base = measure_base(lm, cases)
    with watch("edit"):
        statistics = statistics_of(lm, seed, corpus or stated.corpus or CORPUS)
        if dose == AUTO and all(case.kind == "erase" for case in cases):
            dose = 1.0  # an erasure has no target whose margin could be looked at: it is whole at dose 1
        made = editor(lm, requests, statistics)
        delta, chosen_dose = at_dose(lm, made, requests, dose)
        delta = compose([*earlier, delta]) if earlier else delta
    with watch("ask_after"):
        form = "hooks" if lm.offloaded or rounding == "hooks" else "weights"
        after = _answers_after(lm, cases, base, delta, form, seed if rounding == "stochastic" else None)
        restored = hash_weights(lm.module) == whole
        drift = measure_drift(lm, cases, [delta], [0] * len(cases))
    parts = zip(cases, base.answers, base.priors, after, drift, strict=True)
    rows = [{"case": part[0].id} | row for part in parts for row in probe_rows(*part)] + unread
    summary = _summary(rows)
    measured = Delta(delta.factors, {**delta.provenance, "seed": seed, "scores": summary}, delta.context)
    return LiveEdit(
        model={
            "reference": model.reference,
            "source": lm.source,
            "hash": whole,
            "layers": lm.n_layers,
            "parameters": lm.n_parameters,
        },
        method=editor.name,
        settings=editor.settings(),
        placement=asdict(editor.placement_of(lm, requests[0], made)),
        requests=[asdict(request) for request in requests],
        probes=[_plain(row) for row in rows],
        summary=summary,
        known=list(base.known),
        edit_norm=delta.relative_norm(lm),
        dose=chosen_dose.record(),
        seconds={stage: spent.wall for (stage,), spent in watch.spent.items()},
        restored=restored,
        saved=str(measured.save(save)) if save else "",
        versions=versions(),
        renames=all(case.kind == "rename" for case in cases),
        form=form,
        notes=(
            *stated.notes,
            *too_long,
            *edit_set(requests).notes(),
            *_moved(made),
            *doubts(lm, statistics, delta),
            *_lost(lm, delta, rounding, seed),
        ),
    )


def _fitting(lm: LanguageModel, cases: Sequence[Case]) -> tuple[list[Case], list[dict], list[str]]:
    """What the model has positions for: the cases, a record of each probe that is left out, and notes of edits that
    are.

    Raises:
        BadRequest: no edit is short enough.
    """
    fits = [(case.id, fit(lm, case)) for case in cases]
    fitting = [one.case for _, one in fits if one.case is not None]
    if not fitting:
        name, most = cases[0].id, lm.max_length
        raise BadRequest(f"{name}: longer than the model reads, {most} tokens; shorten the prompt or the target")
    unread = [{"case": name} | row for name, one in fits if one.case is not None for row in one.rows]
    left_out = [f"{name}: left out, {row['reason']}" for name, one in fits if one.case is None for row in one.rows]
    return fitting, unread, left_out


def _answers_after(
    lm: LanguageModel, cases: Sequence[Case], base: Base, delta: Delta, form: str, rounding_seed: int | None
) -> tuple[tuple[Answer | None, ...], ...]:
    """The answers under the change, as hooks or in the weights; with a seed, rounded stochastically there."""
    if form == "hooks":
        return measure(lm, cases, base.priors, [delta], [0] * len(cases), base.new_tokens)
    with delta.applied(lm, rounding_seed):
        in_text = Delta({}, {}, delta.context)  # the context of in-context editing is in no weight
        return measure(lm, cases, base.priors, [in_text], [0] * len(cases), base.new_tokens)


def _lost(lm: LanguageModel, delta: Delta, rounding: str, seed: int) -> list[str]:
    """What 16-bit weights take from the change, as a note; none where it is not written into such weights."""
    lost = None if rounding == "hooks" or lm.offloaded else delta.lost(lm, seed if rounding == "stochastic" else None)
    return [lost.line(str(lm.dtype).removeprefix("torch."))] if lost else []


def saved_delta(folder: str | Path, lm: LanguageModel) -> Delta:
    """The change that `Delta.save` wrote into `folder`, made from this very model.

    Raises:
        BadData: no readable change there.
        BadModel: it was made from another model.
    """
    delta = Delta.load(folder)
    made_for = delta.provenance.get("model_hash")
    if made_for and made_for != lm.weight_hash:
        raise BadModel(
            f"{folder}: made from a model of hash {made_for[:12]}, {lm.name} has {lm.weight_hash[:12]}; name that one"
        )
    return delta


def _moved(delta: Delta) -> list[str]:
    """A note where the method, or the one that it wraps, left the place it had by default."""
    moved = (delta.provenance.get("inner") or delta.provenance).get("moved")
    if moved is None:
        return []
    before = moved["loss_at_subject"]
    why = "nothing there is read" if before is None else f"the search there ends at {before:.2g} nats"
    return [f"edited at the last token instead of the subject's: {why}, here at {moved['loss']:.2g} (move_above)"]


def _check_folder(folder: Path) -> None:
    """Refuse before any work what `Delta.save` would refuse after it."""
    refuse_foreign_folder(folder)
    made = next((p for p in (*reversed(folder.parents), folder) if not p.exists()), None)
    try:
        made_folder(folder)
    finally:  # a mistake found later leaves no empty folder behind
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def _plain(row: dict) -> dict:
    """A record JSON can hold: NaN becomes None."""
    keys = ("case", *SHOWN, *SCORED, "reason")
    return {key: _number(row[key]) for key in keys if key in row}


def _number(value: object) -> object:
    return None if isinstance(value, float) and isnan(value) else value


def _summary(rows: Sequence[dict]) -> list[dict]:
    """Per probe kind: number, measurable ones, mean value, share of free-running exact matches before and after."""
    lines = []
    for kind in PROBE_KINDS:
        probes = [row for row in rows if row["probe"] == kind]
        if probes:
            lines.append(
                {
                    "probe": kind,
                    "n": len(probes),
                    "measurable": sum(not isnan(row["value"]) for row in probes),
                    "value": _number(_mean([row["value"] for row in probes])),
                    "exact_before": _number(_mean([row.get("exact_before", nan) for row in probes])),
                    "exact_after": _number(_mean([row.get("exact_after", nan) for row in probes])),
                    **_beside_text(probes),
                }
            )
    return lines


def _beside_text(probes: Sequence[dict]) -> dict:
    """Shares of answers that are picked among the candidates and that are written, over the same questions."""
    table = pd.DataFrame(probes).reindex(columns=["probe", "value", "exact_before", "exact_after"])
    return {"picked": _number(float(picked(table).mean())), "written": _number(float(written(table).mean()))}


def _mean(values: Sequence[float]) -> float:
    there = [value for value in values if not isnan(value)]
    return float(np.mean(there)) if there else nan
