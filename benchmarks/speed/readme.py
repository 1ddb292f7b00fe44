"""The speed page: what was measured, as Markdown."""

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
        f"{record['seconds are']}-seconds; torch {record['versions']['torch']}. "
        "Slow is the literal way (tests/editing/reference.py), in turns with ours in one process.",
    ]
    if record["ratios"]:
        lines += [
            "",
            "| stage | slow | ours | per | at a time | ratio | (range, rounds) | results |",
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
        lines += ["", "| growth with | n | seconds | per | peak memory |", "|---|---:|---:|---|---:|"]
        for row in [*record.get("growth", []), *record.get("sizes", [])]:
            peak = f"{row['peak_bytes'] / 2**20:.0f} MiB" if row.get("peak_bytes") else ""
            lines.append(f"| {row['what']} | {row['n']} | {_seconds(row['seconds'])} | {row['per']} | {peak} |")
    if record.get("utilisation"):
        lines += ["", "| share of the matmul peak | reached, GFLOP/s | peak, GFLOP/s | share |", "|---|---:|---:|---:|"]
        lines += [
            f"| {row['what']} | {row['flops'] / 1e9:.0f} | {row['peak'] / 1e9:.0f} | {row['share']:.0%} |"
            for row in record["utilisation"]
        ]
    if record.get("quality"):
        lines += [
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
