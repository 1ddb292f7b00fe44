"""How two runs differ apart from what they measured: plans, requests, versions, weights, questions; one line each."""

from __future__ import annotations

import json
from pathlib import Path

from editing.lazy import pandas as pd
from valley.rows import CASE, read_run_json, unequal_keys
from valley.text import short

PARTS = ("plan", "asked", "versions", "skipped", "schema")
# A question that is the same asks this.
QUESTION = ("probe", "probe_index", "lang", "prompt", "answer", "old", "n_candidates")
SHOWN = 60


def differences(a: Path, b: Path, rows_a: pd.DataFrame, rows_b: pd.DataFrame) -> tuple[str, ...]:
    """One line per thing in which run folder `a` differs from `b`: "plan limit: 50 in A, 20 in B".

    It compares run.json (plan, all requests, versions, rungs left out), the weights behind each rung's name, and the
    questions of each case that both runs have.

    Raises:
        RowsError: no readable run.json in one of them.
    """
    one, two = _manifest(a), _manifest(b)
    unequal = unequal_keys(one, two)
    lines = [f"{key}: {_short(one.get(key))} in A, {_short(two.get(key))} in B" for key in unequal]
    good_a, good_b = (rows[rows["error"] == ""] for rows in (rows_a, rows_b))
    weights = [rows.groupby("rung")["model_hash"].first() for rows in (good_a, good_b)]
    for rung in weights[0].index.intersection(weights[1].index):
        x, y = (str(table[rung])[:12] for table in weights)
        if x != y:
            lines.append(f"weights of rung {rung}: {x} in A, {y} in B")
    both = [_questions(rows) for rows in (good_a, good_b)]
    shared = both[0].index.intersection(both[1].index)
    other = [key for key in shared if both[0][key] != both[1][key]]
    if other:
        lines.append(
            f"questions: {len(other)} of {len(shared)} shared cases ask something else, such as {other[0][-1]}"
        )
    return tuple(lines)


def commits(a: Path, b: Path) -> str:
    """A note where the code differs, which is often the point of a comparison; empty where it does not."""
    one, two = (read_run_json(folder).get("commit", "") for folder in (a, b))
    return "" if one == two else f"code: commit {one[:12] or 'unknown'} in A, {two[:12] or 'unknown'} in B"


def _manifest(folder: Path) -> dict[str, object]:
    """What a run.json says of PARTS, flat: "plan limit" -> 50. Of several requests, all values of a key."""
    flat: dict[str, object] = {}
    about = read_run_json(folder)
    for part in PARTS:
        value = about.get(part, {})
        if part == "asked":
            value = _united(value)
        elif not isinstance(value, dict):
            value = {"": value}
        flat |= {f"{part} {key}".strip(): one for key, one in value.items()}
    # What the plan fixes stands in every request as well: said once is enough.
    return {
        key: one for key, one in flat.items() if f"plan {key.removeprefix('asked ')}" not in flat or key[:5] != "asked"
    }


def _united(requests: object) -> dict[str, list[str]]:
    """Key -> every requested value, sorted; a list counts by its members."""
    united: dict[str, set[str]] = {}
    for request in requests if isinstance(requests, list) else []:
        for key, value in request.items():
            members = value if isinstance(value, list) else [value]
            united.setdefault(key, set()).update(json.dumps(one, sort_keys=True) for one in members)
    return {key: sorted(values) for key, values in united.items() if key != "title"}


def _questions(rows: pd.DataFrame) -> pd.Series:
    """Kind and case -> everything it asks, as one text."""
    questions = rows.drop_duplicates(["edit_kind", *CASE, "probe_index"]).sort_values("probe_index")
    text = pd.Series("", index=questions.index, dtype="string")
    for name in QUESTION:
        text = text + "|" + questions[name].astype("string").fillna("")
    return text.groupby([questions[name] for name in ("edit_kind", *CASE)]).agg("\n".join)


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.replace('"', "") or "nothing"
    return short(text, SHOWN)
