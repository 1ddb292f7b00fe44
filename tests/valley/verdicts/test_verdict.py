"""The rules of the verdict one by one, the stored plan, and whole runs whose truth is known."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cli import cli
from tests.valley.build import seeded
from valley.rows.schema import RowsError
from valley.scores.available import available
from valley.scores.plan import FILE, AnalysisPlan, stored, with_options
from valley.verdicts.judge import COLUMNS
from valley.verdicts.shape import format_shapes, shapes
from valley.verdicts.verdict import INCONCLUSIVE, NO_VALLEY, agreement, verdict

VALLEY = [0.8, 0.78, 0.6, 0.35, 0.3, 0.4, 0.62, 0.78, 0.8]
PLAN = AnalysisPlan(min_known=2, bootstrap=200, draws=400)


def table_of(*lines: dict) -> pd.DataFrame:
    base: dict[str, object] = dict.fromkeys(COLUMNS, 0.5) | {"n_sizes": 9, "df": 18, "bound": 0.3, "detectable": 0.2}
    base |= {c: 0.1 for c in COLUMNS if c.startswith("weight_")}
    return pd.DataFrame([base | line for line in lines])


def cells(**columns: object) -> list[dict]:
    return [{"method": m, "axis": a} | columns for m in ("rome", "memit") for a in ("one", "two")]


def test_agreement_needs_a_full_block():
    full = tuple((m, a) for m in "pq" for a in "xy")
    assert agreement(full, 2) == full
    assert agreement((("p", "x"), ("p", "y"), ("q", "x"), ("q", "z")), 2) == ()
    assert agreement((("p", "x"),), 1) == (("p", "x"),)


def test_a_named_shape_needs_p_and_weight_on_two_axes_and_two_methods():
    good = cells(p_valley=0.01, weight_valley=0.9)
    found = verdict(table_of(*good), PLAN)
    assert found.outcome == "valley" and len(found.agreeing) == 4 and "memit and rome on one and two" in found.text
    for spoiled in ({"p_valley": 0.06}, {"weight_valley": 0.79}, {"df": 0}):
        assert verdict(table_of(*good[:3], good[3] | spoiled), PLAN).outcome == INCONCLUSIVE
    assert verdict(table_of(*good[:2]), PLAN).outcome == INCONCLUSIVE


def test_two_shapes_at_once_are_inconclusive():
    both = cells(p_valley=0.01, weight_valley=0.9) + [
        line | {"axis": line["axis"] + "'", "p_valley": 0.5, "p_hump": 0.01, "weight_hump": 0.9} for line in cells()
    ]
    found = verdict(table_of(*both), PLAN)
    assert found.outcome == INCONCLUSIVE and "valley" in found.text and "both shown" in found.text


def test_no_valley_needs_a_small_bound_everywhere():
    found = verdict(table_of(*cells(bound=0.08)), PLAN)
    assert found.outcome == NO_VALLEY and found.text == "no valley deeper than 0.080"
    wide = cells(bound=0.08)
    wide[2]["bound"] = 0.15
    found = verdict(table_of(*wide), PLAN)
    assert found.outcome == INCONCLUSIVE and "0.200 deep" in found.text
    assert verdict(table_of(*cells(bound=0.08)[:2]), PLAN).outcome == INCONCLUSIVE, "one method is not enough"


def test_unknown_seed_variance_is_never_conclusive():
    found = verdict(table_of(*cells(p_valley=0.001, weight_valley=0.99, df=0, bound=np.nan)), PLAN)
    assert found.outcome == INCONCLUSIVE and "tau^2" in found.text and "more than 0.200" in found.text


def test_whole_runs():
    found = shapes(seeded(VALLEY), PLAN)
    assert found.verdicts["toy", "fact"].outcome == "valley" and not found.skipped
    assert set(found.tests["axis"]) == set(PLAN.axes) and (found.tests["best"] == "valley").all()
    flat = shapes(seeded([0.5] * 7, luck=0.005), PLAN)
    assert flat.verdicts["toy", "fact"].outcome == NO_VALLEY
    alone = shapes(seeded(VALLEY, seeds=1), PLAN)
    assert alone.verdicts["toy", "fact"].outcome == INCONCLUSIVE and alone.tests["bound"].isna().all()
    assert format_shapes(found).count("\n") > 5 and "?" in format_shapes(alone)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["verdicts"][0]["outcome"] == "valley"


def test_axes_that_are_not_stated_are_said():
    rows = seeded(VALLEY[:5]).assign(known_rate_en=np.nan)
    assert shapes(rows, PLAN).skipped == (
        "fact, ladder toy: known_rate is stated for fewer than 3 strengths, so it is no axis; a known rate counts "
        "where at least 400 facts were asked",
    )
    foreign = seeded(VALLEY[:5]).assign(
        bits_per_byte_en=lambda t: t["bits_per_byte_en"] + 2.5
    )  # as of a model that reads no prose
    (line,) = shapes(foreign, PLAN).skipped
    assert "bits_per_byte is" in line
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


def test_commands(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    seeded(VALLEY[:4]).to_parquet(tmp_path / "cells" / "a.parquet")
    done = CliRunner().invoke(cli, ["shape", str(tmp_path), "--min-known", "2"])
    assert done.exit_code == 0 and "no valley deeper than" in done.stdout and (tmp_path / FILE).is_file()
    again = CliRunner().invoke(cli, ["shape", str(tmp_path), "--min-known", "3", "--json"])
    assert "min_known" in json.loads(again.stdout)["caution"]
    table = json.loads(CliRunner().invoke(cli, ["editability", str(tmp_path), "--min-known", "2", "--json"]).stdout)
    assert {line["metric"] for line in table} >= {"e_hv", "gen_at_spec", "delta_loc"}
    assert CliRunner().invoke(cli, ["shape", str(tmp_path / "gone")]).exit_code == 2
