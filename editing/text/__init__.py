"""Edit requests and the token sequences made of them."""

from editing.text.borders import border, join, question, sentence, unspaced
from editing.text.contexts import Contexts, build_contexts
from editing.text.edit_sets import EditSet, edit_set
from editing.text.languages import essence_of, find_language, language_code, language_of_text
from editing.text.requests import EditRequest, Lookup, check_text
from editing.text.slots import SLOT, escaped, fill, parts, slot_count
from editing.text.tokens import (
    Prompt,
    PromptAnswers,
    character_spans,
    continuation_ids,
    divided,
    prompt_answers,
    shared_length,
    tokenise,
    whole_ids,
    with_beginnings,
)

__all__ = [
    "SLOT",
    "Contexts",
    "EditRequest",
    "EditSet",
    "Lookup",
    "Prompt",
    "PromptAnswers",
    "border",
    "build_contexts",
    "character_spans",
    "check_text",
    "continuation_ids",
    "divided",
    "edit_set",
    "escaped",
    "essence_of",
    "fill",
    "find_language",
    "join",
    "language_code",
    "language_of_text",
    "parts",
    "prompt_answers",
    "question",
    "sentence",
    "shared_length",
    "slot_count",
    "tokenise",
    "unspaced",
    "whole_ids",
    "with_beginnings",
]
