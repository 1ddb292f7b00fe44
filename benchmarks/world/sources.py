"""What every source of the knowledge base shares: its parts, its TOML files, its relations."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from benchmarks.world.facts import Entity, Fact, Relation
from benchmarks.world.templates import Template
from editing.errors import BadData

LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")  # code of a language


@dataclass(frozen=True)
class Part:
    """One source of the knowledge base."""

    entities: tuple[Entity, ...]
    schema: tuple[Relation, ...]
    facts: tuple[Fact, ...]


def slug(name: str) -> str:
    """The part of an entity's key that comes from its name: plain letters and digits."""
    flat = unicodedata.normalize("NFD", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", "".join(c for c in flat if not unicodedata.combining(c))).strip("-")


def read_toml(name: str) -> dict[str, Any]:
    """A data file of this folder.

    Raises:
        BadData: not TOML.
    """
    try:
        return tomllib.loads(files("benchmarks.world").joinpath(name).read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise BadData(f"{name}: {error}; correct the TOML") from error


def load_relations(subject: str) -> tuple[Relation, ...]:
    """The relations of `relations.toml` whose subjects are of this kind, in the file's order."""
    out = []
    for name, entry in read_toml("relations.toml").items():
        if entry["subject"] == subject:
            langs = {lang: tuple(Template(text, lang) for text in entry[lang]) for lang in ("en", "fr")}
            out.append(Relation(name, subject, entry["object"], langs))
    return tuple(out)
