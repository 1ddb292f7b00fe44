"""Commands about whole runs: what `bench` takes besides its flags, `slurm`, `status`, `rows`, `merge`. Heavy imports stay inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from click.core import ParameterSource

from benchmarks.commands.options import FAILED, print_json
from editing.errors import BadRequest

RESULTS = Path("results")
TEMPORARY = "temporary"


def plan_options(command: Callable) -> Callable:
    """The plan file of `bench`, and who runs it; they arrive as one dict, `running`."""
    options = (
        click.argument("plan", required=False, type=click.Path(path_type=Path)),
        click.option("--dry-run", is_flag=True, help="Print cells, seconds and memory of each rung; run nothing."),
        click.option("--workers", type=int, default=1, show_default=True, help="Processes at a time, or Ray tasks."),
        click.option("--executor", default="local", show_default=True, help="local or ray; both share the run folder."),
        click.option("--address", default="", metavar="HOST:PORT", help="A Ray cluster.  [default: this machine]"),
        click.option("--cpus", type=float, default=1, show_default=True, help="Cores that Ray keeps for a task."),
        click.option("--gpus", type=float, default=0, show_default=True, help="GPUs that Ray keeps for a task."),
        click.option("--shard", default="", metavar="I/N", help="Only this share of the cells, for job arrays."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def run_plan(ctx: click.Context, plan, out: Path | None, device: str | None, as_json: bool, running: dict) -> None:
    """Carry out, or only estimate, what `bench` was asked; `plan` is a `Plan`, or None to read the file in `running`."""
    from benchmarks.sweep.executors import Workers, execute
    from benchmarks.sweep.shards import parse_shard

    shard = parse_shard(running["shard"]) if running["shard"] else None
    keys = ("executor", "address", "cpus", "gpus")
    workers = Workers(count=running["workers"], shard=shard, **{key: running[key] for key in keys})
    plan = plan or _from_file(ctx, running["plan"])
    out = out or run_folder(running["plan"])
    if running["dry_run"]:
        from benchmarks.sweep.estimate import as_json as whole
        from benchmarks.sweep.estimate import estimate, format_estimate

        rungs, skipped = estimate(plan, device)
        told = (plan, out, rungs, skipped)
        return print_json(whole(*told)) if as_json else click.echo(format_estimate(*told))

    from dataclasses import asdict

    from benchmarks.sweep.runner import format_outcome

    outcome = execute(plan, out, workers, device, verbose=ctx.parent.params["verbose"] if ctx.parent else False)
    print_json(asdict(outcome) | {"folder": str(out)}) if as_json else click.echo(format_outcome(outcome))
    ctx.exit(FAILED if outcome.failed else 0)


def _from_file(ctx: click.Context, path: Path):
    """The plan in a file; flags beside it may repeat it, never contradict it."""
    from benchmarks.sweep.plan_file import load_plan

    plan = load_plan(path)
    same = {
        "ladder": plan.ladder,
        "methods": plan.methods,
        "kinds": plan.kinds,
        "limit": plan.limit,
        "probes": plan.probes,
        "sets": tuple(dict.fromkeys(edit.dataset for edit in plan.edits)),
        "corpus": plan.corpus,
        "seed": plan.seeds[0] if len(plan.seeds) == 1 else plan.seeds,
        "known": plan.known,
        "sites": None,
        "fast": None,
        "settings": None,
    }
    for option in ctx.command.params:
        name = option.name or ""
        given = name in same and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and ctx.params[name] != same[name]:
            raise BadRequest(
                f"{option.opts[0]} contradicts {path}, which says what to run; change the plan, or leave it out"
            )
    return plan


def run_folder(path: Path, dirty: bool | None = None) -> Path:
    """Where a plan without --out goes: results/NAME, or results/temporary/NAME for changed code, which is said.

    Args:
        dirty: whether the code differs from its commit; None asks git.

    Raises:
        BadData: a name that is no folder below results/.
    """
    from benchmarks.provenance import commit
    from benchmarks.sweep.plan_file import run_name

    name = run_name(path)
    if not (commit().endswith("+dirty") if dirty is None else dirty):
        return RESULTS / name
    out = RESULTS / TEMPORARY / name
    click.echo(f"the code differs from its commit: results go to {out}", err=True)
    return out


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
run = click.argument("run", type=click.Path(path_type=Path))


@click.command()
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--jobs", type=int, default=8, show_default=True, help="Jobs of the array; each runs one shard.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Folder of the run.  [default: as bench]")
@click.option("--hours", type=float, default=24, show_default=True, help="Time limit of a job.")
@click.option("--cpus", type=int, default=4, show_default=True, help="Cores of a job.")
@click.option("--memory", default="32G", show_default=True, help="Main memory of a job.")
@click.option("--gpus", type=int, default=0, show_default=True, help="GPUs of a job.")
@click.option("--write", type=click.Path(path_type=Path), default=None, help="A file for the script instead of stdout.")
def slurm(plan, jobs, out, hours, cpus, memory, gpus, write) -> None:
    """Print a SLURM job array that runs PLAN; all jobs share one run folder, and any of them may be sent again.

    \b
    Example:
      python cli.py slurm plan.toml --jobs 16 --gpus 1 | sbatch
    """
    from benchmarks.sweep.executors.slurm import array_script
    from benchmarks.sweep.plan_file import load_plan
    from editing.cache import atomic_file

    load_plan(plan)
    script = array_script(plan, out or run_folder(plan), jobs, hours=hours, cpus=cpus, memory=memory, gpus=gpus)
    if write is None:
        click.echo(script, nl=False)
        return
    with atomic_file(write) as temp:
        temp.write_text(script, encoding="utf-8")
    click.echo(f"wrote {write}")


@click.command()
@run
@as_json
def status(run: Path, as_json: bool) -> None:
    """How far RUN is: cells done, failed, running and left, the pace and when it will be ready.

    \b
    Example:
      python cli.py status results/demo
    """
    from dataclasses import asdict

    from benchmarks.sweep.status import format_status, status

    found = status(run)
    print_json(asdict(found)) if as_json else click.echo(format_status(found))


@click.command()
@run
@click.option("--sql", default=None, metavar="SELECT", help="A question in SQL (DuckDB's) to the table `rows`.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@as_json
def rows(run: Path, sql: str | None, as_csv: bool, as_json: bool) -> None:
    """The rows of RUN, one per probe of an edited case, or what a SELECT makes of them.

    \b
    Examples:
      python cli.py rows results/demo --csv > demo.csv
      python cli.py rows results/demo --sql "SELECT rung, probe, avg(value) FROM rows GROUP BY ALL ORDER BY ALL"
    """
    if as_csv and as_json:
        raise BadRequest("--csv and --json both say what to print; give one of them")

    from valley.rows.sql import ALL, OVERVIEW, ask_rows, format_rows

    usual = ALL if as_csv or as_json else OVERVIEW
    answer = ask_rows(run, usual if sql is None else sql)
    if as_csv:
        click.echo(answer.to_csv(index=False), nl=False)
    elif as_json:
        click.echo(answer.to_json(orient="records", force_ascii=False, indent=2))
    else:
        click.echo(format_rows(answer))


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the whole.")
def merge(runs: tuple[Path, ...], out: Path) -> None:
    """Bring the cells of several RUNS of one plan together in one run folder.

    \b
    Example:
      python cli.py merge results/node-1 results/node-2 --out results/study
    """
    from benchmarks.sweep.merge import merge

    done = merge(runs, out)
    click.echo(f"{done.folder}: {done.taken} cells, {done.failed} of them failed; {done.duplicates} were there twice")


COMMANDS = (slurm, status, rows, merge)
