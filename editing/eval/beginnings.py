"""Which beginnings of prompts are read once for several of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from editing.text import shared_length

LEAST = 3  # tokens of a beginning that is read by itself
SAVED = 1 / 4  # share of the tokens that must be saved: the rest is read in more and smaller passes


def shared_beginnings(texts: Sequence[Sequence[int]], rows: Sequence[int]) -> list[int]:
    """How many first tokens of each text are to be read once for all texts of its row that begin with them.

    Texts in order are cut into stretches that begin alike, so that the tokens saved are the most. A text keeps at
    least one token of its own. All 0 where too little would be saved.
    """
    heads, saved = [0] * len(texts), 0
    of_row: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        of_row.setdefault(row, []).append(i)
    for members in of_row.values():
        order = sorted(members, key=lambda i: tuple(texts[i]))
        for begin, end, length in _stretches([texts[i] for i in order]):
            saved += (end - begin - 1) * length
            for i in order[begin:end]:
                heads[i] = length
    return heads if saved >= SAVED * sum(map(len, texts)) else [0] * len(texts)


def _stretches(texts: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """(begin, end, length) of the stretches of sorted `texts` that share their first `length` tokens, by dynamic
    programming over where the last stretch begins."""
    shared = [0, *(shared_length(a, b) for a, b in pairwise(texts))]
    most, last = [0], [(0, 0)]  # tokens saved in the first n texts; begin and length of the stretch that ends there
    for end in range(1, len(texts) + 1):
        best, stretch = most[end - 1], (end - 1, 0)
        length = len(texts[end - 1]) - 1
        for begin in range(end - 2, -1, -1):
            length = min(length, shared[begin + 1], len(texts[begin]) - 1)
            if length < LEAST:
                break
            saved = most[begin] + (end - begin - 1) * length
            if saved > best:
                best, stretch = saved, (begin, length)
        most.append(best)
        last.append(stretch)
    stretches, end = [], len(texts)
    while end:
        begin, length = last[end]
        if length:
            stretches.append((begin, end, length))
        end = begin
    return stretches
