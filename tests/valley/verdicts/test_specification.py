"""The verdict under every composite, and what they say together."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from tests.valley.build import seeded
from valley.scores import AnalysisPlan, available, composites, defensible
from valley.verdicts import UNMEASURED, Specifications, format_specifications, shapes, what_decides

PLAN = AnalysisPlan(min_known=2, draws=300, bootstrap=100)
VALLEY = [0.8, 0.78, 0.6, 0.35, 0.3, 0.4, 0.6, 0.78, 0.8]


def made(curve: list[float], **more) -> Specifications:
    return Specifications(available(seeded(curve, **more), PLAN), PLAN)


def test_a_valley_under_every_measured_composite_is_named():
    result = made(VALLEY)
    (one,) = result.combined.values()
    assert one.verdict.outcome == "valley" and one.share == 1
    assert set(one.outcomes) == {c.name for c in defensible() if c.name.startswith("harmonic_raw")}
    assert set(one.outcomes) | set(one.unmeasured) == {c.name for c in defensible()}
    table = result.table.set_index("composite")
    assert len(table) == len(composites())
    assert (
        table.loc["harmonic_raw_all", "outcome"] == "valley" and table.loc["harmonic_net_all", "outcome"] == UNMEASURED
    )
    assert not table.loc["first_study", "votes"]


def test_each_line_is_the_verdict_of_that_composite_as_the_plan_s_metric():
    result = made(VALLEY)
    for name in ("harmonic_raw_own", "first_study"):
        alone = shapes(result.scored, replace(PLAN, metric=name), whole=False).verdicts["toy", "fact"]
        assert result.verdict(name, "toy", "fact").outcome == alone.outcome


def test_curves_are_those_of_the_best_method_by_size():
    result = made(VALLEY, luck=0.0)
    curve = result.curves[result.curves["composite"] == "harmonic_raw_all"]
    assert list(curve["size"]) == [f"m{i}" for i in range(9)] and list(curve["seeds"]) == [2] * 9
    expected = [2 * g / (1 + g) for g in VALLEY]  # specificity is 1
    assert np.allclose(curve["value"], expected, atol=0.03)


def test_what_decides_names_the_choice_that_parts_the_verdicts():
    def line(choice: str, outcome: str, votes: bool = True) -> dict:
        return {
            "ladder": "l",
            "edit_kind": "fact",
            "composite": choice,
            "choice": choice,
            "votes": votes,
            "outcome": outcome,
        }

    table = pd.DataFrame([
        line("above placebo, with same_subject", "logistic"), line("above placebo, without same_subject", "logistic"),
        line("not above placebo, with same_subject", "no valley"), line("dose", UNMEASURED), line("old", "hump", False),
    ])  # fmt: skip
    (text,) = what_decides(table)
    assert text == (
        "fact edits: of 3 composites logistic by 2, no valley by 1; 1 more could not be measured; "
        "logistic exactly where the score is above placebo"
    )


def test_as_text_and_json():
    result = made([0.5, 0.5, 0.5, 0.5, 0.5])
    assert format_specifications(result).startswith("fact edits: ")
    assert json.loads(json.dumps(result.as_json(), allow_nan=False))[0]["edit_kind"] == "fact"
