"""Trends over a planted dial, and composites ranked by what retrained models say: on tables with known answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.valley.build import edit, frame, probes
from valley.proof import (
    choose_composite,
    correlations,
    dose_table,
    edits_with_composites,
    format_choice,
    format_trends,
    planted_scores,
    reading_dose_table,
    trend,
    trend_table,
)
from valley.rows import PLACEBO, RowsError
from valley.scores import AnalysisPlan, case_scores

LEVELS, SEEDS = (0.0, 0.1, 0.2, 0.5), 3


def planted(slope: float, sd: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    lines = [(level, s, 0.3 + slope * level + sd * rng.normal()) for level in LEVELS for s in range(SEEDS)]
    return pd.DataFrame(lines, columns=["switch", "seed", "score"])


def test_a_planted_trend_is_seen_with_its_direction_and_its_resolution():
    rising, falling = (trend(planted(slope, 0.005), "switch", "score") for slope in (0.8, -0.8))
    for one in (rising, falling):
        assert one.monotone
        assert one.p < 0.01
        assert one.resolution == pytest.approx(0.1)  # steps of .08 at a noise of .005
        assert one.detectable == pytest.approx(one.sd * np.sqrt(2 / SEEDS) * (2.306 + 0.889), rel=0.01)  # 8 degrees


def test_noise_is_no_trend_and_has_no_resolution():
    p = [trend(planted(0.0, 0.05, seed), "switch", "score").p for seed in range(40)]
    assert np.mean(np.array(p) < 0.05) < 0.2
    assert np.isnan(trend(planted(0.05, 0.2), "switch", "score").resolution)


def test_seeds_that_lack_a_level_and_single_seeds_give_no_page_test():
    table = planted(0.8, 0.01)
    assert np.isnan(trend(table[table["seed"] == 0], "switch", "score").p)
    assert np.isnan(trend(table[table["switch"].isin([0.0, 0.5])], "switch", "score").p)
    text = format_trends(trend_table(table.assign(other=np.nan), "switch", ("score", "other")))
    assert "switch 0.5" in text
    assert "other" not in text  # nothing was measured


def test_models_of_one_level_and_seed_are_averaged():
    """Every model given twice had six seeds for three, and a detectable difference of .6 of the true one."""
    table = planted(0.8, 0.05)
    once, twice = (trend(part, "switch", "score") for part in (table, pd.concat([table, table])))
    assert twice.seeds == once.seeds == SEEDS
    assert (twice.sd, twice.detectable, twice.p) == pytest.approx((once.sd, once.detectable, once.p))


def test_every_kind_of_edit_has_its_own_trend():
    """Facts that rise with the dial and renames that do not were one line with twice as many seeds."""
    parts, values = [], {}
    for number, (level, seed) in enumerate((level, seed) for level in LEVELS for seed in range(SEEDS)):
        rung = f"m{number}"
        values[rung] = (level, seed)
        for kind, reached in (("fact", 0.3 + level), ("rename", 0.5)):
            for case in range(4):
                measured = probes(efficacy=[1.0], paraphrase=[reached + 0.01 * seed], neighbour=[1.0])
                parts.append(edit(f"{kind}{case}", measured, rung=rung, rung_index=number, edit_kind=kind))
    scores = planted_scores(frame(*parts), "switch", values, AnalysisPlan(min_known=2, bootstrap=20))
    assert len(scores) == 2 * len(values) and set(scores["edit_kind"]) == {"fact", "rename"}
    table = dose_table(scores, "switch").set_index(["edit_kind", "method", "score"])
    fact, rename = (table.loc[(kind, "rome", "paraphrase")] for kind in ("fact", "rename"))
    assert fact["seeds"] == rename["seeds"] == SEEDS
    assert fact["switch 0.5"] == pytest.approx(0.81) and rename["switch 0.5"] == pytest.approx(0.51)


def run(noise: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Four seeds, four methods, eight edits: generalisation and specificity follow one hidden quality."""
    rng = np.random.default_rng(1)
    parts, truth = [], []
    for seed in range(4):
        for level, method in enumerate(("ft_m", "lora", "memit", "rome")):
            for number in range(8):
                quality = float(np.clip(0.2 + 0.15 * level + 0.05 * number + noise * rng.normal(), 0, 1))
                about = {"rung": f"r-s{seed}" if seed else "r", "rung_index": seed, "method": method}
                kinds = ("efficacy", "paraphrase", "neighbour", "neighbour_plus", "same_subject", "drift", "fluency")
                values = {kind: [quality] for kind in kinds} | {"ability": [1.0], "cross_lingual_fr": [quality]}
                lines = edit(f"c{number}", probes(**values), split="test", **about)
                parts.append(lines)
                about |= {key: lines[0][key] for key in ("settings", "edit_kind", "dataset", "case")}
                score = 0.2 + 0.15 * level + 0.05 * number
                truth += [about | {"scope": scope, "score": score} for scope in ("both", "one")]
    return case_scores(frame(*parts)), pd.DataFrame(truth)


