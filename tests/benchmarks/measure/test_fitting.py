"""Texts that are too long for a model: the case or the probe is left out and counted, the others are measured."""

from __future__ import annotations

import json
from dataclasses import replace

from benchmarks.cases import Case
from benchmarks.datasets import build_cases
from benchmarks.measure import fit
from tests.benchmarks import wild
from tests.benchmarks.tiny import tiny_model

LONG = "Once upon a time the people of the land met in the town. " * 60


def cases_of(tmp_path) -> list[Case]:
    return build_cases(f"counterfact:{wild.write(tmp_path, wild.counterfact())}", "fact")


def test_only_what_is_too_long_is_left_out(tmp_path):
    lm = tiny_model([json.dumps(wild.counterfact())])
    case, long_target, *_ = cases_of(tmp_path)
    whole = fit(lm, case)
    assert whole.case == case and whole.kept == tuple(range(len(case.probes))) and not whole.rows
    at = next(i for i, probe in enumerate(case.probes) if probe.kind == "neighbour")
    probes = tuple(replace(p, prompt=LONG + p.prompt) if i == at else p for i, p in enumerate(case.probes))
    fitting = fit(lm, replace(case, probes=probes))
    assert fitting.case is not None and at not in fitting.kept and len(fitting.kept) == len(probes) - 1
    (row,) = fitting.rows
    assert (row["probe"], row["probe_index"], row["reason"]) == ("neighbour", at, "longer than the model reads")
    fitting = fit(lm, replace(long_target, request=replace(long_target.request, targets=(LONG,))))
    assert fitting.case is None and [row["probe"] for row in fitting.rows] == ["efficacy"]


def test_the_longest_text_that_fits_is_kept(tmp_path):
    lm = tiny_model([json.dumps(wild.counterfact())])
    case = cases_of(tmp_path)[0]
    at = next(i for i, probe in enumerate(case.probes) if probe.kind == "fluency")
    words = "town " * 2000
    longest = lm.tokenizer.decode(lm.encode(words)[: lm.max_length - len(lm.prefix_ids)])
    for prompt, kept in ((longest, True), (longest + " town town", False)):
        probes = tuple(replace(p, prompt=prompt) if i == at else p for i, p in enumerate(case.probes))
        assert (at in fit(lm, replace(case, probes=probes)).kept) == kept
