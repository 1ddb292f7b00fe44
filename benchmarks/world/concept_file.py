"""A file of one's own concepts: its keys, checked by pydantic. docs/guides/own-concepts.md is for its readers.

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
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, StringConstraints, ValidationError, field_validator

from editing.errors import BadData
from valley.rows import first_problem

MOST_BYTES = 5_000_000
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
Text = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1)]
Code = Annotated[str, StringConstraints(strict=True, pattern=rf"^{LANGUAGE.pattern}$")]


class FrameTable(BaseModel, extra="forbid"):
    """One frame of [elicit]."""

    text: Text = Field(description="sentence with <def> (<Def> opens it) that ends right before the name")
    definition: int = Field(ge=0, le=9, description="which of the definitions it takes, from 0")


class RelationTable(BaseModel, extra="allow"):
    """A relation: by language, the ways to ask for it."""

    __pydantic_extra__: dict[str, list[Text]]
    object: Text | None = Field(default=None, description="kind of its answers; the relation's name where left out")


class ConceptTable(BaseModel, extra="allow"):
    """A [[concept]]; beside these keys: its name by language, define_LANG, cloze_LANG, and an answer by relation."""

    __pydantic_extra__: dict[str, Text | list[Text]]
    type: Text = Field(description="what it is a kind of; concepts of one type are siblings")
    gender: Literal["m", "f"] | None = Field(default=None, description="gender of its French name")
    count: StrictBool = Field(default=True, description="false for what takes no article: cheese, water")
    proper: StrictBool = Field(default=False, description="true for a proper name: New York, Monday")


class ConceptFile(BaseModel, extra="forbid"):
    """A file of concepts."""

    title: str = Field(default="", description="one line that says what the file is for")
    languages: list[Code] = Field(
        default=["en", "fr"], min_length=1, description="codes of the languages; the first one is that of the edits"
    )
    types: dict[str, Text] = Field(default={}, description="type -> its category, in the plural, in the first language")
    vocabulary: dict[str, dict[str, Text | dict[str, Text]]] = Field(
        default={},
        description="kind of answer -> answer in the first language -> in the second one, or a table by language",
    )
    relations: dict[str, RelationTable] = Field(
        default={}, description="relations beside those of the suite, or these in further languages"
    )
    elicit: dict[str, list[FrameTable] | str] = Field(
        default={}, description="frames_LANG, empty_LANG and cloze_prior_LANG instead of those of the suite"
    )
    concept: list[ConceptTable] = Field(min_length=1, description="at least one [[concept]]")

    @field_validator("languages")
    @classmethod
    def _different(cls, languages: list[str]) -> list[str]:
        if len(set(languages)) < len(languages):
            raise ValueError('must be different codes such as ["en", "de"]')
        return languages


def read_concept_file(path: str | Path) -> dict[str, Any]:
    """The file as plain tables: every key of `ConceptFile`, with its default where it is left out.

    Raises:
        BadData: not readable, not TOML, an unknown or missing key, a value of another type; names file, concept, key.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadData(f"{path}: larger than {MOST_BYTES:,} bytes, too large for a file of concepts")
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror}); check the path of the file of concepts") from error
    except (ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise BadData(f"{path}: not readable as TOML ({problem:.160}); correct that line") from error
    try:
        file = ConceptFile.model_validate(table)
    except ValidationError as error:
        raise BadData(f"{path}: {_in_concept(error, table)}{first_problem(error, ConceptFile, table)}") from error
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


def _in_concept(error: ValidationError, table: dict[str, Any]) -> str:
    """The name of the concept that the first problem is in, with a colon; empty elsewhere."""
    loc = error.errors(include_url=False)[0]["loc"]
    if len(loc) < 2 or loc[0] != "concept" or not isinstance(loc[1], int):
        return ""
    entry = table["concept"][loc[1]]
    languages = table.get("languages", ["en"])
    home = languages[0] if isinstance(languages, list) and languages else "en"
    name = entry.get(home) if isinstance(entry, dict) else None
    return f"concept {name!r:.60}: " if isinstance(name, str) else ""
