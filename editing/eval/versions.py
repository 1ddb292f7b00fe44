"""Sequences read under many edited versions of one model in the same passes.

An edit changes nothing below its lowest block. Where several versions read the same text (the doses of an edit, the
drift of many edits on one text), that text is read once up to the lowest block that any of them changes, and only the
blocks from there on are run for each version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from editing.delta import Delta, delta_hooks
from editing.eval.beginnings import shared_beginnings
from editing.lazy import cache_utils, torch
from editing.model import Hook, LanguageModel
from editing.run import Batch, Prefix, Reread, capture, forward, left_of, pad

# What a pass costs beside its tokens, in tokens, mostly to read the weights (SmolLM2, one thread, 8 and 64 tokens).
PASS = 28
SHARED = 2  # versions of a text, on average, from which on its lower part is read once


def hooks_of(lm: LanguageModel, deltas: Sequence[Delta], rows: Sequence[int]) -> list[Hook]:
    """Hooks under which sequence i of a batch is read under `deltas[rows[i]]`, unedited where rows[i] is -1."""
    used = sorted({r for r in rows if r >= 0})
    if not used:
        return []
    place = {r: i for i, r in enumerate(used)} | {-1: -1}
    return delta_hooks(lm, [deltas[r] for r in used], [place[r] for r in rows])


def lowest_block(lm: LanguageModel, deltas: Sequence[Delta], rows: Sequence[int]) -> int:
    """The first block that any of the deltas in use changes; 0 where one changes something outside the blocks."""
    names = {name for r in set(rows) if r >= 0 for name in deltas[r].factors}
    blocks = [next((i for i, b in enumerate(lm.layout.blocks) if n.startswith(f"{b}.")), 0) for n in names]
    return min(blocks, default=0)


@dataclass(frozen=True, eq=False)
class Below:
    """The blocks below `start`, read once for each of D distinct texts.

    Attributes:
        past: their keys and values in those blocks. which: the text of each of the B sequences.
    """

    start: int
    past: Prefix | None
    which: list[int]


@dataclass(frozen=True, eq=False)
class Versions:
    """B texts that were read together, each under its own edit.

    Attributes:
        past: their keys and values, in the blocks from `below.start` on where there is a `below`; the texts themselves
            where a model has recurrent blocks.
        logits: (B, vocabulary) behind each.
    """

    lm: LanguageModel
    deltas: Sequence[Delta]
    rows: list[int]
    past: Prefix | Reread | None
    logits: torch.Tensor
    below: Below | None

    @classmethod
    def read(
        cls, lm: LanguageModel, texts: Sequence[Sequence[int]], deltas: Sequence[Delta], rows: list[int]
    ) -> Versions:
        """The texts are prompts with at least one token.

        They are read in groups of like length, with little padding, and held as one batch, so that what follows them
        is read in few passes. Beginnings that many share are read first, once.
        """
        heads = [0] * len(texts) if lm.layout.recurrent else shared_beginnings(texts, rows)
        whole = [i for i, head in enumerate(heads) if not head]
        parts: list[Versions] = []
        order: list[int] = []
        for group in of_like_length([len(texts[i]) for i in whole]):
            chosen = [whole[g] for g in group]
            parts.append(cls._read(lm, [texts[i] for i in chosen], deltas, [rows[i] for i in chosen]))
            order += chosen
        cut = [i for i, head in enumerate(heads) if head]
        if cut:
            begun, owners = _distinct([(rows[i], tuple(texts[i][: heads[i]])) for i in cut])
            first = cls.read(lm, [text for _, text in begun], deltas, [row for row, _ in begun])
            for group in of_like_length([len(texts[i]) - heads[i] for i in cut]):
                chosen = [cut[g] for g in group]
                parts.append(first._read_on([owners[g] for g in group], [texts[i][heads[i] :] for i in chosen]))
                order += chosen
        joined = parts[0] if len(parts) == 1 else _joined(parts)
        return joined if order == list(range(len(texts))) else joined._select(order)

    @classmethod
    def _read(
        cls, lm: LanguageModel, texts: Sequence[Sequence[int]], deltas: Sequence[Delta], rows: list[int]
    ) -> Versions:
        distinct, which = _distinct([tuple(t) for t in texts])
        hooks = hooks_of(lm, deltas, rows)
        if lm.layout.recurrent:
            batch = pad(texts, lm, side="left")
            logits = forward(lm, batch, hooks=hooks)
            assert logits is not None
            return cls(lm, deltas, rows, Reread(batch.ids, batch.mask) if batch.ids.shape[1] else None, logits, None)
        start, record = lowest_block(lm, deltas, rows), cache_utils.DynamicCache()
        if not start or SHARED * len(distinct) > len(texts):
            batch, below = pad(texts, lm, side="left"), None
            logits = forward(lm, batch, record=record, hooks=hooks)
        else:
            first, once = cache_utils.DynamicCache(), pad(distinct, lm, side="left")
            hidden = _entering(lm, start, once, None, first)
            below = Below(start, _prefix(lm, once, first), which)
            index = torch.tensor(which, device=lm.device)
            batch = _chosen(once, index)
            logits = forward(lm, batch, record=record, start=start, hidden=hidden[index.to(hidden.device)], hooks=hooks)
        assert logits is not None
        return cls(lm, deltas, rows, _prefix(lm, batch, record), logits, below)

    def go_on(
        self, owners: Sequence[int], texts: Sequence[Sequence[int]], spots: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """(N, vocabulary) logits at the (N,) rows and columns of `spots`; text i is read behind owners[i] of these."""
        index = torch.tensor(owners, device=self.lm.device)
        return self._behind(owners, texts, spots, None if self.past is None else self.past.select(index), False)[0]

    def _read_on(self, owners: Sequence[int], texts: Sequence[Sequence[int]]) -> Versions:
        """Text i and owners[i] of these as one text."""
        assert isinstance(self.past, Prefix)
        past = self.past.select(torch.tensor(owners, device=self.lm.device))
        last = torch.tensor([len(t) - 1 for t in texts], device=self.lm.device)
        spots = torch.arange(len(texts), device=self.lm.device), last
        logits, read, below = self._behind(owners, texts, spots, past, True)
        return Versions(self.lm, self.deltas, [self.rows[o] for o in owners], read, logits, below)

    def _behind(
        self,
        owners: Sequence[int],
        texts: Sequence[Sequence[int]],
        spots: tuple[torch.Tensor, torch.Tensor],
        past: Prefix | Reread | None,
        keep: bool,
    ) -> tuple[torch.Tensor, Prefix | None, Below | None]:
        """See `go_on`; `past` is that of the owners. With `keep`, also the keys and values of the whole."""
        lm, hooks = self.lm, hooks_of(self.lm, self.deltas, [self.rows[o] for o in owners])
        kept = past.cache() if keep and isinstance(past, Prefix) else None
        start, hidden, below = 0, None, None
        if self.below is None or self.below.past is None:
            batch = pad(texts, lm, side="right", first=None if past is None else past.lengths())
        else:
            begun, start = self.below.which, self.below.start
            distinct, which = _distinct([(begun[o], tuple(t)) for o, t in zip(owners, texts, strict=True)])
            lower = self.below.past.select(torch.tensor([b for b, _ in distinct], device=lm.device))
            once = pad([t for _, t in distinct], lm, side="right", first=lower.lengths())
            first = lower.cache() if keep else None
            hidden = _entering(lm, start, once, lower, first)
            place = torch.tensor(which, device=lm.device)
            batch, hidden = _chosen(once, place), hidden[place.to(hidden.device)]
            below = None if first is None else Below(start, lower.extended(first, once.mask), which)
        logits = forward(lm, batch, past=past, record=kept, start=start, hidden=hidden, gather=spots, hooks=hooks)
        assert logits is not None
        whole = None if kept is None or not isinstance(past, Prefix) else past.extended(kept, batch.mask)
        return logits, whole, below

    def _select(self, order: Sequence[int]) -> Versions:
        """The same texts, where text order[i] of those given was read as the i-th."""
        index = torch.tensor(order, device=self.logits.device).argsort()
        place = index.tolist()
        below = None
        if self.below is not None:
            below = Below(self.below.start, self.below.past, [self.below.which[i] for i in place])
        past = None if self.past is None else self.past.select(index.to(self.lm.device))
        return Versions(self.lm, self.deltas, [self.rows[i] for i in place], past, self.logits[index], below)

    def whole_past(self) -> Prefix | Reread | None:
        """Keys and values of every block, those below `below.start` repeated for each version."""
        if self.below is None or self.below.past is None or not isinstance(self.past, Prefix):
            return self.past
        low = self.below.past.select(torch.tensor(self.below.which, device=self.lm.device))
        start = self.below.start
        keys = low.keys[:start] + self.past.keys[start:]
        return Prefix(keys, low.values[:start] + self.past.values[start:], self.past.mask)


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of texts, shortest first, in groups that are padded to their longest: those that cost the fewest tokens,
    where each group is a pass more."""
    counts = sorted(Counter(lengths).items())
    least, last = [0], [0]  # cost of the texts of the first n lengths; where the last of their groups begins
    for end in range(1, len(counts) + 1):
        costs, texts = [], 0
        for begin in range(end - 1, -1, -1):
            texts += counts[begin][1]
            costs.append((least[begin] + PASS + texts * counts[end - 1][0], begin))
        cost, begin = min(costs)
        least.append(cost)
        last.append(begin)
    ends, end = [], len(counts)
    while end:
        ends.append(sum(number for _, number in counts[:end]))
        end = last[end]
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[a:b] for a, b in pairwise([0, *reversed(ends)])]


