"""The rules of the verdict one by one, the stored plan, and whole runs whose truth is known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cli import cli
from tests.valley.build import seeded
from valley.rows.plan_record import store_plan
from valley.rows.schema import RowsError
from valley.scores.available import available
from valley.scores.composites import PRIMARY
from valley.scores.plan import FILE, AnalysisPlan, stored, with_options
from valley.verdicts.judge import COLUMNS, NAMED
from valley.verdicts.shape import CASES, format_shapes, shapes
from valley.verdicts.verdict import BEST, INCONCLUSIVE, NO_VALLEY, support_p, verdict

VALLEY = [0.8, 0.78, 0.6, 0.35, 0.3, 0.4, 0.62, 0.78, 0.8]
PLAN = AnalysisPlan(min_known=2, bootstrap=100, draws=200)


def table_of(*lines: dict) -> pd.DataFrame:
    base: dict[str, object] = dict.fromkeys(COLUMNS, 0.5) | {"n_sizes": 9, "df": 18, "bound": 0.3, "detectable": 0.2}
    base |= {c: 0.1 for c in COLUMNS if c.startswith("weight_")} | {f"holm_{s}": 0.5 for s in NAMED}
    base |= {"family": "grown", "counted": True, "grid": ""}
    return pd.DataFrame([base | line for line in lines])


def cells(**columns: object) -> list[dict]:
    return [{"method": m, "axis": a} | columns for m in (BEST, "rome", "memit") for a in ("one", "two")]


SHOWS = {"p_valley": 0.01, "holm_valley": 0.01, "weight_valley": 0.9}


def test_a_named_shape_needs_the_best_method_on_two_axes_and_two_witnesses():
    good = cells(**SHOWS)
    result = verdict(table_of(*good), PLAN)
    assert result.outcome == "valley" and len(result.agreeing) == 4, "two axes of the best method, two methods"
    assert "with the best method on one and two; p < 0.05 with rome and memit" in result.text
    for i, spoiled in (
        (0, {"holm_valley": 0.06}), (1, {"weight_valley": 0.79}), (0, {"df": 0}), (1, {"counted": False}),
        (2, {"p_valley": 0.06}), (4, {"df": 0}),
    ):  # fmt: skip
        changed = [line | (spoiled if j == i else {}) for j, line in enumerate(good)]
        assert verdict(table_of(*changed), PLAN).outcome == INCONCLUSIVE, spoiled
    assert verdict(table_of(*good[2:]), PLAN).outcome == INCONCLUSIVE, "support without the primary curve is no verdict"


def test_a_method_without_a_p_is_no_witness_whatever_its_place() -> None:
    """The least of a NaN and .001 was whichever came first, so the order of the rows decided."""
    lines = [{"method": m, "grid": g, "df": 3, "p_valley": p} for m, g, p in (
        ("a", "x: 0,1", float("nan")), ("b", "x: 0,1", 0.001), ("c", "", 0.002), ("d", "", float("nan")),
    )]  # fmt: skip
    for order in permutations(lines):
        assert support_p(list(order), "valley", 2) == pytest.approx(0.002)
        assert support_p(list(order), "valley", 3) == 1


def test_methods_of_one_incomplete_grid_are_one_witness():
    """Two methods that fall where their grid misses the best layer made a valley in 86 to 99% of simulated runs."""
    shared = [line | {"grid": "" if line["method"] == BEST else "x: 0,1"} for line in cells(**SHOWS)]
    result = verdict(table_of(*shared), PLAN)
    assert result.outcome == INCONCLUSIVE and "same incomplete grid" in result.text
    other = [line | {"method": "steer", "grid": ""} for line in shared if line["method"] == "rome"]
    assert verdict(table_of(*shared, *other), PLAN).outcome == "valley"


def test_two_shapes_at_once_are_inconclusive():
    both = cells(**SHOWS, p_hump=0.01, holm_hump=0.01, weight_hump=0.9)
    result = verdict(table_of(*both), PLAN)
    assert result.outcome == INCONCLUSIVE and "valley" in result.text and "both shown" in result.text


def test_no_valley_needs_the_best_method_and_two_methods_not_all():
    """One method with a wide bound vetoed the first study's verdict: the greatest bound of all methods was taken."""
    table = table_of(*cells(bound=0.08), {"method": "ft_l", "axis": "one", "bound": 0.65})
    result = verdict(table, PLAN)
    assert result.outcome == NO_VALLEY and result.text == "no valley deeper than 0.080"
    wide = cells(bound=0.08)
    wide[1]["bound"] = 0.15
    result = verdict(table_of(*wide), PLAN)
    assert result.outcome == INCONCLUSIVE and "0.200 deep" in result.text, "every axis of the best method counts"
    assert verdict(table_of(*cells(bound=0.08)[:4]), PLAN).outcome == INCONCLUSIVE, "one method is not enough"


