"""Probes that a plan asks for by name: wordings, what is in question of which case, values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.cases import Case, Probe, case_record, cases_digest
from benchmarks.datasets.probes_on_request import with_requested, wordings
from benchmarks.datasets.registry import build_cases
from benchmarks.measure.answers import Answer
from benchmarks.measure.records import NEITHER, count_mentions, probe_rows
from benchmarks.sweep.planning.plan import Plan
from editing.errors import BadRequest
from editing.text.requests import EditRequest
from valley.rows.kinds import ON_REQUEST
from valley.scores.composites.composite import IN_LANGUAGE


def probes_of(name: str, kind: str = "fact", kinds: tuple[str, ...] = ON_REQUEST) -> dict[str, list[Probe]]:
    """The added probes of the first case, by kind."""
    cases = build_cases(name, kind, 12)
    more, _ = with_requested(cases, kinds)
    assert more[0].probes[: len(cases[0].probes)] == cases[0].probes
    added = more[0].probes[len(cases[0].probes) :]
    return {kind: [p for p in added if p.kind == kind] for kind in kinds}


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_yes_and_no_are_balanced(lang: str) -> None:
    probes = probes_of("world_facts" if lang == "en" else "world_facts:fr")
    for kind in ("negation", "verification"):
        about_new, about_old = probes[kind]
        assert about_new.candidates == about_old.candidates == tuple(wordings()[lang][word] for word in ("yes", "no"))
        assert {about_new.answer, about_old.answer} == {0, 1}, "a model that always says yes gets one half"
        assert about_new.answer == (kind == "negation")
        assert (about_new.old, about_old.old) == (about_old.answer, about_new.answer)
        assert about_new.calibration == about_old.calibration == (about_new.prompt, about_old.prompt)
    assert probes["verification"][0].prompt in {
        'Is this true? "The capital of China is the city of London." Answer (yes or no):',
        "Est-ce vrai ? « La capitale de la Chine s'appelle Londres. » Réponse (oui ou non) :",
    }


def test_reversed_asks_for_the_subject_among_subjects_without_the_answer() -> None:
    cases = build_cases("world_facts", "fact", 24)
    for case in with_requested(cases, ["reversed"])[0]:
        p = case.probes[-1]
        assert p.candidates[p.answer] == case.request.subject and p.old is None
        assert case.request.targets[0] in p.prompt and case.request.targets[0] not in p.prior
        same = {
            c.request.subject
            for c in cases
            if c.relation == case.relation and c.request.targets == case.request.targets
        }
        assert not same - {case.request.subject} & set(p.candidates)
        assert case.request.subject not in p.prompt


def test_long_drift_has_two_thousand_tokens_a_language() -> None:
    (case,), _ = with_requested(build_cases("world_facts", "fact", 1), ["drift"])
    words = {
        lang: sum(len(p.prompt.split()) for p in case.probes if p.kind == "drift" and p.lang == lang)
        for lang in ("en", "fr")
    }
    assert min(words.values()) >= 1400  # words; 2,022 and 2,974 tokens of SmolLM2


def test_what_cannot_be_asked_is_counted() -> None:
    renames, notes = with_requested(build_cases("concept_suite", "rename", 3), ["reversed", "challenge"])
    assert notes == ("reversed: left out of 3 of 3 cases: no subject in its prompt",)
    assert all(case.probes[-1].kind == "challenge" for case in renames)
    request = EditRequest("a", ("{} è",), "Roma", ("grande",), lang="it")
    case = Case(
        "a", "fact", request, (Probe("efficacy", "Roma è", ("grande", "bella"), 0, 1, lang="it"),), "Roma", "r", "d"
    )
    (same,), notes = with_requested([case], ["verification", "decay"])
    assert notes == ("verification: left out of 1 of 1 cases: no wording in 'it'",)
    assert [p.kind for p in same.probes] == ["efficacy", "decay"]


def test_old_cases_keep_their_hashes() -> None:
    cases = build_cases("world_facts", "fact", 2)
    assert "calibration" not in case_record(cases[0])["probes"][0]
    other, _ = with_requested(cases, ["verification"])
    assert case_record(other[0])["probes"][-1]["calibration"] and cases_digest(other) != cases_digest(cases)


def answer(*logp: float, text: str = "") -> Answer:
    return Answer(np.array(logp), text)


def records(probe: Probe, before: Answer, prior: np.ndarray | None, after: Answer) -> dict:
    case = Case(
        "a", "fact", EditRequest("a", ("{} is",), "X", ("new",)),
        (Probe("efficacy", "X is", ("new", "old"), 0, 1), probe), "X", "r", "d",
    )  # fmt: skip
    plain = answer(0, -1)
    return probe_rows(case, [plain, before], [np.zeros(2), prior], [plain, after], {})[1]


def test_calibration_by_hand() -> None:
    """log-odds of yes: 2.0 about the old statement, 1.0 about the new one; the threshold is their mean, 1.5."""
    old, new = np.log([0.88, 0.12]), np.log([0.73, 0.27])
    mean = (old + new) / 2
    probe = Probe("verification", "new?", ("yes", "no"), 0, 1, calibration=("new?", "old?"))
    row = records(probe, Answer(new, ""), mean, Answer(new, ""))
    assert (row["pick_before"], row["hit_after"]) == ("no", 0.0), "yes was likelier than no, and yet below the mean"
    assert records(probe, Answer(new, ""), mean, Answer(np.log([0.85, 0.15]), ""))["value"] == 1.0


def test_mentions_by_hand() -> None:
    probe = Probe("long_form", "A text. X is", ("Rome", "Paris"), 0, 1)
    texts = {" Rome. Rome was big, Paris is not Romes.": 2 / 3, " Paris.": 0.0, " rome and ROME": 1.0}
    for text, value in texts.items():
        assert records(probe, answer(text=""), None, Answer(np.zeros(0), probe.prompt + text))["value"] == value
    row = records(probe, answer(text=""), None, Answer(np.zeros(0), probe.prompt + " nothing"))
    assert np.isnan(row["value"]) and row["reason"] == NEITHER


@pytest.mark.parametrize(
    ("text", "name", "other", "count"),
    [
        ("法国的首都是罗马，罗马很大", "罗马", "巴黎", 2),
        ("It is New York City.", "New York", "New York City", 0),
        ("It is New York City.", "New York City", "New York", 1),
        ("New York, once called new york city", "New York", "New York City", 1),
        ("東京都は広い", "京都", "東京都", 0),
        ("京都と東京都", "京都", "東京都", 1),
        ("दिल्ली है", "दिल", "मुंबई", 0),
        ("Rome", "Rome", "rome", 1),
    ],
)
def test_mentions_of_a_name_are_not_those_of_a_longer_one(text: str, name: str, other: str, count: int) -> None:
    assert count_mentions(text, name, other) == count


def test_a_plan_names_them_and_old_plans_keep_their_hash() -> None:
    plain = Plan("demo", ("rome",), ("fact",), 3, 0)
    more = replace(plain, more_probes=("negation",))
    assert "more_probes" not in plain.fixed() and more.hash != plain.hash
    with pytest.raises(BadRequest, match="unknown kind of probe 'neg'"):
        replace(plain, more_probes=("neg",))
    assert {"negation", "verification"} <= set(IN_LANGUAGE) and not set(IN_LANGUAGE) & {"reversed", "decay"}
