"""JSON Schemas of the documents that people write, so that an editor completes and explains their keys. For a command
to print."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from benchmarks.ladders import LadderFile
from benchmarks.sweep import PlanFile
from benchmarks.world import ConceptFile
from editing.errors import BadRequest
from valley.rows import hint
from valley.scores import AnalysisPlan

DOCUMENTS = {"plan": PlanFile, "ladder": LadderFile, "analysis plan": AnalysisPlan, "concepts": ConceptFile}


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind of document, one of DOCUMENTS.

    Raises:
        BadRequest: no such kind.
    """
    if kind not in DOCUMENTS:
        raise BadRequest(f"no JSON Schema of {kind!r:.60}; {hint(kind, DOCUMENTS)}")
    schema = TypeAdapter(DOCUMENTS[kind]).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
