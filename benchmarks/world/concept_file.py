"""A file of one's own concepts: read and checked. docs/guides/own-concepts.md is for its readers.

languages = ["en", "de"]            # the first one is that of the edits
[relations.sound]                    # beside those of the suite: category, color, material, place, person, activity
en = ["When you play [{the}{}|it], you hear a"]
[[concept]]
type = "instrument"
en = "violoncello"
de = "Cello"
sound = "hum"
define_en = ["the ...", "the ...", "the ..."]
cloze_en = "She sat down, held the bow and played the"
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from editing.errors import BadData
from editing.files import read_toml


def read_concept_file(path: str | Path) -> dict[str, Any]:
    """The file as plain tables: every key of `ConceptFile`, with its default where it is left out.

    Raises:
        BadData: not readable, not TOML, an unknown or missing key, a value of another type; names file, concept, key.
    """
    path = Path(path)
    table = read_toml(path, "file of concepts")
    from benchmarks.world.concept_schema import check_concept_file  # needs pydantic

    file = check_concept_file(table, path)
    return file.model_dump(exclude_unset=False, exclude_none=True) | {
        "concept": [entry.model_dump(exclude_unset=True, exclude_none=True) for entry in file.concept]
    }


def content_hash(path: str | Path) -> str:
    """sha256 of the file as it stands.

    Raises:
        BadData: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror}); check the path of the file of concepts") from error
