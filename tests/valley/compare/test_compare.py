"""Two runs compared: differences known beforehand are found with the right coverage, what cannot be paired is counted,
unlike plans are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from cli import cli
from tests.tiers import fast_are
from tests.valley.build import NAN, edit, frame, ladder, probes, seeded
from valley.compare.differences import differences
from valley.compare.figure import of_both, panels, points_of, write_overlay
from valley.compare.pairs import Comparison, format_comparison
from valley.compare.pairs import compare as compare_runs
from valley.rows.schema import RowsError


def compare(rows_a: pd.DataFrame, rows_b: pd.DataFrame, **more: object) -> Comparison:
    """With a fifth of the usual draws."""
    return compare_runs(rows_a, rows_b, **{"draws": 200} | more)  # pyright: ignore[reportArgumentType]


def lines(result: Comparison, measure: str, **where: str) -> pd.DataFrame:
    table = result.table[result.table["measure"] == measure]
    for name, expected in where.items():
        table = table[table[name] == expected]
    return table


def one(result: Comparison, measure: str, **where: str) -> pd.Series:
    return lines(result, measure, **({"rung": "all", "edit_kind": "all", "method": "all"} | where)).iloc[0]


def shifted(rows: pd.DataFrame, by: float, probe: str = "paraphrase") -> pd.DataFrame:
    return rows.assign(value=rows["value"].where(rows["probe"] != probe, (rows["value"] + by).clip(0, 1)))


def run_folder(folder: Path, rows: pd.DataFrame, **about: object) -> Path:
    (folder / "cells").mkdir(parents=True)
    rows.to_parquet(folder / "cells" / "all.parquet")
    plan = {"ladder": "toy", "limit": 12, "seed": 0}
    questions = [plan | {"methods": ["rome"], "kinds": ["fact"], "datasets": []}]
    record = {"plan": plan, "asked": questions, "versions": {"torch": "2.0"}, "skipped": [], "commit": "abc"} | about
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)])


def test_the_same_run_differs_by_nothing() -> None:
    rows = ladder()
    result = compare(rows, rows, min_known=2)
    measured = result.table.dropna(subset=["difference"])
    assert (measured[["difference", "low", "high"]] == 0).all(axis=None) and len(measured)
    assert (result.only_a, result.only_b, result.unknown) == (0, 0, 0)
    assert " *" not in format_comparison(result)


def test_a_known_difference_is_found_where_it_is() -> None:
    rows = seeded([0.3, 0.5, 0.6], kinds=("fact", "rename"))
    better = rows.assign(value=rows["value"].where(rows["edit_kind"] != "rename", shifted(rows, 0.1)["value"]))
    result = compare(rows, better, by="kind", min_known=2)
    fact, rename = (one(result, "paraphrase", edit_kind=kind) for kind in ("fact", "rename"))
    assert fact["difference"] == 0 and rename["difference"] == pytest.approx(0.1)
    assert rename["low"] > 0.09 and rename["n_rungs"] == 6
    assert one(result, "paraphrase")["difference"] == pytest.approx(0.05)
    assert one(result, "neighbour", edit_kind="rename")["difference"] == 0
    both = one(result, "generalisation", edit_kind="rename")  # paraphrase and relation; no other language
    assert both["difference"] == pytest.approx(0.1 / 2)
    g, s = rename[["a", "b"]].to_numpy(float), one(result, "specificity", edit_kind="rename")
    assert s["difference"] == 0 and (g > 0).all()
    assert "rename" in format_comparison(result) and " *" in format_comparison(result)


@pytest.mark.parametrize(
    ("by", "column", "n"),
    fast_are([("method", "method", 2)], [("method", "method", 2), ("ladder", "rung", 6), ("kind", "edit_kind", 1)]),
)
def test_blocks_follow_by(by: str, column: str, n: int) -> None:
    rows = seeded([0.3, 0.5, 0.6])
    result = compare(rows, rows, by=by, min_known=2)
    names = list(dict.fromkeys(lines(result, "paraphrase")[column]))
    assert names[0] == "all" and len(names) == n + 1
    if by == "ladder":
        assert names[1:] == ["m0", "m0-s1", "m1", "m1-s1", "m2", "m2-s1"], "weakest first"


def pairs(rng: np.random.Generator, truth: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """24 facts of 6 relations; run B is better by `truth` on average, relations and facts each by more or less."""
    sides: tuple[list, list] = ([], [])
    for r in range(6):
        of_relation = rng.normal(0, 0.05)
        for c in range(4):
            level = rng.uniform(0.3, 0.5)
            gap = truth + of_relation + rng.normal(0, 0.05)
            for side, value in zip(sides, (level, level + gap), strict=True):
                side.append(edit(f"c{r}{c}", probes(paraphrase=[value], neighbour=[1.0]), relation=f"r{r}"))
    return frame(*sides[0]), frame(*sides[1])


@pytest.mark.slow
def test_intervals_cover_the_true_difference() -> None:
    rng, hits, rounds = np.random.default_rng(5), 0, 25
    for i in range(rounds):
        result = compare(*pairs(rng, 0.1), min_known=2, draws=200, seed=i)
        line = one(result, "paraphrase")
        hits += line["low"] <= 0.1 <= line["high"]
    assert hits >= 0.8 * rounds


@pytest.mark.slow
def test_pairing_is_by_case_so_that_cases_do_not_add_noise() -> None:
    rng = np.random.default_rng(0)
    a, b = pairs(rng, 0.1)
    line = one(compare(a, b, min_known=2), "paraphrase")
    assert line["high"] - line["low"] < 0.14
    shuffled = b.assign(value=b["value"].where(b["probe"] == "neighbour", rng.permutation(b["value"])))
    other = one(compare(a, shuffled, min_known=2), "paraphrase")
    assert other["high"] - other["low"] > line["high"] - line["low"]


def test_what_cannot_be_paired_is_counted() -> None:
    good = probes(paraphrase=[1.0], neighbour=[1.0])
    a = frame(*(edit(f"c{i}", good) for i in range(6)))
    b = frame(*(edit(f"c{i}", good, known=i != 3) for i in range(2, 9)))
    result = compare(a, b, min_known=2)
    assert (result.pairs, result.only_a, result.only_b, result.unknown) == (3, 2, 3, 1)
    assert compare(a, b, which="all", min_known=2).pairs == 4
    few = compare(a, b)
    assert few.table.empty and few.notes == ("left out: r0 fact rome: 3 pairs, 50 needed",)
    assert "nothing could be measured" in format_comparison(few)
    with pytest.raises(RowsError, match="no edited case in common"):
        compare(a, frame(edit("other", good)))


def test_intervals_of_few_sizes_are_said_to_be_of_these_models() -> None:
    """Before: two sizes of two seeds have four rungs, so nothing was said; a measure of fewer rungs neither."""
    two, three = (
        seeded(curve, seeds=seeds, methods=("rome",)) for curve, seeds in (([0.3, 0.5], 2), ([0.3, 0.5, 0.6], 1))
    )
    note, few = (
        "rungs; intervals hold for these models only)",
        "rungs; intervals of relation hold for these models only)",
    )
    assert f"4 {note}" in format_comparison(compare(two, two, by="kind", min_known=2))
    one_size = two[two["rung_index"] < 2]
    assert f"2 {note}" in format_comparison(compare(one_size, one_size, by="kind", min_known=2))
    whole = format_comparison(compare(three, three, by="kind", min_known=2))
    assert "3 rungs)" in whole and "these models" not in whole
    fewer = three[(three["probe"] != "relation") | (three["rung"] != "m0")]
    assert f"3 {few}" in format_comparison(compare(fewer, fewer, by="kind", min_known=2))


def test_a_difference_of_one_relation_rests_on_its_pairs() -> None:
    """A rung with the cases of one relation of four, and a kind that two pairs have. Before: an interval of no width,
    and so a `*`, and 48 pairs."""
    hits = np.random.default_rng(1).integers(0, 2, (2, 4, 12)).astype(float)
    hits[:, 0] = np.arange(12) % 2, np.arange(12) % 3 == 0
    sides: tuple[list, list] = ([], [])
    for i, (rung, relations) in enumerate((("m0", 1), ("m1", 4))):
        for r, c in np.ndindex(relations, 12):
            for side, hit in zip(sides, hits, strict=True):
                about = {"rung": rung, "rung_index": i, "relation": f"r{r}"}
                alias = 1.0 if c < 2 and r == 0 else NAN
                values = probes(paraphrase=[hit[r, c]], alias=[alias], neighbour=[1.0])
                side.append(edit(f"c{r}-{c}", values, **about))
    result = compare(frame(*sides[0]), frame(*sides[1]), by="ladder", min_known=2)
    line = one(result, "paraphrase", rung="m0")
    gaps = hits[1, 0] - hits[0, 0]
    expected = stats.t.interval(0.95, 11, gaps.mean(), gaps.std(ddof=1) / 12**0.5)
    assert line["difference"] == pytest.approx(gaps.mean())
    assert line[["low", "high"]].tolist() == pytest.approx(expected, abs=0.06)
    assert one(result, "alias", rung="m1")["n_pairs"] == 2


def test_a_probe_that_one_run_could_not_measure_counts_for_neither() -> None:
    a = frame(*(edit(f"c{i}", probes(paraphrase=[1.0], relation=[0.0], neighbour=[1.0])) for i in range(4)))
    b = frame(*(edit(f"c{i}", probes(paraphrase=[1.0], relation=[NAN], neighbour=[1.0])) for i in range(4)))
    result = compare(a, b, min_known=2)
    assert one(result, "generalisation")["difference"] == 0, "not the .5 that a mean over other kinds would give"
    assert np.isnan(one(result, "relation")["difference"])


def test_each_run_is_read_at_its_own_setting_or_both_at_the_same() -> None:
    def run(good: float) -> pd.DataFrame:
        return frame(*(
            edit(f"c{i}", probes(paraphrase=[0.8 if depth == good else 0.2], neighbour=[1.0]), depth=depth,
                 settings=json.dumps({"depth": depth}), split="dev" if i < 3 else "test")
            for i in range(8) for depth in (0.3, 0.7)
        ))  # fmt: skip

    chosen = compare(run(0.3), run(0.7), min_known=2)
    assert one(chosen, "paraphrase")["difference"] == 0 and chosen.pairs == 5, "test cases of either's best setting"
    same = compare(run(0.3), run(0.7), pair="setting", min_known=2)
    assert one(same, "paraphrase")["difference"] == pytest.approx(0) and same.pairs == 16
    half = run(0.7)
    only = compare(run(0.3), half[half["depth"] == 0.7], pair="setting", min_known=2)
    assert one(only, "paraphrase")["difference"] == pytest.approx(0.6) and only.only_a == 8


def test_two_methods_are_paired_when_each_run_has_one() -> None:
    rows = ladder()
    result = compare(rows, shifted(rows, 0.0).assign(method="memit"), min_known=2)
    assert (
        set(result.table["method"]) <= {"all", "rome|memit"}
        and "rome in A is paired with memit in B" in result.notes[0]
    )


def test_differences_of_plans_weights_and_questions(tmp_path: Path) -> None:
    rows = ladder()
    a = run_folder(tmp_path / "a", rows)
    older = rows.assign(rival=pd.NA)  # a table from before that column
    assert differences(a, run_folder(tmp_path / "same", rows, commit="other"), rows, older) == ()
    other = rows.assign(model_hash=rows["model_hash"].where(rows["rung"] != "r1", "new"))
    other.loc[other["case"] == "fact-03", "prompt"] = "Worded otherwise"
    plan = {"ladder": "toy", "limit": 50, "seed": 0}
    questions = [plan | {"methods": ["rome", "memit"], "kinds": ["fact"], "datasets": []}]
    b = run_folder(tmp_path / "b", other, plan=plan, asked=questions, versions={"torch": "2.1"})
    result = differences(a, b, rows, other)
    assert result == (
        "plan limit: 12 in A, 50 in B",
        "asked methods: rome in A, memit, rome in B",
        "versions torch: 2.0 in A, 2.1 in B",
        "weights of rung r1: h-r1 in A, new in B",
        "questions: 1 of 12 shared cases ask something else, such as fact-03",
    )


def test_the_command_refuses_unlike_plans_and_goes_on_when_told(tmp_path: Path) -> None:
    rows = ladder()
    a, b = run_folder(tmp_path / "a", rows), run_folder(tmp_path / "b", shifted(rows, -0.5), versions={"torch": "3"})
    refused = call(a, b, "--min-known", 2)
    assert refused.exit_code == 2 and refused.stdout == "" and len(refused.stderr.strip().splitlines()) == 1
    assert "versions torch: 2.0 in A, 3 in B" in refused.stderr and "--anyway" in refused.stderr
    out = tmp_path / "out"
    result = call(a, b, "--min-known", 2, "--anyway", "--out", out)
    assert result.exit_code == 0 and "unlike: versions torch" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["comparison.csv", "overlay.png", "overlay.svg"]
    table = pd.read_csv(out / "comparison.csv")
    drop = table[(table["measure"] == "paraphrase") & (table["rung"] == "all")].iloc[0]
    assert drop["difference"] < -0.1 and drop["high"] < 0
    results = json.loads(call(a, b, "--min-known", 2, "--anyway", "--json").stdout, parse_constant=pytest.fail)
    assert results["unlike"] == ["versions torch: 2.0 in A, 3 in B"] and len(results["differences"]) == len(table)


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_a_broken_folder_is_one_line(tmp_path: Path, text: str | None) -> None:
    a, b = (run_folder(tmp_path / name, ladder()) for name in "ab")
    (b / "run.json").unlink()
    if text is not None:
        (b / "run.json").write_text(text)
    result = call(a, b)
    assert result.exit_code == 2 and str(b) in result.stderr and result.stderr.count("\n") == 1


def test_two_ladders_in_one_run_are_refused() -> None:
    rows = ladder()
    both = pd.concat([rows, rows.assign(ladder="other", cell=rows["cell"] + "x")], ignore_index=True)
    with pytest.raises(RowsError, match="run B has 2 ladders"):
        compare(rows, both)


def test_the_overlay_has_the_panels_asked_for() -> None:
    rows = seeded([0.3, 0.5, 0.6], kinds=("fact", "rename"))
    assert list(panels(rows, "", 2, "known")) == ["fact", "rename", "all kinds"]
    assert list(panels(rows, "ladder", 2, "known")) == ["all kinds"]
    rows = rows[rows["method"] == "rome"]  # of two methods one would be chosen on dev cases, which these rows lack
    fewer = rows[rows["probe"] != "relation"]
    assert set(of_both({"A": rows, "B": fewer})["A"]["probe"]) == set(fewer["probe"])


@pytest.mark.slow
def test_an_overlay_of_nothing_says_so(tmp_path: Path) -> None:
    rows = seeded([0.3, 0.5, 0.6], kinds=("fact", "rename"))
    assert list(panels(rows, "method", 2, "known")) == ["memit", "rome"]
    nothing = write_overlay({"A": rows, "B": rows}, tmp_path / "z", "ladder", 9999)
    assert nothing[0].read_bytes().startswith(b"\x89PNG")
    assert "not measurable: A, B" in nothing[1].read_text()


@pytest.mark.slow
def test_the_overlay_is_the_same_bytes_twice(tmp_path: Path) -> None:
    rows = seeded([0.3, 0.5, 0.6], kinds=("fact", "rename"), methods=("rome",))
    runs = {"A": rows, "B": shifted(rows, 0.1)}
    first, second = (write_overlay(runs, tmp_path / name, "kind", 2) for name in "xy")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    svg = first[1].read_text()
    assert "<svg" in svg and "run B" in svg and "not measurable" not in svg


def test_the_points_of_an_overlay_are_the_curves_or_say_what_is_missing() -> None:
    rows = seeded([0.3, 0.5], kinds=("fact",), methods=("rome",))
    curve = panels(rows, "kind", 2, "known")
    points = points_of({"A": curve, "B": {"other": curve["fact"]}})
    drawn = points[points["run"] == "run A"].dropna(subset=["value"])
    assert set(drawn["panel"]) == {"fact"} and drawn["value"].tolist() == curve["fact"]["score"].tolist()
    assert drawn["bits"].tolist() == curve["fact"]["bits_per_byte_en"].tolist()
    assert points["missing"].dropna().tolist() == ["not measurable: B", "not measurable: A"]
