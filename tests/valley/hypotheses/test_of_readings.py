"""Hypotheses that hold edits against readings: supported where the reading was made to follow, refuted where it was
made to oppose, and a reason where something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cli import cli
from tests.valley.build import edit, frame, probes
from valley.hypotheses import INCONCLUSIVE, REFUTED, SUPPORTED, Evidence, Result, judge
from valley.rows import read_readings
from valley.scores import AnalysisPlan

PLAN = AnalysisPlan(min_known=2, bootstrap=200, draws=400)
RUNGS, CONCEPTS, RELATIONS = 5, 24, 8


def one(name: str, rows: pd.DataFrame, readings: pd.DataFrame | None) -> Result:
    (result,) = judge(Evidence(rows, PLAN, None, readings), (name,))
    return result


def run(depths: tuple[float, ...] = (0.5,), best: float = 0.5) -> pd.DataFrame:
    """Edits whose scores rise with the number of the concept, of the relation and of the rung, and fall with the
    distance from the depth `best`."""
    parts, rng = [], np.random.default_rng(0)
    for r in range(RUNGS):
        for depth in depths:
            for c in range(CONCEPTS):
                level = 0.2 + 0.5 * (c % RELATIONS) / RELATIONS + 0.1 * (c // RELATIONS) / 3 - abs(depth - best)
                level += rng.normal(0, 0.02)
                kept = float(np.clip(level + 0.05 * r, 0, 1))
                reached = float(np.clip(level, 0, 1))
                values = probes(efficacy=[1.0], paraphrase=[reached], neighbour=[kept], cross_lingual_fr=[reached],
                                neighbour_fr=[1.0])  # fmt: skip
                parts.append(edit(
                    f"c{c:02d}", values, rung=f"m{r}", rung_index=r, bits_per_byte_en=3 - r / 5, depth=depth,
                    settings=json.dumps({"depth": depth}), relation=f"r{c % RELATIONS}", subject=f"C{c:02d}",
                    split="dev" if c % 3 == 0 else "test", n_layers=4,
                ))  # fmt: skip
    return frame(*parts)


def reading(name: str, measure: str, **columns: object) -> dict:
    base = {"rung": "", "model": "", "model_hash": "", "reading": name, "layer": 1, "depth": 0.5, "position": "",
            "lang": "en", "relation": "", "concept": "", "measure": measure, "control": "none", "value": 0.0, "n": 9}  # fmt: skip
    return base | columns


def table(sign: float, named: float = 0.5) -> pd.DataFrame:
    """Readings that follow (sign 1) or oppose (-1) what `run` is made of; the localiser names the depth `named`."""
    rows, rng = [], np.random.default_rng(1)
    for r in range(RUNGS):
        here = {"rung": f"m{r}"}
        for depth in (0.25, 0.5, 0.75, 1.0):
            value = 1 - abs(depth - named) + 0.001 * r
            place = {"layer": int(4 * depth) - 1, "depth": depth, "position": "subject_last", "relation": "r0"}
            rows.append(reading("tracing", "mlp_effect", value=value, **here, **place))
        for c in range(CONCEPTS):
            value = sign * ((c % RELATIONS) / RELATIONS + 0.2 * (c // RELATIONS) / 3) + rng.normal(0, 0.02)
            for measure, lang, control in (
                ("cause", "en", "none"),
                ("isolation", "en", "none"),
                ("cause", "en-fr", "full"),
            ):
                about = here | {"lang": lang, "control": control}
                rows.append(reading("interchange", measure, concept=f"c{c:02d}", value=value, **about))
                rows.append(reading("interchange", measure, value=value, **about))
        for relation in range(RELATIONS):
            value = sign * relation + rng.normal(0, 0.05)
            rows.append(reading("linearity", "faithfulness", relation=f"r{relation}", value=value, **here))
        width = 2.0 ** (r + 5)
        overlap = np.exp(-sign * (r + rng.normal(0, 0.05)))
        rows.append(reading("interference", "key_overlap_whitened", value=overlap, **here))
        for control, value in (("none", width**-0.9), ("theory", 1 / width)):
            about = here | {"control": control, "lang": "", "layer": None}
            rows.append(reading("interference", "unembedding_overlap", value=value, **about))
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return run()


@pytest.mark.parametrize("name", ["H11", "H12", "H13", "H14"])
def test_readings_that_follow_and_readings_that_oppose(name: str, rows: pd.DataFrame) -> None:
    follows, opposes = one(name, rows, table(1.0)), one(name, rows, table(-1.0))
    assert follows.verdict == SUPPORTED, follows
    assert opposes.verdict == REFUTED, opposes


def test_the_exponent_of_the_overlap_is_stated(rows: pd.DataFrame) -> None:
    finding = one("H12", rows, table(1.0)).finding
    assert finding is not None and "to the power of 0.90" in finding.note


def test_a_localiser_that_names_the_best_layer_and_one_that_names_the_worst() -> None:
    depths = (0.125, 0.375, 0.625, 0.875)
    edits = run(depths, best=0.375)
    assert one("H10", edits, table(1.0, named=0.5)).verdict == SUPPORTED
    worst = one("H10", edits, table(1.0, named=1.0))
    assert worst.verdict == REFUTED and worst.finding is not None and "the best layer gains" in worst.finding.note


@pytest.mark.parametrize(
    ("name", "drop", "reason"),
    [
        ("H10", "tracing", "no mlp_effect of the reading tracing"),
        ("H11", "interchange", "no cause of the reading interchange in en"),
        ("H12", "interference", "no key_overlap_whitened"),
        ("H13", "linearity", "no faithfulness"),
        ("H14", "interchange", "no cause of the reading interchange in en-fr"),
    ],
)
def test_what_is_missing_is_a_reason(name: str, drop: str, reason: str, rows: pd.DataFrame) -> None:
    readings = table(1.0)
    without = one(name, rows, readings[readings["reading"] != drop])
    assert without.verdict == INCONCLUSIVE and reason in without.reason
    assert "valley read NAME --out RUN" in one(name, rows, None).reason


def test_edits_at_one_layer_say_nothing_of_layers(rows: pd.DataFrame) -> None:
    assert "at more than one layer" in one("H10", rows, table(1.0)).reason


def test_readings_in_the_folder_of_the_run_are_found(tmp_path: Path, rows: pd.DataFrame) -> None:
    (tmp_path / "cells").mkdir()
    rows.to_parquet(tmp_path / "cells" / "one.parquet")
    arguments = ["hypotheses", str(tmp_path), "--only", "H13", "--min-known", "2"]
    assert "needs readings" in CliRunner().invoke(cli, arguments).output
    table(1.0).to_csv(tmp_path / "readings.csv", index=False)
    assert set(read_readings(tmp_path / "readings.csv")["relation"]) >= {"", "r0"}
    found = CliRunner().invoke(cli, arguments)
    assert found.exit_code == 0 and "SUPPORTED" in found.output, found.output
