"""The curve in words: every name and number comes from the table, and nothing is claimed beyond the intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.valley.build import ladder
from valley.scores.curve import curve
from valley.text.summary import format_brief, format_summary, summary

NAN = float("nan")


def line(rung: str, kind: str, mean: float, *, spec: float = 0.6, gen: float = 0.6, **more: object) -> dict:
    """A line of a curve; every interval reaches .05 to both sides."""
    values = {"generalisation": gen, "specificity": spec, "score": mean}
    record: dict[str, object] = {"ladder": "toy", "rung": rung, "edit_kind": kind, "method": "rome", "reason": ""}
    record |= {"n_known": 3, "n_cases": 4, "gates": "{}"}
    for name, value in values.items():
        record |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
    return record | more


def missing(rung: str, kind: str, reason: str) -> dict:
    return line(rung, kind, NAN, spec=NAN, gen=NAN, reason=reason)


def table(*lines: dict) -> pd.DataFrame:
    return pd.DataFrame(lines)


def test_the_best_model_of_each_kind_and_whether_the_worst_is_apart() -> None:
    (best, *_) = summary(
        table(line("small", "fact", 0.30), line("large", "fact", 0.82), line("small", "rename", 0.70),
              line("large", "rename", 0.66), line("small", "all", 0.99))
    )  # fmt: skip
    assert "fact edits on large by rome (.82, 95% interval .77–.87; lowest small .30, a clear difference)" in best
    assert "rename edits on small by rome (.70, 95% interval .65–.75; lowest large .66, within the intervals)" in best
    assert ".99" not in best


def test_a_score_that_a_gate_sets_to_0_names_the_gate_in_place_of_an_interval() -> None:
    lines = table(line("small", "fact", 0.8), line("large", "fact", 0.0, gates='{"efficacy": 0.6667}'))
    (best, *_) = summary(lines)
    assert "lowest large .00, as it fails a gate: efficacy .67)" in best and "clear" not in best
    assert format_brief(lines).splitlines()[-1].endswith(".00 fails a gate: efficacy .67")


def test_generalisation_and_specificity_differ_only_beyond_their_intervals() -> None:
    same = summary(table(line("a", "fact", 0.6), line("b", "fact", 0.6, gen=0.65)))[1]
    assert "do not differ beyond their intervals in any of the 2 measured pairs" in same
    apart = summary(table(line("a", "fact", 0.6, gen=0.3, spec=0.9), line("b", "fact", 0.6, gen=0.9, spec=0.3),
                          line("c", "fact", 0.6, gen=0.3, spec=0.9)))[1]  # fmt: skip
    assert "(mean .50)" in apart and "(mean .70)" in apart
    assert "differ in 3 of 3 measured pairs of model and edit kind: specificity is higher in 2, lower in 1" in apart


def test_what_is_not_measurable_is_listed_by_reason() -> None:
    text = summary(
        table(
            line("a", "fact", 0.6),
            missing("b", "fact", "1 known facts, 2 needed"),
            missing("c", "fact", "1 known facts, 2 needed"),
            missing("c", "rename", "failed: bad\nthing"),
        )
    )[-1]
    assert text == (
        "Not measurable: fact edits on b, fact edits on c (1 known facts, 2 needed); rename edits on c (failed: "
        "bad thing)."
    )


def test_many_reasons_are_cut_and_counted() -> None:
    text = summary(table(*(missing(f"r{i}", "fact", f"reason {i}") for i in range(5))))[-1]
    assert "(reason 2); and 2 more reasons." in text and "reason 3" not in text


def test_nothing_measured_claims_nothing() -> None:
    sentences = summary(table(missing("a", "fact", "not run")))
    assert sentences == [
        "No edit kind could be measured on any model.",
        "Not measurable: fact edits on a (not run).",
    ]


def test_without_intervals_no_difference_is_called_clear() -> None:
    bare = {f"{name}_{end}": np.nan for name in ("generalisation", "specificity", "score") for end in ("low", "high")}
    text = summary(table(line("a", "fact", 0.2, **bare), line("b", "fact", 0.9, **bare)))[0]
    assert "clear" not in text and "interval " not in text


def test_a_real_curve_fits_the_terminal() -> None:
    real = curve(ladder(kinds=("fact", "rename", "retarget")), min_known=2, draws=50)
    words, lines = format_summary(real), format_brief(real).splitlines()
    assert max(map(len, [*words.splitlines(), *lines])) <= 120
    assert len(lines) == 1 + 9 and len(words.splitlines()) <= 12
    best = real.loc[real.loc[real["edit_kind"] == "fact", "score"].idxmax()]
    assert f"fact edits on {best['rung']}" in words.replace("\n ", "")
