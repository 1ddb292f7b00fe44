"""A packed run: one small file that is judged as the whole run is, and to which nothing is added."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.sweep.run_folder.merge import merge
from benchmarks.sweep.store import RunStore
from cli import cli
from editing.errors import BadData
from editing.files import digest
from tests.valley.build import ladder, seeded
from valley.report.run import report_of
from valley.rows.pack import LEFT_OUT, NAME, pack, rounded
from valley.rows.readings import read_crispness
from valley.rows.schema import COLUMNS, RowsError, read_run
from valley.scores.available import available
from valley.scores.plan import stored, with_options
from valley.scores.published import counterfact_scores
from valley.verdicts.specification import UNMEASURED, Specifications

PLAN = {"ladder": "toy"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = ladder(kinds=("fact", "retarget")).assign(
        logp_after=-1.23456789, margin_after=0.123456789, text_after=" Rome"
    )
    folder = tmp_path / "run"
    (folder / "cells").mkdir(parents=True)
    for i, (_, part) in enumerate(rows.groupby("rung")):
        part.to_parquet(folder / "cells" / f"{i}.parquet", index=False)
    (folder / "run.json").write_text(json.dumps({"plan": PLAN, "plan_hash": digest(PLAN)}), encoding="utf-8")
    return folder


def test_a_packed_run_is_judged_as_the_whole_one(run: Path, tmp_path: Path) -> None:
    done = pack(run, tmp_path / "packed")
    whole, packed = read_run(run), read_run(tmp_path / "packed")
    assert done.rows == len(packed) == len(whole) and done.after < done.before
    judged = [available(rows, with_options(min_known=2)).of("score") for rows in (whole, packed)]
    pd.testing.assert_frame_equal(judged[0], judged[1])
    assert all(packed[name].isna().all() or (packed[name] == "").all() for name in LEFT_OUT)
    assert (packed["margin_after"] == 0.1235).all()
    kept = [name for name in COLUMNS if COLUMNS[name][0] != "float64" and name not in LEFT_OUT]
    pd.testing.assert_frame_equal(packed[kept], whole[kept])
    about = json.loads((tmp_path / "packed" / "run.json").read_text("utf-8"))
    assert about["plan_hash"] == digest(PLAN) and about["packed"]["left_out"] == list(LEFT_OUT)


def test_every_composite_votes_in_a_packed_run_as_in_the_whole_one(tmp_path: Path) -> None:
    """CounterFact's S, made of log-probabilities, was not measurable in a packed run and had no vote there."""
    rows = seeded([0.5, 0.6], seeds=1, n_cases=12)
    efficacy = rows[rows["probe"] == "paraphrase"].assign(probe="efficacy", probe_index=9, value=1.0)
    rows = pd.concat([rows, efficacy], ignore_index=True)
    rng = np.random.default_rng(0)
    rows["logp_after"], rows["logp_rival_after"] = -2 - rng.random(len(rows)), -1 - rng.random(len(rows))
    rows["answer_tokens"], rows["rival_tokens"] = 2.0, 1.0
    whole = tmp_path / "whole"
    (whole / "cells").mkdir(parents=True)
    rows.to_parquet(whole / "cells" / "0.parquet", index=False)
    (whole / "run.json").write_text(json.dumps({"plan": PLAN, "plan_hash": digest(PLAN)}), encoding="utf-8")
    pack(whole, tmp_path / "packed")
    plan = with_options(min_known=2)
    one, two = (Specifications(available(read_run(run), plan), plan).table for run in (whole, tmp_path / "packed"))
    assert one.set_index("composite").loc["counterfact_s", "outcome"] != UNMEASURED
    pd.testing.assert_frame_equal(one, two)
    tables = [counterfact_scores(read_run(run)) for run in (whole, tmp_path / "packed")]
    pd.testing.assert_frame_equal(tables[0][["ES", "PS", "NS", "S"]], tables[1][["ES", "PS", "NS", "S"]])


