"""What the test bed knows about the world: concepts, countries, and how to say it in English and French."""

from benchmarks.world.changes import SETS, Change, News, Scope, counterfactual, differing, distant, planned_changes
from benchmarks.world.concepts import EDIT_PROMPTS
from benchmarks.world.facts import LANGS, Chain, Fact, Statement
from benchmarks.world.french import elides
from benchmarks.world.knowledge import Knowledge, draw_candidates, knowledge
from benchmarks.world.people import MOST

__all__ = [
    "EDIT_PROMPTS",
    "LANGS",
    "MOST",
    "SETS",
    "Chain",
    "Change",
    "Fact",
    "Knowledge",
    "News",
    "Scope",
    "Statement",
    "counterfactual",
    "differing",
    "distant",
    "draw_candidates",
    "elides",
    "knowledge",
    "planned_changes",
]
