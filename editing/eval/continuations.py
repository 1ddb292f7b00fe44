"""Log-probabilities of continuations behind prompts that were read: first tokens of all, later tokens of few.

Continuations of one prompt that begin alike are read together: a text serves every continuation that it begins with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from editing.eval.versions import Versions
from editing.lazy import torch
from editing.run import Budget

# Rows of logits held at once: 512 of a 262k vocabulary are half a gigabyte.
LOGIT_ROWS = 512
# Texts that are worth a pass of their own; below that, reading the weights costs more than padding.
FEW = 24

Tokens = tuple[int, ...]
Pair = tuple[int, int]  # index of a prompt, index of one of its continuations
Beginning = tuple[int, Tokens, list[int]]  # index of a prompt, a text behind it, the continuations that it serves
Choice = Callable[["Race", np.ndarray, set[int]], set[int]]


@dataclass(frozen=True)
class Race:
    """Which continuations of one prompt must be known, where only the winner and its margin matter.

    Attributes:
        prior: (m,) nats taken off each log-probability before continuations are compared.
        needed: indices whose log-probability must be exact whatever its rank.
    """

    prior: np.ndarray
    needed: tuple[int, ...] = ()


def follow(
    read: Versions, tokens: Sequence[tuple[Tokens, ...]], races: Sequence[Race] | None, budget: Budget
) -> tuple[list[np.ndarray], list[dict[int, Tokens]]]:
    """(m,) log P of every continuation of every prompt, and `Reply.forced`.

    Args:
        tokens: of every continuation of every prompt.
        races: of each prompt; None where every log-probability must be exact.
        budget: of what is read behind the prompts.
    """
    scores = _first_tokens(read, tokens)
    forced: list[dict[int, Tokens]] = [{} for _ in tokens]
    unread = [{c for c, t in enumerate(row) if len(t) > 1} for row in tokens]
    if races is None:
        _add_later([(r, c) for r, row in enumerate(unread) for c in sorted(row)], read, tokens, scores, forced, budget)
    elif any(tokens):
        for r, (top, race) in enumerate(zip(read.logits.argmax(-1).tolist(), races, strict=True)):
            forced[r] = {c: (top,) for c in race.needed}
        choices: tuple[Choice, ...] = (_favourites, _challengers)
        for choose in choices:
            pairs = []
            for r, race in enumerate(races):
                chosen = choose(race, scores[r] - race.prior, unread[r])
                unread[r] -= chosen
                pairs += [(r, c) for c in sorted(chosen)]
            _add_later(pairs, read, tokens, scores, forced, budget)
    return scores, forced


def _favourites(race: Race, score: np.ndarray, unread: set[int]) -> set[int]:
    """The two likeliest of the unread continuations, and the needed ones."""
    best = sorted(sorted(unread), key=lambda c: -score[c])[:2]
    return {*best} | (set(race.needed) & unread)


def _challengers(race: Race, score: np.ndarray, unread: set[int]) -> set[int]:
    """The unread continuations that could still beat the second best of those that are known."""
    exact = sorted((score[c] for c in range(len(score)) if c not in unread), reverse=True)
    return {c for c in unread if len(exact) < 2 or score[c] > exact[1]}


def _first_tokens(read: Versions, tokens: Sequence[tuple[Tokens, ...]]) -> list[np.ndarray]:
    """(m,) log P of the first token of every continuation; only these leave the device."""
    spots = [(r, t[0]) for r, row in enumerate(tokens) for t in row]
    if not spots:
        return [np.zeros(0)] * len(tokens)
    row, token = torch.tensor(spots, device=read.logits.device).T
    nats = read.logits.float().log_softmax(-1)[row, token].cpu().double().numpy()
    return np.split(nats, np.cumsum([len(row) for row in tokens])[:-1])


def _add_later(
    pairs: Sequence[Pair],
    read: Versions,
    tokens: Sequence[tuple[Tokens, ...]],
    scores: list[np.ndarray],
    forced: list[dict[int, Tokens]],
    budget: Budget,
) -> None:
    """Add log P of the later tokens of `pairs` to `scores`, and the likeliest tokens there to `forced`."""
    texts = _beginnings(pairs, tokens)

    def work(group: list[int], members: list[int]) -> list[tuple[Pair, float, Tokens]]:
        return _later([texts[group[m]] for m in members], read, tokens, forced)

    # keys and values of a prompt are copied for every text behind it, which takes memory as tokens do
    prompt = 0 if read.past is None else read.past.mask.shape[1] // 4
    for group in _of_like_length(texts):
        for _, results in budget.run([len(texts[m][1]) + prompt for m in group], partial(work, group)):
            for (r, c), nats, tops in results:
                scores[r][c] += nats
                if c in forced[r]:
                    forced[r][c] += tops


def _of_like_length(texts: Sequence[Beginning]) -> list[list[int]]:
    """Indices of `texts`, shortest first, in groups of one length; fewer than FEW join the next longer ones."""
    groups: list[list[int]] = []
    length = -1
    for i in sorted(range(len(texts)), key=lambda i: len(texts[i][1])):
        if groups and (len(texts[i][1]) == length or len(groups[-1]) < FEW):
            groups[-1].append(i)
        else:
            groups.append([i])
        length = len(texts[i][1])
    return groups


def _beginnings(pairs: Sequence[Pair], tokens: Sequence[tuple[Tokens, ...]]) -> list[Beginning]:
    """The texts to be read for `pairs`: all of a continuation but its last token, unless another begins with that."""
    texts: list[Beginning] = []
    by_prompt: dict[int, list[int]] = {}
    for r, c in pairs:
        by_prompt.setdefault(r, []).append(c)
    for r, continuations in by_prompt.items():
        own: list[Beginning] = []
        for c in sorted(continuations, key=lambda c, row=tokens[r]: -len(row[c])):
            text = tokens[r][c][:-1]
            begun = next((served for _, begun, served in own if begun[: len(text)] == text), None)
            if begun is None:
                own.append((r, text, [c]))
            else:
                begun.append(c)
        texts += own
    return texts


def _later(
    texts: Sequence[Beginning], read: Versions, tokens: Sequence[tuple[Tokens, ...]], forced: list[dict[int, Tokens]]
) -> list[tuple[Pair, float, Tokens]]:
    """Of every pair that `texts` serve: log P of its tokens but the first, and the likeliest tokens there if `forced`
    has the pair.
    """
    device = read.lm.device
    pairs = [(n, r, c) for n, (r, _, served) in enumerate(texts) for c in served]
    spots = [(n, at, token) for n, r, c in pairs for at, token in enumerate(tokens[r][c][1:])]
    owners = [i for i, (_, r, c) in enumerate(pairs) for _ in tokens[r][c][1:]]
    row, column, target = torch.tensor(spots, device=device).T
    logits = read.go_on([r for r, _, _ in texts], [text for _, text, _ in texts], (row, column))
    nats: list[float] = [0.0] * len(pairs)
    tops: list[Tokens] = [()] * len(pairs)
    for begin in range(0, len(spots), LOGIT_ROWS):
        end = begin + LOGIT_ROWS
        part, owner = logits[begin:end].float(), owners[begin:end]
        values = part.gather(1, target[begin:end, None])[:, 0] - part.logsumexp(-1)
        for i, value in zip(owner, values.tolist(), strict=True):
            nats[i] += value
        needed = [k for k, i in enumerate(owner) if pairs[i][2] in forced[pairs[i][1]]]
        for k, top in zip(needed, part[needed].argmax(-1).tolist() if needed else [], strict=True):
            tops[owner[k]] += (top,)
    return [((r, c), value, top) for (_, r, c), value, top in zip(pairs, nats, tops, strict=True)]
