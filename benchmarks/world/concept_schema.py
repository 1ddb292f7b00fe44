"""The keys of a file of one's own concepts, as pydantic models. Apart from `concept_file.py`, so that the world can be
imported where pydantic is not installed (a machine with little more than torch)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, StringConstraints, ValidationError, field_validator

from benchmarks.world.sources import LANGUAGE
from editing.errors import BadData
from valley.rows import first_problem

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


def check_concept_file(table: dict[str, Any], path: Path) -> ConceptFile:
    """The tables of a file, checked.

    Raises:
        BadData: an unknown or missing key, a value of another type; names file, concept, key.
    """
    try:
        return ConceptFile.model_validate(table)
    except ValidationError as error:
        raise BadData(f"{path}: {_in_concept(error, table)}{first_problem(error, ConceptFile, table)}") from error


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
