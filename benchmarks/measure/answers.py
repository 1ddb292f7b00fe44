"""Probes to answers: what a model says before and after an edit.

`measure` asks every probe of many cases in a few large batches, each case under its own edit; `measure_base` adds what
only the unedited model can say (priors, known facts). What the answers are worth is in benchmarks/measure/records.py.

The score of a candidate t is log P(t | prompt) - PRIOR_WEIGHT * log P(t | prior), full string; where a probe names
texts to calibrate by, log P(t | prompt) - mean of log P(t | text). The prior is ALWAYS that of the unedited model, also
after an edit: it corrects for how common a candidate's text is, which an edit does not change.
An edited prior would hide harm: an edit that says its target everywhere raises log P(t | prior) as well, the two
would cancel, and the neighbours would seem untouched while the model's text is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan

import numpy as np

from benchmarks.cases import WRITTEN, Case, Probe
from benchmarks.measure.fluency import FLUENCY_TOKENS, inverse_frequencies, reference_score
from benchmarks.measure.later_training import later_training
from editing.delta import Delta, compose
from editing.eval import Race, continuation_logprobs, greedy, replies, text_drift
from editing.model import LanguageModel
from editing.text import continuation_ids

# The full correction (1) marks a model wrong on what it says freely, where it answers the subject-free prompt itself
# with confidence; none (0) prefers frequent names. On SmolLM2, unedited, 20 development facts, 273 English probes:
# accuracy .70, .80, .85, .83, .74 at weights 0, 1/4, 1/2, 3/4, 1; right in free text but wrong here: 0, 0, 0, 5, 21.
PRIOR_WEIGHT = 0.5
KNOWN_SHARE = 2 / 3
MIN_NEW_TOKENS, MAX_NEW_TOKENS = 6, 24


@dataclass(frozen=True)
class Answer:
    """What one model says to one probe.

    Attributes:
        logp: (m,) nats, log P(candidate | prompt); an upper bound of it for a candidate that can neither come first
            nor decide a margin (see `Race`). Empty for `fluency` and `long_form`.
        text: greedy continuation, None where none was read; for `fluency` and `long_form` behind its prompt.
        tokens: the tokens of each candidate.
        forced: for the candidates that a score compares, the likeliest token at each of their tokens (teacher forcing).
        needs_known: whether the unedited model answers all that the probe needs.
        reference_score: of `fluency`, likeness of the text to the probe's reference; NaN without one.
    """

    logp: np.ndarray
    text: str | None
    tokens: tuple[tuple[int, ...], ...] = ()
    forced: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    needs_known: bool = True
    reference_score: float = nan


@dataclass(frozen=True)
class Drift:
    """KL of the unedited from the edited model (nats per token) and bits per byte after and before the edit, on one
    text."""

    kl: float
    bits_per_byte: float
    bits_per_byte_before: float


@dataclass(frozen=True)
class Base:
    """What the unedited model says about some cases; shared by every method and setting.

    Attributes:
        answers: per case, per probe; None for `drift`.
        priors: per case, per probe, (m,) nats, PRIOR_WEIGHT * log P(candidate | prior), or the mean over the texts it
            is calibrated by; zeros where the probe has neither.
        known: per case, whether the model knew the fact; None when no probe can tell.
        new_tokens: length of every greedy continuation of these cases.
    """

    answers: tuple[tuple[Answer | None, ...], ...]
    priors: tuple[tuple[np.ndarray | None, ...], ...]
    known: tuple[bool | None, ...]
    new_tokens: int


def measure_base(lm: LanguageModel, cases: Sequence[Case], new_tokens: int | None = None) -> Base:
    """Ask `lm`, unedited, every probe and every prior of `cases`, and what probes need to be known.

    `new_tokens` is the length of the greedy continuations; by default as long as the longest answer needs, 0 leaves
    them out.
    """
    new_tokens = continuation_length(lm, cases) if new_tokens is None else new_tokens
    complete = [_with_needs(case) for case in cases]
    found = iter(choice_priors(lm, [p for case in complete for p in case.probes if _is_choice(p)]))
    all_priors = [tuple(next(found) if _is_choice(p) else None for p in case.probes) for case in complete]
    said = measure(lm, complete, all_priors, new_tokens=new_tokens)
    answers = tuple(_judged(*part) for part in zip(cases, complete, said, all_priors, strict=True))
    priors = tuple(q[: len(case.probes)] for case, q in zip(cases, all_priors, strict=True))
    known = tuple(_known(case, a, q) for case, a, q in zip(cases, answers, priors, strict=True))
    return Base(answers, priors, known, new_tokens)


def picked(scores: np.ndarray) -> int | None:
    """The candidate with the highest of its `scores` (m,); None where one is not a finite number, since numpy would
    name the first of those."""
    return int(np.argmax(scores)) if np.isfinite(scores).all() else None


def _is_choice(p: Probe) -> bool:
    """Whether the probe is a choice among candidates."""
    return bool(p.candidates) and p.kind not in WRITTEN


def choice_priors(lm: LanguageModel, probes: Sequence[Probe]) -> list[np.ndarray]:
    """What the unedited `lm` says to be taken off the log-probabilities of each choice's candidates (`Base.priors`)."""
    texts = dict.fromkeys((text, p.candidates) for p in probes for text in p.calibration or (p.prior,) if text)
    logp = continuation_logprobs(lm, [text for text, _ in texts], [candidates for _, candidates in texts])
    table = dict(zip(texts, logp, strict=True))

    def prior(p: Probe) -> np.ndarray:
        if p.calibration:
            return np.mean([table[text, p.candidates] for text in p.calibration], axis=0)
        return PRIOR_WEIGHT * table[p.prior, p.candidates] if p.prior else np.zeros(len(p.candidates))

    return [prior(p) for p in probes]


