"""Sequences prepared for many runs that differ only from one position and one block on.

For every sequence everything left of its lookup position becomes a `Prefix`, and the state entering block `start` at
the remaining tokens is computed once. A run then costs (blocks from `start` up) x (tokens from the lookup on).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing.lazy import torch
from editing.model import Hook, LanguageModel
from editing.run.forward import Batch, Prefix, forward, pad, prefill_shared
from editing.run.reread import Entering, Reread


@dataclass(frozen=True)
class Splice:
    """B prepared sequences; column 0 of `batch` is each one's lookup position.

    Attributes:
        past: what stands left of the lookup, None where no sequence has anything there.
        batch: the tokens from the lookup on, right-padded (B, S).
        hidden: (B, S, d_model) state entering block `start`; None with `start=-1`, which runs from the embedding.
    """

    lm: LanguageModel
    start: int
    past: Prefix | Reread | None
    batch: Batch
    hidden: torch.Tensor | None

    @classmethod
    def prepare(
        cls,
        lm: LanguageModel,
        sequences: Sequence[Sequence[int]],
        lookups: Sequence[int],
        start: int,
        heads: Sequence[int] | None = None,
    ) -> Splice:
        """Run the model once on `sequences`, cut at `lookups`; later runs begin at block `start`, -1 with the
        embedding.

        With `heads`, the first heads[i] <= lookups[i] tokens of all sequences that begin alike are read once.
        """
        left = [s[:p] for s, p in zip(sequences, lookups, strict=True)]
        right = [s[p:] for s, p in zip(sequences, lookups, strict=True)]
        with torch.no_grad():
            past = prefill_shared(lm, left, heads or [0] * len(sequences))
            first = torch.tensor(lookups, dtype=torch.long, device=lm.device)
            batch = pad(right, lm, side="right", first=first)
            if start < 0:
                return cls(lm, start, past, batch, None)
            entering = Entering()
            block = lm.module.get_submodule(lm.layout.blocks[start])
            handle = block.register_forward_pre_hook(entering, with_kwargs=True)
            try:
                forward(lm, batch, past=past, stop=lm.layout.blocks[start])
            finally:
                handle.remove()
        (hidden,) = entering.states
        hidden = hidden[:, hidden.shape[1] - batch.ids.shape[1] :]
        return cls(lm, start, None if past is None else past.above(start), batch, hidden)

    def select(self, rows: torch.Tensor) -> Splice:
        """Some of the sequences, in any order."""
        batch = Batch(*(t.index_select(0, rows) for t in (self.batch.ids, self.batch.mask, self.batch.positions)))
        past = None if self.past is None else self.past.select(rows)
        hidden = None if self.hidden is None else self.hidden.index_select(0, rows.to(self.hidden.device))
        return Splice(self.lm, self.start, past, batch, hidden)

    def run(self, gather: tuple[torch.Tensor, torch.Tensor], hooks: Sequence[Hook] = (), stop: str | None = None):
        """Logits (N, vocabulary) at the (N,) rows and columns of `gather`; differentiable in what `hooks` add."""
        return forward(
            self.lm,
            self.batch,
            past=self.past,
            start=self.start,
            hidden=self.hidden,
            gather=gather,
            hooks=hooks,
            stop=stop,
        )
