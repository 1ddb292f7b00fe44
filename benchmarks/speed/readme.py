"""The speed page (README.md of a folder of results/speed): the measurements as Markdown."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.speed.peer import Peer
from benchmarks.speed.pipeline_table import section
from benchmarks.speed.quality import Quality
from benchmarks.speed.stopwatch import Ratio
from editing.files import atomic_file


def write_readme(out: Path) -> None:
    """Write the page of `out`: stages (speed.json) and the whole pipeline (pipeline.csv), where they exist."""
    path = out / "speed.json"
    text = table(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else "# Speed"
    with atomic_file(out / "README.md") as temporary:
        temporary.write_text("\n".join([text, *section(out)]) + "\n", encoding="utf-8")


def table(record: dict) -> str:
    """The record as Markdown."""
    lines = [
        "# Speed",
        "",
        f"{record['model']} ({record['parameters'] / 1e6:.1f}M parameters, {record['layers']} layers) "
        f"on {record['device']}; "
        f"torch {record['versions']['torch']}. Times are {record['seconds are']}-seconds.",
    ]
    if record["ratios"]:
        lines += [
            "",
            "The stages of an edit, by a literal implementation of the papers (slow; tests/editing/reference.py) and "
            "by this project (ours). The two run in turns in one process. The columns have median seconds per unit, "
            "the unit (per), the number of units that ours computes together (at a time), and the ratio slow / "
            "ours: the median over rounds, with the smallest and the largest. The last column says how far the two "
            "results agree.",
            "",
            "| stage | slow | ours | per | at a time | ratio | range, rounds | results |",
            "|---|---:|---:|---|---:|---:|---|---|",
        ]
    for raw in record["ratios"]:
        row = Ratio(**raw)
        lines.append(
            f"| {row.stage} | {_seconds(row.slow)} | {_seconds(row.fast)} | {row.unit} | "
            f"{row.units or record['requests']} | {row.ratio:.1f} | "
            f"{row.low:.1f}-{row.high:.1f}, {row.rounds} | {row.note} |"
        )
    if record.get("growth") or record.get("sizes"):
        lines += [
            "",
            "How the time of an edit with ROME in fast mode grows, and that of a probe with its candidates.",
            "",
        ]
        lines += ["| growth with | n | seconds | per | peak memory |", "|---|---:|---:|---|---:|"]
        for row in [*record.get("growth", []), *record.get("sizes", [])]:
            peak = f"{row['peak_bytes'] / 2**20:.0f} MiB" if row.get("peak_bytes") else ""
            lines.append(f"| {row['what']} | {row['n']} | {_seconds(row['seconds'])} | {row['per']} | {peak} |")
    if record.get("utilisation"):
        lines += ["", "The share of the measured peak of matrix products that the search for v* reaches.", ""]
        lines += ["| search | reached, GFLOP/s | peak, GFLOP/s | share |", "|---|---:|---:|---:|"]
        lines += [
            f"| {row['what']} | {row['flops'] / 1e9:.0f} | {row['peak'] / 1e9:.0f} | {row['share']:.0%} |"
            for row in record["utilisation"]
        ]
    if record.get("quality"):
        lines += [
            "",
            "Scores of ROME edits of the same known facts in exact float32 and in a faster variant, and the paired "
            "difference. ES, PS and NS are CounterFact's scores; the others are this project's, by kind of probe and "
            "language.",
            "",
            "| variant | score | facts | exact float32 | variant | difference | 95% interval |",
            "|---|---|---:|---:|---:|---:|---|",
        ]
        for raw in record["quality"]:
            q = Quality(**raw)
            lines.append(
                f"| {q.variant} | {q.score} | {q.facts} | {q.exact:.3f} | {q.value:.3f} | {q.difference:+.3f} | "
                f"{q.low:+.3f} to {q.high:+.3f} |"
            )
    if record.get("peers"):
        shown = [
            k
            for k in ("ES", "PS", "NS", "efficacy en", "paraphrase en", "neighbour en", "same_subject en")
            if k in record["peers"][0]["scores"]
        ]
        lines += [
            "",
            "EasyEdit and this project edit the same known facts, with the same contexts and covariances. All lines "
            'have the published settings, except "defaults, fast mode". The ratio is the CPU-seconds per edit of '
            'EasyEdit over those of the line. The column "updates" compares the weight changes with those of '
            "EasyEdit: the median and the smallest cosine. ES, PS and NS are the scores of CounterFact. Each fact is "
            "edited alone, in the unedited model; EasyEdit edits one after another, this project all `facts` in shared "
            "passes, so that an edit costs less among more facts.",
            "",
            f"| method | editor | CPU-s per edit | ratio | {' | '.join(shown)} | facts | updates |",
            "|---|---|---:|---:|" + "---:|" * (len(shown) + 1) + "---|",
        ]
        for raw in record["peers"]:
            row = Peer(**raw)
            scores = " | ".join(f"{row.scores[k]:.2f}" for k in shown)
            lines.append(
                f"| {row.method} | {row.editor} | {row.seconds:.2f} | {row.ratio:.1f} | {scores} | "
                f"{row.facts} | {row.cosine} |"
            )
    return "\n".join(lines)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.01 else f"{value * 1000:.2g} ms"
