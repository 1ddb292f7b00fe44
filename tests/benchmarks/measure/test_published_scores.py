"""CounterFact's and EasyEdit's scores of a run's rows against the published formulas on the same logits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.cases import Case, Probe, Question
from benchmarks.measure.answers import (
    Answer,
    measure,
    measure_base,
    measure_drift,
)
from benchmarks.measure.fluency import FLUENCY_TOKENS, inverse_frequencies, ngram_entropy, reference_score
from benchmarks.measure.records import HOP_UNKNOWN, TOO_SHORT, probe_rows
from benchmarks.speed.quality import scores_of
from editing.delta.delta import Delta, LowRank
from editing.model.language_model import LanguageModel
from editing.text.requests import EditRequest
from tests.benchmarks import published
from tests.benchmarks.tiny import tiny_model
from tests.editing.families import random_module
from tests.editing.text.test_tokens import KINDS
from tests.tiers import fast_are
from tests.valley.build import edit, frame
from valley.scores.published import counterfact_scores, easyedit_scores

OBJECTS = ("Paris", "New York", "the old town", "Wellington", "東京", "San José")
PROMPTS = {
    "efficacy": ["The capital of France is the city of"],
    "paraphrase": ["France is ruled from", "In a letter to the king of France it said that the seat of the state was"],
    "neighbour": ["The capital of Spain is", "Italy has its seat of government in the town that is called"],
    "same_subject": ["The language of France is"],
    "multi_hop": ["The river that runs through the capital of France is near"],
}


@pytest.fixture(scope="module", params=fast_are(["byte-level", "words"], [*KINDS, "no blank in tokens"]))
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """Byte-level (blanks lead tokens), SentencePiece-like with byte fallback, words (blanks belong to no token)."""
    if request.param == "no blank in tokens":
        return tiny_model(["x"], seed=3)  # every character, the blank too, is a token by itself
    tokenizer = KINDS[request.param]()
    return LanguageModel.wrap(random_module("gpt2", max(len(tokenizer), 600)), tokenizer)


def some_delta(lm: LanguageModel, seed: int) -> Delta:
    site, draw = lm.sites("mlp")[1], torch.Generator().manual_seed(seed)
    left, right = (torch.randn(d, 1, generator=draw) for d in (site.d_out, site.d_in))
    return Delta({site.weight: LowRank(left, right)})


def case_of(new: int, true: int, name: str = "France") -> Case:
    probes = []
    for kind, prompts in PROMPTS.items():
        changes = kind in ("efficacy", "paraphrase", "multi_hop")
        answer, rival = (new, None) if changes else (true, new)
        probes += [Probe(kind, prompt, OBJECTS, answer, true, rival=rival) for prompt in prompts]
    probes.append(Probe("fluency", "France", reference="the old town of Paris", about="France"))
    request = EditRequest(name, ("The capital of {} is the city of",), "France", (OBJECTS[new],))
    return Case(name, "fact", request, tuple(probes), name, "capital", "test")


def rows_of(lm: LanguageModel, cases: list[Case], deltas: list[Delta]) -> pd.DataFrame:
    base = measure_base(lm, cases)
    after = measure(lm, cases, base.priors, deltas, new_tokens=base.new_tokens)
    drift = measure_drift(lm, cases, deltas)
    parts = zip(cases, base.answers, base.priors, after, drift, strict=True)
    return frame(*(edit(part[0].id, probe_rows(*part)) for part in parts))


PAIRS = [(1, 0), (4, 2), (3, 5), (0, 4)]  # (new, true): one token or several, in scripts the tokenizers never saw
CASES = [case_of(new, true, f"case {new}") for new, true in PAIRS]


@pytest.fixture(scope="module")
def deltas(lm: LanguageModel) -> list[Delta]:
    return [some_delta(lm, i) for i in range(len(CASES))]


@pytest.fixture(scope="module")
def rows(lm: LanguageModel, deltas: list[Delta]) -> pd.DataFrame:
    """CASES under `deltas`."""
    return rows_of(lm, CASES, deltas)


def test_counterfact_scores_are_the_published_formulas(
    lm: LanguageModel, deltas: list[Delta], rows: pd.DataFrame
) -> None:
    table = counterfact_scores(rows, "all", draws=0).iloc[0]
    result: dict[str, list[float]] = {}
    for delta, (new, true) in zip(deltas, PAIRS, strict=True):
        with delta.applied(lm):
            for kind, letter in (("efficacy", "E"), ("paraphrase", "P"), ("neighbour", "N")):
                pairs = [tuple(published.mean_nll(lm, p, OBJECTS[o]) for o in (new, true)) for p in PROMPTS[kind]]
                pairs = [(b, a) if kind == "neighbour" else (a, b) for a, b in pairs]
                result.setdefault(letter + "S", []).append(float(np.mean([published.success(*x) for x in pairs])))
                result.setdefault(letter + "M", []).append(float(np.mean([published.difference(*x) for x in pairs])))
    for name, values in result.items():
        assert table[name] == pytest.approx(np.mean(values), abs=1e-4), name
    parts = [np.mean(result[name]) for name in ("ES", "PS", "NS")]
    harmonic = 3 / sum(1 / p for p in parts) if all(parts) else 0.0
    assert table["S"] == pytest.approx(harmonic) and len(CASES) == table["n_cases"]


def test_token_accuracies_are_easyedits(lm: LanguageModel, deltas: list[Delta], rows: pd.DataFrame) -> None:
    rows = rows.set_index(["case", "prompt"])
    agreed = []
    for case, delta in zip(CASES, deltas, strict=True):
        for p in case.probes[:-1]:
            row, right = rows.loc[case.id, p.prompt], p.candidates[p.answer]
            before, labels = published.likeliest(lm, p.prompt, right)
            with delta.applied(lm):
                after, _ = published.likeliest(lm, p.prompt, right)
            assert row["token_accuracy_before"] == pytest.approx(np.mean(np.equal(before, labels)))
            assert row["token_accuracy_after"] == pytest.approx(np.mean(np.equal(after, labels)))
            assert row["token_agreement"] == pytest.approx(np.mean(np.equal(after, before)))
            assert row["answer_tokens"] == len(labels)
            agreed.append((p.kind, row["token_agreement"]))
    table = easyedit_scores(rows.reset_index(), "all", draws=0).iloc[0]
    per_case = np.reshape([share for kind, share in agreed if kind in ("neighbour", "same_subject")], (len(CASES), -1))
    assert table["locality_acc"] == pytest.approx(per_case.mean())
    assert table["fluency"] == pytest.approx(rows["entropy_after"].mean())
    if lm.name != "tiny":
        assert len({share for _, share in agreed}) > 1


def test_a_trained_model_gets_the_tokens_it_was_taught_right() -> None:
    lm = tiny_model([f"The capital of {c} is the city of {o}." for c, o in zip("ABCD", OBJECTS, strict=False)], 100)
    probe = Probe("efficacy", "The capital of B is the city of", OBJECTS, 1, 0)
    case = Case("b", "fact", EditRequest("b", ("{} is",), "B", ("x",)), (probe,), "B", "r", "test")
    (answer,) = measure_base(lm, [case]).answers[0]
    assert answer is not None and len(answer.tokens[1]) > 1
    assert answer.forced[1] == answer.tokens[1] and answer.forced[0][0] == answer.tokens[1][0]


def test_entropy_by_hand_and_as_published() -> None:
    # 2-grams: "a b" three times, "b a" twice; 3-grams: two of each.
    h2 = -(0.6 * np.log2(0.6) + 0.4 * np.log2(0.4))
    assert ngram_entropy("a b a b a b") == pytest.approx((2 / 3 * h2 + 4 / 3 * 1.0) / 2)
    text = "Paris is a city. Paris is the city of Paris, and the city is Paris: don't go."
    assert ngram_entropy(text) == pytest.approx(published.n_gram_entropy(text))
    assert ngram_entropy("a a a a a") == 0.0 == ngram_entropy("") == ngram_entropy("one")


def test_reference_score_by_hand_and_as_published() -> None:
    corpus = ["the old town", "the river", "the old mill by the river"]
    idf = inverse_frequencies(corpus)
    assert idf["the"] == 1.0 and idf["town"] == pytest.approx(np.log(4 / 2) + 1)
    assert reference_score("an old river", corpus[0], idf) == pytest.approx(
        published.tfidf_similarity("an old river", corpus[0], corpus)
    )
    assert reference_score("old", "old", idf) == pytest.approx(1.0)
    assert reference_score("nothing known", corpus[0], idf) == 0.0


def test_fluency_is_the_entropy_kept_by_the_greedy_text(lm: LanguageModel) -> None:
    case, delta = case_of(1, 0), some_delta(lm, 5)
    row = rows_of(lm, [case], [delta]).set_index("probe").loc["fluency"]
    texts = {}
    for when in ("before", "after"):
        ids = lm.encode("France")
        with torch.no_grad():
            for _ in range(FLUENCY_TOKENS):
                if when == "before":
                    logits = lm.module(input_ids=torch.tensor([ids])).logits
                else:
                    with delta.applied(lm):
                        logits = lm.module(input_ids=torch.tensor([ids])).logits
                ids.append(int(logits[0, -1].argmax()))
        new = ids[len(lm.encode("France")) :]
        ends = {lm.tokenizer.eos_token_id, *lm.prefix_ids}
        new = new[: next((i for i, token in enumerate(new) if token in ends), len(new))]
        texts[when] = "France" + lm.tokenizer.decode(new)
        assert row[f"text_{when}"] == texts[when]
        assert row[f"entropy_{when}"] == pytest.approx(ngram_entropy(texts[when]))
    if row["entropy_before"]:
        assert row["value"] == pytest.approx(min(1, row["entropy_after"] / row["entropy_before"]))
    else:
        assert np.isnan(row["value"]) and row["reason"] == TOO_SHORT
    words = inverse_frequencies(["the old town of Paris"])
    assert row["reference_score_after"] == reference_score(texts["after"], "the old town of Paris", words)


def test_the_entropy_kept_by_hand() -> None:
    probes = (Probe("fluency", "x"), Probe("efficacy", "x", ("a", "b")))
    case = Case("x", "fact", EditRequest("x", ("{} is",), "x", ("a",)), probes, "x", "r", "test")
    said = Answer(np.zeros(2), "")
    # "a b c d": three 2-grams, two 3-grams; "a b a b a": 2-grams twice each, 3-grams two to one; "a b": one 2-gram.
    four, loop = (2 / 3 * np.log2(3) + 4 / 3) / 2, (2 / 3 + 4 / 3 * (np.log2(3) - 2 / 3)) / 2
    for before, after, value in (
        ("a b c d", "a b a b a", loop / four),
        ("a b a b a", "a b c d", 1.0),
        ("a b", "a b c", None),
    ):
        answers = [[Answer(np.zeros(0), text), said] for text in (before, after)]
        row = probe_rows(case, answers[0], [None, np.zeros(2)], answers[1], {})[0]
        if value is None:
            assert np.isnan(row["value"]) and row["reason"] == TOO_SHORT
        else:
            assert row["value"] == pytest.approx(value)
        assert np.isnan(row["reference_score_after"])


def test_a_hop_counts_only_where_the_unedited_model_knows_the_next() -> None:
    lm = tiny_model(["The capital of France is Paris.", "People in Rome speak Italian."], steps=100)
    known = Question("People in Rome speak", ("Italian", "Quechua"), 0)
    unknown = Question("People in Rome speak", ("Italian", "Quechua"), 1)
    for needs, met in (((known,), True), ((known, unknown), False), ((unknown, known), False), ((), True)):
        hop = Probe("multi_hop", "People in the capital of France speak", ("Italian", "French"), 0, 1, needs=needs)
        first = Probe("efficacy", "The capital of France is", ("Rome", "Paris"), 0, 1)
        request = EditRequest("x", ("The capital of {} is",), "France", ("Rome",))
        case = Case("x", "fact", request, (hop, first, hop), "France", "capital", "test")
        base = measure_base(lm, [case])
        assert [a is not None and a.needs_known for a in base.answers[0]] == [met, True, met]
        assert len(base.priors[0]) == 3 and base.known == (True,)
        row = probe_rows(case, base.answers[0], base.priors[0], base.answers[0], {})[0]
        assert (row.get("reason"), np.isnan(row["value"])) == ((None, False) if met else (HOP_UNKNOWN, True))


@pytest.mark.slow
def test_padding_changes_nothing(lm: LanguageModel, deltas: list[Delta], rows: pd.DataFrame) -> None:
    """Prompts of many lengths in one left-padded batch, each as if it were alone."""
    numbers = ["logp_after", "logp_rival_after", "token_accuracy_after", "token_agreement"]
    for i, case in enumerate(CASES[:2]):
        probes = [
            rows_of(lm, [Case(case.id, "fact", case.request, (p, case.probes[0]), "s", "r", "test")], [deltas[i]])
            for p in case.probes[1:-1]
        ]
        alone = np.array([table.loc[0, numbers].to_numpy(dtype=float) for table in probes])
        own = rows[rows["case"] == case.id].iloc[1:-1][numbers].to_numpy(dtype=float)
        np.testing.assert_allclose(own, alone, atol=2e-3)


def test_the_speed_comparison_uses_the_same_definition(
    lm: LanguageModel, deltas: list[Delta], rows: pd.DataFrame
) -> None:
    wide = scores_of(lm, CASES, measure_base(lm, CASES), deltas)
    table = counterfact_scores(rows, "all", draws=0).iloc[0]
    assert wide[["ES", "PS", "NS"]].mean().tolist() == pytest.approx([table[n] for n in ("ES", "PS", "NS")])
