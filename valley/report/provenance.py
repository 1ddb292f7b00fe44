"""Where the numbers of a report come from: models, settings, plans with their hashes, and the commands that make them
again."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

from editing.lazy import pandas as pd
from valley.rows import ALL, EDIT_KINDS, RUNG, SCHEMA_VERSION, plan_files, plan_toml
from valley.scores import AXES, AnalysisPlan

ABOUT = ("model", "model_source", "model_hash")
NUMBERS = ("n_layers", "bits_per_byte_fr", *(axis.column for axis in AXES))


def models(rows: pd.DataFrame) -> list[dict]:
    """One line per rung: what it is, where it came from and how strong it is."""
    columns = [*ABOUT, *NUMBERS]
    table = rows[[*RUNG, *columns]].assign(**{c: rows[c].where(rows[c] != "") for c in ABOUT})
    table = table.groupby(list(RUNG), observed=True)[columns].first().reset_index()
    out = []
    for line in table.to_dict("records"):
        texts = {k: "unknown" if pd.isna(line[k]) else line[k] for k in ABOUT}
        numbers = {k: "n/a" if pd.isna(line[k]) else _digits(line[k]) for k in NUMBERS}
        out.append(line | texts | numbers)
    return out


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and value != 0 else f"{value:.3f}"


def settings(curve: pd.DataFrame) -> list[dict]:
    """The chosen setting of every rung and edit kind."""
    chosen = curve[(curve["edit_kind"] != ALL) & (curve["settings"] != "")]
    return chosen[["rung", "edit_kind", "method", "settings"]].to_dict("records")


def facts(rows: pd.DataFrame, plan: AnalysisPlan, about: dict) -> list[tuple[str, str]]:
    """Names and values: what was measured, by which plans.

    Args:
        about: `read_run_json` of the run.
    """

    good = rows[["dataset", "method", "run_seed", "versions", "commit"]][rows["error"] == ""]

    def listed(column: str) -> str:
        values = sorted(str(v) for v in good[column].unique() if v != "")
        return ", ".join(values[:12]) + (f" and {len(values) - 12} more" if len(values) > 12 else "") or "not recorded"

    seconds = rows.drop_duplicates(["cell", "case"])[["seconds_edit", "seconds_eval"]].sum()
    bench = str(about.get("plan_hash", "not recorded")) + (f", fixed {t}" if (t := about.get("fixed_at")) else "")
    kinds = set(rows["edit_kind"].unique())
    rules = ", ".join(f"{k} {v}" for k, v in asdict(plan).items())
    left = [str(line) for line in about.get("skipped", [])]
    return [
        ("Rows", f"{len(rows):,} (schema {SCHEMA_VERSION})"),
        ("Plan of the run", bench),
        ("Plan of the analysis", f"{plan.digest} ({rules})"),
        ("Data sets", listed("dataset")),
        ("Methods", listed("method")),
        ("Edit kinds", ", ".join(k for k in EDIT_KINDS if k in kinds)),
        ("Run seeds", listed("run_seed")),
        ("Left out", "; ".join(left) or "nothing"),
        ("Time", f"{seconds['seconds_edit']:,.0f} s of edits, {seconds['seconds_eval']:,.0f} s of evaluation"),
        ("Versions", listed("versions")),
        ("Commit", listed("commit")),
    ]


# Options of `bench` beside --ladder, as run.json names and the command line writes them.
FLAGS = (
    "methods", "kinds", "limit", "probes", "more_probes", "chat", "datasets", "concepts", "sites", "corpus", "seed",
    "doses", "evaluation",
)  # fmt: skip


def commands(about: dict, run: str, options: dict) -> list[str]:
    """Shell lines that make the run and its report again.

    Args:
        about: `read_run_json` of the run. run: its folder as it is to be written. options: of the analysis.
    """
    names = {text: name for name, text in plan_files(about).items()}
    lines = dict.fromkeys(
        _bench(request, run)
        if request.get("split") is None
        else _bench_plan(f"{run}/{names[plan_toml(request, about)]}", request, run)
        for request in about.get("asked", [])
    )
    if not lines:
        unknown = "   # no run.json says with which ladder, methods and edit kinds"
        lines = [f"python cli.py bench --out {shlex.quote(run)}{unknown}"]
    judged = f"--min-known {options['min_known']} --stratum {options['which']} --metric {options['metric']}"
    return [*lines, f"python cli.py report {shlex.quote(run)} {judged}"]


def _bench_plan(file: str, request: dict, run: str) -> str:
    return f"python cli.py bench {shlex.quote(file)} --out {shlex.quote(run)}{_extend(request)}"


def _bench(request: dict, run: str) -> str:
    out = f"--out {shlex.quote(run)}"
    words = ["python cli.py bench", "--ladder", shlex.quote(str(request.get("ladder", "")))]
    for name in FLAGS:
        value = request.get(name)
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if value not in (None, [], ""):
            words += [f"--{name.replace('_', '-')}", shlex.quote(text)]
    if request.get("known"):
        words.append("--known")
    for key, value in request.get("settings", []):
        text = value if isinstance(value, str) and not _is_json(value) else json.dumps(value)
        words += ["--set", shlex.quote(f"{key}={text}")]
    return " ".join([*words, out]) + _extend(request)


def _extend(request: dict) -> str:
    return " --extend" if request.get("extend") else ""


def _is_json(text: str) -> bool:
    """Whether `--set KEY=TEXT` would read the text as a number, a truth value or the like."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def plan_text(about: dict) -> str:
    """The plan files of the run, each below its name; empty where it was run from flags alone."""
    return "\n".join(f"# {name}\n{text}" for name, text in plan_files(about).items())
