"""`valley read`: what it writes, what it keeps, what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.pictures import lines_of
from benchmarks.readings import make_reading, readings_chart, run_readings, summary
from benchmarks.readings.prompts import exposure_of
from benchmarks.readings.run import _store, world_of
from cli import cli
from editing.cache import SOURCE, cache_root
from editing.errors import BadData
from tests.benchmarks.readings.small import source
from tests.benchmarks.tiny import world
from valley.rows import RowsError, at_best_place, interval_over_entities, read_readings

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rungs, one reading after the other into one folder."""
    out = tmp_path_factory.mktemp("readings")
    for name in ("probes", "lens"):
        run_readings(world().ladder, [make_reading(name)], limit=4, out=out, say=lambda line: None)
    return out


def test_readings_made_one_after_the_other_share_a_file(folder: Path) -> None:
    table = read_readings(folder / "readings.csv")
    assert set(table["rung"]) == {"one", "two"} and set(table["reading"]) == {"probes", "lens"}
    before = len(table)
    run_readings(world().ladder, [make_reading("lens")], limit=4, out=folder, say=lambda line: None)
    again = read_readings(folder / "readings.csv")
    assert len(again) == before
    assert not again.duplicated([c for c in again.columns if c not in ("value", "n", "model", "model_hash")]).any()


