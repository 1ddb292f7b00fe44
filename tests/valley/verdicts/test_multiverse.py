"""Several composites, one verdict: nearly all of them have to give it."""

from __future__ import annotations

import numpy as np
import pytest

from valley.verdicts import INCONCLUSIVE, NO_VALLEY, Verdict, combine


def given(outcome: str, bound: float = 0.05) -> Verdict:
    return Verdict(outcome, f"{outcome}: why", bound, 0.08)


@pytest.mark.parametrize(("names", "outcome"), [
    (["valley"] * 4 + [INCONCLUSIVE], "valley"),
    (["valley"] * 3 + [INCONCLUSIVE], INCONCLUSIVE),
    (["valley"] * 3 + ["hump"] * 3, INCONCLUSIVE),
    ([INCONCLUSIVE] * 3, INCONCLUSIVE),
])  # fmt: skip
def test_a_shape_needs_four_fifths_of_the_composites(names: list[str], outcome: str):
    result = combine({str(i): given(name) for i, name in enumerate(names)})
    assert result.verdict.outcome == outcome and result.verdict.text.startswith(outcome)
    assert list(result.outcomes.values()) == names


def test_three_composites_with_three_shapes_name_none():
    """Facts of the first study: flat as published, a rise above the placebo, a hump in English only."""
    result = combine({"published": given(NO_VALLEY), "above placebo": given("logistic"), "english": given("hump")})
    assert result.verdict.outcome == INCONCLUSIVE and "it depends on the composite" in result.verdict.text
    assert np.isclose(result.share, 1 / 3)


def test_composites_that_cannot_be_measured_do_not_vote_and_the_bound_is_the_greatest():
    result = combine({"a": given(NO_VALLEY, 0.04), "b": given(NO_VALLEY, 0.07), "dose": None})
    assert result.verdict.outcome == NO_VALLEY and result.verdict.bound == 0.07 and result.unmeasured == ("dose",)
    assert "2 of 2 composites" in result.verdict.text
    assert combine({"dose": None}).verdict.text == "inconclusive: no composite could be measured"
