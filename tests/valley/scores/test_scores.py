"""Case scores, the choice of settings and the curve against values worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import cases
from tests.valley.build import NAN, edit, failed, frame, ladder, probes
from valley.rows import kinds
from valley.rows.schema import RowsError
from valley.scores.cases import case_scores, failures, unmeasurable
from valley.scores.curve import COLUMNS, curve
from valley.scores.settings import pareto
from valley.statistics import harmonic
from valley.text.curve import format_table


def only(table: pd.DataFrame, **where: object) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1, f"{len(table)} lines at {where}"
    return table.iloc[0]


def test_probe_kinds_are_those_of_the_cases():
    assert kinds.PROBE_KINDS == cases.KINDS
    assert kinds.SPECIFICITY == cases.SPECIFICITY


def test_case_scores_by_hand():
    line = case_scores(frame(edit("a", probes(
        efficacy=[1], paraphrase=[1, 0, 0, 1], cross_lingual_fr=[1, 0.6], neighbour=[1, NAN, 0], neighbour_fr=[0.7],
        same_subject=[NAN], drift=[0.9],
    )))).iloc[0]  # fmt: skip
    assert line["paraphrase"] == 0.5
    assert line["cross_lingual"] == pytest.approx(0.8)
    assert line["neighbour"] == pytest.approx((1 + 0 + 0.7) / 3)
    assert np.isnan(line["same_subject"])
    assert line["generalisation"] == 0.5, "neither efficacy nor the other language"
    assert line["specificity"] == pytest.approx(1.7 / 3), "integrity is a gate"
    assert line["first_generalisation"] == pytest.approx((1 + 0.5 + 0.8) / 3)
    assert line["first_specificity"] == pytest.approx(((1.7 / 3) + 0.9) / 2)
    # French transfer .8 less what French neighbours lost, .3; the English neighbours do not count here.
    assert line["cross_lingual_net"] == pytest.approx(0.5)


def test_net_of_siblings_is_floored_only_after_the_mean():
    rows = frame(
        edit("a", probes(efficacy=[1], cross_lingual_fr=[0.2], neighbour_fr=[0.0])),  # -.8
        edit("b", probes(efficacy=[1], cross_lingual_fr=[1.0], neighbour_fr=[1.0])),  # +1
    )
    assert curve(rows, min_known=1, draws=0).iloc[0]["cross_lingual_net"] == pytest.approx(0.1)
    worse = frame(edit("a", probes(efficacy=[1], cross_lingual_fr=[0.2], neighbour_fr=[0.0])))
    assert curve(worse, min_known=1, draws=0).iloc[0]["cross_lingual_net"] == 0


@pytest.mark.parametrize(("g", "s", "h"), [(1, 1, 1), (0.5, 1, 2 / 3), (0, 1, 0), (0, 0, 0), (NAN, 1, NAN)])
def test_harmonic(g: float, s: float, h: float):
    assert harmonic(np.array(g), np.array(s)) == pytest.approx(h, nan_ok=True)


def test_curve_by_hand_and_known_filter():
    rows = frame(
        edit("a", probes(efficacy=[1], paraphrase=[0], neighbour=[1])),
        edit("b", probes(efficacy=[1], paraphrase=[1], neighbour=[0.5])),
        edit("c", probes(efficacy=[0], paraphrase=[0], neighbour=[0]), known=False),
        edit("d", probes(efficacy=[0], paraphrase=[0], neighbour=[0]), known=pd.NA),
    )
    line = only(curve(rows, min_known=2, draws=50), edit_kind="fact")
    assert (line["n_cases"], line["n_known"]) == (4, 2)
    assert line["generalisation"] == 0.5 and line["specificity"] == 0.75 and line["score"] == pytest.approx(0.6)
    assert line["metric"] == "harmonic_raw_all", "no placebo was run"
    assert line["scored_on"] == "all" and line["chosen_on"] == "only setting"
    assert line["strength_bits_per_byte"] == -2.0 and line["strength_log10_parameters"] == 6.0
    everyone = only(curve(rows, min_known=2, draws=0, which="all"), edit_kind="fact")
    assert everyone["generalisation"] == pytest.approx(0.25)


def test_too_few_known_is_nan_with_a_reason():
    rows = frame(*(edit(f"c{i}", probes(paraphrase=[1], neighbour=[1])) for i in range(12)))
    table = curve(rows)
    line = only(table, edit_kind="fact")
    assert line["reason"] == "12 known facts, 50 needed"
    assert np.isnan(line[list(kinds.METRICS)].astype(float)).all()
    assert "n/a (12 known facts, 50 needed)" in format_table(table)
    assert only(curve(rows, min_known=12), edit_kind="fact")["score"] == 1


def test_overall_needs_every_kind_and_weighs_them_alike():
    fact = [edit(f"f{i}", probes(paraphrase=[1], neighbour=[1])) for i in range(6)]
    rename = [edit(f"n{i}", probes(paraphrase=[0.5], neighbour=[0.4]), edit_kind="rename") for i in range(2)]
    table = curve(frame(*fact, *rename), min_known=2, draws=20)
    line = only(table, edit_kind="all")
    assert line["generalisation"] == 0.75 and line["specificity"] == pytest.approx(0.7)
    assert line["score"] == pytest.approx((1 + 2 * 0.5 * 0.4 / 0.9) / 2)
    lacking = only(curve(frame(*fact, *rename), min_known=6, draws=0), edit_kind="all")
    assert lacking["reason"] == "rename: 2 known cases, 6 needed" and np.isnan(lacking["score"])
    many = [edit(f"n{i}", probes(paraphrase=[0.5], neighbour=[0.4]), edit_kind="rename") for i in range(20)]
    table = curve(frame(*many), min_known=50, draws=0)
    assert only(table, edit_kind="rename")["score"] > 0, "twenty renames are enough"


def test_kinds_that_were_asked_other_probes_are_not_comparable():
    fact = [edit(f"f{i}", probes(paraphrase=[1], same_subject=[1], neighbour=[1])) for i in range(3)]
    rename = [edit(f"n{i}", probes(paraphrase=[1], neighbour=[1]), edit_kind="rename") for i in range(3)]
    table = curve(frame(*fact, *rename), min_known=2, draws=0)
    line = only(table, edit_kind="all")
    assert line["reason"] == "not comparable: measured were same_subject of fact edits only" and np.isnan(line["score"])
    assert "not comparable" in format_table(table)
    assert only(table, edit_kind="fact")["score"] == only(table, edit_kind="rename")["score"] == 1


def test_setting_is_chosen_on_dev_and_scored_on_test():
    low, high = json.dumps({"depth": 0.2}), json.dumps({"depth": 0.8})
    parts = []
    for setting, dev, test in ((low, 0.9, 0.3), (high, 0.2, 1.0)):  # `high` would win if test were looked at
        for split, value in (("dev", dev), ("test", test)):
            for i in range(2):
                parts.append(
                    edit(f"{split}{i}", probes(paraphrase=[value], neighbour=[1]), settings=setting, split=split)
                )
    line = only(curve(frame(*parts), min_known=2, draws=0), edit_kind="fact")
    assert line["settings"] == low and line["paraphrase"] == pytest.approx(0.3)
    assert (line["chosen_on"], line["scored_on"], line["n_settings"], line["n_cases"]) == ("dev", "test", 2, 2)


def test_no_dev_case_is_said():
    parts = [edit("a", probes(paraphrase=[1], neighbour=[1]), settings=s) for s in ("{}", '{"x":1}')]
    line = only(curve(frame(*parts), min_known=1, draws=0), edit_kind="fact")
    assert line["reason"] == "no measurable dev case to choose among 2 settings"


def test_without_a_known_dev_case_all_dev_cases_choose():
    parts = []
    for setting, dev in (("{}", 0.2), ('{"x":1}', 0.9)):
        parts.append(edit("d", probes(paraphrase=[dev], neighbour=[1]), settings=setting, split="dev", known=False))
        parts.append(edit("t", probes(paraphrase=[0.5], neighbour=[1]), settings=setting, split="test"))
    line = only(curve(frame(*parts), min_known=1, draws=0), edit_kind="fact")
    assert (line["settings"], line["n_cases"]) == ('{"x":1}', 1) and line["chosen_on"] == "all dev cases, known or not"


def test_placebo_corrects_and_is_never_chosen():
    good = edit("a", probes(paraphrase=[0.6], neighbour=[1]))
    fake = edit("a", probes(paraphrase=[0.2], neighbour=[1]), method="placebo")
    line = only(curve(frame(good, fake), min_known=1, draws=0), edit_kind="fact")
    assert line["method"] == "rome" and line["n_settings"] == 1
    assert line["generalisation"] == pytest.approx((0.6 - 0.2) / 0.8) and line["paraphrase"] == 0.6
    assert line["score"] == pytest.approx(2 * 0.5 / 1.5) and line["metric"] == "harmonic_net_all"


def test_a_setting_with_its_placebo_is_taken_before_a_better_one_without():
    parts = []
    for depth, hit in ((0.5, 0.6), (0.7, 0.9)):
        for i in range(4):
            split = "dev" if i < 2 else "test"
            settings = json.dumps({"depth": depth})
            parts.append(edit(f"c{i}", probes(paraphrase=[hit], neighbour=[1]), split=split, settings=settings))
    placebo = [edit(f"c{i}", probes(paraphrase=[0.2], neighbour=[1]), split="test", method="placebo") for i in (2, 3)]
    line = only(curve(frame(*parts, *placebo), min_known=1, draws=0), edit_kind="fact")
    assert line["settings"] == json.dumps({"depth": 0.5}) and line["generalisation"] == pytest.approx(0.5)
    plain = only(curve(frame(*parts, *placebo), min_known=1, draws=0, metric="first_study"), edit_kind="fact")
    assert plain["settings"] == json.dumps({"depth": 0.7}) and plain["metric"] == "first_study"


def test_a_setting_that_fails_a_gate_scores_0_and_is_named():
    rows = frame(*(edit(f"c{i}", probes(efficacy=[0.2], paraphrase=[1], neighbour=[1])) for i in range(3)))
    table = curve(rows, min_known=1, draws=0)
    line = only(table, edit_kind="fact")
    assert line["score"] == 0 and line["generalisation"] == 1 and json.loads(line["gates"]) == {"efficacy": 0.2}
    text = format_table(table)
    assert "Gates: efficacy 0.5" in text and "Fails a gate: r0, fact by rome (efficacy .20)" in text


def test_the_score_of_an_older_plan_is_that_of_the_first_study():
    rows = frame(*(edit(f"c{i}", probes(efficacy=[1], paraphrase=[0], neighbour=[1], drift=[0.5])) for i in range(3)))
    line = only(curve(rows, min_known=1, draws=0, metric="harmonic_mean"), edit_kind="fact")
    assert (line["generalisation"], line["specificity"], line["metric"]) == (0.5, 0.75, "first_study")
    assert line["score"] == pytest.approx(2 * 0.5 * 0.75 / 1.25)


def test_pareto():
    points = pd.DataFrame({
        "specificity": [0.9, 0.5, 0.5, 0.2, 0.95, NAN], "generalisation": [0.5, 0.9, 0.8, 0.9, 0.1, 1.0],
        "method": list("abcdef"), "settings": "",
    })  # fmt: skip
    assert pareto(points)["method"].tolist() == ["b", "a", "e"]


def test_failures_and_gaps_are_counted():
    rows = frame(
        edit("a", probes(efficacy=[1], cross_lingual_fr=[NAN, NAN], neighbour=[1])),
        failed(),
        failed(rung="r9", rung_index=9, cell="bad2", error="out of memory"),
    )
    assert failures(rows)["error"].tolist() == ["covariance is singular", "out of memory"]
    assert unmeasurable(rows)[["probe", "n"]].values.tolist() == [["cross_lingual", 2]]
    table = curve(rows, min_known=1, draws=0)
    assert only(table, rung="r9", edit_kind="fact")["reason"] == "every edit failed (out of memory)"
    assert only(table, rung="r9", edit_kind="all")["n_errors"] == 1
    # Two settings of r0 were tried, one failed: the choice needs dev cases, and there are none.
    assert "dev" in only(table, rung="r0", edit_kind="fact")["reason"]
    text = format_table(table)
    assert "2 failed" in text and "every edit failed (out of memory)" in text


def test_a_missing_score_has_its_own_reason():
    rows = frame(edit("a", probes(paraphrase=[1], cross_lingual_fr=[NAN, NAN], neighbour=[1])))
    gaps = json.loads(only(curve(rows, min_known=1, draws=0), edit_kind="fact")["gaps"])
    assert gaps["cross_lingual"] == "wrong before the edit (2 probes)"
    assert set(gaps) == {"cross_lingual", "cross_lingual_net"}


def test_order_of_rows_does_not_matter():
    rows = ladder(kinds=("fact", "rename"))
    mixed = rows.sample(frac=1, random_state=3).reset_index(drop=True)
    pd.testing.assert_frame_equal(curve(rows, 2, draws=100), curve(mixed, 2, draws=100))


def test_columns_and_lines():
    table = curve(ladder(3, kinds=("fact", "rename")), 2, draws=20)
    assert list(table.columns) == COLUMNS
    assert table[["edit_kind", "rung"]].values.tolist() == [
        [k, f"r{r}"] for k in ("all", "fact", "rename") for r in range(3)
    ]
    assert max(map(len, format_table(table).splitlines())) <= 120


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.drop(columns="known"), "no known"),
        (lambda r: r.assign(more=1), "extra more"),
        (lambda r: r.iloc[:0], "empty"),
        (lambda r: r.assign(schema_version=99), "schema"),
        (lambda r: r.assign(value=1.5), "not in [0, 1]"),
        (lambda r: r.assign(probe="nonsense"), "unknown probe kind"),
        (lambda r: pd.concat([r, r]), "twice"),
        (lambda r: r.assign(model_hash=[str(i) for i in range(len(r))]), "model_hash"),
        (lambda r: r.assign(split=["dev", "test"] * (len(r) // 2)), "split"),
        (lambda r: "rows", "not a table"),
    ],
)
def test_unsound_rows_are_refused_in_one_line(spoil, message: str):
    with pytest.raises(RowsError) as caught:
        curve(spoil(ladder(2)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_known": 0}, "min_known"),
        ({"draws": -1}, "draws"),
        ({"which": "x"}, "stratum"),
        ({"methods": ["x"]}, "method"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str):
    with pytest.raises(RowsError, match=message):
        curve(ladder(2), **options)
