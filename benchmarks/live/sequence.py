"""Sequential edits: the same model edited again and again, and what is left of it after 1, 3, 10... edits.

At every checkpoint: do the latest and all earlier edits still hold (efficacy of the latest RECENT, of all so far,
and of their paraphrases), do facts that nobody edited stay (specificity), how far has unrelated text moved
(KL in nats per token, bits per byte).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.cases import Case, cases_digest
from benchmarks.datasets import build_cases
from benchmarks.measure import drift_texts, measure, measure_base, open_model, own_wordings, picked, statistics_of
from benchmarks.pictures import heading, lines_of, write_png
from benchmarks.provenance import CODE_SCHEMA, commit, versions
from editing.delta import Delta
from editing.errors import BadData, BadRequest, UserError
from editing.eval import bits_per_byte, text_drift
from editing.files import atomic_file, digest, made_folder
from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from editing.methods import Step, apply_sequence, make_method, taken_by
from editing.model import LanguageModel, hash_weights
from editing.progress import progress
from editing.stats import ModelStatistics
from editing.text import edit_set

MOST_CASES = 150  # cases evaluated at a checkpoint, evenly spaced where there are more
RECENT = 10
VERSION = 3  # raise it when the same sequence would give other rows than before
Z95 = 1.96
TABLE, RECORD, PICTURE = "sequence.csv", "sequence.json", "sequence.png"
LEAST_DRIFT = 0.1  # nats; a panel of drift shows at least this much
T = TypeVar("T")


@dataclass(frozen=True)
class SequenceResult:
    """Outcome of one sequence.

    Attributes:
        rows: one line per checkpoint and score: method, edits, score, value, low, high (95%, Wilson where it is a
            share), n.
        about: overwritten and duplicates (edits that a later one undoes, or that repeat an earlier one; absent where
            there are none), seconds (of all edits together, without measuring), restored (whether the weights
            afterwards have their old bytes), and what the sequence was made with.
    """

    rows: pd.DataFrame
    about: dict[str, Any]


def checkpoints(edits: int) -> tuple[int, ...]:
    """1, 3, 10, 32, 100, 316, 1000... up to and with `edits`."""
    steps = {round(10 ** (k / 2)) for k in range(2 * math.ceil(math.log10(max(edits, 2))) + 1)}
    return tuple(sorted({1, *(s for s in steps if s < edits), edits}))


def edit_in_sequence(
    lm: LanguageModel,
    method: str,
    settings: dict,
    cases: Sequence[Case],
    untouched: Sequence[Case],
    statistics: ModelStatistics,
    *,
    batch: int = 1,
    note: Callable[[int, int], None] | None = None,
) -> SequenceResult:
    """Edit `cases` one after another (`batch` at a time) and measure at the checkpoints.

    Args:
        untouched: cases about other subjects whose efficacy prompts must keep their old answers; only known ones count.
        note: called as note(done, total) after every batch.

    Raises:
        BadRequest: nothing to edit, or no untouched fact that the model knows.
    """
    before = hash_weights(lm.module)
    requests = [case.request for case in cases]
    measured = _Checkpoints(lm, cases, untouched, batch, note)
    began = time.perf_counter()
    apply_sequence(lm, make_method(method, **settings), requests, statistics, batch=batch, on_step=measured)
    seconds = time.perf_counter() - began - measured.seconds
    together = edit_set(requests)
    about = {"overwritten": len(together.overwritten), "duplicates": len(together.duplicates)}
    about = {key: count for key, count in about.items() if count}
    about |= {"seconds": round(seconds, 2), "restored": hash_weights(lm.module) == before}
    return SequenceResult(pd.DataFrame(measured.rows).assign(method=method), about)


class _Checkpoints:
    """Called after every batch of a sequence; measures where the number of edits passes a checkpoint.

    Attributes:
        rows: one per checkpoint and score, as in `SequenceResult`. seconds: that measuring took.

    Raises:
        BadRequest: no untouched fact that the model knows.
    """

    def __init__(
        self,
        lm: LanguageModel,
        cases: Sequence[Case],
        untouched: Sequence[Case],
        batch: int,
        note: Callable[[int, int], None] | None,
    ) -> None:
        self.lm, self.batch, self.note = lm, batch, note
        self.cases = [own_wordings(c) for c in cases]
        every = [*self.cases, *(own_wordings(c) for c in untouched)]
        base = measure_base(lm, every)
        self.priors = {case.id: prior for case, prior in zip(every, base.priors, strict=True)}
        pairs = zip(every[len(cases) :], base.known[len(cases) :], strict=True)
        self.kept = [case for case, known in pairs if known]
        if not self.kept:
            raise BadRequest(f"{lm.name} knows none of the facts kept apart; take a stronger model or other facts")
        self.texts = {lang: texts[0] for lang, texts in drift_texts().items()}
        self.stops = set(checkpoints(len(cases)))
        self.seconds = 0.0
        self.rows: list[dict] = []
        self._bits(lm, 0)

    def __call__(self, step: Step) -> None:
        if self.note:
            self.note(step.done, len(self.cases))
        if not any(step.done - self.batch < stop <= step.done for stop in self.stops):
            return
        began = time.perf_counter()
        so_far = step.so_far()
        self._answers(step.done, so_far.context)
        with step.unedited() as plain:
            drift, bits = (values[0] for values in text_drift(plain, list(self.texts.values()), [so_far]))
        if so_far.context:  # it stands before the texts, not in the model
            self._rows(step.done, "bits per byte {}", bits)
        else:
            self._bits(step.lm, step.done)
        self._rows(step.done, "drift {}, nats", drift)
        self.seconds += time.perf_counter() - began

    def _answers(self, done: int, context: str = "") -> None:
        """Rows of what the model as it stands answers, behind `context` (of in-context edits)."""
        # What a later edit of the same fact undid is no failure of the earlier one.
        overwritten = set(edit_set([case.request for case in self.cases[:done]]).overwritten)
        standing = [case for i, case in enumerate(self.cases[:done]) if i not in overwritten]
        all_so_far = {"efficacy": "efficacy, all so far", "paraphrase": "paraphrase, all so far"}
        share = partial(self._shares, done, context)
        share(_spread(standing, MOST_CASES), all_so_far)
        share(standing[-RECENT:], {"efficacy": f"efficacy, latest {RECENT}"})
        if overwritten:
            older = [self.cases[i] for i in sorted(overwritten)]
            share(_spread(older, MOST_CASES), {"efficacy": "overwritten edits still said"})
        share(_spread(self.kept, MOST_CASES), {"efficacy": "untouched facts"}, keep=True)

    def _shares(
        self, done: int, context: str, cases: Sequence[Case], scores: dict[str, str], keep: bool = False
    ) -> None:
        """A row per probe kind -> name of its score: the share of new answers, or with `keep` of old ones."""
        priors = [self.priors[case.id] for case in cases]
        hits: dict[str, list[bool]] = {score: [] for score in scores.values()}
        deltas, of = ([Delta({}, {}, context)], [0] * len(cases)) if context else ((), None)
        said = measure(self.lm, cases, priors, deltas, of, new_tokens=0)
        for case, prior, answers in zip(cases, priors, said, strict=True):
            for probe, habit, answer in zip(case.probes, prior, answers, strict=True):
                if probe.kind in scores and habit is not None and answer is not None:
                    given, right = picked(answer.logp - habit), probe.old if keep else probe.answer
                    hits[scores[probe.kind]].append(given is not None and given == right)
        self.rows.extend({"edits": done, "score": name, **_wilson(sum(h), len(h))} for name, h in hits.items() if h)

    def _bits(self, lm: LanguageModel, done: int) -> None:
        self._rows(done, "bits per byte {}", [bits_per_byte(lm, text) for text in self.texts.values()])

    def _rows(self, done: int, score: str, values: Iterable[float]) -> None:
        """A row per text; the name of the score has a slot for its language."""
        for lang, value in zip(self.texts, values, strict=True):
            self.rows.append({"edits": done, "score": score.format(lang), "value": float(value), "n": 1})


def run_sequences(
    reference: str,
    methods: Sequence[str],
    edits: int,
    out: Path,
    *,
    dataset: str = "world_facts",
    settings: dict | None = None,
    batch: int = 1,
    device: str | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[list[Path], list[str]]:
    """One sequence per method on one model, the same edits in the same order; a tenth of the subjects is never edited.

    A method that fails is reported in its line and left out; the others go on.

    Returns:
        The files written, and the methods that failed.

    Raises:
        UserError: no such model, method or data set; fewer edits there than requested; a folder with sequences of
            another model; all methods failed.
    """
    for name in methods:
        make_method(name, **taken_by(name, settings or {}))
    edited, untouched = _edited_and_untouched(dataset, edits, seed)
    made_folder(out)
    for note in edit_set([case.request for case in edited]).notes():
        say(f"{dataset}: {note}")
    lm = open_model(reference, device)
    statistics = statistics_of(lm, seed)
    made = _read(out)
    for one in made.values():
        if one.about["model_hash"] != lm.weight_hash:
            raise BadData(f"{out}: holds a sequence of another model, {one.about['model']}; name another folder")
    facts = cases_digest([*edited, *untouched])
    title = f"{edits} edits one after another, {reference}"
    paths: list[Path] = []
    failed: list[str] = []
    for name in methods:
        values = make_method(name, **taken_by(name, settings or {})).settings()
        key = digest(
            [reference, lm.weight_hash, dataset, facts, edits, batch, seed, name, values, CODE_SCHEMA, VERSION]
        )
        if name in made and made[name].about["key"] == key:
            say(f"{name}: in {out} already")
            paths = paths or write_sequences(made, out, title)
            continue
        with progress(edits, f"{name}: ", "edits", leave=False) as bar:
            try:
                result = edit_in_sequence(
                    lm, name, values, edited, untouched, statistics, batch=batch, note=partial(_advance, bar)
                )
            except UserError as error:
                say(f"{name}: failed: {error}")
                failed.append(name)
                continue
        result.about.update(
            {
                "key": key,
                "model": reference,
                "model_hash": lm.weight_hash,
                "dataset": dataset,
                "edits": edits,
                "batch": batch,
                "seed": seed,
                "settings": values,
                "versions": versions(),
                "commit": commit(),
            }
        )
        made[name] = result
        paths = write_sequences(made, out, title)
        say(f"{name}: {_line(result, edits)}")
    if not paths:
        raise BadRequest("every method failed; see the lines above")
    return paths, failed


def _edited_and_untouched(dataset: str, edits: int, seed: int) -> tuple[list[Case], list[Case]]:
    """The first `edits` facts of nine tenths of the subjects, and all facts of the others."""
    cases = build_cases(dataset, "fact", None, seed)
    subjects = sorted({case.subject for case in cases})
    apart = set(_spread(subjects, max(1, len(subjects) // 10)))
    untouched = [case for case in cases if case.subject in apart]
    edited = [case for case in cases if case.subject not in apart][:edits]
    if len(edited) < edits:
        few = f"data set {dataset} has {len(cases)} facts, {len(untouched)} of them kept apart as not to be edited"
        fix = f"lower --edits to {len(edited)}" if edited else "add facts about a second subject"
        raise BadRequest(f"{few}; {edits} edits need more; {fix}")
    return edited, untouched


def _line(result: SequenceResult, edits: int) -> str:
    last = result.rows[result.rows["edits"] == edits].set_index("score")["value"]
    scores = ", ".join(f"{score} {value:.2f}" for score, value in last.items())
    seconds = result.about["seconds"]
    restored = "restored bit for bit" if result.about["restored"] else "NOT restored"
    return f"{edits} edits in {seconds:.0f} s ({1000 * seconds / edits:.0f} ms each); {scores}; weights {restored}"


def _advance(bar: Any, done: int, total: int) -> None:
    bar.update(done - bar.n)


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items, evenly spaced."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def _wilson(hits: int, n: int) -> dict:
    """Share with its 95% Wilson score interval (Wilson 1927)."""
    p = hits / n
    centre, spread = p + Z95**2 / (2 * n), Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    scale = 1 + Z95**2 / n
    return {"value": p, "low": (centre - spread) / scale, "high": (centre + spread) / scale, "n": n}


def _read(out: Path) -> dict[str, SequenceResult]:
    """The sequences that a folder holds already, by method.

    Raises:
        BadData: the folder's files are damaged.
    """
    if not (out / RECORD).is_file():
        return {}
    try:
        table = pd.read_csv(out / TABLE)
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        for name, about in record.items():
            if lacking := {"key", "model", "model_hash"} - about.keys():
                raise ValueError(f"{name} has no {min(lacking)}")
            if not (table["edits"][table["method"] == name] == about["edits"]).any():
                raise ValueError(f"{TABLE} has no rows of {name} after {about['edits']} edits")
        return {name: SequenceResult(table[table["method"] == name], about) for name, about in record.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadData(
            f"{out / RECORD}: damaged ({error}); delete it and sequence.csv, or take another folder"
        ) from error


def write_sequences(results: dict[str, SequenceResult], out: Path, title: str) -> list[Path]:
    """OUT/sequence.csv, .json and .png: every score against the number of edits, one line per method."""
    table = pd.concat([t.rows for t in results.values()], ignore_index=True)
    paths = [out / name for name in (TABLE, RECORD, PICTURE)]
    with atomic_file(paths[0]) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g")
    with atomic_file(paths[1]) as temporary:
        temporary.write_text(json.dumps({n: p.about for n, p in results.items()}, indent=1), encoding="utf-8")
    write_png(sequence_chart(table, title), paths[2])
    return paths


def sequence_chart(table: pd.DataFrame, title: str) -> alt.ConcatChart:
    """A panel per share, with its 95% intervals shaded, and per drift; a line per method.

    Args:
        table: rows of `SequenceResult`, of all methods.
    """
    methods = sorted(set(table["method"]))
    edited = table[table["edits"] > 0]
    scores = list(dict.fromkeys(table["score"]))
    shares = [score for score in scores if table.loc[table["score"] == score, "n"].max() > 1]
    drifts = [score for score in scores if score.startswith("drift")]
    moved = edited.loc[edited["score"].isin(drifts), "value"]
    largest = max([LEAST_DRIFT, *moved[np.isfinite(moved)]])
    panels = [_panel(edited, score, methods, 1.0) for score in shares]
    panels += [_panel(edited, score, methods, largest) for score in drifts]
    return alt.concat(*panels, columns=3, title=heading(title))


def _panel(edited: pd.DataFrame, score: str, methods: list[str], top: float) -> alt.LayerChart:
    """One score from 0 to `top`, its interval shaded where it has one."""
    shown = edited.loc[edited["score"] == score, ["method", "edits", "value", "low", "high"]]
    colour, dash = lines_of("method", methods)
    base = alt.Chart(shown).encode(
        x=alt.X(
            "edits:Q",
            title="edits so far",
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(format="~s", values=[10**i for i in range(7)]),
        ),
        color=colour,
    )
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=[0, top], nice=True))
    band = base.mark_area(opacity=0.13).encode(y=alt.Y("low:Q", title=""), y2="high:Q")
    line = base.mark_line(strokeWidth=1.8).encode(y=y, strokeDash=dash)
    dots = base.mark_circle(size=30, opacity=1).encode(y=y)
    layers = [band, line, dots] if shown["low"].notna().any() else [line, dots]
    return alt.LayerChart(layer=layers, width=260, height=180, title=score)