def _with_needs(case: Case) -> Case:
    """`case` with a probe more for each question that its probes need, in their order."""
    needs = [q for p in case.probes for q in p.needs]
    more = [Probe("relation", q.prompt, q.candidates, q.answer, q.answer, q.prior) for q in needs]
    return replace(case, probes=(*case.probes, *more)) if more else case


def _judged(
    case: Case, complete: Case, said: Sequence[Answer | None], priors: Sequence[np.ndarray | None]
) -> tuple[Answer | None, ...]:
    """The answers to the probes of `case`, each with whether its needs are known; `complete` is `_with_needs(case)`."""
    n = len(case.probes)
    right = iter(
        [
            a is not None and q is not None and picked(a.logp - q) == p.answer
            for p, a, q in zip(complete.probes[n:], said[n:], priors[n:], strict=True)
        ]
    )
    out: list[Answer | None] = []
    for p, answer in zip(case.probes, said, strict=False):
        met = all([next(right) for _ in p.needs])  # a list: every need takes its turn
        out.append(answer if met or answer is None else replace(answer, needs_known=False))
    return tuple(out)


def measure(
    lm: LanguageModel,
    cases: Sequence[Case],
    priors: Sequence[Sequence[np.ndarray | None]],
    deltas: Sequence[Delta] = (),
    of: Sequence[int] | None = None,
    new_tokens: int | None = None,
    among: Sequence[Case] = (),
) -> tuple[tuple[Answer | None, ...], ...]:
    """Ask every probe of every case, many edits in one pass.

    Args:
        priors: per case, per probe, what is taken off each candidate's log-probability (`Base.priors`). It decides
            which candidates can still win; the others keep an upper bound of their log-probability (see `Race`).
        deltas: the edits. Empty: the model as it stands.
        of: per case, the index of the delta it is evaluated under; default, delta i for case i.
        new_tokens: length of the greedy continuations; default, as long as the longest answer needs; 0 leaves them out.
        among: the cases whose references weigh the words of `reference_score`; default, `cases`. Scores of calls with
            some of the cases each are comparable where all calls are given the same.

    Returns:
        Per case, per probe, the answer; None for `drift`, see `measure_drift`.
    """
    of = (list(range(len(cases))) if deltas else [-1] * len(cases)) if of is None else of
    new_tokens = continuation_length(lm, cases) if new_tokens is None else new_tokens
    deltas, later = _with_later_training(lm, cases, deltas, of)
    # Probes that ask the same of the same model share the work.
    questions: dict[tuple, Race] = {}
    for row, case, own_priors in zip(of, cases, priors, strict=True):
        for p, prior in zip(case.probes, own_priors, strict=True):
            if prior is not None:
                key = _question(row, p, later)
                compared = {i for i in (p.answer, p.old, p.against) if i is not None}
                shared = questions[key].needed if key in questions else ()
                questions[key] = Race(prior, tuple(sorted(compared | set(shared))))
    said = replies(
        lm,
        [prompt for _, prompt, _, _ in questions],
        [candidates for _, _, _, candidates in questions],
        new_tokens,
        deltas,
        [row for row, _, _, _ in questions],
        races=list(questions.values()),
    )
    answers = {
        key: Answer(r.logp, r.text if new_tokens else None, r.tokens, r.forced)
        for key, r in zip(questions, said, strict=True)
    }
    written = _measure_writing(lm, cases, deltas, of, among or cases)
    return tuple(
        tuple(
            written.get((row, p.prompt, p.reference)) if p.kind in WRITTEN else answers.get(_question(row, p, later))
            for p in case.probes
        )
        for row, case in zip(of, cases, strict=True)
    )


