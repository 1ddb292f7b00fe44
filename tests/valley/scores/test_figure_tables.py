"""Tables behind the figures, and what a report writes beside its page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.valley.build import edit, frame, ladder, probes, seeded
from valley.report.files import markdown, write_charts, write_tables
from valley.report.page import Report
from valley.report.provenance import commands
from valley.scores.available import available
from valley.scores.curve import analyse
from valley.scores.figure_tables import depth_scores, editability_points, transfer_points
from valley.scores.plan import with_options
from valley.scores.points import points
from valley.scores.strengths import PROSE, WORLD, axes_of, strengths

ROOT = Path(__file__).parents[3]


def test_seeds_of_one_size_are_points_around_their_mean():
    made = editability_points(analyse(seeded([0.8, 0.4, 0.7], 3, ("rome",)), 2, 200))
    facts = made[made["edit_kind"] == "fact"]
    sizes = facts[facts["role"] == "size"].set_index("name")
    models = facts[facts["role"] == "model"]
    assert list(sizes.index) == ["m0", "m1", "m2"] and (sizes["seeds"] == 3).all() and len(models) == 9
    for size, own in models.groupby(models["name"].str.slice(0, 2)):
        assert sizes["value"][size] == pytest.approx(own["value"].mean())
        assert sizes["low"][size] < sizes["value"][size] < sizes["high"][size]


def test_a_lone_model_has_the_interval_of_the_curve():
    analysis = analyse(ladder(3), 2, 100)
    made = editability_points(analysis)
    made = made[made["edit_kind"] == "fact"].set_index("name")
    curve = analysis.curve[analysis.curve["edit_kind"] == "fact"].set_index("rung")
    assert set(made["role"]) == {"size"}
    for own, its in (("value", "score"), ("low", "score_low"), ("high", "score_high")):
        assert made[own].to_dict() == pytest.approx(curve[its].to_dict())


def test_an_edit_kind_without_a_known_test_case_has_no_point():
    rows = seeded([0.8, 0.4, 0.7], 2, ("rome",), kinds=("fact", "rename"))
    rows.loc[(rows["edit_kind"] == "rename") & (rows["split"] == "test"), "known"] = False
    analysis = analyse(rows, 2, 50)
    chosen = analysis.curve[analysis.curve["edit_kind"] == "rename"]
    assert (chosen["method"] == "rome").all() and chosen["score"].isna().all()
    assert set(editability_points(analysis)["edit_kind"]) == {"fact"}


def bilingual(home: str, hits: list[float], kept: float) -> list[dict]:
    """Edits in one language, evaluated in the other; neighbours there hold with `kept`."""
    away = "fr" if home == "en" else "en"
    out = []
    for i, hit in enumerate(hits):
        questions = probes(efficacy=[1.0], cross_lingual=[hit], neighbour=[kept])
        questions = [p | {"lang": home if p["probe"] == "efficacy" else away} for p in questions]
        out += edit(f"{home}-{i}", questions, relation=f"rel{i % 2}")
    return out


def test_transfer_is_told_by_direction_and_net_of_siblings():
    rows = frame(bilingual("en", [1.0, 1.0, 1.0, 0.0], 0.75), bilingual("fr", [1.0, 0.0, 0.0, 0.0], 1.0))
    made = transfer_points(analyse(rows, 2, 50)).set_index("direction")
    assert made["value"].to_dict() == pytest.approx({"EN→FR": 0.75 - 0.25, "FR→EN": 0.25})
    assert transfer_points(analyse(ladder(2), 2, 50)).empty


def test_the_setting_of_a_depth_is_chosen_on_dev_cases():
    parts = []
    for name, dev, test in (("a", 1.0, 0.5), ("b", 0.5, 1.0)):
        for i in range(6):
            split = "dev" if i < 3 else "test"
            values = probes(paraphrase=[dev if split == "dev" else test], neighbour=[1.0])
            parts.append(edit(f"c{i}", values, settings=json.dumps({"n": name}), split=split, depth=0.5))
    analysis = analyse(frame(*parts), 2, 20)
    (line,) = depth_scores(analysis, points(analysis)).to_dict("records")
    assert line["settings"] == '{"n": "a"}' and line["depth"] == "0.5–0.6"
    assert line["value"] == pytest.approx(2 * 0.5 / 1.5)


def test_an_edit_by_context_alone_is_at_no_depth():
    rows = ladder(2)
    result = rows[rows["settings"] == rows["settings"].iloc[0]].assign(
        method="ike", site="context", depth=0.0, settings="{}"
    )
    for table in (rows, pd.concat([rows, result], ignore_index=True)):
        analysis = analyse(table, 2, 20)
        assert set(depth_scores(analysis, points(analysis))["depth"]) == {"0.3–0.4", "0.7–0.8"}


def test_axes_led_by_the_text_that_the_models_can_read():
    table = strengths(ladder(2)).assign(bits_per_byte_world_en=[2.0, 1.0])
    assert axes_of(table)[0] == WORLD
    assert axes_of(table.assign(model="package:x"))[0] == PROSE
    assert [axis.column for axis in axes_of(table.assign(bits_per_byte_en=2.0))] == [
        "bits_per_byte_world_en",
        "parameters",
    ]


def test_a_pretrained_model_among_grown_ones_has_no_place_on_their_sentences():
    rows = ladder(3)
    rows = rows.assign(bits_per_byte_world_en=rows["rung_index"].map({0: 0.4, 1: 0.3, 2: 1.4}).astype("float64"))
    rows = rows.assign(
        parameters=10.0 ** rows["rung_index"], model=rows["model"].where(rows["rung_index"] < 2, "package:x")
    )
    table = strengths(rows)
    assert table["bits_per_byte_world_en"].isna().tolist() == [False, False, True]
    assert axes_of(table)[0].column == "parameters"
    lines = available(rows, with_options(min_known=2)).lines
    assert lines.groupby("rung")["bits_per_byte_world"].first().isna().tolist() == [False, False, True]
    assert lines["log10_parameters"].notna().all()
    same = strengths(rows.assign(model="package:x"))
    assert same["bits_per_byte_world_en"].notna().all(), "nothing is left out where nothing was grown"


@pytest.fixture(scope="module")
def report() -> Report:
    return Report(analyse(ladder(3), 2, 20), "toy")


def test_charts_and_tables_as_files(report: Report, tmp_path: Path):
    paths = write_charts(report, tmp_path, "svg")
    assert [p.name for p in paths] == [
        "report-strength-0.svg", "report-strength-0-parameters.svg", "report-plane-0.svg",
        "report-kinds-0.svg", "report-kinds-0-parameters.svg", "report-depth-0.svg",
        "report-specification-0.svg",
    ]  # fmt: skip
    assert all("currentColor" not in p.read_text() and p.read_text().startswith("<svg") for p in paths)
    curve = pd.read_csv(next(p for p in write_tables(report, tmp_path) if p.name == "report-curve.csv"))
    assert curve["score"].tolist() == pytest.approx(report.analysis.curve["score"].tolist())


def test_markdown_has_the_verdict_and_no_markup_from_the_rows():
    rows = ladder(3)
    rows["rung"] = ["a|<b>*" + r for r in rows["rung"]]
    text = markdown(Report(analyse(rows, 2, 20), "toy"))
    assert text.startswith("# Editability: toy") and "inconclusive" in text and "H7" in text
    assert "<b>" not in text and "a\\|\\<b\\>\\*r0" in text


def test_commands_to_reproduce():
    questions = {"ladder": "demo", "methods": ["rome"], "kinds": ["fact"], "limit": 5, "seed": 0, "datasets": [],
             "settings": [["stop_loss", 0.1]], "split": None}  # fmt: skip
    lines = commands(
        {"asked": [questions, questions | {"split": {"dev": 0.3}, "edits": [], "axes": []}]},
        "results/my run",
        {"min_known": 2, "metric": "e_hv", "which": "known"},
    )
    assert lines[0] == (
        "python cli.py bench --ladder demo --methods rome --kinds fact --limit 5 --seed 0 --set stop_loss=0.1 "
        "--out 'results/my run'"
    )
    assert lines[1] == "python cli.py bench 'results/my run/plan.toml' --out 'results/my run'"
    assert lines[2].endswith("--min-known 2 --stratum known --metric e_hv")


def test_a_known_rate_of_few_facts_is_no_axis():
    rows = ladder(4).assign(known_rate_en=lambda t: 0.2 * t["rung_index"])
    for facts, counts in ((399.0, False), (np.nan, False), (400.0, True)):
        questions = rows.assign(known_facts=facts)
        assert ("known_rate_en" in [axis.column for axis in axes_of(strengths(questions))]) == counts
        assert available(questions, with_options(min_known=2)).lines["known_rate"].notna().all() == counts
    assert strengths(rows.drop(columns="known_facts"))["known_rate_en"].isna().all(), "rows of earlier versions"
