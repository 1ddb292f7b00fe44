"""Every hypothesis on runs where the answer is known, what a run lacks said as a reason, Holm by hand, one file adds
one."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from cli import cli
from tests.tiers import fast_are
from tests.valley.build import edit, frame, probes, seeded
from valley import hypotheses
from valley.hypotheses._evidence import Evidence, Finding, Untestable, estimate
from valley.hypotheses.judge import INCONCLUSIVE, REFUTED, SUPPORTED, Result, format_results, holm, judge
from valley.rows.plan_record import store_plan
from valley.rows.readings import read_crispness
from valley.rows.schema import RowsError
from valley.scores.plan import AnalysisPlan
from valley.verdicts import BEST, shapes

PLAN = AnalysisPlan(min_known=2, bootstrap=100, draws=200)
RISE = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
STEP = [0.1, 0.1, 0.11, 0.1, 0.7, 0.7, 0.71]
VALLEY = [0.8, 0.78, 0.6, 0.35, 0.3, 0.4, 0.62, 0.78, 0.8]


def one(name: str, rows: pd.DataFrame, crispness: pd.DataFrame | None = None) -> Result:
    (result,) = judge(Evidence(rows, PLAN, crispness), (name,))
    return result


@cache
def rise() -> Evidence:
    """Two methods on facts that rise with strength: for many hypotheses something is missing."""
    return Evidence(seeded(RISE), PLAN)


@cache
def valley_of_seeds() -> Evidence:
    return Evidence(seeded(VALLEY), PLAN)


def of(name: str, evidence: Evidence) -> Result:
    (result,) = judge(evidence, (name,))
    return result


def test_all_are_there_and_say_what_they_are():
    there = hypotheses.hypotheses()
    assert list(there) == [f"H{i}" for i in range(1, 15)]
    for module in there.values():
        assert module.__doc__ and module.MARGIN > 0 and isinstance(module.SIDED, bool)
        assert all(text and "\n" not in text for text in (module.STATEMENT, module.STATISTIC, module.TEST))


def test_holm_by_hand():
    assert np.allclose(holm([0.01, 0.04, 0.03, 0.5]), [0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_h1_more_so_with_strength():
    assert one("H1", seeded(RISE, kinds=("retarget",))).verdict == SUPPORTED
    assert of("H1", rise()).reason.startswith("not tested: no retarget edits")


@pytest.mark.slow
def test_h1_refuted():
    assert one("H1", seeded(RISE[::-1], kinds=("retarget",))).verdict == REFUTED
    flat = one("H1", seeded([0.5] * 7, kinds=("retarget",)))
    assert flat.verdict == REFUTED and "excludes an effect of 0.1" in flat.reason


def test_h2_threshold_against_steady_rise():
    step = one("H2", seeded(STEP, neighbour=1.0))
    assert step.verdict == SUPPORTED and step.finding is not None and 0.5 < step.finding.effect < 0.7
    assert of("H2", rise()).verdict == INCONCLUSIVE


@pytest.mark.slow
def test_h2_refuted_or_of_too_few_sizes():
    assert one("H2", seeded([0.3] * 7)).verdict == REFUTED
    assert "5 sizes" in one("H2", seeded(STEP[:4])).reason


def by_fact(agree: float, methods: tuple[str, str]) -> pd.DataFrame:
    """Two methods whose scores share the facts' difficulty to the degree `agree` (-1, 0 or 1)."""
    rng, parts = np.random.default_rng(3), []
    easy = rng.uniform(0.2, 0.8, 40)
    for r in range(5):
        for method, sign in zip(methods, (1.0, agree), strict=True):
            noise = rng.normal(0, 0.03 if agree else 0.2, 40)
            for c in range(40):
                value = float(np.clip(0.5 + sign * (easy[c] - 0.5) + noise[c], 0, 1))
                parts.append(
                    edit(
                        f"c{c:02d}",
                        probes(paraphrase=[value], neighbour=[1.0]),
                        rung=f"m{r}",
                        rung_index=r,
                        bits_per_byte_en=3 - r / 5,
                        method=method,
                        settings="{}",
                        relation=f"r{c % 8}",
                    )
                )
    return frame(*parts)


def test_h3_fact_by_fact():
    assert one("H3", by_fact(1.0, ("steer", "rome"))).verdict == SUPPORTED
    assert "needs edits by steer" in of("H3", rise()).reason


@pytest.mark.slow
def test_h3_not_supported():
    assert one("H3", by_fact(-1.0, ("steer", "rome"))).verdict == REFUTED
    assert one("H3", by_fact(0.0, ("steer", "rome"))).verdict != SUPPORTED


