"""Log-probabilities of continuations behind prompts that were read: first tokens of all, later tokens of few.

Continuations of one prompt that begin alike are read together, also those of several questions: a text serves every
continuation that it begins with, and the logits at a token all that go on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from editing.eval.versions import Versions, of_like_length
from editing.lazy import torch
from editing.run import Budget

# Rows of logits held at once: 256 of a 262k vocabulary are a quarter of a gigabyte. Sums over the vocabulary, which
# make copies, take PART of them at a time.
LOGIT_ROWS, PART = 256, 64

Tokens = tuple[int, ...]
Beginning = tuple[int, Tokens, "list[Stretch]"]  # index of a prompt, a text behind it, the stretches that it serves


class Stretch(NamedTuple):
    """Tokens first, ..., end - 1 of continuation `text` of question `question`."""

    question: int
    text: int
    first: int
    end: int


@dataclass(frozen=True)
class Race:
    """Which continuations of one prompt must be known, where only the winner and some margins matter.

    Attributes:
        prior: (m,) nats taken off each log-probability before continuations are compared.
        needed: indices whose log-probability must be exact whatever its rank, and whose margin over the best of the
            others must be.
    """

    prior: np.ndarray
    needed: tuple[int, ...] = ()


def follow(
    read: Versions,
    owners: Sequence[int],
    tokens: Sequence[tuple[Tokens, ...]],
    races: Sequence[Race] | None,
    budget: Budget,
) -> tuple[list[np.ndarray], list[dict[int, Tokens]]]:
    """(m,) log P of every continuation of every question, and `Reply.forced`.

    In a race the needed continuations are read to their ends, then one more token of every other one that can still
    matter, then the rest of those that still can: most are out after their second token.

    Args:
        owners: index in `read` of the prompt of each question.
        tokens: of every continuation of every question.
        races: of each question; None where every log-probability must be exact.
        budget: of what is read behind the prompts.
    """
    scores = _first_tokens(read, owners, tokens)
    forced: list[dict[int, Tokens]] = [{} for _ in tokens]
    unread = [{c: 1 for c, t in enumerate(row) if len(t) > 1} for row in tokens]

    def advance(chosen: Sequence[Collection[int]], most: int | None = None) -> None:
        """Read `most` further tokens of the chosen continuations of every question, or all that are left."""
        stretches = []
        for r, texts in enumerate(chosen):
            for c in sorted(texts):
                first, length = unread[r].pop(c), len(tokens[r][c])
                end = length if most is None else min(first + most, length)
                stretches.append(Stretch(r, c, first, end))
                if end < length:
                    unread[r][c] = end
        _add_later(stretches, read, owners, tokens, scores, forced, budget)

    if races is None:
        advance([list(row) for row in unread])
    elif any(tokens):
        likeliest = read.logits.argmax(-1).tolist()
        for r, (owner, race) in enumerate(zip(owners, races, strict=True)):
            forced[r] = {c: (likeliest[owner],) for c in race.needed}
        advance([unread[r].keys() & set(race.needed) for r, race in enumerate(races)])
        for most in (1, None):
            advance([_in_the_race(*part) for part in zip(races, scores, unread, strict=True)], most)
    return scores, forced


def _in_the_race(race: Race, logp: np.ndarray, unread: Collection[int]) -> set[int]:
    """The unread continuations that could still come first, or second behind a needed one, by what is read of them."""
    score = logp - race.prior
    exact = sorted((c for c in range(len(score)) if c not in unread), key=lambda c: -score[c])
    rank = 1 if exact and exact[0] in race.needed else 0
    return {c for c in unread if len(exact) <= rank or score[c] > score[exact[rank]]}


def _first_tokens(read: Versions, owners: Sequence[int], tokens: Sequence[tuple[Tokens, ...]]) -> list[np.ndarray]:
    """(m,) log P of the first token of every continuation; only these leave the device."""
    spots = [(owner, t[0]) for owner, row in zip(owners, tokens, strict=True) for t in row]
    if not spots:
        return [np.zeros(0)] * len(tokens)
    row, token = torch.tensor(spots, device=read.logits.device).T
    total = torch.cat([part.float().logsumexp(-1) for part in read.logits.split(PART)])
    nats = (read.logits[row, token].float() - total[row]).cpu().double().numpy()
    return np.split(nats, np.cumsum([len(row) for row in tokens])[:-1])


def _add_later(
    stretches: Sequence[Stretch],
    read: Versions,
    owners: Sequence[int],
    tokens: Sequence[tuple[Tokens, ...]],
    scores: list[np.ndarray],
    forced: list[dict[int, Tokens]],
    budget: Budget,
) -> None:
    """Add log P of `stretches` to `scores`, and the likeliest tokens there to `forced`."""
    texts = _beginnings(stretches, owners, tokens)

    def work(group: list[int], members: list[int]) -> list[tuple[Stretch, float, Tokens]]:
        return _later([texts[group[m]] for m in members], read, tokens, forced)

    # keys and values of a prompt are copied for every text behind it, which takes memory as tokens do
    prompt = 0 if read.past is None else read.past.mask.shape[1] // 4
    for group in of_like_length([len(text) for _, text, _ in texts]):
        for _, results in budget.run([len(texts[m][1]) + prompt for m in group], partial(work, group)):
            for one, nats, tops in results:
                scores[one.question][one.text] += nats
                if one.text in forced[one.question]:
                    forced[one.question][one.text] += tops


def _beginnings(
    stretches: Sequence[Stretch], owners: Sequence[int], tokens: Sequence[tuple[Tokens, ...]]
) -> list[Beginning]:
    """The texts to be read for `stretches`: up to before the last token of each, unless another begins with that."""
    texts: list[Beginning] = []
    by_prompt: dict[int, list[Stretch]] = {}
    for one in stretches:
        by_prompt.setdefault(owners[one.question], []).append(one)
    for prompt, of_prompt in by_prompt.items():
        serving: dict[Tokens, list[Stretch]] = {}  # every beginning of the texts so far -> what its text serves
        for one in sorted(of_prompt, key=lambda one: -one.end):
            text = tokens[one.question][one.text][: one.end - 1]
            if text not in serving:
                served: list[Stretch] = []
                texts.append((prompt, text, served))
                for end in range(1, len(text) + 1):
                    serving.setdefault(text[:end], served)
            serving[text].append(one)
    return texts


def _later(
    texts: Sequence[Beginning], read: Versions, tokens: Sequence[tuple[Tokens, ...]], forced: list[dict[int, Tokens]]
) -> list[tuple[Stretch, float, Tokens]]:
    """Of every stretch that `texts` serve: log P of its tokens, and the likeliest tokens there if `forced` has its
    continuation.
    """
    device = read.lm.device
    stretches = [(n, one) for n, (_, _, served) in enumerate(texts) for one in served]
    spots: dict[tuple[int, int], int] = {}  # row and column of the logits -> their place
    pairs = [
        (spots.setdefault((n, at - 1), len(spots)), tokens[one.question][one.text][at])
        for n, one in stretches
        for at in range(one.first, one.end)
    ]
    row, column = torch.tensor(list(spots), device=device).T
    logits = read.go_on([r for r, _, _ in texts], [text for _, text, _ in texts], (row, column))
    place, target = torch.tensor(pairs, device=device).T
    values, tops = torch.zeros(len(pairs)), torch.zeros(len(spots), dtype=torch.long)
    for begin in range(0, len(spots), PART):
        part = logits[begin : begin + PART].float()
        inside = (place >= begin) & (place < begin + PART)
        at = place[inside] - begin
        values[inside.cpu()] = (part[at, target[inside]] - part.logsumexp(-1)[at]).cpu()
        tops[begin : begin + PART] = part.argmax(-1).cpu()
    nats, likeliest, results, first = values.tolist(), tops.tolist(), [], 0
    for _, one in stretches:
        own = range(first, first + one.end - one.first)
        first = own.stop
        forcing = one.text in forced[one.question]
        top = tuple(likeliest[pairs[i][0]] for i in own) if forcing else ()
        results.append((one, sum(nats[i] for i in own), top))
    return results
