"""Options and helpers that the commands share."""

from __future__ import annotations

import json

import click

from editing.errors import BadRequest

FAILED = 1


class Names(click.ParamType):
    """A comma-separated list of names."""

    name = "a,b,c"

    def convert(self, value, param, ctx) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def setting(text: str) -> tuple[str, object]:
    """`key=value`; the value is JSON where it reads as JSON (0.5, true, null), else text."""
    key, equals, value = text.partition("=")
    if not (key.strip() and equals):
        raise BadRequest(f"--set {text!r} is not of the form KEY=VALUE; write for example --set site=value")
    try:
        return key.strip(), json.loads(value)
    except ValueError:
        return key.strip(), value


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


rungs = click.option("--rungs", type=Names(), default="", help="Only these rungs.")


device = click.option("--device", default=None, help="cpu, cuda, cuda:1...  [default: the best there is]")
