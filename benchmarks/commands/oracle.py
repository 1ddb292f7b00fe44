"""The command `oracle`: the edits of a run beside models that were trained on the edited world."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FOLDER, command, option, print_table, write_csv


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--scope",
    type=click.Choice(("both", "one", "each")),
    default="each",
    show_default=True,
    help="Retrained models: both languages report the edits, English alone (one), or each of the two.",
)
@option("--device", default="cpu", show_default=True, help="Device: cpu, cuda, cuda:1, auto.")
@option("--csv")
@option("--json")
def oracle(run: Path, scope: str, device: str, csv: Path | None, as_json: bool) -> None:
    """Compare the edits of RUN with retrained models: 1 is as good as retraining, 0 as no edit, below 0 is harm.

    RUN is a sweep of grown rungs over the data set planned_edits:N. The models retrained on those edits are trained
    where they are missing (seconds to minutes each) and kept. RUN/oracle.parquet holds one row per edit, setting and
    scope; run the command again after an interruption.

    \b
    Examples:
      valley bench --model grown:gpt2-1x64 --datasets planned_edits:1 --methods rome,ft_m --out results/planned
      valley oracle results/planned --scope both
    """
    from benchmarks.oracle import SCOPES, compare_run, format_oracle, summary

    scopes = SCOPES if scope == "each" else (scope,)
    table, left_out = compare_run(run, scopes, device=device, report=lambda line: click.echo(line, err=True))
    lines = summary(table)
    if as_json:
        print_table(lines)
    else:
        click.echo(format_oracle(lines))
    for line in left_out:
        click.echo(f"left out: {line}", err=True)
    write_csv(table, csv, as_json)


COMMANDS = (oracle,)
