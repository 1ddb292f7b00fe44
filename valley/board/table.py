"""A line per run, model, method and kind of edit: its scores, and by which code, on which machine and when.

Scores are those of `valley.scores.available`: the setting that was chosen on development cases, scored on test cases.
Lines of different runs are shown beside each other; they are comparable where cases and settings are (`compare`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from editing.lazy import pandas as pd
from valley.rows import RowsError, read_run, run_record
from valley.scores import available, with_options
from valley.text import short

METRIC = "score"
SCORES = ("generalisation", "specificity", METRIC)
BOARD_COLUMNS = (
    "run", "ladder", "model", "method", "kind", *SCORES, "low", "high", "cases", "reason", "parameters", "settings",
    "weights", "commit", "machine", "date", "torch", "failed",
)  # fmt: skip
UNKNOWN = "not recorded"
NO_SIDE = "no placebo of this setting, or a side is not measurable"


def board(runs: Sequence[str | Path], min_known: int | None = None, which: str | None = None) -> pd.DataFrame:
    """The table of all runs, in the order given.

    Args:
        runs: folders of runs, packed or not; a folder of run folders stands for those in it.
        min_known, which: as in `valley.scores.AnalysisPlan`; None is the default.

    Raises:
        RowsError: a folder without a run, or unsound rows; the message names it.
    """
    plan = with_options(min_known=min_known, which=which)
    parts = []
    for run in found_runs(runs):
        rows = read_run(run)
        about = run_record(run)
        scored = available(rows, plan)
        lines = scored.of(METRIC)
        table = pd.DataFrame({"run": str(run), "ladder": lines["ladder"], "model": lines["rung"]})
        table = table.assign(method=lines["method"], kind=lines["edit_kind"])
        for name in SCORES:
            table[name] = scored.of(name)["value"]
        table = table.assign(low=lines["low"], high=lines["high"], cases=lines["n"], reason=lines["reason"])
        unsaid = table[METRIC].isna() & (table["reason"] == "")
        table.loc[unsaid, "reason"] = NO_SIDE
        facts = rows.groupby("rung")[["parameters", "model_hash"]].first()
        table["parameters"] = table["model"].map(facts["parameters"])
        table["settings"] = lines["settings"]
        table["weights"] = table["model"].map(facts["model_hash"]).astype(str).str[:12]
        failed = rows[rows["error"] != ""].groupby(["rung", "method", "edit_kind"])["cell"].nunique()
        keys = pd.MultiIndex.from_frame(table[["model", "method", "kind"]])
        versions = about.get("versions") or {}
        parts.append(
            table.assign(
                commit=str(about.get("commit") or UNKNOWN)[:40],
                machine=str(about.get("machine") or UNKNOWN),
                date=str(about.get("fixed_at") or UNKNOWN)[:10],
                torch=str(versions.get("torch", UNKNOWN)),
                failed=failed.reindex(keys).fillna(0).to_numpy(int),
            )
        )
    return pd.concat(parts, ignore_index=True)[list(BOARD_COLUMNS)]


def found_runs(paths: Sequence[str | Path]) -> list[Path]:
    """The run folders among `paths` and one level below them, each once.

    Raises:
        RowsError: a path that is no run and holds none.
    """
    runs: dict[Path, None] = {}
    for path in map(Path, paths):
        inside = [path] if (path / "run.json").is_file() else sorted(p.parent for p in path.glob("*/run.json"))
        if not inside:
            raise RowsError(f"{path}: no run there (no run.json in it or one level below); name what `pack` wrote")
        runs |= dict.fromkeys(inside)
    return list(runs)


def format_board(table: pd.DataFrame) -> str:
    """The table as text: the best lines of every run, model and kind first."""
    shown = table.sort_values(["run", "kind", METRIC], ascending=[True, True, False], na_position="last")
    lines = [
        f"{'run':24} {'model':16} {'method':14} {'kind':9} {'gen':>5} {'spec':>5} {'harm':>5}  {'95%':12}  commit  date"
    ]
    for one in shown.to_dict("records"):
        numbers = " ".join("  n/a" if pd.isna(one[name]) else f"{one[name]:5.2f}" for name in SCORES)
        interval = f"{one['low']:.2f} to {one['high']:.2f}" if one["low"] == one["low"] else ""
        run, model = short(one["run"], 24, end=True), short(one["model"], 16, end=True)  # paths differ at their ends
        about = f"{run:24} {model:16} {one['method'][:14]:14} {one['kind']:9}"
        line = f"{about} {numbers}  {interval:12}  {one['commit'][:7]:7}  {one['date']}  {one['reason']}"
        lines.append(line.rstrip())
    return "\n".join([*lines, f"{len(table)} lines out of {table['run'].nunique()} runs"])


def records(table: pd.DataFrame) -> list[dict]:
    """The lines as JSON values; not-a-number is null."""
    return json.loads(table.to_json(orient="records", force_ascii=False))
