"""`python cli.py scores`: the tables of `valley.scores.published`. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--metrics",
    type=click.Choice(("ours", "counterfact", "easyedit")),
    default="ours",
    show_default=True,
    help="Whose scores: probe kinds; ES, PS, NS, S...; token accuracies.",
)
@click.option(
    "--stratum",
    type=click.Choice(("known", "known_everywhere", "all")),
    default="known",
    show_default=True,
    help="Which cases: those the unedited model knew, at their rung or at every rung.",
)
@click.option(
    "--csv", type=click.Path(path_type=Path), default=None, help="Also write the table, unrounded, to this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def scores(run: Path, metrics: str, stratum: str, csv: Path | None, as_json: bool) -> None:
    """The scores of every setting of RUN, by the field's definitions, with 95% intervals.

    \b
    Examples:
      python cli.py scores results/demo --metrics counterfact
      python cli.py scores results/demo --metrics easyedit --stratum all --csv results/demo/easyedit.csv
    """
    from valley.rows.files import write_whole
    from valley.rows.schema import read_run
    from valley.scores.published import TABLES
    from valley.text.published import format_scores

    rows = read_run(run)
    table = TABLES[metrics](rows, stratum)
    if csv is not None:
        text = table.to_csv(index=False, lineterminator="\n")
        write_whole(csv, lambda file: file.write(text.encode()), "table")
    if as_json:
        click.echo(table.to_json(orient="records", force_ascii=False, indent=2))
        return
    click.echo(format_scores(table, stratum))
    failed = int((rows["error"] != "").sum())
    if failed:
        click.echo(f"{failed} failed cells are not in these numbers; the report lists them.")