def test_unknown_seed_variance_is_never_conclusive():
    result = verdict(table_of(*cells(**SHOWS, df=0, bound=np.nan)), PLAN)
    assert result.outcome == INCONCLUSIVE and "tau^2" in result.text and "more than 0.200" in result.text


def test_families_are_judged_apart():
    flat = [line | {"family": "pretrained", "n_models": 0.1} for line in cells(bound=0.08)]
    result = verdict(table_of(*cells(**SHOWS), *flat), PLAN)
    assert result.outcome == INCONCLUSIVE and result.text.startswith("the families differ: grown models: valley")
    unsure = [line | {"bound": 0.3} for line in flat]
    assert verdict(table_of(*cells(**SHOWS), *unsure), PLAN).outcome == "valley"


def test_whole_runs():
    result = shapes(seeded(VALLEY), PLAN)
    assert result.verdicts["toy", "fact"].outcome == "valley"
    assert [note for note in result.skipped if "log10_training_tokens" not in note] == []
    assert set(result.tests["method"]) >= {BEST} and (result.tests["best"] == "valley").all()
    flat = shapes(seeded([0.5] * 7, luck=0.005), PLAN)
    assert flat.verdicts["toy", "fact"].outcome == NO_VALLEY
    alone = shapes(seeded(VALLEY, seeds=1), PLAN)
    assert alone.verdicts["toy", "fact"].outcome == INCONCLUSIVE and alone.tests["bound"].isna().all()
    assert format_shapes(result).count("\n") > 5 and "?" in format_shapes(alone)
    assert json.loads(json.dumps(result.as_json(), allow_nan=False))["verdicts"][0]["outcome"] == "valley"


def test_rungs_of_few_cases_are_not_judged_however_few_the_plan_allows():
    """Of one case a rung all draws of the bootstrap are the same, so that any curve was a shape without error."""
    rows = seeded(VALLEY)
    few = rows[rows["case"].isin(rows["case"].unique()[: CASES - 1])]
    result = shapes(few, replace(PLAN, min_known=1))
    assert result.verdicts["toy", "fact"].outcome == INCONCLUSIVE and result.tests.empty
    assert result.skipped[-1] == f"18 rungs of fewer than {CASES} cases not judged"
    assert format_shapes(result).endswith(result.skipped[-1])


