"""How many cases a stratum has, and the verdict on the paired ones beside the plan's; no scoring is changed by sparing
one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from click.testing import CliRunner

from cli import cli
from tests.valley.build import edit, frame, probes, seeded
from valley.rows.schema import read_run
from valley.scores.available import available
from valley.scores.cases import case_scores
from valley.scores.plan import AnalysisPlan
from valley.verdicts.shape import shapes
from valley.verdicts.strata import format_sensitivity, format_strata, sensitivity, strata

PLAN = AnalysisPlan(min_known=2, bootstrap=100, draws=100)


def known_by(*names: str) -> list[dict]:
    """Cases a, b, c at two rungs; `names` such as "a0" are known."""
    return [
        row
        for r in range(2)
        for case in "abc"
        for row in edit(case, probes(efficacy=[1.0], neighbour=[1.0]), rung=f"m{r}", rung_index=r, known=f"{case}{r}" in names)
    ]  # fmt: skip


def test_the_cases_of_every_stratum_are_counted():
    result = available(frame(known_by("a0", "a1", "b1")), PLAN)
    (line,) = strata(result).to_dict("records")
    assert line == {"ladder": "toy", "edit_kind": "fact", "cases": 3, "known_least": 1, "known_most": 2,
                    "known_everywhere": 1, "known_nowhere": 1}  # fmt: skip
    (text,) = format_strata(strata(result), "known")
    assert "3 scored cases; known at their rung 1 to 2 of them, at every rung 1, at none 1" in text
    assert sensitivity(frame(known_by("a0", "a1", "b1")), result, PLAN) == {("toy", "fact"): None}
    assert "fewer than 2, so no verdict" in format_sensitivity({("toy", "fact"): None}, PLAN)[0]


def test_the_paired_verdict_is_that_of_the_plan_with_that_stratum():
    rows = seeded([0.2, 0.5, 0.4, 0.7])
    weak = rows["rung"].eq("m0") & rows["case"].lt("fact-12")
    rows = rows.assign(known=rows["known"].mask(weak, False))
    paired = replace(PLAN, which="known_everywhere")
    (verdict,) = sensitivity(rows, available(rows, PLAN), PLAN).values()
    assert verdict == shapes(rows, paired).verdicts["toy", "fact"]
    (here,) = strata(available(rows, PLAN))["known_everywhere"]
    for least, judged in ((here, True), (here + 1, False)):
        plan = replace(PLAN, min_known=int(least))
        (verdict,) = sensitivity(rows, available(rows, plan), plan).values()
        assert (verdict is not None) == judged
    assert sensitivity(rows, available(rows, paired), paired) == {}


def test_scores_made_once_give_the_same():
    rows = seeded([0.2, 0.5, 0.4])
    one, other = available(rows, PLAN), available(rows, PLAN, case_scores(rows))
    pd.testing.assert_frame_equal(one.of("score"), other.of("score"))


def test_the_commands_say_so(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    seeded([0.2, 0.5, 0.4], seeds=1, methods=("rome",)).to_parquet(tmp_path / "cells" / "a.parquet")
    assert len(read_run(tmp_path))
    for command in ("editability", "shape"):
        done = CliRunner().invoke(cli, [command, str(tmp_path), "--min-known", "2"])
        assert done.exit_code == 0 and "fact edits: 24 scored cases; known at their rung 24 to 24" in done.stdout, (
            done.output
        )
    assert "on the cases known at every rung, fact edits: " in done.stdout
