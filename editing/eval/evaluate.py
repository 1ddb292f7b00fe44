"""Questions to a model, and to many edited versions of it in the same forward pass.

Every function takes `deltas` and `rows`: sequence i is run under `deltas[rows[i]]`, or unedited where rows[i] is -1. A
prompt is read once for all its continuations; sequences are bucketed by length, and a bucket that does not fit into memory is
halved (editing/run/batching.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers.cache_utils import DynamicCache

from editing.delta.delta import Delta, delta_hooks
from editing.model.language_model import LanguageModel
from editing.run.batching import Budget
from editing.run.forward import Batch, Hook, forward, pad, prefill
from editing.text.tokens import continuation_ids

BATCH_TOKENS = 4096
# Rows of logits held at once: 512 of a 262k vocabulary are half a gigabyte.
LOGIT_ROWS = 512


def _hooks(lm: LanguageModel, deltas: Sequence[Delta], rows: Sequence[int]) -> list[Hook]:
    """Hooks for one batch, with only the deltas it uses."""
    used = sorted({r for r in rows if r >= 0})
    if not used:
        return []
    place = {r: i for i, r in enumerate(used)} | {-1: -1}
    return delta_hooks(lm, [deltas[r] for r in used], [place[r] for r in rows])


def _rows(prompts: Sequence[str], rows: Sequence[int] | None, deltas: Sequence[Delta]) -> list[int]:
    if rows is None:
        return [-1 if not deltas else 0] * len(prompts)
    if len(rows) != len(prompts):
        raise ValueError(f"{len(rows)} rows for {len(prompts)} sequences")
    return list(rows)


def _in_context(prompts: Sequence[str], rows: Sequence[int], deltas: Sequence[Delta]) -> list[str]:
    """Prompts behind the context of their delta, for edits that are only a text."""
    contexts = [deltas[r].context if r >= 0 else "" for r in rows]
    return [f"{c} {p}" if c else p for c, p in zip(contexts, prompts, strict=True)]


def _fitting(lm: LanguageModel, ids: list[int], context: str, answer: int) -> list[int]:
    """A prompt behind `context`, without as much of the context's beginning as leaves no room for `answer` tokens.

    A prompt that is too long by itself is left as it is, to be refused.
    """
    room = lm.max_length + 1 - answer  # the last token of an answer needs no position
    return _end_of(lm, ids, room) if len(ids) - room <= len(lm.encode(context)) - len(lm.prefix_ids) else ids


def _end_of(lm: LanguageModel, ids: list[int], room: int) -> list[int]:
    """The model's prefix and the last of `ids`, `room` tokens together; all where there are no more."""
    start = len(lm.prefix_ids)
    return [*ids[:start], *ids[start + max(0, len(ids) - room) :]]


@dataclass(frozen=True)
class Race:
    """Which continuations of one prompt must be known, where only the winner and its margin matter.

    Attributes:
        prior: (m,) nats taken off each log-probability before continuations are compared.
        needed: indices whose log-probability must be exact whatever its rank.
    """

    prior: np.ndarray
    needed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reply:
    """What one prompt is answered.

    Attributes:
        logp: (m,) float64 nats, log P(continuation | prompt), summed over all tokens of the continuation.
        text: the greedy continuation, cut at end-of-text and where the model has no more positions.
        tokens: the tokens of each continuation.
        forced: index of a continuation its `Race` needs -> at each of its tokens the likeliest one given those before it.
    """

    logp: np.ndarray
    text: str
    tokens: tuple[tuple[int, ...], ...]
    forced: dict[int, tuple[int, ...]]


