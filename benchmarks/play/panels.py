"""The panels of the page as HTML, without the page. Whatever a visitor typed, or a model wrote, is text in them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.play.answers import Answers, moved
from benchmarks.play.session import Edit
from benchmarks.readings import MAP_TITLES, HeatMap
from benchmarks.world import LANGS, language_name
from valley.rows import LABELS

FOLDER = Path(__file__).parent
ABOUT = ("efficacy", "paraphrase", "relation", "cross_lingual", "same_subject")  # about the edited thing itself


@cache
def _macros() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("panels.html").module


def notice(text: str, level: str = "info") -> str:
    """One line for the visitor; `level` is info or error."""
    return str(_macros().notice(text, level))


def small(text: str) -> str:
    """A line of explanation."""
    return str(_macros().small(text))


def bars(answers: Answers) -> str:
    """How likely the candidates are before and after, a table per language."""
    return str(_macros().bars(answers.bars))


def kinds(answers: Answers) -> str:
    """Every kind of question with what moved."""
    return str(_macros().kinds(answers.kinds, LABELS))


def questions(answers: Answers) -> str:
    """Every question, those first whose answer moved."""
    rows = sorted((row for row in answers.rows if row["probe"] != "drift"), key=lambda row: not moved(row))
    return str(_macros().probes(rows, LABELS, moved))


def siblings(answers: Answers) -> str:
    """The neighbours of what was edited: these should stay."""
    return str(_macros().probes(answers.of_kind("neighbour", "neighbour_plus"), LABELS, moved))


def languages(answers: Answers) -> str:
    """Questions about the edited thing, one column per language."""
    rows = answers.of_kind(*ABOUT)
    order = dict.fromkeys((*LANGS, *(row["lang"] for row in rows)))
    groups = [(language_name(lang), [row for row in rows if row["lang"] == lang]) for lang in order]
    return str(_macros().languages(groups, LABELS, moved))


def localiser(heat: HeatMap) -> str:
    """What was traced, in words: P(answer) with and without noise, the largest effect of each map and its control."""
    peaks = [(MAP_TITLES[name], *heat.peak(name), float(abs(heat.controls[name]).max())) for name in heat.effects]
    return str(_macros().localiser(heat, peaks))


def stack(edits: tuple[Edit, ...]) -> str:
    """The edits in the order in which they were made."""
    return str(_macros().stack([(edit.choice.title(), edit.place) for edit in edits]))