def with_depths(best: list[float]) -> pd.DataFrame:
    """Models that tried depths .1 to .9 and are best at `best`."""
    parts = []
    for r, top in enumerate(best):
        for depth in (0.1, 0.3, 0.5, 0.7, 0.9):
            for c in range(9):
                hit = 1 - abs(depth - top) - 0.01 * c
                parts.append(edit(f"c{c}", probes(paraphrase=[hit], neighbour=[1.0]), rung=f"m{r}", rung_index=r, depth=depth,
                                  bits_per_byte_en=3 - r / 5, settings=json.dumps({"depth": depth}), relation=f"r{c % 3}",
                                  split="dev" if c % 3 == 0 else "test"))  # fmt: skip
    return frame(*parts)


def test_h4_stable_depth():
    assert one("H4", with_depths([0.5] * 7)).verdict == SUPPORTED
    assert one("H4", with_depths([0.1, 0.9, 0.3, 0.7, 0.5, 0.9, 0.1])).verdict != SUPPORTED
    assert "more than one depth" in of("H4", rise()).reason


@pytest.mark.parametrize(
    ("level", "verdict"),
    fast_are([(0.1, SUPPORTED)], [(0.1, SUPPORTED), (0.59, REFUTED), (0.95, REFUTED)]),
)
def test_h5_site_matters(level: float, verdict: str):
    rows = [seeded([value] * 5, methods=(name,)) for value, name in ((0.6, "rome"), (level, "random_layer"))]
    assert one("H5", pd.concat(rows, ignore_index=True)).verdict == verdict


def test_h5_a_random_key_is_no_random_layer():
    """An edit at a key that no input has does nothing, so beating it is no evidence about layers."""
    rows = pd.concat([seeded([0.6] * 5, methods=(m,)) for m in ("rome", "random_site")], ignore_index=True)
    result = one("H5", rows)
    assert result.verdict == INCONCLUSIVE and "no random_layer rows" in result.reason and "no test" in result.reason


def crisp(rows: pd.DataFrame, sign: float) -> pd.DataFrame:
    """A crispness table whose layer 1 follows (sign 1) or opposes (-1) the concepts' mean score at each rung."""
    means = rows[rows["probe"] == "paraphrase"].groupby(["rung", "subject"])["value"].mean()
    lines, rng = [], np.random.default_rng(5)
    for (rung, subject), value in means.items():  # pyright: ignore[reportGeneralTypeIssues]
        for measure, direction in (("C_key", sign), ("leak_translation", sign), ("leak_siblings", sign)):
            for layer, shown in ((0, 0.0), (1, 2 + direction * value + rng.normal(0, 0.03))):
                lines.append({"rung": rung, "concept": subject.upper(), "group": subject[-1], "layer": layer, "depth": layer / 2, "measure": measure,
                              "direction": "both", "control": "none", "value": shown})  # fmt: skip
    return pd.DataFrame(lines)


def test_h6_crispness():
    rows = by_fact(1.0, ("rome", "memit"))
    rows = rows.assign(probe=rows["probe"].replace("efficacy", "paraphrase"))
    assert one("H6", rows, crisp(rows, 1.0)).verdict == SUPPORTED
    assert one("H6", rows, crisp(rows, -1.0)).verdict == REFUTED
    assert "--crispness" in one("H6", rows).reason
    other = crisp(rows, 1.0).assign(concept="nothing edited")
    assert "no edited subject" in one("H6", rows, other).reason


@pytest.mark.slow
def test_h1_sees_that_a_hump_is_no_rise():
    hump = [0.1, 0.3, 0.6, 0.8, 0.6, 0.3, 0.35, 0.4]
    result = one("H1", seeded(hump, kinds=("retarget",)))
    assert result.verdict == INCONCLUSIVE and "not monotone: a hump" in result.reason


def test_h7_takes_the_largest_p_over_the_axes_that_count():
    """Its code took the largest p of the block that passed, which is the least of all blocks."""
    result = of("H7", valley_of_seeds()).finding
    tests = shapes(valley_of_seeds().scored, PLAN, whole=False).tests
    counted = tests[(tests["method"] == BEST) & tests["counted"]]
    assert result is not None and len(counted) >= 2 and result.p == counted["p_valley"].max()
    assert result.effect == counted["D_valley"].min()


def test_h8_compares_nothing_across_two_rulers():
    """A kind of probe that one kind of edit lacked made the difference."""
    rows = seeded([0.4] * 5, kinds=("fact", "rename"), rename=0.2)
    renames = rows["edit_kind"].eq("rename")
    found = one("H8", rows[~(renames & rows["probe"].eq("relation"))])
    assert found.verdict == INCONCLUSIVE and "not comparable" in found.reason and "relation" in found.reason


