"""The texts that one request is turned into: its bare prompts, the same behind sampled prefixes, and the KL prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing.model import LanguageModel
from editing.text.languages import essence_of
from editing.text.requests import EditRequest
from editing.text.slots import slot_count
from editing.text.tokens import Prompt, tokenise


@dataclass(frozen=True)
class Contexts:
    """All tokenised contexts of one request.

    Attributes:
        id: of the request.
        prompts: with their targets; the first `n_bare` are the request's own prompts without a prefix.
        essence: the prompt about the subject whose next-token distribution must stay, looked up at the same token as
            the prompts; None where the prompts have no subject (renames).
    """

    id: str
    prompts: tuple[Prompt, ...]
    n_bare: int
    essence: Prompt | None


def build_contexts(
    lm: LanguageModel, request: EditRequest, prefixes: Sequence[str], lookup: str | None = None
) -> Contexts:
    """`request` in every context: P bare prompts, then prefix j before prompt j mod P, P + prefixes in all.

    `lookup` overrides the request's own.

    Raises:
        BadRequest: a subject is not in its prompt.
    """
    lookup = lookup or request.lookup
    pairs = list(zip(request.prompts, request.targets, strict=True))
    prompts = [tokenise(lm, prompt, request.subject, lookup, target) for prompt, target in pairs]
    for j, prefix in enumerate(prefixes):
        prompt, target = pairs[j % len(pairs)]
        prompts.append(tokenise(lm, prompt, request.subject, lookup, target, before=f"{prefix}. "))
    essence = None
    if any(map(slot_count, request.prompts)):
        essence = tokenise(lm, essence_of(request.lang), request.subject, lookup)
    return Contexts(request.id, tuple(prompts), len(pairs), essence)
