"""The commands below `python cli.py datasets`. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

import click

from benchmarks.commands.options import as_json, print_json


@click.group(invoke_without_command=True)
@click.pass_context
def datasets(ctx: click.Context) -> None:
    """Data sets: list them and what they can edit (without a command), or check a file of facts.

    \b
    Example:
      python cli.py datasets check my_facts.csv
    """
    if ctx.invoked_subcommand is None:
        from benchmarks.commands.listing import list_datasets

        click.echo(list_datasets())


@datasets.command("check")
@click.argument("file")
@click.option("--form", default="", help="Which form of `datasets` the file has.  [default: found out]")
@as_json
def datasets_check(file: str, form: str, as_json: bool) -> None:
    """What FILE holds: records, cases, languages, kinds of probes, and the first records that cannot be used.

    Options of a form stand behind a `#`, as in `--datasets`.

    \b
    Examples:
      python cli.py datasets check counterfact.json
      python cli.py datasets check join.jsonl#fr --form en_fr
    """
    from benchmarks.datasets.check import check_file, format_check

    about = check_file(file, form)
    print_json(about) if as_json else click.echo(format_check(about))
