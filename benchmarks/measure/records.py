"""Answers to rows: what each probe's answers before and after an edit are worth, as columns of the one table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from math import exp, isfinite, nan

import numpy as np

from benchmarks.cases import WRITTEN, Case, Probe
from benchmarks.datasets import mentions
from benchmarks.measure.answers import Answer, Drift, picked
from benchmarks.measure.fluency import ngram_entropy

# exp(-KL/TAU) with TAU of one nat per token (our choice): the score is then exactly the geometric mean, over tokens the
# unedited model draws, of their probability after the edit relative to before. A KL of .05 nats costs a twentieth.
DRIFT_TAU = 1.0

UNKNOWN = "unknown to the unedited model"
HOP_UNKNOWN = "a later hop is unknown to the unedited model"
NOT_EDITED = "not edited: unknown to the unedited model"
TOO_SHORT = "the unedited model writes too little for an entropy"
NEITHER = "the text names neither the old nor the new answer"
NOT_FINITE = "score is not a finite number"


def probe_rows(
    case: Case,
    answers: Sequence[Answer | None],
    priors: Sequence[np.ndarray | None],
    after: Sequence[Answer | None],
    drift: dict[str, Drift],
) -> list[dict]:
    """One record per probe with the columns of `valley.rows.schema.COLUMNS` that a probe decides."""
    records = []
    for index, (p, before, prior, now) in enumerate(zip(case.probes, answers, priors, after, strict=True)):
        record = _question(index, p)
        if p.kind == "drift":
            record |= _drift_record(drift[p.prompt])
        elif p.kind in WRITTEN:
            assert before is not None and now is not None
            record |= _fluency_record(before, now) if p.kind == "fluency" else _long_form_record(p, before, now)
        else:
            assert before is not None and prior is not None and now is not None
            record |= _candidate_record(p, before, prior, now)
        records.append(record)
    return records


def left_out_row(case: Case, reason: str = NOT_EDITED) -> dict:
    """The one record of a case that is not edited, usually because its fact is not known: it has no value."""
    index, p = next((i, p) for i, p in enumerate(case.probes) if p.kind == "efficacy")
    return unmeasured_row(index, p, reason)


def unmeasured_row(index: int, p: Probe, reason: str) -> dict:
    """The record of a probe that is not evaluated: it counts, and has no value."""
    answers = {}
    if p.candidates:
        answers = {"answer": p.candidates[p.answer], "old": "" if p.old is None else p.candidates[p.old]}
    return _question(index, p) | answers | {"value": nan, "reason": reason}


def _question(index: int, p: Probe) -> dict:
    """What was evaluated, as columns."""
    return {
        "probe": p.kind,
        "probe_index": index,
        "about": p.about,
        "probe_relation": p.relation,
        "lang": p.lang,
        "prompt": p.prompt,
        "n_candidates": len(p.candidates),
    }


def begins_with(text: str, answers: Iterable[str]) -> bool:
    """Whether free-running `text` begins with the words of one of `answers`, up to case, blanks and Unicode form."""
    text = _normal(text)
    return any(begin == 0 for a in answers for begin, _ in mentions(text, _normal(a))[:1])


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text).replace("\u2019", "'")).strip().casefold()


def _drift_record(drift: Drift) -> dict:
    bits = {"text_bits_before": drift.bits_per_byte_before, "text_bits_after": drift.bits_per_byte}
    if not isfinite(drift.kl):
        return bits | {"value": nan, "reason": NOT_FINITE}
    return bits | {"value": exp(-max(drift.kl, 0.0) / DRIFT_TAU)}


def _fluency_record(before: Answer, now: Answer) -> dict:
    record: dict = {}
    for when, said in (("before", before), ("after", now)):
        record |= {
            f"text_{when}": said.text or "",
            f"entropy_{when}": ngram_entropy(said.text or ""),
            f"reference_score_{when}": said.reference_score,
        }
    if not record["entropy_before"]:
        return record | {"value": nan, "reason": TOO_SHORT}
    return record | {"value": min(1.0, record["entropy_after"] / record["entropy_before"])}


def _long_form_record(p: Probe, before: Answer, now: Answer) -> dict:
    """Mentions of the new answer over those of the new and the old one, in what the model wrote behind the prompt."""
    assert p.old is not None  # the data set gives both
    answer, old = p.candidates[p.answer], p.candidates[p.old]
    record: dict = {"answer": answer, "old": old, "text_before": before.text, "text_after": now.text}
    for when in ("before", "after"):
        text = record[f"text_{when}"].removeprefix(p.prompt)
        new, kept = count_mentions(text, answer, old), count_mentions(text, old, answer)
        record[f"hit_{when}"] = new / (new + kept) if new + kept else nan
    value = record["hit_after"]
    return record | ({"value": value} if value == value else {"value": nan, "reason": NEITHER})


def count_mentions(text: str, name: str, other: str) -> int:
    """How often `text` holds the words of `name`, up to case, blanks and Unicode form, where they are no part of the
    longer name `other`: "New York City" does not mention "New York"."""
    text, name, other = map(_normal, (text, name, other))
    longer = mentions(text, other) if len(other) > len(name) else []
    return sum(not any(a <= begin and end <= b for a, b in longer) for begin, end in mentions(text, name))


def _candidate_record(p: Probe, before: Answer, prior: np.ndarray, now: Answer) -> dict:
    record: dict = {
        "answer": p.candidates[p.answer],
        "old": "" if p.old is None else p.candidates[p.old],
        "rival": "" if p.against is None else p.candidates[p.against],
        "answer_tokens": _length(before, p.answer),
        "rival_tokens": _length(before, p.against),
        "token_agreement": _share_equal(now.forced.get(p.answer, ()), before.forced.get(p.answer, ())),
    }
    picks = {}
    for when, said in (("before", before), ("after", now)):
        score = said.logp - prior
        pick = picks[when] = picked(score)
        record |= {
            f"pick_{when}": "" if pick is None else p.candidates[pick],
            f"hit_{when}": _hit(p, pick),
            f"margin_{when}": nan if pick is None else _margin(p, score),
            f"logp_{when}": float(said.logp[p.answer]),
            f"logp_old_{when}": nan if p.old is None else float(said.logp[p.old]),
            f"logp_rival_{when}": nan if p.against is None else float(said.logp[p.against]),
            f"token_accuracy_{when}": _share_equal(
                said.forced.get(p.answer, ()), said.tokens[p.answer] if said.tokens else ()
            ),
            f"text_{when}": said.text or "",
            f"exact_{when}": _exact(p, said.text) if p.has_free_text and said.text is not None else nan,
        }
    right_before = picks["before"] == (p.answer if p.old is None else p.old)
    if picks["before"] is None or picks["after"] is None:
        return record | {"value": nan, "reason": NOT_FINITE}
    if not before.needs_known:
        return record | {"value": nan, "reason": HOP_UNKNOWN}
    if (p.away or not p.generalises) and not right_before:
        return record | {"value": nan, "reason": UNKNOWN}
    return record | {"value": record["hit_after"]}


def _hit(p: Probe, pick: int | None) -> float:
    """1 where the candidate picked is what the edit asks for, of an erasure anything but the old answer."""
    if pick is None:
        return nan
    return float(pick != p.old if p.away else pick == p.answer)


def _margin(p: Probe, score: np.ndarray) -> float:
    """Nats between what the edit asks for and the best of what it does not ask for; above 0 is a hit."""
    if p.away and p.old is not None:
        return float(np.delete(score, p.old).max() - score[p.old])
    return float(score[p.answer] - np.delete(score, p.answer).max())


def _exact(p: Probe, text: str) -> float:
    """The same for text that is written freely."""
    if p.away and p.old is not None:
        return float(not begins_with(text, (p.candidates[p.old],)))
    return float(begins_with(text, (p.candidates[p.answer], *p.aliases)))


def _length(said: Answer, candidate: int | None) -> float:
    """Tokens of a candidate; NaN where there is none."""
    return nan if candidate is None or not said.tokens else float(len(said.tokens[candidate]))


def _share_equal(tokens: Sequence[int], reference: Sequence[int]) -> float:
    """Share of places with the same token: `np.mean(np.equal(answers, labels))` of EasyEdit's `test_prediction_acc`."""
    return sum(a == b for a, b in zip(tokens, reference, strict=True)) / len(reference) if reference else nan
