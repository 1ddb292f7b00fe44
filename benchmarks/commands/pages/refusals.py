"""Every refusal of the program, read from its source: each `raise` of an error that a user can fix, with its message.

A message has the form "cause; fix". What the program fills in is shown as {name}.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("editing", "benchmarks", "valley")
MEANINGS = {
    "BadRequest": "an edit, an option or a setting that cannot be carried out as written",
    "BadModel": "a model that cannot be found, loaded or trusted",
    "BadData": "a file or folder that is malformed, missing or not writable",
    "UnknownConcept": "a word that neither the suite nor a file of concepts describes",
    "NoSite": "a model without the kind of linear map that is edited",
    "OutOfMemory": "the smallest piece of the work does not fit into memory",
    "BadPlugin": "a source file among methods, readings, data sets, hypotheses or scores that cannot be used",
    "RowsError": "a run folder whose rows cannot be read or judged",
    "UserError": "anything else that a user can correct",
}
INTRODUCTION = """
Wrong input ends a command with exit code 2 and one line, `error: CAUSE; FIX`, on standard error; `-v` adds the
traceback. In Python the classes below are raised; all are subclasses of `editing.UserError`. `{...}` stands for a value
that the program fills in. Search this page for a part of the message that has no names or numbers in it.

A message without a fix says what was expected. A wrong name or value of an option is reported by click, which refers to
`--help`. A traceback without `-v` is a bug of the program: please report it.
"""


@dataclass(frozen=True)
class Refusal:
    """One `raise`.

    Attributes:
        room: package or file below the top folder, such as "editing/model".
        error: name of the class.
        cause, fix: parts of the message; the fix may be empty.
    """

    room: str
    error: str
    cause: str
    fix: str


def refusals(root: Path) -> list[Refusal]:
    """All refusals below `root`, without duplicates, in the order of the files."""
    unique: dict[Refusal, None] = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            place = "/".join(path.relative_to(root).parts[:2])
            unique |= {refusal: None for refusal in _of_file(path, place)}
    return list(unique)


def _of_file(path: Path, room: str) -> Iterator[Refusal]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call) or not node.exc.args:
            continue
        error = ast.unparse(node.exc.func).rpartition(".")[2]
        if error not in MEANINGS:
            continue
        cause, fix = _parts(_template(node.exc.args[0]))
        if re.search(r"[^\W\d_]", re.sub(r"\{.*?\}", "", cause + fix)):  # more than placeholders
            yield Refusal(room, error, cause, fix)


def _template(message: ast.expr) -> str:
    """The text of a message, with {name} for what is filled in."""
    if isinstance(message, ast.Constant):
        return str(message.value)
    if isinstance(message, ast.JoinedStr):
        return "".join(_template(value) for value in message.values)
    if isinstance(message, ast.FormattedValue):
        return f"{{{_noun(message.value)}}}"
    if isinstance(message, ast.BinOp) and isinstance(message.op, ast.Add):
        return _template(message.left) + _template(message.right)
    return f"{{{_noun(message)}}}"


def _noun(value: ast.expr) -> str:
    """A short name of an expression: the last attribute or name in it that says what it is."""
    if isinstance(value, ast.Name):
        return value.id
    if isinstance(value, ast.Attribute):
        return value.attr.strip("_")
    if isinstance(value, ast.Subscript):
        return _noun(value.value)
    if isinstance(value, ast.Call):
        return _noun(value.args[0]) if value.args else _noun(value.func)
    names = [node.id for node in ast.walk(value) if isinstance(node, ast.Name)]
    return names[0] if names else "..."


def _parts(message: str) -> tuple[str, str]:
    """The text before the last semicolon, and the text behind it."""
    cause, semicolon, fix = " ".join(message.split()).rpartition(";")
    return (cause.strip(), fix.strip()) if semicolon else (fix.strip(), "")


def page(root: Path, note: str) -> str:
    """Markdown: refusals by room and class.

    Args:
        note: the line that says how the page was made.
    """
    rooms: dict[str, dict[str, list[Refusal]]] = defaultdict(lambda: defaultdict(list))
    for refusal in refusals(root):
        rooms[refusal.room][refusal.error].append(refusal)
    lines = ["# Errors", "", note.rstrip(), INTRODUCTION, "| class | means |", "|---|---|"]
    lines += [f"| `{error}` | {meaning} |" for error, meaning in MEANINGS.items()]
    for room, errors in rooms.items():
        lines += ["", f"## {room}"]
        for error, members in sorted(errors.items()):
            lines += ["", f"### {room}: {error}", "", "| cause | fix |", "|---|---|"]
            lines += [f"| {_code(member.cause)} | {_code(member.fix)} |" for member in members]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Text as code in a cell of a Markdown table."""
    if not text:
        return ""
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    escaped = text.replace("|", "\\|")
    return f"{fence}{space}{escaped}{space}{fence}"
