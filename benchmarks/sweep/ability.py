"""`bench --lm-eval`: general ability by lm-evaluation-harness, of each model of a finished run, unedited and edited.

Every setting of every method edits the model by all of its cases together, in memory; that is more than a row of the
run measures (one edit at a time) and the only way to see ability move. RUN/lm_eval.csv holds one line per model,
setting, task and metric; what is there with as many edits and the same limit of examples is not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chat import in_chat
from benchmarks.datasets import for_model, read_cases
from benchmarks.measure import harness_scores, open_model, refuse_without_harness, statistics_of
from benchmarks.sweep.planning.plan import Plan
from editing.errors import BadRequest
from editing.lazy import pandas as pd
from editing.methods import make_method
from valley.rows import read_run, write_whole

TABLE = "lm_eval.csv"
GROUP = ["rung", "model", "method", "settings", "edit_kind", "dataset", "run_seed"]
ALL = "all"
NAMES = ["rung", "model", "settings", "dataset", "limit", "requested", "task"]  # texts, though like numbers
UNEDITED = "(unedited)"


def refuse_harness(plan: Plan) -> None:
    """Before the sweep: raises BadRequest where the harness cannot run at its end."""
    refuse_without_harness()
    if "ike" in plan.methods:
        raise BadRequest("--lm-eval: ike changes no weights, and the harness writes its own prompts; leave ike out")


def measure_ability(plan: Plan, out: Path, tasks: Sequence[str], limit: int | None, device: str | None) -> pd.DataFrame:
    """The table, made complete.

    Raises:
        BadRequest: the harness is missing, or has no such task.
    """
    rows = read_run(out, [*GROUP, "case", "error", "edit_norm"])
    rows = rows[(rows["error"] == "") & (rows["method"] != "")]
    path = out / TABLE
    table = _stored(path)
    for (rung, model), part in rows.groupby(["rung", "model"], sort=False):
        lm = open_model(str(model), device)
        edited = edited_cases(part)
        for method, settings, kind, dataset, seed in [(UNEDITED, "{}", "", "", 0), *edited]:
            key = {"rung": rung, "model": model, "method": method, "settings": settings}
            ids = edited.get((method, settings, kind, dataset, seed), set())
            key |= {"edit_kind": kind, "dataset": dataset, "run_seed": seed}
            key |= {"limit": str(limit or ALL), "edits": len(ids)}
            missing = [task for task in tasks if task not in _there(table, key)]
            if not missing:
                continue
            if method == UNEDITED:
                records = harness_scores(lm, missing, limit)
            else:
                every = read_cases(for_model(str(dataset), str(model)), kind, None, seed).cases
                cases = [case for case in every if case.id in ids]
                requests = [case.request for case in in_chat(lm, cases, plan.chat or "")]
                delta = make_method(method, **json.loads(settings))(lm, requests, statistics_of(lm, seed, plan.corpus))
                with delta.applied(lm):
                    records = harness_scores(lm, missing, limit)
            table = pd.concat([table, pd.DataFrame([key | record for record in records])], ignore_index=True)
            write_whole(path, table.to_csv(index=False, lineterminator="\n").encode())
    return table


def edited_cases(rows: pd.DataFrame) -> dict[tuple, set[str]]:
    """The last five of GROUP -> ids of the cases that were edited, of the rows of one model. A case that the run left
    out has a row too, but no size of its edit."""
    edited = rows[rows["edit_norm"].notna()]
    return {key: set(ids) for key, ids in edited.groupby(GROUP[2:], sort=False)["case"]}


def _stored(path: Path) -> pd.DataFrame:
    """The lines of before; none of a file of an earlier version, without some columns."""
    table = pd.DataFrame()
    if path.is_file():
        table = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(NAMES, str))
    return table if set(NAMES) <= set(table) else pd.DataFrame()


def _there(table: pd.DataFrame, key: dict) -> set[str]:
    """The requested tasks, as the command line names them, that the table has for this model, setting and limit."""
    if table.empty:
        return set()
    same = (table[list(key)].astype(str) == pd.Series(key).astype(str)).all(axis=1)
    return set(table.loc[same, "requested"])


def format_ability(table: pd.DataFrame) -> str:
    """One line per model, setting, task and metric."""
    lines = [f"{'rung':<18}{'method':<14}{'edits':>6}  {'task':<20}{'metric':<12}{'value':>8}{'stderr':>8}{'n':>6}"]
    for row in table.to_dict("records"):
        lines.append(
            f"{row['rung']:<18}{row['method']:<14}{int(row['edits']):>6}  {row['task']:<20}{row['metric']:<12}"
            f"{float(row['value']):>8.3f}{float(row['stderr'] or 'nan'):>8.3f}{int(row['n']):>6}"
        )
    return "\n".join(lines)
