"""Questions to a model, and to many edited versions of it: log-probabilities of continuations, and greedy text.

Every function takes `deltas` and `rows`: sequence i is run under `deltas[rows[i]]`, or unedited where rows[i] is -1. A
prompt is read once for all its continuations; a batch that does not fit into memory is halved
(editing/run/batching.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from editing.delta import Delta
from editing.eval.continuations import Race, follow
from editing.eval.free_text import free_text
from editing.eval.versions import Versions
from editing.lazy import torch
from editing.model import LanguageModel
from editing.run import Budget, refuse_too_long
from editing.text import join, prompt_answers

BATCH_TOKENS = 4096
# On a CPU, of prompts that are held together and of continuations in a pass: as fast as 4096 of each (SmolLM2), in a
# fraction of the memory.
CPU_PROMPTS, CPU_TOKENS = 2048, 512


@dataclass(frozen=True)
class Reply:
    """The answer to one prompt.

    Attributes:
        logp: (m,) float64 nats, log P(continuation | prompt), summed over all tokens of the continuation.
        text: the greedy continuation, cut at end-of-text and where the model has no more positions.
        tokens: the tokens of each continuation.
        forced: index of a continuation that its `Race` needs -> the likeliest token in the place of each of its tokens.
    """

    logp: np.ndarray
    text: str
    tokens: tuple[tuple[int, ...], ...]
    forced: dict[int, tuple[int, ...]]


def replies(
    lm: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    new_tokens: int = 0,
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
    *,
    races: Sequence[Race] | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[Reply]:
    """log P(continuation | prompt) and the greedy continuation of every prompt, `new_tokens` long; a prompt of
    several questions is read once.

    A continuation is joined to its prompt by a blank where one belongs (editing/text/borders.py), and both are
    tokenised as one text; its log-probability is summed over all its tokens. Without `rows`, every prompt is run under
    `deltas[0]` if there is one.

    With `races`, a continuation of several tokens is followed only while it can still come first, or second behind a
    needed one: what is read of it bounds the whole. One that cannot keeps the bound, which leaves the argmax of
    log P - prior and the margin of every needed continuation exactly as they were.
    """
    rows = _rows(prompts, rows, deltas)
    prompts = _in_context(prompts, rows, deltas)
    questions = prompt_answers(lm, prompts, continuations)
    tokens = [one.answers for one in questions]
    ids = [list(one.ids) for one in questions]
    for i, (row, texts) in enumerate(zip(rows, tokens, strict=True)):
        if row >= 0 and deltas[row].context:
            ids[i] = _fitting(lm, ids[i], deltas[row].context, max(map(len, texts), default=1))
    for one, texts in zip(ids, tokens, strict=True):  # here, as the beginnings of a very long answer take all memory
        refuse_too_long(lm, [*one, *max(texts, key=len, default=())[:-1]])
    questions_of: dict[tuple[int, tuple[int, ...]], list[int]] = {}  # version and prompt -> its questions
    for i, row in enumerate(rows):
        questions_of.setdefault((row, tuple(ids[i])), []).append(i)
    texts = list(questions_of)
    held, at_once = batch_tokens, batch_tokens
    if lm.device.type == "cpu":
        held, at_once = min(batch_tokens, CPU_PROMPTS), min(batch_tokens, CPU_TOKENS)
    later = Budget(lm.batch_tokens(at_once), "reading continuations")

    def read(members: list[int]) -> list[tuple[int, Reply]]:
        read = Versions.read(lm, [texts[m][1] for m in members], deltas, [texts[m][0] for m in members])
        lines = free_text(read, new_tokens)
        owners, chosen = zip(*((o, i) for o, m in enumerate(members) for i in questions_of[texts[m]]), strict=True)
        own = [tokens[i] for i in chosen]
        scores, forced = follow(read, owners, own, None if races is None else [races[i] for i in chosen], later)
        written = [lines[o].removeprefix(questions[i].rest) for o, i in zip(owners, chosen, strict=True)]
        return list(zip(chosen, map(Reply, scores, written, own, forced), strict=True))

    by_question: dict[int, Reply] = {}
    with torch.no_grad():
        budget = Budget(lm.batch_tokens(held), "reading prompts")
        for _, answers in budget.run([len(text) for _, text in texts], read, full=0.0):
            by_question |= dict(answers)
    return [by_question[i] for i in range(len(rows))]


def continuation_logprobs(
    lm: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """log P(continuation | prompt) in nats for each continuation of each prompt, all exact; see `replies`."""
    return [reply.logp for reply in replies(lm, prompts, continuations, 0, deltas, rows)]


def greedy(
    lm: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
) -> list[str]:
    """The greedy continuation of each prompt, `max_new_tokens` long; see `replies`."""
    return [reply.text for reply in replies(lm, prompts, [()] * len(prompts), max_new_tokens, deltas, rows)]


def _rows(prompts: Sequence[str], rows: Sequence[int] | None, deltas: Sequence[Delta]) -> list[int]:
    if rows is None:
        return [-1 if not deltas else 0] * len(prompts)
    if len(rows) != len(prompts):
        raise ValueError(f"{len(rows)} rows for {len(prompts)} sequences")
    return list(rows)


def _in_context(prompts: Sequence[str], rows: Sequence[int], deltas: Sequence[Delta]) -> list[str]:
    """Prompts behind the context of their delta, for edits that are only a text."""
    contexts = [deltas[r].context if r >= 0 else "" for r in rows]
    return [join(c, p) for c, p in zip(contexts, prompts, strict=True)]


def _fitting(lm: LanguageModel, ids: list[int], context: str, answer: int) -> list[int]:
    """A prompt behind `context`, without as much of the context's beginning as leaves no room for `answer` tokens.

    A prompt that is too long by itself is left as it is, to be refused.
    """
    room = lm.max_length + 1 - answer  # the last token of an answer needs no position
    return end_of(lm, ids, room) if len(ids) - room <= len(lm.encode(context)) - len(lm.prefix_ids) else ids


def end_of(lm: LanguageModel, ids: list[int], room: int) -> list[int]:
    """The model's prefix and the last of `ids`, `room` tokens together; all where there are no more."""
    start = len(lm.prefix_ids)
    return [*ids[:start], *ids[start + max(0, len(ids) - room) :]]
