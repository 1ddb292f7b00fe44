"""Lists of sequences cut into batches of a token budget, and what happens when one of them does not fit into memory.

A batch that runs out of memory leaves nothing behind, is halved and run again; the smaller size stays for the rest of
the budget's life (one call of a public function), and every halving is a `BackedOff` warning. The work function must
therefore return its numbers and change nothing outside; the caller adds up what is returned.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from editing.errors import OutOfMemory
from editing.lazy import torch

T = TypeVar("T")

# A batch ends before a longer sequence when less than FULL of it were its tokens, the rest padding, and it
# already holds LEAST of the budget: below that, more batches cost more than the padding they save.
FULL, LEAST = 0.85, 1 / 8

# What torch's messages say where it has no error type for it: CPU allocator, cuBLAS workspaces, Apple's GPUs.
WORDS = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")


class BackedOff(UserWarning):
    """A batch did not fit into memory and was halved."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a CPU or a GPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS)


def attempt(work: Callable[[], T]) -> tuple[T] | None:
    """(work(),), or None where memory ran out; what the failed attempt held is given back before this returns."""
    try:
        return (work(),)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Behind the handler: inside it the traceback still holds the tensors of every frame.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


class Budget:
    """At most so many padded tokens in a batch, fewer from the first batch on that does not fit.

    Args:
        tokens: the budget. A sequence longer than it is a batch by itself.
        doing: the name of the work, for warnings and errors.

    Attributes:
        tokens: what the budget is now. halvings: how often a batch was halved.
    """

    def __init__(self, tokens: int, doing: str) -> None:
        self.tokens, self.doing, self.halvings = tokens, doing, 0

    def run(
        self,
        widths: Sequence[int],
        work: Callable[[list[int]], T],
        *,
        rows: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        by_length: bool = True,
        full: float = FULL,
    ) -> Iterator[tuple[list[int], T]]:
        """`work(members)` for all items, in batches; yields the members (indices) of each and what `work` returned.

        Args:
            widths: tokens of each item's longest sequence; a batch counts as all its rows at the longest width.
            work: changes nothing outside itself, see above.
            rows: sequences of each item, one by default.
            names: of the items, for errors.
            by_length: shortest first, so that little is padded; otherwise in the order given.
            full: share of a batch by length that is tokens, see FULL; 0 where `work` sees to padding itself.

        Raises:
            OutOfMemory: an item does not fit alone.
        """
        left = list(range(len(widths)))
        if by_length:
            left.sort(key=lambda i: widths[i])
        while left:
            count, tokens = self._first(left, widths, rows, full if by_length else 0.0)
            members = left[:count]
            done = attempt(lambda members=members: work(members))
            if done is None:
                if count == 1:
                    raise self.alone(names[members[0]] if names else "", tokens)
                self.halved(tokens)
                continue
            yield members, done[0]
            left = left[count:]

    def halved(self, tokens: int) -> None:
        """Half of the batch of `tokens` that failed is the budget from now on."""
        self.halvings += 1
        self.tokens = max(tokens // 2, 1)
        text = f"{self.doing}: a batch of {tokens} tokens does not fit into memory; continuing with {self.tokens}"
        warnings.warn(text, BackedOff, stacklevel=3)

    def alone(self, name: str, tokens: int) -> OutOfMemory:
        """The error of an item that does not fit alone."""
        who = f"{name}: " if name else ""
        return OutOfMemory(
            f"{who}{self.doing} runs out of memory at {tokens} tokens, a single item; "
            "shorten the text, take a smaller model or bfloat16 weights, or a device with more memory"
        )

    def _first(
        self, left: list[int], widths: Sequence[int], rows: Sequence[int] | None, full: float
    ) -> tuple[int, int]:
        """How many of `left` the first batch holds, and its padded tokens; see `FULL` of the share `full`."""
        count, height, width, real = 0, 0, 0, 0
        for i in left:
            own = 1 if rows is None else rows[i]
            padded = (height + own) * max(width, widths[i])
            if count and padded > self.tokens:
                break
            if real >= LEAST * self.tokens and real + own * widths[i] < full * padded:
                break
            count, height, width, real = count + 1, height + own, max(width, widths[i]), real + own * widths[i]
        return count, height * width
