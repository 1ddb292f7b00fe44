"""`python -m benchmarks.commands.pages`: the pages of docs/ that are made from the code. A test compares them with it.

| page | made from |
|---|---|
| docs/reference/cli.md | the click commands |
| docs/reference/plans.md | the pydantic models of plans, ladders and the analysis plan |
| docs/reference/families.md | the site finder, run on the tiny random models of tests/editing/families.py |
| docs/reference/all-families.md | the site finder on every family of transformers, with `--slow` |
| docs/errors.md | the `raise` statements of editing, benchmarks and valley |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.commands.pages.families import all_families_page, families_page
from benchmarks.commands.pages.markdown import cell, note

ROOT = Path(__file__).resolve().parents[3]
WIDTH = 100  # characters a line of a help text


def cli_page() -> str:
    """Markdown: the help text of every command that is not hidden."""
    from benchmarks.commands import cli

    lines = [
        "# Commands",
        "",
        note("looking up a command or an option", "the click commands"),
        _fenced(_help_text(cli, "valley", None)),
    ]
    for names, command in _commands(cli, ("valley",)):
        lines += [f"## {' '.join(names)}", "", _fenced(_help_text(command, " ".join(names), cli))]
    return "\n".join(lines)


def _commands(group: click.Group, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below `group` with its words, sorted."""
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        yield (*names, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*names, name))


def _help_text(command: click.Command, name: str, top: click.Group | None) -> str:
    settings = top.context_settings if top else command.context_settings
    context = click.Context(
        command,
        info_name=name,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=settings["help_option_names"],
    )
    return command.get_help(context)


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def plans_page() -> str:
    """Markdown: one table of keys for each table of a plan, a ladder and an analysis plan."""
    from benchmarks.commands.pages.schemas import DOCUMENTS, json_schema

    lines = [
        "# Keys of plans, ladders and analysis plans",
        "",
        note("writing a file and looking up its keys", "their pydantic models"),
    ]
    lines += ["Plans and ladders are TOML files, analysis plans JSON. A key that is not listed is refused.", ""]
    for kind in DOCUMENTS:
        schema = json_schema(kind)
        lines += [f"## {kind.capitalize()}", "", *_key_table(schema)]
        for name, part in schema.get("$defs", {}).items():
            if "properties" in part:
                title = part.get("description", name).splitlines()[0]
                lines += [f"### {title.rstrip('.')}", "", *_key_table(part)]
    return "\n".join(lines)


def _key_table(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required", [])
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, about in schema["properties"].items():
        default = "required" if key in required else _default(about.get("default"))
        lines.append(f"| `{key}` | {_type(about)} | {default} | {cell(about.get('description', ''))} |")
    return [*lines, ""]


def _type(about: dict[str, Any]) -> str:
    """The JSON Schema type of a key in a few words."""
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(_type(part) for part in about["anyOf"]))
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "$ref" in about:
        return "table"
    if about.get("type") == "array":
        return f"list of {_type(about.get('items', {}))}"
    names = {"object": "table", "null": "none", "integer": "whole number", "boolean": "true or false", "string": "text"}
    kind = str(about.get("type", "any value"))
    return names.get(kind, kind)


def _default(value: Any) -> str:
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def errors_page() -> str:
    """Markdown: docs/errors.md."""
    from benchmarks.commands.pages.refusals import page

    return page(ROOT, note("a message that ended a command: its cause and its fix", "the `raise` statements"))


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/cli.md": cli_page,
    "docs/reference/plans.md": plans_page,
    "docs/reference/families.md": families_page,
    "docs/errors.md": errors_page,
}

# Made on request only: a minute or two of CPU, and other rows with another version of transformers.
SLOW_PAGES: dict[str, Callable[[], str]] = {"docs/reference/all-families.md": all_families_page}


@click.command()
@click.option("--slow", is_flag=True, help="Also write the pages that take minutes.")
def main(slow: bool) -> None:
    """Write every generated page of docs/."""
    for name, page in (PAGES | (SLOW_PAGES if slow else {})).items():
        (ROOT / name).write_text(page(), encoding="utf-8")
        click.echo(f"wrote {name}")