def test_what_an_older_version_left_out_is_still_said_when_its_packed_run_is_packed_again(
    run: Path, tmp_path: Path
) -> None:
    about = json.loads((run / "run.json").read_text("utf-8")) | {"packed": {"left_out": ["logp_after"], "digits": 4}}
    (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
    pack(run, tmp_path / "again")
    left_out = json.loads((tmp_path / "again" / "run.json").read_text("utf-8"))["packed"]["left_out"]
    assert left_out == [*LEFT_OUT, "logp_after"]


def test_crispness_is_packed_as_far_as_it_is_read(run: Path, tmp_path: Path) -> None:
    lines = [
        {"rung": "r0", "concept": "cheese", "en": "cheese", "fr": "fromage", "group": "food", "layer": 0, "depth": 0.0, "measure": measure,
         "direction": direction, "control": control, "value": 0.123456}
        for measure in ("C_key", "leak_siblings", "patch_own") for direction in ("both", "en-fr") for control in ("none", "random")
    ]  # fmt: skip
    pd.DataFrame(lines).to_csv(run / "crispness.csv", index=False)
    for name in ("one", "two"):
        pack(run, tmp_path / name)
    one, two = (tmp_path / name / "crispness.csv.gz" for name in ("one", "two"))
    kept = read_crispness(one)
    assert sorted(zip(kept["measure"], kept["control"], strict=True)) == [
        ("C_key", "none"), ("C_key", "random"), ("leak_siblings", "none"),
    ]  # fmt: skip
    assert (kept["value"] == 0.1235).all() and one.read_bytes() == two.read_bytes()
    assert report_of(tmp_path / "one", min_known=2).crispness is not None


def test_packing_twice_makes_the_same_bytes_and_rounds_nothing_further(run: Path, tmp_path: Path) -> None:
    pack(run, tmp_path / "one")
    pack(tmp_path / "one", tmp_path / "two")
    one, two = ((tmp_path / name / "cells" / NAME).read_bytes() for name in ("one", "two"))
    assert one == two


def test_numbers_keep_four_digits_and_rungs_keep_all() -> None:
    rows = ladder().assign(value=1 / 3, edit_norm=np.nan, margin_after=-12345.6, bits_per_byte_en=1 / 3)
    out = rounded(rows)
    assert (out["value"] == 0.3333).all() and (out["margin_after"] == -12350).all() and out["edit_norm"].isna().all()
    assert (out["bits_per_byte_en"] == 1 / 3).all()


def test_nothing_is_overwritten_or_added(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RowsError, match="another folder"):
        pack(run, run)
    other = tmp_path / "other" / "cells"
    other.mkdir(parents=True)
    (other / "abc.parquet").write_bytes(b"a cell")
    with pytest.raises(RowsError, match="another folder"):
        pack(run, tmp_path / "other")
    with pytest.raises(RowsError, match="no such run folder"):
        pack(tmp_path / "gone", tmp_path / "packed")
    pack(run, tmp_path / "packed")
    pack(run, tmp_path / "packed")  # the same run, perhaps further on
    shutil.copytree(run, tmp_path / "second")
    about = json.loads((run / "run.json").read_text()) | {"fixed_at": "1999-01-01T00:00:00+00:00"}
    (tmp_path / "second" / "run.json").write_text(json.dumps(about))
    with pytest.raises(RowsError, match="another run, packed"):
        pack(tmp_path / "second", tmp_path / "packed")
    with pytest.raises(BadData, match="packed run"):
        RunStore(tmp_path / "packed", {"ladder": "toy"}, {}, {})


def test_a_damaged_packed_run_is_never_to_be_deleted(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    pack(run, folder)
    (folder / "cells" / NAME).write_bytes(b"damaged")
    with pytest.raises(RowsError, match="packed run: restore the file from its source") as caught:
        read_run(folder)
    assert "delete" not in str(caught.value)
    with pytest.raises(BadData, match="a packed run"):
        merge([folder], tmp_path / "merged")


def test_scores_say_what_pack_left_out(run: Path, tmp_path: Path) -> None:
    pack(run, tmp_path / "packed")
    for folder, said in ((run, False), (tmp_path / "packed", True)):
        result = CliRunner().invoke(cli, ["scores", str(folder), "--metrics", "counterfact"])
        assert result.exit_code == 0, result.output
        assert ("`pack` left out text_before" in result.output) == said


def test_a_table_by_another_plan_than_the_stored_one_says_so(run: Path) -> None:
    stored(with_options(min_known=2), run)
    for options, said in ((["--stratum", "known"], False), (["--stratum", "all"], True)):
        result = CliRunner().invoke(cli, ["scores", str(run), *options])
        assert result.exit_code == 0, result.output
        assert ("Caution: this follows another analysis plan" in result.output) == said


def test_a_copied_cell_is_refused_and_not_counted_twice(run: Path) -> None:
    shutil.copy(run / "cells" / "1.parquet", run / "cells" / "1 (copy).parquet")
    with pytest.raises(RowsError, match=r"cells: holds an answer twice \(rung .*delete the copied cell file"):
        read_run(run)