@pytest.mark.slow
def test_h8_transfer_is_no_part_of_the_score():
    rows = seeded([0.4] * 5, kinds=("fact", "rename"), rename=0.2)
    renames = rows["edit_kind"].eq("rename")
    assert one("H8", rows[~(renames & rows["probe"].eq("cross_lingual"))]).verdict == SUPPORTED


def test_h7_valley_follows_the_shape_rules():
    result = of("H7", valley_of_seeds())
    assert result.verdict == SUPPORTED and result.finding is not None and result.finding.effect > 0.3


@pytest.mark.slow
def test_h7_refuted_or_of_one_seed():
    assert of("H7", rise()).verdict == REFUTED
    assert "tau^2" in one("H7", seeded(VALLEY, seeds=1)).reason


def test_h8_two_sided():
    kinds = ("fact", "rename")
    assert one("H8", seeded([0.4] * 5, kinds=kinds, rename=-0.2)).verdict == SUPPORTED, "any difference is one"
    assert "rename and fact" in of("H8", rise()).reason


@pytest.mark.slow
def test_h8_refuted():
    assert one("H8", seeded([0.4] * 9, kinds=("fact", "rename"), luck=0.002, n_cases=96)).verdict == REFUTED


def test_h9_both_parts_must_pass():
    parts, rng = [], np.random.default_rng(0)
    easy = rng.uniform(0.2, 0.8, 30)
    for r in range(4):
        for c in range(30):
            moved, kept = (float(np.clip(v + rng.normal(0, 0.03), 0, 1)) for v in (easy[c], 1 - easy[c]))
            values = probes(paraphrase=[moved], cross_lingual_fr=[moved], neighbour=[kept])
            parts.append(edit(f"c{c:02d}", values, rung=f"m{r}", rung_index=r, bits_per_byte_en=3 - r / 5, settings="{}",
                              relation=f"r{c % 6}"))  # fmt: skip
    rows = frame(*parts)
    table = crisp(rows, 1.0)
    assert one("H9", rows, table).verdict == SUPPORTED
    siblings = table["measure"] == "leak_siblings"
    half = table.assign(value=table["value"].where(~siblings, 3 - table["value"]))
    assert one("H9", rows, half).verdict != SUPPORTED


def test_estimate_follows_student():
    samples = np.random.default_rng(0).normal(0.3, 0.1, 100_000)
    few, many = estimate(0.3, samples, 3), estimate(0.3, samples, 200)
    assert np.isclose(many.low, 0.3 - 1.972 * 0.1, atol=0.005) and few.low < many.low and few.p > many.p
    assert np.isclose(few.high, 0.3 + 4.303 * 0.1 * np.sqrt(1.5), atol=0.01)
    for bad in ((0.3, samples, 1), (0.3, np.full(10, 0.3), 5)):
        with pytest.raises(Untestable):
            estimate(*bad)


