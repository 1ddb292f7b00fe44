"""What readings ask: facts as tokenised prompts, which of them a model knows, and runs that begin behind any layer."""

from benchmarks.readings.prompts.answers import Answers, answer_scores, read_out
from benchmarks.readings.prompts.known import Examined, known_material
from benchmarks.readings.prompts.material import Material, Question, exposure_of, recipe_of, world_material
from benchmarks.readings.prompts.prepared import Prepared, block_states
from benchmarks.readings.prompts.ravel import Ravel, read_ravel
from benchmarks.readings.prompts.reading_input import ReadingInput

__all__ = [
    "Answers",
    "Examined",
    "Material",
    "Prepared",
    "Question",
    "Ravel",
    "ReadingInput",
    "answer_scores",
    "block_states",
    "exposure_of",
    "known_material",
    "read_out",
    "read_ravel",
    "recipe_of",
    "world_material",
]