def _with_later_training(
    lm: LanguageModel, cases: Sequence[Case], deltas: Sequence[Delta], of: Sequence[int]
) -> tuple[list[Delta], dict[int, int]]:
    """The edits, behind them those that a `decay` probe asks for with later training added, and which is which."""
    decaying = {row for row, case in zip(of, cases, strict=True) if any(p.kind == "decay" for p in case.probes)}
    rows = sorted(decaying - {-1})
    if not rows:
        return list(deltas), {}
    training = later_training(lm)
    trained = [compose([deltas[row], training]) for row in rows]
    return [*deltas, *trained], {row: len(deltas) + i for i, row in enumerate(rows)}


def _measure_writing(
    lm: LanguageModel, cases: Sequence[Case], deltas: Sequence[Delta], of: Sequence[int], among: Sequence[Case]
) -> dict[tuple[int, str, str], Answer]:
    """(delta, prompt, reference) -> the text that this prompt begins, for the probes whose answer is a text."""
    questions = list(
        dict.fromkeys(
            (row, p.prompt, p.reference)
            for row, case in zip(of, cases, strict=True)
            for p in case.probes
            if p.kind in WRITTEN
        )
    )
    prompts, rows = [prompt for _, prompt, _ in questions], [row for row, _, _ in questions]
    written = greedy(lm, prompts, FLUENCY_TOKENS, deltas, rows)
    frequencies = inverse_frequencies(p.reference for case in among for p in case.probes if p.reference)
    answers = {}
    for key, more in zip(questions, written, strict=True):
        text, reference = key[1] + more, key[2]
        score = reference_score(text, reference, frequencies) if reference else nan
        answers[key] = Answer(np.zeros(0), text, reference_score=score)
    return answers


def _question(row: int, p: Probe, later: Mapping[int, int]) -> tuple[int, str, str, tuple[str, ...]]:
    """What is evaluated under which delta; `later`: a delta with later training added, for `decay`."""
    return later.get(row, row) if p.kind == "decay" else row, p.prompt, p.prior, p.candidates


def measure_drift(
    lm: LanguageModel, cases: Sequence[Case], deltas: Sequence[Delta], of: Sequence[int] | None = None
) -> tuple[dict[str, Drift], ...]:
    """Per case, text -> drift of its delta on that text, for the texts of its `drift` probes."""
    of = range(len(cases)) if of is None else of
    texts_of = [tuple(dict.fromkeys(p.prompt for p in case.probes if p.kind == "drift")) for case in cases]
    drifts: dict[tuple[int, str], Drift] = {}
    for texts in dict.fromkeys(texts_of):  # cases that read the same texts share one call
        rows = list(dict.fromkeys(row for row, own_texts in zip(of, texts_of, strict=True) if own_texts == texts))
        if not texts:
            continue
        # A last edit that changes nothing says what the unedited model makes of the texts.
        kl, bits = text_drift(lm, list(texts), [*(deltas[row] for row in rows), Delta({})])
        for i, row in enumerate(rows):
            for j, text in enumerate(texts):
                drifts[row, text] = Drift(float(kl[i, j]), float(bits[i, j]), float(bits[-1, j]))
    return tuple({t: drifts[row, t] for t in texts} for row, texts in zip(of, texts_of, strict=True))


def continuation_length(lm: LanguageModel, cases: Sequence[Case]) -> int:
    """Tokens a greedy continuation needs to hold the longest answer of `cases` and show where it ends."""
    pairs = {(p.prompt, p.candidates[p.answer]) for case in cases for p in case.probes if p.has_free_text}
    longest = max((len(continuation_ids(lm, prompt, answer)) for prompt, answer in pairs), default=0)
    return min(max(longest + 2, MIN_NEW_TOKENS), MAX_NEW_TOKENS)


def own_wordings(case: Case) -> Case:
    """A case with only the probes that say whether its fact is known: the edit's wordings in its own language."""
    own = (p for p in case.probes if p.kind in ("efficacy", "paraphrase") and p.lang == case.request.lang)
    return replace(case, probes=tuple(own))


def _known(case: Case, answers: Sequence[Answer | None], priors: Sequence[np.ndarray | None]) -> bool | None:
    """At least two thirds of the case's own prompts, in the request's language, answered with `old`."""
    hits = [
        picked(a.logp - q) == p.old
        for p, a, q in zip(case.probes, answers, priors, strict=True)
        if p.kind in ("efficacy", "paraphrase") and p.lang == case.request.lang and p.old is not None
        if a is not None and q is not None
    ]
    return sum(hits) >= KNOWN_SHARE * len(hits) if hits else None