def test_axes_that_are_not_stated_or_order_the_sizes_otherwise_do_not_count():
    """A known-fact rate on 40 facts ordered the sizes at random and made a valley in 60 to 78% of such orders."""
    plan = replace(PLAN, axes=("bits_per_byte", "known_rate", "log10_training_tokens"))
    rows = seeded(VALLEY)
    noise = rows["rung_index"].map(lambda i: (0.5, 0.1, 0.9, 0.3, 0.8, 0.2, 0.7, 0.4, 0.6)[i // 2])
    result = shapes(rows.assign(known_rate_en=noise), plan)
    assert "known_rate orders the sizes unlike bits_per_byte" in result.skipped[0]
    assert result.skipped[1].endswith("log10_training_tokens is stated for fewer than 3 strengths, so it is no axis")
    assert (
        result.verdicts["toy", "fact"].outcome == INCONCLUSIVE
        and "strength axes" in result.verdicts["toy", "fact"].text
    )
    assert set(result.tests.loc[~result.tests["counted"], "axis"]) == {"known_rate"}
    few = shapes(available(seeded([0.4, 0.6]), PLAN), PLAN)
    assert few.verdicts["toy", "fact"].outcome == INCONCLUSIVE and few.tests.empty


def test_the_plan_is_stored_once_and_another_is_called_another(tmp_path: Path):
    assert stored(PLAN, tmp_path) == "" and stored(PLAN, tmp_path) == ""
    kept = json.loads((tmp_path / FILE).read_text())
    assert kept["sha256"] == PLAN.digest
    caution = stored(with_options(metric="e_hv", min_known=2), tmp_path)
    assert "metric" in caution and "min_known" not in caution
    (tmp_path / FILE).write_text(json.dumps(kept | {"plan": kept["plan"] | {"level": 0.5}}))
    with pytest.raises(RowsError, match="changed by hand"):
        stored(PLAN, tmp_path)
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(RowsError, match="not an analysis plan"):
        stored(PLAN, tmp_path)


def test_a_stored_plan_that_lacks_a_newer_field_is_not_called_changed(tmp_path: Path):
    older = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(PLAN).items() if k != "depth"}
    sha256 = hashlib.sha256(json.dumps(older, sort_keys=True).encode()).hexdigest()
    (tmp_path / FILE).write_text(json.dumps({"sha256": sha256, "plan": older}))
    assert stored(PLAN, tmp_path) == ""
    caution = stored(replace(PLAN, depth=0.2), tmp_path)  # the older plan means the default
    assert caution.endswith("depth 0.2, not 0.1")
    (tmp_path / FILE).write_text(json.dumps({"sha256": sha256, "plan": older | {"level": 0.01}}))
    with pytest.raises(RowsError, match="changed by hand"):
        stored(PLAN, tmp_path)
    unknown = {"sha256": hashlib.sha256(b'{"dept": 0.1}').hexdigest(), "plan": {"dept": 0.1}}
    (tmp_path / FILE).write_text(json.dumps(unknown))
    with pytest.raises(RowsError, match="dept: unknown key; did you mean depth"):
        stored(PLAN, tmp_path)


@pytest.mark.parametrize("bad", [{"metric": "x"}, {"axes": ("x",)}, {"which": "x"}, {"level": 0.0}, {"draws": 0}])
def test_bad_plans_are_refused(bad: dict):
    with pytest.raises(RowsError):
        AnalysisPlan(**bad)


def test_an_older_run_keeps_the_metric_of_its_plan_and_says_so(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    seeded(VALLEY[:3]).to_parquet(tmp_path / "cells" / "a.parquet")
    older = with_options(metric="harmonic_mean", min_known=2, bootstrap=20)
    assert stored(older, tmp_path) == ""
    before = (tmp_path / FILE).read_bytes()
    kept = CliRunner().invoke(cli, ["curve", str(tmp_path)])
    assert "Score: first_study" in kept.stdout and "scores are the first study's (harmonic_mean)" in kept.stdout
    assert "another analysis plan" not in kept.stdout and "n/a (24 known" not in kept.stdout, "min_known is the plan's"
    now = CliRunner().invoke(cli, ["curve", str(tmp_path), "--metric", PRIMARY])
    assert "Score: harmonic_raw_all" in now.stdout and "no placebo edits" in now.stdout
    assert "metric harmonic_net_all, not harmonic_mean" in now.stdout
    assert (tmp_path / FILE).read_bytes() == before


def test_commands(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    seeded(VALLEY[:4], n_cases=12).to_parquet(tmp_path / "cells" / "a.parquet")
    store_plan(tmp_path, {"min_known": 2, "bootstrap": 50, "draws": 100})
    done = CliRunner().invoke(cli, ["shape", str(tmp_path), "--min-known", "2"])
    assert done.exit_code == 0 and "no valley deeper than" in done.stdout
    again = CliRunner().invoke(cli, ["shape", str(tmp_path), "--min-known", "3", "--json"])
    assert "min_known" in json.loads(again.stdout)["caution"]
    table = json.loads(CliRunner().invoke(cli, ["editability", str(tmp_path), "--min-known", "2", "--json"]).stdout)
    assert {line["metric"] for line in table} >= {"score", "e_hv", "gen_at_spec", "delta_layer"}
    assert CliRunner().invoke(cli, ["shape", str(tmp_path / "gone")]).exit_code == 2
