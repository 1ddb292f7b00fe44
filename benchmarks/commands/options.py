"""What all commands share: one table of options, the command class with -v and -q, and small helpers. No heavy
imports."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from editing.errors import BadRequest
from editing.seeds import check_seed

if TYPE_CHECKING:
    import pandas as pd

FAILED = 1  # exit code: done, but some cells or rungs failed
DTYPE, VERBOSE = "dtype", "verbose"  # keys of the context's `meta`
WRITTEN = {"csv": (".csv", ".tsv", ".txt"), "page": (".html", ".htm")}  # parameter -> what it writes over
READ_OF_RUNS = ("readings.csv", "crispness.csv")  # written by `read` and `ladder crispness`, read again with a run
STRATA = ("known", "known_everywhere", "all")


class Names(click.ParamType):
    """A comma-separated list of names."""

    name = "a,b,c"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


class Doses(click.ParamType):
    """A comma-separated list of numbers from 0 on."""

    name = "a,b,c"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError:
            raise BadRequest(f"--doses {value}: write numbers with commas, such as 0.5,1,2") from None


class Seed(click.ParamType):
    """A whole number that every generator takes."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return check_seed(click.INT.convert(value, param, ctx))


FOLDER = click.Path(path_type=Path)

# The options that several commands take, each described once. `option` makes one of them, with changes for a command.
TABLE: dict[str, dict[str, Any]] = {
    "--model": {"metavar": "REF", "help": "Model: a hub id, ./FOLDER, gguf:PATH, package:NAME or grown:NAME."},
    "--ladder": {
        "metavar": "NAME",
        "help": "Ladder of models, weakest first: a name from `list ladders`, or a .toml file.",
    },
    "--rungs": {"type": Names(), "default": "", "help": "Only these rungs of the ladder."},
    "--methods": {"type": Names(), "help": "Editing methods; see `list methods`."},
    "--datasets": {"type": Names(), "default": "", "help": "Data sets, or files of cases; see `list datasets`."},
    "--concepts": {
        "default": "",
        "metavar": "FILE",
        "help": "File with your own concepts (TOML), as `concepts draft` writes it.",
    },
    "--chat": {
        "default": "off",
        "show_default": True,
        "metavar": "auto|off|FILE",
        "help": "Form of edits and probes: auto (the model's chat template), off (plain text), or a template file.",
    },
    "--limit": {"type": click.IntRange(min=1), "help": "At most this many cases per kind of edit and data set."},
    "--out": {"type": FOLDER, "help": "Output folder."},
    "--seed": {"type": Seed(), "default": 0, "show_default": True, "help": "Random seed."},
    "--device": {"default": None, "help": "Device: cpu, cuda, cuda:1, auto.  [default: a GPU where there is one]"},
    "--set": {
        "multiple": True,
        "metavar": "KEY=VALUE",
        "callback": lambda ctx, param, texts: dict(map(setting, texts)),
        "help": "Setting of every method that has it; repeatable.",
    },
    "--dose": {
        "default": "auto",
        "show_default": True,
        "metavar": "auto|NUMBER",
        "help": "Multiple of the change to apply. auto: the smallest with which the edit's own prompts give the "
        "target; 1: the change as the method makes it.",
    },
    "--fast": {"is_flag": True, "help": "Fewer contexts per optimiser step: much faster, nearly the same edits."},
    "--corpus": {
        "default": "",
        "metavar": "TEXT",
        "help": "Text for the key covariance: samples:N (tokens) or error:E (relative error), drawn from the model "
        "itself; text:PATH; hub:OWNER/NAME; identity (no text).  [default: samples:20000]",
    },
    "--crispness": {
        "type": FOLDER,
        "default": None,
        "help": "crispness.csv of the same ladder, from `ladder crispness`.  "
        "[default: RUN/crispness.csv or .csv.gz where there is one]",
    },
    "--readings": {
        "type": FOLDER,
        "default": None,
        "help": "readings.csv of the same ladder, from `valley read`.  "
        "[default: RUN/readings.csv or .csv.gz where there is one]",
    },
    "--at": {
        "default": "",
        "metavar": "FILE",
        "help": "File from `valley where` that sets method, dose and settings; --dose and --set override it.",
    },
    "--json": {"is_flag": True, "help": "Print JSON with unrounded numbers instead of text."},
    "--csv": {
        "type": click.Path(path_type=Path, dir_okay=False),
        "default": None,
        "metavar": "PATH",
        "help": "Also write the printed table as CSV.",
    },
    "--stratum": {
        "type": click.Choice(STRATA),
        "default": "known",
        "show_default": True,
        "help": "Cases that count: known (the unedited model knew the fact), known_everywhere (at every rung), all.",
    },
    "--min-known": {
        "type": click.IntRange(min=1),
        "default": 50,
        "show_default": True,
        "help": "Known cases that a rung needs to be measurable (at most 20 for kinds of edit other than fact).",
    },
    "--metric": {
        "default": None,
        "metavar": "NAME",
        "help": "Score that chooses settings and makes the curve; see `list metrics`.  [default: the stored plan's, "
        "else harmonic_net_all]",
    },
}
NAMES = {"--json": "as_json", "--set": "settings"}


def option(name: str, *aliases: str, **changes: Any) -> Callable:
    """The option `name` of the table, with `changes` for one command; `aliases` are older spellings that still work."""
    python_name = changes.pop("into", NAMES.get(name, name.removeprefix("--").replace("-", "_")))
    if name != "--model":
        return click.option(name, *aliases, python_name, **(TABLE[name] | changes))
    of_model = click.option(name, *aliases, python_name, callback=_in_dtype, **(TABLE[name] | changes))
    return lambda function: of_model(_dtype_option()(function))


