"""Documents that people write (sweep plan, ladder, analysis plan): pydantic checks them, a wrong one is refused in one
line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import ValidationError

UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # pydantic's names of it, in models and dataclasses


def hint(word: object, known: Iterable[str]) -> str:
    """The known name nearest to `word`, or all of them."""
    known = tuple(known)
    near = difflib.get_close_matches(str(word), known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known):.300}"


def one_of(word: str, known: Iterable[str]) -> str:
    """`word` where it is known.

    Raises:
        ValueError: it is not; with a hint, as pydantic's validators raise it.
    """
    if word not in (known := tuple(known)):
        raise ValueError(f"no {word!r:.60}; {hint(word, known)}")
    return word


def first_problem(error: ValidationError, kind: type, document: object) -> str:
    """One line: the key of the first problem, what is wrong, what is expected, and how many more problems there are.

    Unknown keys come first, since a misspelt key is also the reason why another one is missing.

    Args:
        kind: the pydantic model or dataclass that `document` was checked against.
    """
    errors = error.errors(include_url=False)
    # A list with a wrong entry is also reported as too short: only the innermost problem counts.
    errors = [one for one in errors if not any(_is_inside(other["loc"], one["loc"]) for other in errors)]
    problems = sorted(errors, key=_is_no_unknown_key)
    problem = problems[0]
    loc, value = problem["loc"], problem["input"]
    fields = _fields_around(kind, loc)
    field = fields.get(str(loc[-1])) if loc else None
    if problem["type"] in UNKNOWN_KEY:
        text = f"unknown key; {hint(loc[-1], fields)}"
    elif problem["type"] == "value_error":
        text = str(problem.get("ctx", {}).get("error", problem["msg"]))
    elif problem["type"] == "missing":
        text = f"missing; expected: {field.description if field else loc[-1]}"
    else:
        text = problem["msg"].replace("Input should", "must").replace("should", "must")
        text = f"{text}, is {type(value).__name__} {value!r:.60}"
        text += f"; expected: {field.description}" if field else ""
    key = _key(loc, document)
    more = f" (and {len(problems) - 1} more to correct)" if len(problems) > 1 else ""
    return " ".join((f"{key}: {text}{more}" if key else f"{text}{more}").split())


def _is_no_unknown_key(problem: Mapping[str, Any]) -> bool:
    return problem["type"] not in UNKNOWN_KEY


def _is_inside(loc: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def _fields_around(kind: type | None, loc: tuple[int | str, ...]) -> Mapping[str, Any]:
    """Name -> field of the table that holds the key at `loc`."""
    for part in loc[:-1]:
        field = getattr(kind, "__pydantic_fields__", {}).get(part)
        if field is not None:
            inside = (field.annotation, *get_args(field.annotation))
            kind = next((one for one in inside if hasattr(one, "__pydantic_fields__")), None)
    return getattr(kind, "__pydantic_fields__", {})


def _key(loc: tuple[int | str, ...], document: object) -> str:
    """`edits 2: kind`, `split.dev`, `rung 1 (gpt2-1x64): name`: entries count from 1 and give their name where they
    have one."""
    text = ""
    for part in loc:
        joint = "" if not text else " " if isinstance(part, int) else ": " if text[-1] in "0123456789)" else "."
        text += f"{joint}{part + 1 if isinstance(part, int) else part}"
        try:
            document = document[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):  # a missing key, or keyword arguments instead of a document
            document = None
        if isinstance(part, int) and isinstance(document, Mapping) and document.get("name"):
            text += f" ({document['name']!s:.60})"
    return text