def test_unknown_names_and_files_are_refused(tmp_path: Path):
    with pytest.raises(RowsError, match="H99"):
        of("H99", rise())
    with pytest.raises(RowsError, match="not readable"):
        read_crispness(tmp_path / "gone.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RowsError, match="no column 'rung'"):
        read_crispness(tmp_path / "bad.csv")


def test_command(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    rows = seeded(RISE, kinds=("fact", "retarget"), n_cases=12)
    rows.to_parquet(tmp_path / "cells" / "a.parquet")
    store_plan(tmp_path, {"min_known": 2, "bootstrap": 50, "draws": 100})
    done = CliRunner().invoke(cli, ["hypotheses", str(tmp_path), "--min-known", "2", "--only", "H1,H5"])
    assert done.exit_code == 0 and "H1  SUPPORTED" in done.stdout and "not tested" in done.stdout
    about = json.loads(CliRunner().invoke(cli, ["hypotheses", str(tmp_path), "--min-known", "2", "--json"]).stdout)
    assert [line["id"] for line in about["hypotheses"]] == [f"H{i}" for i in range(1, 15)] and about["caution"] == ""
    tested = [line for line in about["hypotheses"] if line["finding"]]
    assert len(tested) >= 3 and all(line["p_holm"] >= line["finding"]["p"] for line in tested)
    assert CliRunner().invoke(cli, ["hypotheses", str(tmp_path), "--only", "H99"]).exit_code == 2


def test_a_crispness_table_in_the_folder_of_the_run_is_found(tmp_path: Path):
    rows = by_fact(1.0, ("rome", "memit"))
    rows = rows.assign(probe=rows["probe"].replace("efficacy", "paraphrase"))
    (tmp_path / "cells").mkdir()
    rows.to_parquet(tmp_path / "cells" / "a.parquet")
    questions = ["hypotheses", str(tmp_path), "--min-known", "2", "--only", "H6"]
    assert "needs a crispness table" in CliRunner().invoke(cli, questions).stdout
    assert (tmp_path / "analysis_plan.json").is_file()
    crisp(rows, 1.0).to_csv(tmp_path / "crispness.csv.gz", index=False)
    result = CliRunner().invoke(cli, questions).stdout
    assert "H6  SUPPORTED" in result
    crisp(rows, -1.0).to_csv(tmp_path / "other.csv", index=False)
    given = CliRunner().invoke(cli, [*questions, "--crispness", str(tmp_path / "other.csv")]).stdout
    assert "H6  REFUTED" in given


def test_the_hypothesis_in_contributing_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file shown to contributors, put beside the others, is found and judged."""
    page = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "adding.md").read_text()
    (block,) = re.findall(r"```py\n(.*?)```", page.partition("## A hypothesis")[2], re.S)
    (tmp_path / "h15_transfer.py").write_text(block)
    monkeypatch.setattr(hypotheses, "__path__", [*hypotheses.__path__, str(tmp_path)])
    result = of("H15", rise())
    assert result.verdict == SUPPORTED and isinstance(result.finding, Finding)
    assert "H15 SUPPORTED" in format_results([result])


def both_ways(en: list[float], fr: list[float]) -> pd.DataFrame:
    """English and French edits whose transfer to the other language follows these curves; three seeds, 20 cases
    each."""
    rng, parts = np.random.default_rng(1), []
    for lang, curve in (("en", en), ("fr", fr)):
        other = "fr" if lang == "en" else "en"
        for i, level in enumerate(curve):
            for s in range(3):
                moved = np.clip(level + rng.normal(0, 0.01) + rng.normal(0, 0.03, 20), 0, 1)
                for c, value in enumerate(moved):
                    questions = [p | {"lang": other} for p in probes(cross_lingual=[value], neighbour=[1.0])]
                    parts.append(edit(f"{lang}{c}", questions, edit_lang=lang, rung=f"m{i}-s{s}", rung_index=3 * i + s,
                                      bits_per_byte_en=3 - i / 5, settings="{}", relation=f"r{c % 5}"))  # fmt: skip
    return frame(*parts)


@pytest.mark.slow
def test_h2_tells_the_directions_apart():
    both = one("H2", both_ways(STEP, STEP))
    assert both.verdict == SUPPORTED and both.finding is not None
    assert "English to French: 1 curve" in both.finding.note and "French to English: 1 curve" in both.finding.note
    half = one("H2", both_ways(STEP, [0.3] * 7))
    assert half.verdict == INCONCLUSIVE, "one direction with a step does not make up for one without"
    only = one("H2", both_ways(STEP, []))
    assert only.finding is not None and "no other direction has enough cases" in only.finding.note


def test_h4_seeds_of_a_size_are_not_sizes():
    """Three sizes with layers of their own, five seeds each: the seeds agree, the sizes do not."""
    tables = [
        with_depths([top] * 5).assign(rung=lambda t, i=i: f"size{i}-s" + t["rung"].str[1:], model_hash=lambda t: "h" + t["rung"])
        for i, top in enumerate((0.1, 0.5, 0.9))
    ]  # fmt: skip
    result = one("H4", pd.concat(tables, ignore_index=True))
    assert result.finding is not None and result.finding.n == 3 and result.verdict != SUPPORTED


def test_methods_without_a_site_say_nothing_of_sites_or_keys():
    rows = pd.concat(
        [seeded([0.6] * 5, methods=("ike",)), seeded([0.1] * 5, methods=("random_site",))], ignore_index=True
    )
    assert one("H5", rows).reason.startswith("not tested: not measurable: no random_layer rows")
    assert one("H2", rows).reason.startswith("not tested: no edits by rome")
    assert "writes at a key" in one("H6", rows, crisp(rows, 1.0)).reason


@pytest.mark.parametrize("kept", ["efficacy", "neighbour", "cross_lingual"])
def test_a_run_that_lacks_nearly_everything_is_inconclusive_with_reasons(kept: str):
    rows = frame(
        *(edit(f"c{c}", probes(**{kept: [1.0]}), rung=f"m{r}", rung_index=r) for c in range(6) for r in range(3))
    )
    for result in judge(Evidence(rows, PLAN, crisp(seeded(RISE), 1.0))):
        assert result.verdict == INCONCLUSIVE and result.reason.startswith("not tested: "), result
