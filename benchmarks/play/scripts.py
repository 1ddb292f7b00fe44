"""A visitor's edits as a Python script and as commands; either makes the same change bit for bit."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from benchmarks.models import parse
from benchmarks.play.choice import Choice
from editing.text import EditRequest

NOTHING = "# no edit yet"
END = "END_OF_FACT"  # ends the fact in the shell; a record is one line of JSON, so it cannot be that line


def as_python(reference: str, device: str | None, edits: Sequence[tuple[Choice, EditRequest]], n_layers: int) -> str:
    """A script whose `change` is the sum of the edits.

    Args:
        edits: each edit's choice, its dose a number where the method has doses, and the request that was made of it.
        n_layers: number of blocks of the model.
    """
    if not edits:
        return NOTHING
    grown = parse(reference).kind == "grown"
    lines = ["import editing"]
    lines += ["from benchmarks.models import load_model"] if grown else []
    lines += ["from editing.delta import compose"] if len(edits) > 1 else []
    # The usual device of `load_model` is the CPU; None is a GPU where there is one, as for `editing.load`.
    place = f", device={device!r}" if device or grown else ""
    lines += ["", f"lm = {'load_model' if grown else 'editing.load'}({reference!r}{place})"]
    names = []
    for number, (choice, request) in enumerate(edits, 1):
        names.append(f"edit_{number}")
        lines += ["", f"# {_comment(choice.title())}", *_request(request)]
        given: dict[str, Any] = choice.settings(n_layers) | {"corpus": choice.corpus, "seed": choice.seed}
        words = [f"{name}={value!r}" for name, value in given.items()]
        words.append(f"dose={choice.dose!r}")
        lines.append(f"{names[-1]} = editing.edit(lm, request, {choice.method!r}, {', '.join(words)})")
    whole = names[0] if len(names) == 1 else f"compose([{', '.join(names)}])"
    lines += ["", f"change = {whole}", 'change.save("my-edit")', ""]
    return "\n".join(lines)


def _request(request: EditRequest) -> list[str]:
    return [
        "request = editing.Request(",
        "    [",
        *(f"        {prompt!r}," for prompt in request.prompts),
        "    ],",
        f"    {request.subject!r},",
        f"    {list(dict.fromkeys(request.targets)) if len(set(request.targets)) == 1 else list(request.targets)!r},",
        f"    lookup={request.lookup!r},",
        f"    lang={request.lang!r},",
        f"    id={request.id!r},  # seeds the draws of this edit",
        *([f"    contrast={list(request.contrast)!r},"] if request.contrast else []),
        *([f"    keep={list(request.keep)!r},"] if request.keep else []),
        *([f"    documents={list(request.documents)!r},"] if request.documents else []),
        ")",
    ]


def as_commands(program: str, reference: str, device: str | None, choices: Sequence[Choice], n_layers: int) -> str:
    """Shell commands whose last folder, `edit-N`, holds the sum of the edits.

    Args:
        program: "valley" or "python cli.py". Others as in `as_python`.
    """
    if not choices:
        return NOTHING
    lines = []
    for number, choice in enumerate(choices, 1):
        words = [*program.split(), "edit", "--model", reference]
        if choice.kind == "fact":
            file = f"fact-{number}.json"
            lines += [f"cat > {file} <<'{END}'", choice.record, END]
            words += ["--fact", file]
        else:
            words += [f"--{choice.kind}", "=".join(choice.given())]
        words += ["--method", choice.method, "--dose", repr(choice.dose) if choice.dose != "auto" else "auto"]
        for name, value in choice.settings(n_layers).items():
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        words += ["--corpus", choice.corpus, "--seed", str(choice.seed)]
        words += ["--device", device] if device else []
        words += ["--add", f"edit-{number - 1}"] if number > 1 else []
        lines.append(shlex.join([*words, "--save", f"edit-{number}"]))
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    """Text that stays within one comment line."""
    return "".join(character if character.isprintable() else " " for character in text)
