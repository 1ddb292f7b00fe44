"""What the test bed knows about the world: concepts, countries, and how to say it in English and French."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.world.changes import SETS, Change, News, Scope, counterfactual, differing, distant, planned_changes
from benchmarks.world.concept_file import content_hash, read_concept_file
from benchmarks.world.concepts import EDIT_PROMPTS, asked_by, holds
from benchmarks.world.facts import LANGS, Chain, Fact, Relation, Statement
from benchmarks.world.french import elides
from benchmarks.world.knowledge import Knowledge, draw_candidates, homonym_pairs, knowledge
from benchmarks.world.languages.spoken import language_name, languages_of, translations
from benchmarks.world.own_concepts import knowledge_of, own_knowledge
from benchmarks.world.people import MOST
from benchmarks.world.templates import Template

if TYPE_CHECKING:
    from benchmarks.world.concept_schema import ConceptFile

__all__ = [
    "EDIT_PROMPTS",
    "LANGS",
    "MOST",
    "SETS",
    "Chain",
    "Change",
    "ConceptFile",
    "Fact",
    "Knowledge",
    "News",
    "Relation",
    "Scope",
    "Statement",
    "Template",
    "asked_by",
    "content_hash",
    "counterfactual",
    "differing",
    "distant",
    "draw_candidates",
    "elides",
    "holds",
    "homonym_pairs",
    "knowledge",
    "knowledge_of",
    "language_name",
    "languages_of",
    "own_knowledge",
    "planned_changes",
    "read_concept_file",
    "translations",
]


def __getattr__(name: str) -> Any:
    """`ConceptFile` when it is first used: it needs pydantic, the rest of the world does not."""
    if name != "ConceptFile":
        raise AttributeError(f"module 'benchmarks.world' has no attribute {name!r}")
    return import_module("benchmarks.world.concept_schema").ConceptFile
