"""Questions to a model, and to many edited versions of it, in one forward pass.

Every function takes `deltas` and `rows`: sequence i is run under `deltas[rows[i]]`, or unedited where rows[i] is -1. A
prompt is read once for all its continuations; sequences are bucketed by length, and a bucket that does not fit into
memory is halved (editing/run/batching.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from editing.delta import Delta, delta_hooks
from editing.eval.bits_per_byte import bits_per_byte
from editing.lazy import cache_utils, torch
from editing.model import Hook, LanguageModel
from editing.run import Batch, Budget, Prefix, forward, pad, prefill
from editing.text import join, prompt_answers

__all__ = ["Race", "Reply", "ask", "bits_per_byte", "continuation_logprobs", "greedy", "replies", "text_drift"]

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
    return [join(c, p) for c, p in zip(contexts, prompts, strict=True)]


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
    answers = replies(lm, prompts, continuations, new_tokens, deltas, rows, races=races, batch_tokens=batch_tokens)
    return [r.logp for r in answers], [r.text for r in answers]


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
    """log P(continuation | prompt) and the greedy continuation of every prompt, `new_tokens` long; prompts are read
    once.

    A continuation is joined to its prompt by a blank where one belongs (editing/text/borders.py), and both are
    tokenised as one text; its log-probability is summed over all its tokens. Without `rows`, every prompt is run under
    `deltas[0]` if there is one.

    With `races`, a continuation of several tokens is followed only while it can still come first or second: the
    log-probability of its first token bounds that of the whole. One that cannot keeps the bound, which leaves the
    argmax of log P - prior and the margin of every needed continuation exactly as they were.
    """
    rows = _rows(prompts, rows, deltas)
    prompts = _in_context(prompts, rows, deltas)
    asked = prompt_answers(lm, prompts, continuations)
    tokens = [one.answers for one in asked]
    ids = [list(one.ids) for one in asked]
    for i, (row, texts) in enumerate(zip(rows, tokens, strict=True)):
        if row >= 0 and deltas[row].context:
            ids[i] = _fitting(lm, ids[i], deltas[row].context, max(map(len, texts), default=1))
    later = Budget(lm.batch_tokens(batch_tokens), "reading continuations")

    def read(members: list[int]) -> list[Reply]:
        chosen = [rows[i] for i in members]
        batch = _Batch.read(lm, [ids[i] for i in members], [tokens[i] for i in members], deltas, chosen)
        return batch.replies(None if races is None else [races[i] for i in members], later, new_tokens)

    by_prompt: dict[int, Reply] = {}
    with torch.no_grad():
        budget = Budget(lm.batch_tokens(batch_tokens), "reading prompts")
        for members, answers in budget.run([len(s) for s in ids], read):
            by_prompt |= dict(zip(members, answers, strict=True))
    return [replace(by_prompt[i], text=by_prompt[i].text.removeprefix(one.rest)) for i, one in enumerate(asked)]


Pair = tuple[int, int]  # index of a prompt in its batch, index of one of its continuations


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some prompts that were read together, their continuations, and the edits they are read under.

    Attributes:
        tokens: of every continuation of every prompt.
        past: keys and values of the prompts; None where all are empty.
        logits: (B, vocabulary) behind each prompt.
    """

    lm: LanguageModel
    tokens: list[tuple[tuple[int, ...], ...]]
    deltas: Sequence[Delta]
    rows: list[int]
    past: Prefix | None
    logits: torch.Tensor

    @classmethod
    def read(
        cls,
        lm: LanguageModel,
        ids: Sequence[Sequence[int]],
        tokens: list[tuple[tuple[int, ...], ...]],
        deltas: Sequence[Delta],
        rows: list[int],
    ) -> _Batch:
        past, logits = prefill(lm, ids, hooks=_hooks(lm, deltas, rows), logits=True)
        assert logits is not None, "a prompt needs at least one token"
        return cls(lm, tokens, deltas, rows, past, logits)

    def replies(self, races: Sequence[Race] | None, later: Budget, new_tokens: int) -> list[Reply]:
        """`later` is the token budget of what is read behind the prompts."""
        scores = self._first_tokens()
        forced: list[dict[int, tuple[int, ...]]] = [{} for _ in self.tokens]
        unread = [{c for c, t in enumerate(row) if len(t) > 1} for row in self.tokens]
        if races is None:
            self._follow([(r, c) for r, row in enumerate(unread) for c in sorted(row)], scores, forced, later)
        elif any(self.tokens):
            for r, (top, race) in enumerate(zip(self.logits.argmax(-1).tolist(), races, strict=True)):
                forced[r] = {c: (top,) for c in race.needed}
            for choose in (_favourites, _challengers):
                pairs = []
                for r, race in enumerate(races):
                    chosen = choose(race, scores[r] - race.prior, unread[r])
                    unread[r] -= chosen
                    pairs += [(r, c) for c in sorted(chosen)]
                self._follow(pairs, scores, forced, later)
        return [Reply(*parts) for parts in zip(scores, self._greedy(new_tokens), self.tokens, forced, strict=True)]

    def _first_tokens(self) -> list[np.ndarray]:
        """(m,) log P of the first token of every continuation."""
        if not any(self.tokens):
            return [np.zeros(0)] * len(self.tokens)
        log_p = self.logits.float().log_softmax(-1).cpu().double().numpy()
        return [np.array([log_p[r, t[0]] for t in row]) for r, row in enumerate(self.tokens)]

    def _follow(
        self,
        pairs: list[Pair],
        scores: list[np.ndarray],
        forced: list[dict[int, tuple[int, ...]]],
        later: Budget,
    ) -> None:
        """Add log P of the later tokens of `pairs` to `scores`, and the likeliest tokens there to `forced`."""
        past_share = 0 if self.past is None else self.past.mask.shape[1] // 4
        widths = [len(self.tokens[r][c]) - 1 + past_share for r, c in pairs]

        def read(members: list[int]) -> list[tuple[float, tuple[int, ...]]]:
            return self._later_tokens([pairs[m] for m in members], forced)

        for members, results in later.run(widths, read):
            for m, (nats, tops) in zip(members, results, strict=True):
                r, c = pairs[m]
                scores[r][c] += nats
                if c in forced[r]:
                    forced[r][c] += tops

    def _later_tokens(
        self, pairs: list[Pair], forced: list[dict[int, tuple[int, ...]]]
    ) -> list[tuple[float, tuple[int, ...]]]:
        """Of each pair's tokens but the first: log P in nats, and the likeliest tokens there if `forced` has the
        pair.
        """
        lm = self.lm
        texts = [self.tokens[r][c] for r, c in pairs]
        past = None
        if self.past is not None:
            past = self.past.select(torch.tensor([r for r, _ in pairs], device=lm.device))
        batch = pad([t[:-1] for t in texts], lm, side="right", first=None if past is None else past.lengths())
        spots = [(n, column, token) for n, text in enumerate(texts) for column, token in enumerate(text[1:])]
        row, column, target = torch.tensor(spots, device=lm.device).T
        hooks = _hooks(lm, self.deltas, [self.rows[r] for r, _ in pairs])
        logits = forward(lm, batch, past=past, gather=(row, column), hooks=hooks)
        assert logits is not None
        total: list[float] = [0.0] * len(pairs)
        tops: list[tuple[int, ...]] = [()] * len(pairs)
        for begin in range(0, len(spots), LOGIT_ROWS):
            owners = [n for n, _, _ in spots[begin : begin + LOGIT_ROWS]]
            part = logits[begin : begin + LOGIT_ROWS].float()
            tokens = target[begin : begin + LOGIT_ROWS, None]
            for n, nats in zip(owners, (part.gather(1, tokens)[:, 0] - part.logsumexp(-1)).tolist(), strict=True):
                total[n] += nats
            needed = [i for i, n in enumerate(owners) if pairs[n][1] in forced[pairs[n][0]]]
            for i, top in zip(needed, part[needed].argmax(-1).tolist(), strict=True):
                tops[owners[i]] += (top,)
        return list(zip(total, tops, strict=True))

    def _greedy(self, new_tokens: int) -> list[str]:
        """The likeliest continuation of every prompt, cut at end-of-text and where the model has no more positions."""
        if not new_tokens:
            return [""] * len(self.rows)
        lines = self._likeliest(new_tokens).tolist()
        if self.past is not None and new_tokens > 1:  # the last token needs no position
            room = (self.lm.max_length + 1 - self.past.lengths()).tolist()
            lines = [line[:most] for line, most in zip(lines, room, strict=True)]
        ends = {self.lm.tokenizer.eos_token_id, *self.lm.prefix_ids}
        stops = [next((i for i, token in enumerate(line) if token in ends), len(line)) for line in lines]
        return [self.lm.tokenizer.decode(line[:stop]) for line, stop in zip(lines, stops, strict=True)]

    def _likeliest(self, count: int) -> torch.Tensor:
        """(B, count) tokens, each the likeliest behind those before it; one without a prompt to go on from."""
        token = self.logits.argmax(-1)[:, None]
        if self.past is None or count == 1:
            return token
        tokens, mask, position = [token], self.past.mask, self.past.lengths()
        cache = cache_utils.DynamicCache()
        for layer, (key, value) in enumerate(zip(self.past.keys, self.past.values, strict=True)):
            cache.update(key, value, layer)  # pyright: ignore[reportArgumentType]
        hooks = _hooks(self.lm, self.deltas, self.rows)
        for _ in range(count - 1):
            mask = torch.cat([mask, torch.ones_like(token)], 1)
            column = position.clamp(max=self.lm.max_length - 1)  # tokens of a row without positions are cut off later
            logits = forward(self.lm, Batch(token, mask, column[:, None]), record=cache, hooks=hooks)
            assert logits is not None
            token, position = logits.argmax(-1)[:, None], position + 1
            tokens.append(token)
        return torch.cat(tokens, 1)