def ask(
    lm: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    new_tokens: int = 0,
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
    *,
    races: Sequence[Race] | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[list[np.ndarray], list[str]]:
    """The log-probabilities and the greedy continuation of every prompt, as `replies` gives them."""
    found = replies(lm, prompts, continuations, new_tokens, deltas, rows, races=races, batch_tokens=batch_tokens)
    return [r.logp for r in found], [r.text for r in found]


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
    """log P(continuation | prompt) and the greedy continuation of `new_tokens` tokens of every prompt, each prompt read once.

    A continuation is joined to its prompt by a blank unless the prompt ends in an elision; its log-probability is summed over
    all its tokens. Without `rows`, every prompt is run under `deltas[0]` if there is one.

    With `races`, a continuation of several tokens is followed only while it can still come first or second: the log-probability
    of its first token bounds that of the whole. One that cannot keeps the bound, which leaves the
    argmax of log P - prior and the margin of every needed continuation exactly as they were.
    """
    rows = _rows(prompts, rows, deltas)
    prompts = _in_context(prompts, rows, deltas)
    ids = [lm.encode(p) for p in prompts]
    known: dict[tuple[str, str], tuple[int, ...]] = {}
    tokens: list[tuple[tuple[int, ...], ...]] = []
    for prompt, texts in zip(prompts, continuations, strict=True):
        tail = prompt[-24:]  # only the end of a prompt decides how a continuation is tokenised behind it
        for text in texts:
            if (tail, text) not in known:
                known[tail, text] = continuation_ids(lm, tail, text)
        tokens.append(tuple(known[tail, text] for text in texts))
    for i, (row, texts) in enumerate(zip(rows, tokens, strict=True)):
        if row >= 0 and deltas[row].context:
            ids[i] = _fitting(lm, ids[i], deltas[row].context, max(map(len, texts), default=1))
    out: list[Reply | None] = [None] * len(prompts)
    later = Budget(lm.batch_tokens(batch_tokens), "reading continuations")

    first = Budget(lm.batch_tokens(batch_tokens), "reading prompts")

    def read(members: list[int]) -> list[Reply]:
        batch = _Batch(lm, [ids[i] for i in members], [tokens[i] for i in members], deltas, [rows[i] for i in members])
        with torch.no_grad():
            found = batch.score(None if races is None else [races[i] for i in members], later)
            parts = zip(found, batch.greedy(new_tokens), batch.tokens, batch.forced, strict=True)
            return [Reply(*part) for part in parts]

    for members, found in first.run([len(s) for s in ids], read):
        for i, reply in zip(members, found, strict=True):
            out[i] = reply
    return [reply for reply in out if reply is not None]


class _Batch:
    """Some prompts read together, with what is asked behind them."""

    def __init__(self, lm, ids, tokens, deltas, rows) -> None:
        self.lm, self.tokens, self.deltas, self.rows = lm, tokens, deltas, rows
        with torch.no_grad():
            self.past, logits = prefill(lm, ids, hooks=_hooks(lm, deltas, rows), logits=True)
        assert logits is not None, "a prompt needs at least one token"
        self.logits = logits
        self.forced: list[dict[int, tuple[int, ...]]] = [{} for _ in tokens]

    def score(self, races: Sequence[Race] | None, later: Budget) -> list[np.ndarray]:
        if not any(self.tokens):
            return [np.zeros(0)] * len(self.tokens)
        first = self.logits.float().log_softmax(-1).cpu().double().numpy()
        result = [np.array([first[r, t[0]] for t in row]) for r, row in enumerate(self.tokens)]
        open_ = [[c for c, t in enumerate(row) if len(t) > 1] for row in self.tokens]
        if races is None:
            self._follow([(r, c) for r, row in enumerate(open_) for c in row], result, later)
            return result
        for r, (top, race) in enumerate(zip(self.logits.argmax(-1).tolist(), races, strict=True)):
            self.forced[r] = {c: (top,) for c in race.needed}
        # The likely winners first, then whoever could still beat the second best of what is known.
        for ahead in (2, None):
            chosen = []
            for r, race in enumerate(races):
                score = result[r] - race.prior
                if ahead is not None:
                    best = sorted(open_[r], key=lambda c: -score[c])[:ahead]
                    mine = set(best) | (set(race.needed) & set(open_[r]))
                else:
                    exact = sorted((score[c] for c in range(len(score)) if c not in open_[r]), reverse=True)
                    mine = {c for c in open_[r] if len(exact) < 2 or score[c] > exact[1]}
                chosen += [(r, c) for c in sorted(mine)]
                open_[r] = [c for c in open_[r] if c not in mine]
            self._follow(chosen, result, later)
        return result

    def _follow(self, chosen: list[tuple[int, int]], result: list[np.ndarray], later: Budget) -> None:
        """Add the later tokens of the `chosen` (prompt, continuation) pairs to `result`."""
        width = [len(self.tokens[r][c]) - 1 for r, c in chosen]
        past_share = 0 if self.past is None else self.past.mask.shape[1] // 4
        work = lambda bucket: self._nats([chosen[b] for b in bucket])  # noqa: E731
        for bucket, found in later.run([w + past_share for w in width], work):
            for b, (nats, tops) in zip(bucket, found, strict=True):
                r, c = chosen[b]
                result[r][c] += nats
                if c in self.forced[r]:
                    self.forced[r][c] += tops

    def _nats(self, pairs: list[tuple[int, int]]) -> list[tuple[float, tuple[int, ...]]]:
        """Of all but the first token of each (prompt, continuation) pair: log P in nats, and the likeliest in their places
        where they are wanted."""
        lm, tokens = self.lm, self.tokens
        place = torch.tensor([r for r, _ in pairs], device=lm.device)
        past = None if self.past is None else self.past.select(place)
        lengths = None if past is None else past.lengths()
        batch = pad([tokens[r][c][:-1] for r, c in pairs], lm, side="right", first=lengths)
        spots = [(n, t, tokens[r][c][t + 1]) for n, (r, c) in enumerate(pairs) for t in range(len(tokens[r][c]) - 1)]
        where = torch.tensor(spots, device=lm.device)
        hooks = _hooks(lm, self.deltas, [self.rows[r] for r, _ in pairs])
        logits = forward(lm, batch, past=past, gather=(where[:, 0], where[:, 1]), hooks=hooks)
        assert logits is not None
        total: list[float] = [0.0] * len(pairs)
        tops: list[tuple[int, ...]] = [()] * len(pairs)
        for begin in range(0, len(spots), LOGIT_ROWS):
            here = spots[begin : begin + LOGIT_ROWS]
            part, wanted = logits[begin : begin + LOGIT_ROWS].float(), where[begin : begin + LOGIT_ROWS, 2:]
            nats = (part.gather(1, wanted)[:, 0] - part.logsumexp(-1)).tolist()
            for (n, _, _), value in zip(here, nats, strict=True):
                total[n] += value
            forced = [i for i, (n, _, _) in enumerate(here) if pairs[n][1] in self.forced[pairs[n][0]]]
            for i, top in zip(forced, part[forced].argmax(-1).tolist(), strict=True):
                tops[here[i][0]] += (top,)
        return list(zip(total, tops, strict=True))

    def greedy(self, new_tokens: int) -> list[str]:
        lm, n = self.lm, len(self.rows)
        if not new_tokens:
            return [""] * n
        drawn = [self.logits.argmax(-1)[:, None]]
        room = [new_tokens] * n  # how many tokens each row has positions for; the last one drawn needs none
        if self.past is not None and new_tokens > 1:
            room = (lm.max_length + 1 - self.past.lengths()).tolist()
            cache = DynamicCache()
            for layer, (key, value) in enumerate(zip(self.past.keys, self.past.values, strict=True)):
                cache.update(key, value, layer)  # pyright: ignore[reportArgumentType]
            mask, position = self.past.mask, self.past.lengths()
            hooks = _hooks(lm, self.deltas, self.rows)
            for _ in range(new_tokens - 1):
                mask = torch.cat([mask, torch.ones_like(drawn[-1])], 1)
                at = position.clamp(max=lm.max_length - 1)  # what a row out of positions goes on with is cut off
                logits = forward(lm, Batch(drawn[-1], mask, at[:, None]), record=cache, hooks=hooks)
                assert logits is not None
                drawn.append(logits.argmax(-1)[:, None])
                position = position + 1
        ends = {lm.tokenizer.eos_token_id, *lm.prefix_ids}
        lines = torch.cat(drawn, 1).tolist()
        lines = [line[:most] for line, most in zip(lines, room, strict=True)]
        stops = [next((i for i, token in enumerate(line) if token in ends), len(line)) for line in lines]
        return [lm.tokenizer.decode(line[:stop]) for line, stop in zip(lines, stops, strict=True)]


def continuation_logprobs(
    lm: LanguageModel,
    prompts: Sequence[str],
    continuations: Sequence[Sequence[str]],
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """log P(continuation | prompt) in nats for each continuation of each prompt, all exact; see `ask`."""
    return ask(lm, prompts, continuations, 0, deltas, rows)[0]


def greedy(
    lm: LanguageModel,
    prompts: Sequence[str],
    max_new_tokens: int,
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
) -> list[str]:
    """What each prompt is continued with when the likeliest token is taken `max_new_tokens` times; see `ask`."""
    return ask(lm, prompts, [()] * len(prompts), max_new_tokens, deltas, rows)[1]


def text_drift(
    lm: LanguageModel, texts: Sequence[str], deltas: Sequence[Delta], *, batch_tokens: int = BATCH_TOKENS
) -> tuple[np.ndarray, np.ndarray]:
    """How far each edit moves the model on unrelated texts; what is longer than the model's context is not read.

    Returns:
        (n_deltas, n_texts) mean KL(base || edited) per token in nats, and (n_deltas, n_texts) bits per byte of the edited model.
    """
    divergence, bits = np.zeros((len(deltas), len(texts))), np.zeros((len(deltas), len(texts)))
    budget = Budget(lm.batch_tokens(batch_tokens), "measuring drift")
    for t, text in enumerate(texts):
        plain = lm.encode(text)[: lm.max_length]
        scored = len(plain) - max(len(lm.prefix_ids), 1)
        wanted = torch.tensor(plain[-scored:], device=lm.device)
        versions = [_behind(lm, d.context, text) if d.context else plain for d in deltas]

        def unedited(_: list[int], plain=plain, scored=scored) -> torch.Tensor:
            return _text_logits(lm, [plain], scored, [-1], deltas)[0]

        def compare(rows: list[int], base: torch.Tensor, versions=versions, wanted=wanted, scored=scored):
            edited = _text_logits(lm, [versions[r] for r in rows], scored, rows, deltas)
            nats = -edited.gather(2, wanted[None, :, None].expand(len(rows), -1, 1)).sum((1, 2))
            return (base.exp() * (base - edited)).sum(-1).mean(-1).cpu().numpy(), nats.cpu().numpy()

        with torch.no_grad():
            ((_, base),) = budget.run([len(plain)], unedited)
            widths = [max(len(v), batch_tokens * scored // LOGIT_ROWS) for v in versions]
            for rows, (kl, nats) in budget.run(widths, lambda rows, base=base: compare(rows, base)):
                divergence[rows, t], bits[rows, t] = kl, nats / math.log(2) / len(text.encode())
    return divergence, bits


def _behind(lm: LanguageModel, context: str, text: str) -> list[int]:
    """`text` behind `context`: what ends where the text read alone does, of the context as much as there is room for."""
    unread = max(0, len(lm.encode(text)) - lm.max_length)
    ids = lm.encode(f"{context} {text}")
    return _end_of(lm, ids[: len(ids) - unread], lm.max_length)


def _text_logits(lm, sequences, scored, rows, deltas) -> torch.Tensor:
    """(rows, scored, vocabulary) log-probabilities of the last `scored` tokens of each sequence under several edits."""
    batch = pad(sequences, lm, side="right")
    place = torch.arange(len(rows), device=lm.device).repeat_interleave(scored)
    columns = torch.cat([torch.arange(len(s) - 1 - scored, len(s) - 1, device=lm.device) for s in sequences])
    logits = forward(lm, batch, gather=(place, columns), hooks=_hooks(lm, deltas, rows))
    assert logits is not None
    return logits.float().log_softmax(-1).reshape(len(rows), scored, -1)


def bits_per_byte(
    lm: LanguageModel, text: str | Sequence[str], *, window: int = 256, batch_tokens: int = 2048
) -> float:
    """-log2 P(text) / number of UTF-8 bytes: tokenizer-fair, lower is stronger.

    The text is read in windows of `window` tokens, each behind the model's prefix; every token is predicted once, with
    at least half a window before it. Several texts are read independently: all their bits over all their bytes.
    """
    texts = [text] if isinstance(text, str) else list(text)
    head = list(lm.prefix_ids) or [lm.pad_id]
    stride = min(window, lm.max_length - len(head)) // 2
    pieces: list[tuple[list[int], int]] = []  # tokens with their head, and how many at the end are scored
    for one in texts:
        ids = lm.tokenizer(one, add_special_tokens=False, verbose=False)["input_ids"]
        for begin in range(0, len(ids), stride):
            context = ids[max(0, begin - stride) : begin]
            scored = ids[begin : begin + stride]
            pieces.append(([*head, *context, *scored], len(scored)))

    def measure(members: list[int]) -> float:
        nats = 0.0
        batch = pad([pieces[i][0] for i in members], lm, side="right")
        spots = [
            (row, n - 1, pieces[i][0][n])
            for row, i in enumerate(members)
            for n in range(len(pieces[i][0]) - pieces[i][1], len(pieces[i][0]))
        ]
        for begin in range(0, len(spots), LOGIT_ROWS * 4):
            part = torch.tensor(spots[begin : begin + LOGIT_ROWS * 4], device=lm.device)
            logits = forward(lm, batch, gather=(part[:, 0], part[:, 1]))
            assert logits is not None
            nats -= float(logits.float().log_softmax(-1).gather(1, part[:, 2:]).double().sum())
        return nats

    budget = Budget(lm.batch_tokens(batch_tokens), "measuring bits per byte")
    with torch.no_grad():
        total = sum(nats for _, nats in budget.run([len(p) for p, _ in pieces], measure))
    return total / math.log(2) / sum(len(one.encode()) for one in texts)