def _joined(parts: Sequence[Versions]) -> Versions:
    """Texts that were read in several batches as one batch, in the order of the parts."""
    lower = [part.below for part in parts if part.below is not None and part.below.past is not None]
    below = None
    if len(lower) == len(parts) and len({one.start for one in lower}) == 1:
        pasts, once, which = [part.past for part in parts], [one.past for one in lower if one.past is not None], []
        for one, first in zip(lower, accumulate((len(past.mask) for past in once), initial=0), strict=False):
            which += [first + text for text in one.which]
        below = Below(lower[0].start, Prefix.joined(once), which)
    else:
        pasts = [part.whole_past() for part in parts]
    there = [one for one in pasts if one is not None]
    again = [one for one in there if isinstance(one, Reread)]
    past = Reread.joined(again) if again else Prefix.joined([one for one in there if isinstance(one, Prefix)])
    rows = [row for part in parts for row in part.rows]
    return Versions(parts[0].lm, parts[0].deltas, rows, past, torch.cat([part.logits for part in parts]), below)


def last_logits(
    lm: LanguageModel, texts: Sequence[Sequence[int]], count: int, deltas: Sequence[Delta], rows: Sequence[int]
) -> torch.Tensor:
    """(B, count, vocabulary) logits that predict the last `count` tokens of each text, under its edit."""
    distinct, which = _distinct([tuple(t) for t in texts])
    start = lowest_block(lm, deltas, rows)
    if SHARED * len(distinct) > len(texts):
        start = 0
    once, index = pad(distinct, lm, side="right"), torch.tensor(which, device=lm.device)
    hidden = _entering(lm, start, once, None, None)[index] if start else None
    place = torch.arange(len(texts), device=lm.device).repeat_interleave(count)
    columns = torch.cat([torch.arange(len(t) - 1 - count, len(t) - 1, device=lm.device) for t in texts])
    hooks = hooks_of(lm, deltas, rows)
    logits = forward(lm, _chosen(once, index), start=start, hidden=hidden, gather=(place, columns), hooks=hooks)
    assert logits is not None
    return logits.reshape(len(texts), count, -1)


def _entering(lm: LanguageModel, start: int, batch: Batch, past: Prefix | None, record) -> torch.Tensor:
    """(B, T, d_model) what block `start` of the unedited model reads."""
    store: dict[tuple[str, str], torch.Tensor] = {}
    path = lm.layout.blocks[start - 1]
    forward(lm, batch, past=past, record=record, hooks=[capture(path, "output", store, batch.ids.shape[1])], stop=path)
    return store[path, "output"]


def _prefix(lm: LanguageModel, batch: Batch, record: object) -> Prefix | None:
    past = left_of(lm, batch, record)
    assert not isinstance(past, Reread)
    return past


def _chosen(batch: Batch, index: torch.Tensor) -> Batch:
    return Batch(*(t.index_select(0, index) for t in (batch.ids, batch.mask, batch.positions)))


def _distinct(items: Sequence[Hashable]) -> tuple[list, list[int]]:
    """The different items in their order, and which of them each is."""
    places: dict[Hashable, int] = {}
    which = [places.setdefault(item, len(places)) for item in items]
    return list(places), which
