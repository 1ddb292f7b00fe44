"""Scores against values computed by hand, and a batch of edits against one edit at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp, isnan, log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.cases import Case, Probe, Question
from benchmarks.measure.answers import (
    PRIOR_WEIGHT,
    Answer,
    Base,
    Drift,
    measure,
    measure_base,
    measure_drift,
)
from benchmarks.measure.records import NOT_FINITE, UNKNOWN, begins_with, probe_rows
from benchmarks.measure.stored_base import stored_base, stored_table
from benchmarks.measure.strength import text_bits_per_byte
from benchmarks.models import load_model
from editing.delta.delta import Delta, LowRank
from editing.errors import BadData
from editing.eval import bits_per_byte
from editing.model.language_model import LanguageModel
from editing.text.requests import EditRequest
from tests.benchmarks.tiny import COUNTRIES, EN, tiny_model, world
from tests.editing.same_weights import changed_copy, heads, lowercase

CITIES = {country: capital for country, (capital, _) in COUNTRIES.items()}
PROMPT, PRIOR = EN, "The capital is the city of"
CANDIDATES = tuple(CITIES.values())


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model(world().model)


def probe(kind: str, country: str, answer: str, old: str | None, **more: object) -> Probe:
    index = None if old is None else CANDIDATES.index(old)
    prompt = PROMPT.format(country)
    return Probe(kind, prompt, CANDIDATES, CANDIDATES.index(answer), index, PRIOR, about=country, **more)  # pyright: ignore[reportArgumentType]


def case(country: str, target: str, truth: str | None = None) -> Case:
    other = next(c for c in CITIES if c != country)
    probes = (
        probe("efficacy", country, target, truth or CITIES[country]),
        probe("neighbour", other, CITIES[other], CITIES[other]),
        Probe("drift", "A quiet river runs through the old town."),
    )
    request = EditRequest(country, (PROMPT,), country, (target,))
    return Case(country, "fact", request, probes, country, "capital", "test")


def some_delta(lm: LanguageModel, seed: int, size: float = 0.4) -> Delta:
    site = lm.sites("mlp")[0]
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(d, 1, generator=generator) * size for d in (site.d_out, site.d_in))
    return Delta({site.weight: LowRank(left, right)})


def by_hand(lm: LanguageModel, prompt: str, answer: str) -> float:
    """log P(answer | prompt) one token at a time."""
    ids = lm.encode(prompt)
    total = 0.0
    for token in lm.tokenizer(" " + answer)["input_ids"]:
        with torch.no_grad():
            total += float(
                torch.log_softmax(lm.module(input_ids=torch.tensor([ids])).logits[0, -1].double(), -1)[token]
            )
        ids.append(token)
    return total


def rows_of(lm: LanguageModel, cases: Sequence[Case], deltas: Sequence[Delta]) -> list[list[dict]]:
    base = measure_base(lm, cases)
    after, drift = measure(lm, cases, base.priors, deltas, new_tokens=base.new_tokens), measure_drift(lm, cases, deltas)
    return [probe_rows(*part) for part in zip(cases, base.answers, base.priors, after, drift, strict=True)]


def test_a_row_states_what_the_model_says_by_hand(lm: LanguageModel) -> None:
    cases, delta = [case("Peru", "Tokyo")], some_delta(lm, 1)
    row = rows_of(lm, cases, [delta])[0][0]
    score = {}
    for when in ("before", "after"):
        if when == "before":
            logp = np.array([by_hand(lm, PROMPT.format("Peru"), c) for c in CANDIDATES])
        else:
            with delta.applied(lm):
                logp = np.array([by_hand(lm, PROMPT.format("Peru"), c) for c in CANDIDATES])
        score[when] = logp - PRIOR_WEIGHT * np.array(
            [by_hand(lm, PRIOR, c) for c in CANDIDATES]
        )  # the unedited prior, both times
        target = CANDIDATES.index("Tokyo")
        others = np.delete(score[when], target)
        assert row[f"logp_{when}"] == pytest.approx(logp[target], abs=1e-3)
        assert row[f"logp_old_{when}"] == pytest.approx(logp[CANDIDATES.index("Lima")], abs=1e-3)
        assert row[f"margin_{when}"] == pytest.approx(score[when][target] - others.max(), abs=1e-3)
        assert row[f"pick_{when}"] == CANDIDATES[int(score[when].argmax())]
        assert row[f"hit_{when}"] == float(score[when].argmax() == target)
    assert not np.allclose(score["before"], score["after"], atol=0.1)
    assert row["pick_before"] == "Lima" and row["text_before"].strip().startswith("Lima")
    assert row["value"] == row["hit_after"] and row["exact_before"] == 0.0


def test_a_model_that_gives_no_numbers_knows_nothing() -> None:
    """Also where the right answer is the first candidate, which numpy names as the largest of NaNs."""
    broken = tiny_model(["The capital of France is the city of Paris."])
    with torch.no_grad():
        broken.module.get_output_embeddings().weight[0] = torch.nan
    first = Question(PROMPT.format("Spain"), CANDIDATES, 0)
    about = case("France", "Rome", "Paris")
    assert about.probes[0].old == 0
    base = measure_base(broken, [replace(about, probes=(replace(about.probes[0], needs=(first,)),))])
    ((answer,),) = base.answers
    assert answer is not None and not np.isfinite(answer.logp).any()
    assert base.known == (False,) and not answer.needs_known


def test_many_edits_at_once_equal_one_at_a_time(lm: LanguageModel) -> None:
    cases = [case("Peru", "Tokyo"), case("Chile", "Rome"), case("Japan", "Lima")]
    deltas = [some_delta(lm, i) for i in range(3)]
    together = rows_of(lm, cases, deltas)
    for i in range(3):
        alone = rows_of(lm, [cases[i]], [deltas[i]])[0]
        for a, b in zip(alone, together[i], strict=True):
            assert a.keys() == b.keys()
            assert {k: v for k, v in a.items() if isinstance(v, str)} == {
                k: v for k, v in b.items() if isinstance(v, str)
            }
            numbers = [k for k, v in a.items() if isinstance(v, float)]
            assert [a[k] for k in numbers] == pytest.approx([b[k] for k in numbers], abs=1e-3, nan_ok=True)
    assert together[0][0]["logp_after"] != pytest.approx(together[0][0]["logp_before"], abs=1e-2)


def test_the_hooks_say_what_the_changed_weights_say(lm: LanguageModel) -> None:
    cases, delta = [case("Peru", "Tokyo")], some_delta(lm, 3)
    base = measure_base(lm, cases)
    hooked = measure(lm, cases, base.priors, [delta], new_tokens=4)[0][0]
    with delta.applied(lm):
        changed = measure(lm, cases, base.priors, new_tokens=4)[0][0]
    assert hooked is not None and changed is not None
    np.testing.assert_allclose(hooked.logp, changed.logp, atol=1e-3)
    assert hooked.text == changed.text


def test_known_needs_two_thirds_of_the_own_prompts(lm: LanguageModel) -> None:
    right, wrong = probe("efficacy", "Peru", "Tokyo", "Lima"), probe("paraphrase", "Peru", "Tokyo", "Rome")
    request = EditRequest("x", (PROMPT,), "Peru", ("Tokyo",))
    french = probe("paraphrase", "Peru", "Tokyo", "Rome", lang="fr")
    for probes, known in (
        ((right, right, wrong), True),
        ((right, wrong), False),
        ((right, french), True),  # only prompts in the request's language count
        ((probe("efficacy", "Peru", "Tokyo", None),), None),
    ):
        assert measure_base(lm, [Case("x", "fact", request, probes, "Peru", "capital", "test")]).known == (known,)


def answer(*logp: float, text: str = "") -> Answer:
    return Answer(np.array(logp), text)


def rows_by_hand(
    p: Probe, before: Answer | None, after: Answer | None, prior: Sequence[float] = (0.0, 0.0, 0.0)
) -> dict:
    own = Probe("efficacy", "x", ("a", "b", "c"))
    shell = Case("x", "fact", EditRequest("x", ("{} is",), "x", ("a",)), (p, own), "x", "r", "test")
    zeros = answer(0.0, -1.0, -1.0)
    priors = [np.array(prior), np.zeros(3)]
    return probe_rows(shell, [before, zeros], priors, [after, zeros], {p.prompt: Drift(0.1, 1.0, 0.9)})[0]


def test_specificity_is_retention_of_what_was_known() -> None:
    p = Probe("neighbour", "q", ("a", "b", "c"), answer=1, old=1)
    kept = rows_by_hand(p, answer(-3, -1, -4), answer(-3, -2, -4))
    lost = rows_by_hand(p, answer(-3, -1, -4), answer(-1, -2, -4))
    unknown = rows_by_hand(p, answer(-1, -3, -4), answer(-3, -1, -4))
    assert (kept["value"], lost["value"]) == (1.0, 0.0)
    assert isnan(unknown["value"]) and unknown["reason"] == UNKNOWN and unknown["hit_after"] == 1.0


def test_the_prior_decides_between_common_and_rare_candidates() -> None:
    p = Probe("efficacy", "q", ("a", "b", "c"), answer=2, old=0)
    row = rows_by_hand(p, answer(-1, -9, -9), answer(-1, -9, -2), prior=(-1, -5, -6))
    assert row["pick_after"] == "c" and row["value"] == 1.0
    assert row["margin_after"] == pytest.approx(4.0 - 0.0)


def test_numbers_that_are_none_are_not_measurable() -> None:
    p = Probe("efficacy", "q", ("a", "b", "c"))
    row = rows_by_hand(p, answer(-1, -2, -3), answer(float("nan"), -1, -2))
    assert isnan(row["value"]) and row["reason"] == NOT_FINITE and row["pick_after"] == "" and isnan(row["hit_after"])


def test_drift_is_the_geometric_mean_of_probability_ratios(lm: LanguageModel) -> None:
    drift = rows_by_hand(Probe("drift", "q"), None, None)
    assert drift["value"] == pytest.approx(exp(-0.1))
    cases, delta = [case("Peru", "Tokyo")], some_delta(lm, 5)
    result = measure_drift(lm, cases, [delta])[0][cases[0].probes[2].prompt]
    ids = torch.tensor([lm.encode(cases[0].probes[2].prompt)])
    with torch.no_grad():
        plain = torch.log_softmax(lm.module(input_ids=ids).logits[0, :-1].double(), -1)
        with delta.applied(lm):
            edited = torch.log_softmax(lm.module(input_ids=ids).logits[0, :-1].double(), -1)
    kl = (plain.exp() * (plain - edited)).sum(-1)
    own = kl[len(lm.prefix_ids) - 1 :]
    assert result.kl == pytest.approx(float(own.mean()), abs=1e-3)
    said = edited.gather(1, ids[0, 1:, None])[len(lm.prefix_ids) - 1 :].sum()
    size = len(cases[0].probes[2].prompt.encode())
    assert result.bits_per_byte == pytest.approx(-float(said) / log(2) / size, abs=1e-3)
    unedited = plain.gather(1, ids[0, 1:, None])[len(lm.prefix_ids) - 1 :].sum()
    assert result.bits_per_byte_before == pytest.approx(-float(unedited) / log(2) / size, abs=1e-3)
    assert (drift["text_bits_before"], drift["text_bits_after"]) == (0.9, 1.0)


@pytest.mark.parametrize(
    ("text", "answers", "expected"),
    [
        (" Paris.", ["Paris"], True),
        (" paris, the", ["PARIS"], True),
        (" Parisian life", ["Paris"], False),
        ("\n  New   York is", ["New York"], True),
        (" the city", ["Paris"], False),
        (" C++ and C", ["C++"], True),
        (" l\u2019euro", ["l'euro"], True),
        (" Ville Lumi\u00e8re", ["Paris", "Ville Lumie\u0300re"], True),
        ("", ["Paris"], False),
        ("Paris", [], False),
        ("北京是中国的首都。", ["北京"], True),
        ("東京です", ["東京"], True),
        ("กรุงเทพเป็นเมือง", ["กรุงเทพ"], True),
        ("Romeは", ["Rome"], True),
        ("दिल्ली है", ["दिल्ली"], True),
        ("दिल्ली है", ["दिल"], False),
        ("กรุงเทพ์", ["กรุงเทพ"], False),
        ("파리는 도시", ["파리"], True),
        ("", [""], False),
    ],
)
def test_free_text_begins_with_an_answer(text: str, answers: list[str], expected: bool) -> None:
    assert begins_with(text, answers) is expected


def test_the_unedited_answers_are_kept_on_disk(
    lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path))
    cases = [case("France", "Rome"), case("Spain", "Lima")]
    first = stored_base(lm, cases)
    (file,) = (tmp_path / "answers").iterdir()
    kept, stamp = stored_base(lm, cases), file.stat().st_mtime_ns
    assert file.stat().st_mtime_ns == stamp and (kept.known, kept.new_tokens) == (first.known, first.new_tokens)
    for one, two in zip((a for c in first.answers for a in c), (a for c in kept.answers for a in c), strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert np.array_equal(one.logp, two.logp) and (one.text, one.tokens) == (two.text, two.tokens)
            assert dict(one.forced) == dict(two.forced) and one.needs_known == two.needs_known
    for one, two in zip((p for c in first.priors for p in c), (p for c in kept.priors for p in c), strict=True):
        assert one is two is None or np.array_equal(one, two)
    stored_base(lm, cases[:1])
    assert len(list((tmp_path / "answers").iterdir())) == 2  # another set of cases is another file
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(BadData, match="damaged answers"):
        stored_base(lm, cases)


def test_what_is_kept_is_of_this_tokenizer_and_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrected tokenizer.json or config.json leaves the weights as they were, and no answer."""
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path))
    lm = tiny_model(["The capital of France is the city of Paris."], steps=20)
    about, text = [case("France", "Rome")], "The capital of France is the city of Paris."

    def elsewhere(lm: LanguageModel) -> None:
        lm.module.config._name_or_path, lm.module.config.transformers_version = "elsewhere", "9"
        lm.tokenizer(["a", "b c"], padding=True, truncation=True, max_length=9)

    def numbers(base: Base) -> list[float]:
        (row,) = base.answers
        return [value for answer in row if answer is not None for value in answer.logp.tolist()]

    lm.tokenizer.pad_token = lm.tokenizer.eos_token
    kept, bits = numbers(stored_base(lm, about)), text_bits_per_byte(lm, text)
    table = stored_table(tmp_path / "tables", lm, ["x"], lambda: pd.DataFrame({"n": [1]}))
    for changed in (changed_copy(lm, lowercase), changed_copy(lm, heads(4))):
        assert numbers(stored_base(changed, about)) == numbers(measure_base(changed, about)) != kept
        assert text_bits_per_byte(changed, text) == bits_per_byte(changed, text) != bits
        again = stored_table(tmp_path / "tables", changed, ["x"], lambda: pd.DataFrame({"n": [2]}))
        assert again["n"].tolist() == [2] != table["n"].tolist()
    same = changed_copy(lm, elsewhere)
    assert same.reading_hash == lm.reading_hash
