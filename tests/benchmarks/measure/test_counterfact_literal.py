"""The same 100 CounterFact records through the sweep and through slow, literal ROME edits and forward passes: the same
scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.datasets.registry import build_cases
from benchmarks.measure.opening import open_model, statistics_of
from benchmarks.sweep.planning.plan import Plan
from benchmarks.sweep.runner import run_bench
from editing.delta.changes import Dense
from editing.delta.delta import Delta
from editing.methods import make_method
from editing.text.tokens import continuation_ids
from tests.editing import reference
from tests.editing.reference_evaluate import continuation_logprobs
from valley.rows.schema import read_run
from valley.scores.published import counterfact_scores

RUNG = Path(__file__).resolve().parents[3] / "results/ladders/grown-quick/rungs/gpt2-2x128"
RECORDS, CORPUS = 100, "samples:4000"
# with the search of the literal way, which descends by Adam
SETTINGS = {"site": "value", "lookup": "subject_last", "optimiser": "adam", "move_above": 0.0}


@pytest.mark.slow
def test_the_sweep_scores_counterfact_as_the_literal_way_does(shared_data: Path, tmp_path: Path) -> None:
    dataset = f"counterfact:{shared_data / 'counterfact_easyedit' / 'counterfact-edit.json'}"
    ladder = tmp_path / "one.toml"
    ladder.write_text(f'[[rung]]\nname = "two"\nmodel = "{RUNG}"\n')
    plan = Plan(str(ladder), ("rome",), ("fact",), RECORDS, 0, (dataset,), ("value",), CORPUS, tuple(SETTINGS.items()))
    assert run_bench(plan, tmp_path / "run", "cpu", quiet=True).ran == 1
    fast = counterfact_scores(read_run(tmp_path / "run"), "all", draws=0).iloc[0]

    lm = open_model(str(RUNG), "cpu")
    statistics, method = statistics_of(lm, 0, CORPUS, quiet=True), make_method("rome", **SETTINGS)
    cases = build_cases(dataset, "fact", RECORDS)
    site = method.edited_sites(lm, cases[0].request)[0]
    c = statistics.covariance(site).matrix.double()
    c += torch.eye(len(c), dtype=torch.float64) * (statistics.ridge * c.diagonal().mean())
    prefixes = statistics.prefixes({5: method.short_prefixes, 10: method.long_prefixes})
    success: dict[str, list[float]] = {"efficacy": [], "paraphrase": [], "neighbour": []}
    for case in cases:
        change = reference.rome(lm, case.request, method, c, prefixes)
        delta = Delta({site.weight: Dense(change)})
        own: dict[str, list[bool]] = {kind: [] for kind in success}
        for p in case.probes:
            # the answer against the other of the two objects: the old one, or in a neighbour's prompt the new one
            other = p.rival if p.kind == "neighbour" else p.old
            pair = [p.candidates[p.answer], p.candidates[other if other is not None else p.answer]]
            (logp,) = continuation_logprobs(lm, [p.prompt], [pair], [delta], [0])
            own[p.kind].append(per_token(lm, p.prompt, pair, logp))
        for kind, hits in own.items():
            if hits:
                success[kind].append(float(np.mean(hits)))
    for kind, name in (("efficacy", "ES"), ("paraphrase", "PS"), ("neighbour", "NS")):
        assert len(success[kind]) > 90
        assert fast[name] == pytest.approx(np.mean(success[kind]), abs=0.005), name


def per_token(lm, prompt: str, pair: list[str], logp: np.ndarray) -> bool:
    """ROME's code compares mean log-probabilities per token."""
    lengths = [len(continuation_ids(lm, prompt, text)) for text in pair]
    return bool(logp[0] / lengths[0] > logp[1] / lengths[1])