def test_a_file_cut_short_is_refused(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "readings.csv").read_text().splitlines()
    (tmp_path / "readings.csv").write_text("\n".join([*lines[:3], lines[3][: len(lines[3]) // 2]]))
    with pytest.raises(RowsError, match=r"readings\.csv: row 3 is cut short; delete the file and read again"):
        read_readings(tmp_path / "readings.csv")


def test_crispness_is_not_read_where_training_named_no_concept(tmp_path: Path) -> None:
    material = replace(source().material, name="world", exposure={("France", "capital"): 3.0})
    empty = make_reading("crispness")(replace(source(), material=material))
    assert empty.empty
    file = tmp_path / "readings.csv"
    _store(file, make_reading("lens")(source()).assign(rung="r", model="m"), "r", "lens")
    _store(file, empty, "r", "lens")
    assert read_readings(file).empty  # what was read before of the same rung and reading is gone


def test_the_summary_has_the_best_layer_and_its_control() -> None:
    table = make_reading("lens")(source())
    shown = summary(table)
    top = shown[(shown["measure"] == "answer_top1") & (shown["lang"] == "en")]
    assert top["value"].item() == pytest.approx(1.0) and top["layer"].item() == source().lm.n_layers - 1
    assert "other_answer" in top["control"].item()


def test_the_picture_holds_measurement_and_controls() -> None:
    values = at_best_place(make_reading("probes")(source()), "en")
    dense = values[values["measure"] == "dense"]
    assert set(dense["control"]) == {"none", "random_labels", "majority"} and dense["place"].nunique() == 1
    chart = readings_chart(make_reading("probes")(source()))
    assert chart is not None and "probes: accuracy" in chart.to_json()
    assert readings_chart(make_reading("lens")(source()).assign(rung="r")) is None  # no panel shows the lens


def test_no_two_controls_share_a_colour() -> None:
    names = ["measured", *(f"control {n}" for n in range(15))]
    colours, dashes = (one.to_dict()["scale"]["range"] for one in lines_of("control", names))
    assert len(set(colours)) == len(names) and len(set(zip(colours, map(tuple, dashes), strict=True))) == len(names)
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)


def test_the_summary_has_an_interval_over_entities_where_they_have_rows() -> None:
    table = make_reading("linearity", layers=2)(source()).assign(rung="r")
    shown = summary(table)
    one = shown[(shown["measure"] == "faithfulness") & (shown["lang"] == "en")].iloc[0]
    assert one["low"] <= one["value"] <= one["high"] and "constant" in one["control"] and " to " in one["control"]
    place = {"rung": "r", "reading": "linearity", "lang": "en", "layer": one["layer"]}
    own = table[(table["measure"] == "faithful") & (table["lang"] == "en") & (table["layer"] == one["layer"])]
    own = own[own["control"] == "none"]
    assert interval_over_entities(table, place, "faithfulness", "none") == (one["low"], one["high"])
    fixed = interval_over_entities(own.assign(value=1.0), {}, "faithfulness", "none")
    assert fixed == (1.0, 1.0) and np.isnan(interval_over_entities(own, {}, "faithfulness", "constant")).all()


def test_a_relation_of_a_single_entity_has_no_interval() -> None:
    """Before: .7 to .7."""
    about = {"measure": "cause", "control": "none", "n": 4}
    lines = [about | {"relation": r, "concept": f"{r}{i}", "value": v} for r, i, v in
             (("a", 0, 0.7), ("b", 0, 0.2), ("b", 1, 0.4))]  # fmt: skip
    table = pd.DataFrame(lines)
    assert np.isnan(interval_over_entities(table[table["relation"] == "a"], {}, "cause", "none")).all()
    assert np.isnan(interval_over_entities(table, {}, "cause", "none")).all()
    assert interval_over_entities(table[table["relation"] == "b"], {}, "cause", "none") == (0.2, 0.4)


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    arguments = ["read", world().model, "--readings", "probes", "--limit", "30", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(cli, [*arguments, "--csv", str(tmp_path / "table.csv")])
    assert result.exit_code == 0, result.output
    assert "dense_recall" in result.output and "CPU-seconds" in result.output
    written = pd.read_csv(tmp_path / "table.csv")
    assert written["control"].str.contains("random_labels").all() and set(written["measure"]) >= {"dense", "sparse"}
    assert (tmp_path / "run" / "readings.png").read_bytes().startswith(b"\x89PNG")
    assert set(pd.read_csv(tmp_path / "run" / "readings.csv")["control"]) == {"none", "random_labels", "majority"}
    listed = CliRunner().invoke(cli, ["list", "readings"])
    assert "interchange" in listed.output
    about = CliRunner().invoke(cli, ["describe", "tracing"])
    assert "indirect_effect" in about.output and "sd of embeddings" in about.output


def test_only_the_relations_named_are_read() -> None:
    every = {q.relation for q in world_of(world().model).questions}
    chosen = sorted(every)[0]
    assert len(every) > 1 and {q.relation for q in world_of(world().model, relations=[chosen]).questions} == {chosen}
    part = run_readings(world().model, [make_reading("interference")], relations=[chosen], say=lambda line: None)
    whole = run_readings(world().model, [make_reading("interference")], say=lambda line: None)
    entities = [one.table.loc[one.table["measure"] == "leak", "n"].max() for one in (part, whole)]
    assert 0 < entities[0] < entities[1]


def test_what_was_read_is_not_read_again_whatever_was_read_with_it() -> None:
    both = run_readings(world().model, [make_reading("interference"), make_reading("lens")], limit=30)
    stored = {path: path.stat().st_mtime_ns for path in (cache_root() / "readings").iterdir()}
    alone = run_readings(world().model, [make_reading("lens")], limit=30)
    assert {path: path.stat().st_mtime_ns for path in (cache_root() / "readings").iterdir()} == stored
    lens = both.table[both.table["reading"] == "lens"].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        alone.table.dropna(axis=1, how="all"), lens.dropna(axis=1, how="all"), check_dtype=False
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--readings", "lense"], "no reading 'lense'"),
        (["--readings", "lens", "--set", "noise=1"], "none of lens has this setting"),
        (["--data", "people"], "write world, or ravel:FOLDER#KIND"),
        (["--data", "ravel:nowhere#city"], "name the folder of RAVEL's files"),
        (["--data", "ravel:"], "no folder; write ravel:FOLDER#KIND"),
        (["--rungs", "three"], "no rung 'three'"),
        (["--relations", "capitol"], "no relation 'capitol'; use one or more of "),
    ],
)
def test_a_slip_is_one_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["read", world().model, *arguments])
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here that even an administrator cannot write to")
def test_a_folder_that_cannot_be_written_is_refused_before_a_rung_is_read() -> None:
    said: list[str] = []
    with pytest.raises(BadData, match="/proc/self: cannot write there"):
        run_readings(world().ladder, [make_reading("lens")], limit=4, out=Path("/proc/self"), say=said.append)
    assert not said


def test_a_file_that_is_no_readings_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readings.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RowsError, match="no column 'rung'"):
        read_readings(tmp_path / "readings.csv")


def test_exposure_is_unknown_for_a_model_that_was_not_grown_here() -> None:
    assert exposure_of(world().model) == {}


def test_the_exposure_of_a_rung_in_a_folder_is_that_of_its_card(tmp_path: Path) -> None:
    """A committed rung of a world with rare and frequent facts; unknown where its text is no longer made."""
    rung = SOURCE / "results" / "ladders" / "standard" / "rungs" / "gpt2-1x32"
    card = json.loads((rung / "card.json").read_text())
    found = exposure_of(str(rung))
    assert {entity for entity, _ in found} == {q.entity for q in world_of(str(rung)).questions}
    assert max(found.values()) > 5 * min(found.values()) > 0
    assert sum(found.values()) < card["tokens"] / 4  # no sentence has fewer tokens
    copy = tmp_path / "rung"
    shutil.copytree(rung, copy)
    (copy / "card.json").write_text(json.dumps(card | {"world": card["world"] | {"text": "another"}}))
    assert exposure_of(str(copy)) == {}