def test_the_composite_that_follows_the_oracle_is_chosen_and_confirmed_on_other_seeds():
    scores, oracle = run(noise=0.0)
    edits = edits_with_composites(scores, oracle)
    assert len(edits) == 4 * 4 * 8  # one scope
    choice = choose_composite(edits)
    winners = choice.winners.set_index("view")
    assert list(winners.index) == ["edits", "methods"]  # two rungs of either half are too few to compare rungs
    assert winners.loc["edits", ["chosen", "confirmed"]].tolist() == pytest.approx([1, 1])
    assert winners["good"].all()
    assert "harmonic_raw_all" in format_choice(choice)
    assert set(choice.table["half"]) == {"choose", "confirm"}


def test_one_rung_states_no_interval_over_rungs():
    """Before: rho .545 from .545 to .545."""
    edits = edits_with_composites(*run(noise=0.0))
    alone, both = (correlations(edits[edits["rung"].isin(rungs)]) for rungs in (["r"], ["r", "r-s1"]))
    assert alone["rho"].notna().any() and alone[["low", "high"]].isna().all(axis=None)
    assert both.loc[both["view"] == "edits", "low"].notna().any()


def test_no_composite_is_good_where_none_follows_the_oracle():
    scores, oracle = run(noise=0.0)
    shuffled = oracle.assign(score=np.random.default_rng(2).permutation(oracle["score"]))
    choice = choose_composite(edits_with_composites(scores, shuffled))
    assert not choice.winners.set_index("view").loc["edits", "good"]
    assert not choice.good
    assert "none is good enough there" in format_choice(choice)


def test_edits_that_the_oracle_could_not_score_take_no_part():
    scores, oracle = run(noise=0.0)
    oracle.loc[oracle["case"] == "c0", "score"] = np.nan
    assert "c0" not in set(edits_with_composites(scores, oracle)["case"])


def test_a_run_without_known_edits_is_refused_in_one_line():
    """It ended in "No objects to concatenate"."""
    scores, oracle = run(noise=0.0)
    for left in (scores.assign(known=False), scores[:0], scores.assign(method=PLACEBO)):
        with pytest.raises(RowsError, match="no edit whose fact the unedited model knew") as caught:
            edits_with_composites(left, oracle)
        assert ";" in str(caught.value)
    for left in (oracle.assign(score=np.nan), oracle[oracle["scope"] == "one"]):
        with pytest.raises(RowsError, match=r"in the scope both, .*; run `oracle` with --scope both"):
            edits_with_composites(scores, left)


def test_readings_are_held_against_the_dial_and_corrected_for_their_number():
    rng = np.random.default_rng(0)
    levels = {f"r{at}-s{seed}": (at / 3, seed) for at in range(4) for seed in range(3)}
    rows = []
    for rung, (level, _) in levels.items():
        for reading, measure, lang, value in (
            ("linearity", "faithfulness", "en-fr", level + 0.01 * rng.normal()),
            ("probes", "dense", "en-fr", 0.4 + 0.01 * rng.normal()),
            ("probes", "dense", "en", level),  # one language: not of the dial
        ):
            rows.append({"rung": rung, "reading": reading, "measure": measure, "lang": lang, "value": value})
    table = reading_dose_table(pd.DataFrame(rows), "shared", levels).set_index("score")
    assert list(table["method"]) == ["linearity", "probes"]
    assert table.loc["faithfulness", "page_p"] < 0.001
    assert table.loc["faithfulness", "holm"] == pytest.approx(2 * table.loc["faithfulness", "page_p"])
    assert table.loc["dense", "holm"] == pytest.approx(table.loc["dense", "page_p"])
    assert table.loc["dense", "shared 1"] == pytest.approx(0.4, abs=0.02)
