"""Edit requests and the token sequences made of them."""

from editing.text.contexts import Contexts, build_contexts
from editing.text.requests import SLOT, EditRequest, Lookup, join
from editing.text.tokens import Prompt, continuation_ids, tokenise

__all__ = [
    "SLOT",
    "Contexts",
    "EditRequest",
    "Lookup",
    "Prompt",
    "build_contexts",
    "continuation_ids",
    "join",
    "tokenise",
]
