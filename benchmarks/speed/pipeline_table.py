"""The speed of the whole pipeline: the table pipeline.csv, and the section of the README that shows it."""

from __future__ import annotations

from pathlib import Path

from editing.errors import BadData
from editing.files import atomic_file
from editing.lazy import pandas as pd

FILE = "pipeline.csv"
# table: pipeline (stages of a whole sweep), kinds (the evaluation by kind of question), beside (EasyEdit's evaluation
# and ours)
COLUMNS = (
    "table", "model", "method", "what", "round", "rounds", "cases", "questions", "cpu_seconds", "wall_seconds", "share",
    "cpu_ratio", "low", "high", "wall_ratio", "note", "device", "torch", "commit",
)  # fmt: skip
TEXT = ("table", "model", "method", "what", "note", "device", "torch", "commit")


def read_lines(folder: Path) -> pd.DataFrame:
    """The lines that are there; none where the file is not.

    Raises:
        BadData: the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str))
    except ValueError as error:
        raise BadData(f"{path}: not readable as CSV ({error}); delete it") from error
    if tuple(table.columns) != COLUMNS:
        raise BadData(f"{path}: has other columns than {', '.join(COLUMNS)}; delete it")
    return table.fillna({name: "" for name in TEXT})


def write_lines(folder: Path, table: pd.DataFrame) -> None:
    """Write the lines."""
    with atomic_file(folder / FILE) as temporary:
        table.to_csv(temporary, index=False, float_format="%.4g")


def section(folder: Path) -> list[str]:
    """The lines of the README about the pipeline; none where nothing was measured."""
    table = read_lines(folder)
    if table.empty:
        return []
    lines = [
        "",
        "## Whole pipeline",
        "",
        f"Measured by `python -m benchmarks.speed.pipeline` on {' and '.join(dict.fromkeys(table['device']))}, torch "
        f"{' and '.join(dict.fromkeys(table['torch']))}. The machine is shared with other work, so compare the "
        "CPU-seconds of the process rather than the wall seconds. Shares are of the CPU-seconds. All numbers are in "
        "pipeline.csv.",
    ]
    for model, mine in table.groupby("model", sort=False):
        parts = {name: part for name, part in mine.groupby("table", sort=False)}
        lines += ["", f"### {model}"]
        if "pipeline" in parts:
            lines += _stages(parts["pipeline"]) + _methods(parts["pipeline"])
        if "kinds" in parts:
            lines += _kinds(parts["kinds"])
        if "beside" in parts:
            lines += _beside(parts["beside"])
    return lines


def _stages(table: pd.DataFrame) -> list[str]:
    """The first round, where everything is made, stage by stage."""
    first = table[table["round"].eq(1)]
    done = first[first["method"].ne("")].groupby("method")["cases"].first()
    edits, cpu, wall = int(done.sum()), first["cpu_seconds"].sum(), first["wall_seconds"].sum()
    lines = [
        "",
        "A whole sweep, from the model's files to rows on disk: each fact that the model knows is edited alone with "
        "the fast settings (`--fast`) and evaluated on all its probes.",
        f"{edits} edits ({done.iloc[0]} facts, {len(done)} methods) in {cpu:.0f} CPU-seconds ({wall:.0f} s wall): "
        f"**{edits / cpu:.3g} cases/s, {_questions(first) / cpu:.3g} probes/s**.",
    ]
    for number, later in table[table["round"].gt(1)].groupby("round"):
        again = later["cpu_seconds"].sum()
        lines.append(
            f"Round {float(str(number)):.0f}, with strength and statistics on disk: {again:.0f} CPU-seconds "
            f"({later['wall_seconds'].sum():.0f} s wall), {edits / again:.3g} cases/s."
        )
    lines += ["", "| stage | CPU-s | wall s | share |", "|---|---:|---:|---:|"]
    shared = first[first["method"].eq("")]
    own = first[first["method"].ne("")].groupby("what", sort=False)[["cpu_seconds", "wall_seconds", "share"]].sum()
    rows = [(f"{r['what']}, once", r) for _, r in shared.iterrows()] + [
        (f"{name}, all methods", r) for name, r in own.iterrows()
    ]
    for name, row in sorted(rows, key=lambda pair: -pair[1]["share"]):
        lines.append(f"| {name} | {row['cpu_seconds']:.2f} | {row['wall_seconds']:.2f} | {row['share']:.1%} |")
    return lines


def _methods(table: pd.DataFrame) -> list[str]:
    """What each method's own work takes, the first round."""
    first = table[table["round"].eq(1)]
    once = first.loc[first["method"].eq(""), "cpu_seconds"].sum()
    lines = [
        "",
        "By method. The first three columns are CPU-seconds per case; the last one also counts the stages done once.",
        "",
        "| method | edit | evaluation | rows, writing, checks | share of evaluation | "
        "cases/s | probes/s | cases/s with the stages done once |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for method, part in first[first["method"].ne("")].groupby("method", sort=False):
        cases, questions = int(part["cases"].iloc[0]), int(part["questions"].iloc[0])
        spent = part.set_index("what")["cpu_seconds"]
        total = spent.sum()
        rest = total - spent["edit"] - spent["evaluation"]
        lines.append(
            f"| {method} | {spent['edit'] / cases:.3g} | {spent['evaluation'] / cases:.3g} | {rest / cases:.3g} | "
            f"{spent['evaluation'] / total:.0%} | {cases / total:.3g} | {questions / total:.3g} | "
            f"{cases / (total + once):.3g} |"
        )
    return lines


def _kinds(table: pd.DataFrame) -> list[str]:
    cases = int(table["cases"].iloc[0])
    lines = [
        "",
        f"The evaluation of {cases} ROME edits, by kind of probe. Here each kind is evaluated separately; the pipeline "
        'evaluates all kinds in the same passes. "Free text" is what the greedy continuations of all probes with '
        "candidates add.",
        "",
        "| kind | probes per case | CPU-s per case | share |",
        "|---|---:|---:|---:|",
    ]
    for _, row in table.sort_values("share", ascending=False, kind="stable").iterrows():
        lines.append(
            f"| {row['what']} | {row['questions'] / cases:.1f} | {row['cpu_seconds'] / cases:.3g} | "
            f"{row['share']:.1%} |"
        )
    return lines


def _beside(table: pd.DataFrame) -> list[str]:
    first = table.iloc[0]
    lines = [
        "",
        f"The evaluation alone, compared with EasyEdit's `compute_edit_quality`: both evaluate the same "
        f"{int(first['cases'])} ROME edits with the same weights, in turns, in {int(first['rounds'])} rounds. Each "
        "edit has six short prompts: its own, two paraphrases and three neighbours. A ratio is EasyEdit's seconds over "
        "those of the line, for all edits, with a 95% bootstrap interval over rounds.",
        "",
        "| evaluation | prompts | CPU-s per edit | wall s per edit | ratio, CPU | 95% | "
        "ratio, wall | CPU-ms per prompt | results |",
        "|---|---:|---:|---:|---:|---|---:|---:|---|",
    ]
    for _, row in table.iterrows():
        cases = row["cases"]
        lines.append(
            f"| {row['what']} | {row['questions'] / cases:.0f} | {row['cpu_seconds'] / cases:.3g} | "
            f"{row['wall_seconds'] / cases:.3g} | "
            f"{row['cpu_ratio']:.2f} | {row['low']:.2f}-{row['high']:.2f} | {row['wall_ratio']:.2f} | "
            f"{1000 * row['cpu_seconds'] / row['questions']:.0f} | {row['note']} |"
        )
    return lines


def _questions(table: pd.DataFrame) -> int:
    return int(table[table["method"].ne("")].groupby("method")["questions"].first().sum())
