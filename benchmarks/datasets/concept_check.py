"""What a file of one's own concepts holds, and how many edits can be made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.datasets.ours.concept_suite import KINDS, cases
from benchmarks.world import own_knowledge
from editing.errors import BadData


def count_concepts(file: Path) -> dict[str, Any]:
    """Languages, concepts with their types, described ones, facts, cases per kind; `refused` says why there are none.

    Raises:
        BadData: the file is malformed.
    """
    known = own_knowledge(file)
    home = known.langs[0]
    edits: dict[str, int] = {}
    refused: dict[str, str] = {}
    for kind in KINDS:
        try:
            edits[kind] = len(cases(kind, 0, str(file)))
        except BadData as error:
            edits[kind] = 0
            refused[kind] = str(error).removeprefix(f"{file}: ")
    return {
        "file": str(file),
        "languages": list(known.langs),
        "concepts": {known.name(key, home): known.entity(key).group for key in known.own},
        "described": [known.name(key, home) for key in known.own if known.elicit(key, home)],
        "facts": sum(len(known.about(key)) for key in known.own),
        "beside": len(known.concepts()) - len(known.own),
        "edits": edits,
        "refused": refused,
    }


def format_concepts(about: dict[str, Any]) -> str:
    """`count_concepts` as text."""
    names, types = ", ".join(about["concepts"]), ", ".join(dict.fromkeys(about["concepts"].values()))
    lines = [
        f"{about['file']}: {len(about['concepts'])} concepts ({names}) of the types {types}",
        f"languages {', '.join(about['languages'])}; edits are made in {about['languages'][0]}",
        f"{len(about['described'])} have definitions, {about['facts']} facts; "
        f"{about['beside']} concepts of the suite beside them",
    ]
    return "\n".join(
        [*lines, *(f"{kind}: {about['refused'].get(kind, count)}" for kind, count in about["edits"].items())]
    )
