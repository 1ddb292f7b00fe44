"""Commands that test the instrument (`oracle`: edits beside retrained models; `planted`: scores beside a planted dial),
and `transfer`: what crosses languages, alike-spelt names apart."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FOLDER, command, emit, option, printed


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--scope",
    type=click.Choice(("both", "one", "each")),
    default="each",
    show_default=True,
    help="Retrained models: both languages report the edits, English alone (one), or each of the two.",
)
@click.option("--composites", is_flag=True, help="Which composite ranks the edits as the oracle does (both languages).")
@option("--device", default="cpu", show_default=True, help="Device: cpu, cuda, cuda:1, auto.")
@printed
def oracle(run: Path, scope: str, composites: bool, device: str, as_json: bool, csv: Path | None) -> None:
    """Compare the edits of RUN with retrained models: 1 is as good as retraining, 0 as no edit, below 0 is harm.

    RUN is a sweep of grown rungs over the data set planned_edits:N. The models retrained on those edits are trained
    where they are missing (seconds to minutes each) and kept. RUN/oracle.parquet holds one row per edit, setting and
    scope; run the command again after an interruption.

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
    "--crispness", type=FOLDER, default=None, help="The crispness.csv of the same ladder.  [default: RUN/crispness.csv]"
)
@option("--stratum")
@option("--min-known", default=5, show_default=True)
@printed
def planted(run: Path, crispness: Path | None, stratum: str, min_known: int, as_json: bool, csv: Path | None) -> None:
    """Print how each score of RUN answers to the dial that its ladder planted: trend over the dial, and resolution.

    RUN is a sweep of grown rungs whose names differ in one planted option (switchP, homonymQ or peopleN) and in seeds.

    \b
    Example:
      valley bench proof-planted --ladder planted-rise --out results/rise
      valley planted results/rise
    """
    import pandas as pd

    from benchmarks.grown import planted_dial
    from valley.proof import crispness_dose_table, dose_table, format_trends, planted_scores
    from valley.rows import crispness_of, read_run
    from valley.scores import with_options

    rows = read_run(run)
    models = rows[["rung", "model"]].drop_duplicates().set_index("rung")["model"]
    dial, values = planted_dial(models.to_dict())
    plan = with_options(which=stratum, min_known=min_known, bootstrap=200)
    lines = dose_table(planted_scores(rows, dial, values, plan), dial)
    measured = crispness_of(run, crispness)
    if measured is not None:
        lines = pd.concat([lines, crispness_dose_table(measured, dial, values)], ignore_index=True)
    emit(lines, lambda: format_trends(lines), as_json, csv)


@command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
@click.option("--all", "every", is_flag=True, help="Also edits whose fact the unedited model did not know.")
@printed
def transfer(runs: tuple[Path, ...], every: bool, as_json: bool, csv: Path | None) -> None:
    """Print what crosses from the language of the edits of RUNS to each other one, names spelt alike and not apart.

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


COMMANDS = (oracle, planted, transfer)
