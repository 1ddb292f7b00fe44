"""`ladder fetch`: what the models of a ladder cost before anything is loaded, and their download.

Hours are a rule, right within a factor of three at best: EDITS edits by each of METHODS methods, their search and their
questions at 4 and 2 operations per parameter and token, on one H100 at RATE operations a second. Disk is what the hub
cache holds, or two bytes per parameter where nothing is there yet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ladders.ladder import Rung, choose_rungs
from benchmarks.models import absent, parse, resolve
from editing.errors import UserError

EDITS, METHODS = 100, 4
STEPS, CONTEXTS, CONTEXT_TOKENS = 25, 21, 12  # of one search for a value
QUESTIONS, QUESTION_TOKENS, DOSES = 40, 60, 6
STATISTICS_TOKENS = 20_000
RATE = 1e14  # operations a second: a tenth of an H100's peak in bfloat16, whose small batches wait for memory
BYTES = 2  # a parameter on disk, in bfloat16


@dataclass(frozen=True)
class Need:
    """What one rung takes.

    Attributes:
        gigabytes, hours: None where the number of parameters is not known.
        state: here, to fetch, gated, trained here, or why it cannot be used.
        checked: whether id and size were read at a cited address.
    """

    rung: str
    model: str
    parameters: int
    gigabytes: float | None
    hours: float | None
    state: str
    checked: bool


def hours_of(parameters: int) -> float:
    """Hours on one H100 of EDITS edits by METHODS methods, evaluated at DOSES doses, with the statistics."""
    search = 4 * STEPS * CONTEXTS * CONTEXT_TOKENS
    questions = 2 * QUESTIONS * QUESTION_TOKENS * DOSES
    return parameters * (EDITS * METHODS * (search + questions) + 2 * STATISTICS_TOKENS) / RATE / 3600


def needs(name: str, rungs: tuple[str, ...] = ()) -> list[Need]:
    """What the rungs of a ladder take; nothing is downloaded or loaded.

    Raises:
        UserError: no such ladder or rung.
    """
    return [_need(rung) for rung in choose_rungs(name, rungs, absent=True)[0]]


def _need(rung: Rung) -> Need:
    kind = parse(rung.model).kind
    size = rung.parameters or None
    missing = absent(rung.model) if kind != "grown" else None
    state = "trained here" if kind == "grown" else "here"
    if missing:
        state = ("gated, to fetch" if rung.gated else "to fetch") if kind == "hub" else missing
    return Need(
        rung.name,
        rung.model,
        rung.parameters,
        size * BYTES / 1e9 if size else None,
        hours_of(size) if size else None,
        state,
        rung.checked.startswith("https://"),
    )


def format_needs(name: str, listed: list[Need]) -> str:
    """The table, its sum, and what is not known."""
    lines = [f"{'rung':<20}{'parameters':>15}{'disk GB':>9}{'H100 h':>8}  {'checked':<8} state"]
    for need in listed:
        disk = "?" if need.gigabytes is None else f"{need.gigabytes:.1f}"
        hours = "?" if need.hours is None else f"{need.hours:.2f}"
        count = f"{need.parameters:,}" if need.parameters else "?"
        checked = "yes" if need.checked else "no"
        lines.append(f"{need.rung:<20}{count:>15}{disk:>9}{hours:>8}  {checked:<8} {need.state}")
    disk = sum(need.gigabytes or 0 for need in listed if "to fetch" in need.state)
    hours = sum(need.hours or 0 for need in listed)
    unknown = sum(need.hours is None for need in listed)
    lines.append(
        f"{name}: {disk:.1f} GB to fetch, {hours:.1f} hours on one H100 for {EDITS} edits by {METHODS} methods (a rule)"
        + (f"; {unknown} rungs of unknown size" if unknown else "")
    )
    return "\n".join(lines)


def fetch(name: str, rungs: tuple[str, ...] = (), say: Callable[[str], object] = print) -> int:
    """Download what is missing, rung after rung; a rung that fails is said and counted, the others go on.

    Returns:
        How many failed.
    """
    failed = 0
    for rung in choose_rungs(name, rungs, absent=True)[0]:
        if parse(rung.model).kind == "grown":
            say(f"{rung.name}: trained here, nothing to fetch")
            continue
        try:
            resolved = resolve(rung.model)
        except UserError as error:
            failed += 1
            say(f"{rung.name}: {error}")
            continue
        say(f"{rung.name}: {resolved.source}, {_size(resolved.folder):.2f} GB")
        reference, sign, dtype = rung.model.partition("#")
        if not re.search(r"@[0-9a-f]{40}$", reference) and "@" in resolved.source:
            commit = resolved.source.rpartition("@")[2]
            say(f'  pin it for a study: model = "{reference.partition("@")[0]}@{commit}{sign}{dtype}"')
    return failed


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