def _dtype_option() -> Callable:
    """--dtype, which goes into the reference that --model gives; read before it."""

    def keep(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        ctx.meta[DTYPE] = value or ""

    return click.option(
        "--dtype",
        type=click.Choice(("float32", "bfloat16", "float16")),
        default=None,
        expose_value=False,
        is_eager=True,
        callback=keep,
        help="Number format of the weights; the same as REF#bfloat16 where a model is named.  [default: float32]",
    )


def _in_dtype(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The model reference with the format of --dtype."""
    dtype = ctx.meta.get(DTYPE, "")
    if not dtype:
        return value
    from editing.references import with_dtype

    if not value:
        raise BadRequest(f"--dtype {dtype} needs --model; in a ladder write it behind a reference: REF#{dtype}")
    return with_dtype(value, dtype)


def printed(function: Callable) -> Callable:
    """The options --json and --csv, of every command that prints a table or values; `emit` obeys them."""
    return option("--csv")(option("--json")(function))


class Command(click.Command):
    """A command that takes -v and -q wherever they stand."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += verbosity()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click, but an empty argument, which an unset variable of a shell leaves, is a mistake: as a path it would
        be the current folder, elsewhere as if it had not been given."""
        for before, word in zip(["", *args], args, strict=False):
            if not word or re.fullmatch(r"--[\w-]+=", word):
                name = word.rstrip("=") or (before if before.startswith("-") else "an argument")
                raise BadRequest(f"{name} is empty; write its value, or leave it out")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click, but a table or page is not written over what the command reads, or over another kind of file."""
        for name, suffixes in WRITTEN.items():
            if not (path := Path(ctx.params.get(name) or "")).name:
                continue
            if path.name in READ_OF_RUNS or (path.is_file() and path.suffix.lower() not in suffixes):
                raise BadRequest(f"{path}: is not a {suffixes[0]} file that this command writes; name another file")
            if path.resolve() in _files(value for key, value in ctx.params.items() if key != name):
                raise BadRequest(f"{path}: is read by this command; name another file to write")
        return super().invoke(ctx)


def _files(values: Iterable[Any]) -> set[Path]:
    """The files among the values of options and arguments, those behind a form (`form:PATH#option`) too."""
    texts = [str(text) for value in values for text in (value if isinstance(value, tuple) else (value,)) if text]
    paths = [part.partition("#")[0] for text in texts for part in (text, text.partition(":")[2])]
    return {Path(path).resolve() for path in paths if os.path.isfile(path)}  # pathlib's raises for a very long text


class Group(click.Group):
    """A group whose commands take -v and -q."""

    command_class = Command


command = partial(click.command, cls=Command)


def verbosity() -> list[click.Option]:
    """The options -v and -q, fresh for each command."""
    return [
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_verbose,
            help="Show the traceback of errors.",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, expose_value=False, callback=_quiet, help="Show no progress."),
    ]


def _verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[VERBOSE] = True


def _quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from editing.progress import QUIET

        token = QUIET.set(True)
        ctx.call_on_close(lambda: QUIET.reset(token))


def print_json(value: object) -> None:
    """Print a value as JSON, which has no NaN and no infinity: they become null."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def emit(value: Any, text: Callable[[], str], as_json: bool, csv: Path | None, table: Any = None) -> None:
    """Print what a command gives, and write it as CSV where a path is given.

    Args:
        value: a pandas table, or what JSON can hold; dataclasses are read as mappings.
        text: makes what a terminal shows. table: what --csv writes, as `_frame` reads it; None is `value`.
    """
    if not as_json:
        click.echo(text())
    elif hasattr(value, "to_json"):
        click.echo(value.to_json(orient="records", force_ascii=False, indent=2, double_precision=15))
    else:
        print_json(asdict(value) if is_dataclass(value) else value)  # type: ignore[arg-type]
    if csv is not None:
        write_csv(_frame(value if table is None else table), csv, as_json)


def _frame(value: Any) -> pd.DataFrame:
    """A table as it is; a list of mappings as its lines, one mapping as a table of one line. What a cell cannot hold is
    JSON in it."""
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return value
    lines = [
        asdict(cast(Any, one)) if is_dataclass(one) else one
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    cells = [
        {key: json.dumps(_plain(cell), ensure_ascii=False) if isinstance(cell, dict | list | tuple) else cell
         for key, cell in line.items()}
        for line in lines
    ]  # fmt: skip
    return pd.DataFrame(cells)


def write_csv(table: pd.DataFrame, path: Path, quiet: bool = False) -> None:
    """Write a table as CSV and say so (on stderr when `quiet`)."""
    from valley.rows import write_whole

    text = table.to_csv(index=False, lineterminator="\n")
    write_whole(path, text)
    click.echo(f"wrote {path}", err=quiet)


def setting(text: str) -> tuple[str, object]:
    """`key=value`; the value is JSON where it reads as JSON (0.5, true, null), else text. An object stays text: it is
    what a method that wraps another takes as `options`."""
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise BadRequest(f"--set {text!r} is not of the form KEY=VALUE; write for example --set site=value")
    try:
        read = json.loads(value)
    except ValueError:
        return key.strip(), value
    return key.strip(), value if isinstance(read, dict) else read


def whole_numbers(texts: tuple[str, ...], name: str) -> tuple[int, ...]:
    """Texts as numbers, for an option called `name`."""
    if not all(text.isdecimal() for text in texts):
        raise BadRequest(f"{name} {','.join(texts)}: write whole numbers with commas, such as 0,1,2")
    return tuple(map(int, texts))