def _favourites(race: Race, score: np.ndarray, unread: set[int]) -> set[int]:
    """The two likeliest of the unread continuations, and the needed ones."""
    best = sorted(sorted(unread), key=lambda c: -score[c])[:2]
    return {*best} | (set(race.needed) & unread)


def _challengers(race: Race, score: np.ndarray, unread: set[int]) -> set[int]:
    """The unread continuations that could still beat the second best of those that are known."""
    exact = sorted((score[c] for c in range(len(score)) if c not in unread), reverse=True)
    return {c for c in unread if len(exact) < 2 or score[c] > exact[1]}


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
    """The greedy continuation of each prompt, `max_new_tokens` long; see `ask`."""
    return ask(lm, prompts, [()] * len(prompts), max_new_tokens, deltas, rows)[1]


def text_drift(
    lm: LanguageModel, texts: Sequence[str], deltas: Sequence[Delta], *, batch_tokens: int = BATCH_TOKENS
) -> tuple[np.ndarray, np.ndarray]:
    """How far each edit moves the model on unrelated texts; what is longer than the model's context is not read.

    Returns:
        (n_deltas, n_texts) mean KL(base || edited) per token in nats, and (n_deltas, n_texts) bits per byte of the
        edited model.
    """
    divergence, bits = np.zeros((len(deltas), len(texts))), np.zeros((len(deltas), len(texts)))
    budget = Budget(lm.batch_tokens(batch_tokens), "measuring drift")
    for t, text in enumerate(texts):
        plain = lm.encode(text)[: lm.max_length]
        scored = len(plain) - max(len(lm.prefix_ids), 1)
        targets = torch.tensor(plain[-scored:], device=lm.device)
        versions = [_behind(lm, d.context, text) if d.context else plain for d in deltas]

        def unedited(_: list[int], plain=plain, scored=scored) -> torch.Tensor:
            return _text_logits(lm, [plain], scored, [-1], deltas)[0]

        def compare(rows: list[int], base: torch.Tensor, versions=versions, targets=targets, scored=scored):
            edited = _text_logits(lm, [versions[r] for r in rows], scored, rows, deltas)
            nats = -edited.gather(2, targets[None, :, None].expand(len(rows), -1, 1)).sum((1, 2))
            return (base.exp() * (base - edited)).sum(-1).mean(-1).cpu().numpy(), nats.cpu().numpy()

        with torch.no_grad():
            ((_, base),) = budget.run([len(plain)], unedited)
            widths = [max(len(v), batch_tokens * scored // LOGIT_ROWS) for v in versions]
            for rows, (kl, nats) in budget.run(widths, lambda rows, base=base: compare(rows, base)):
                divergence[rows, t], bits[rows, t] = kl, nats / math.log(2) / len(text.encode())
    return divergence, bits


def _behind(lm: LanguageModel, context: str, text: str) -> list[int]:
    """`text` behind the end of `context` that fits, cut where the text read alone is cut."""
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
