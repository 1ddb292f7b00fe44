"""What stands at the lookups of texts, also under an edit that grows block by block from below.

Before such an edit grows, what enters its next block is kept, and the next reading begins there. So the blocks below
the edit are read once, and the first of n edited blocks twice instead of n times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from editing.delta import Delta, delta_hooks
from editing.lazy import torch
from editing.model import LanguageModel
from editing.run import Budget, Entering, Prefix, attempt, capture, forward, pad, read_beginnings
from editing.text import Prompt

KEPT = 2**31  # bytes of the states that are kept; more texts are read from the first block each time

States = dict[tuple[str, str], "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class _Shared:
    """Distinct beginnings, which one each text has (B,), and what enters the block to be changed there, (., P, d_model)
    padded on the left; None where no block is."""

    prefix: Prefix
    which: torch.Tensor
    entering: torch.Tensor | None


class Rising:
    """Texts up to their lookups (tokens behind cannot matter), and what enters the block where the next reading begins.

    Attributes:
        start: that block. entering: (tokens, d_model) of text i there, where the model runs; None at block 0.
    """

    def __init__(self, lm: LanguageModel, prompts: Sequence[Prompt], batch_tokens: int = 4096) -> None:
        self.lm, self.prompts = lm, prompts
        self.texts = [p.ids[: p.lookup + 1] for p in prompts]
        self.tokens = sum(map(len, self.texts))
        self.budget = Budget(lm.batch_tokens(batch_tokens), "reading keys")
        self.start = 0
        self.entering: dict[int, torch.Tensor] | None = None

    def read(
        self,
        places: Sequence[tuple[str, str]],
        deltas: Sequence[Delta] = (),
        rows: Sequence[int] | None = None,
        *,
        next_change: int | None = None,
    ) -> States:
        """(texts, width) float32 state of each place (module path, "input" or "output") at every lookup, in main
        memory; the head's input may be one.

        Args:
            deltas, rows: text i is read under `deltas[rows[i]]`, all under the first without `rows`. Without deltas,
                what is put before several texts is read once.
            next_change: the lowest block that changes before the next reading; None where the next one is of the same
                model or there is none.

        Raises:
            OutOfMemory: a text does not fit alone.
        """
        head = self.lm.module.get_output_embeddings()
        at_head = next((p for p in places if p[1] == "input" and self.lm.submodule(p[0]) is head), None)
        hooked = [place for place in places if place != at_head]
        stop = self.lm.layout.blocks[-1] if at_head else _last_block(self.lm, [path for path, _ in places])
        # An edit may change the beginnings too, so only the unedited model's are shared.
        shared = None if deltas or self.entering is not None else _beginnings(self.lm, self.prompts, stop, next_change)
        cut = [0 if shared is None else p.head for p in self.prompts]
        rows = rows or [0] * len(self.texts)

        def work(members: list[int]) -> tuple[States, list[torch.Tensor]]:
            past = hidden = None
            if shared is not None:
                past = shared.prefix.select(shared.which[torch.tensor(members, device=shared.which.device)])
            if self.entering is not None:
                hidden = torch.nn.utils.rnn.pad_sequence([self.entering[i] for i in members], batch_first=True)
            texts = [self.texts[i][cut[i] :] for i in members]
            batch = pad(texts, self.lm, side="right", first=None if past is None else past.lengths())
            store: States = {}
            hooks = delta_hooks(self.lm, deltas, [rows[i] for i in members]) if deltas else []
            hooks += [capture(path, side, store, batch.ids.shape[1]) for path, side in hooked]
            columns = torch.tensor([len(text) - 1 for text in texts])
            gather = torch.arange(len(members), device=self.lm.device), columns.to(self.lm.device)
            with torch.no_grad(), _entering(self.lm, next_change) as entered:
                out = forward(
                    self.lm, batch, past=past, start=self.start, hidden=hidden, hooks=hooks, gather=gather,
                    stop=None if at_head else stop, head=False,
                )  # fmt: skip
            at_lookup = {place: _at_columns(value, columns) for place, value in store.items()}
            if at_head is not None and out is not None:
                at_lookup[at_head] = out
            states = {place: value.float().cpu() for place, value in at_lookup.items()}
            return states, self._whole(members, entered.states[0], shared, cut) if entered.states else []

        by_place = {place: [torch.empty(0)] * len(self.texts) for place in places}
        kept: dict[int, torch.Tensor] = {}
        widths = [len(text) - n for text, n in zip(self.texts, cut, strict=True)]
        for members, (states, entered) in self.budget.run(widths, work):
            for place, values in states.items():
                for i, value in zip(members, values, strict=True):
                    by_place[place][i] = value
            kept |= dict(zip(members, entered, strict=False))
        if next_change is not None:
            self.start, self.entering = (next_change, kept) if kept else (0, None)
        return {place: torch.stack(values) for place, values in by_place.items()}

    def _whole(
        self, members: list[int], state: torch.Tensor, shared: _Shared | None, cut: Sequence[int]
    ) -> list[torch.Tensor]:
        """(tokens, d_model) of each member, from `state` (B, T, d_model) behind its beginning; none beyond KEPT."""
        if self.tokens * state.shape[-1] * state.element_size() > KEPT:
            return []
        rows = [row[: len(self.texts[i]) - cut[i]] for i, row in zip(members, state, strict=True)]
        if shared is None or shared.entering is None:
            return rows
        width, which = shared.entering.shape[1], shared.which.tolist()
        return [
            torch.cat([shared.entering[which[i], width - cut[i] :], row]) for i, row in zip(members, rows, strict=True)
        ]


def _beginnings(lm: LanguageModel, prompts: Sequence[Prompt], stop: str, next_change: int | None) -> _Shared | None:
    """See `read_beginnings`; None also where they do not fit into memory together, then every text is read whole."""
    texts, heads = [p.ids for p in prompts], [p.head for p in prompts]
    with torch.no_grad(), _entering(lm, next_change) as entered:
        result = attempt(lambda: read_beginnings(lm, texts, heads, stop))
    if result is None or result[0] is None:
        return None
    prefix, which = result[0]
    return _Shared(prefix, which, entered.states[-1] if entered.states else None)


@contextmanager
def _entering(lm: LanguageModel, layer: int | None) -> Iterator[Entering]:
    """What enters block `layer` in the runs inside; of None nothing."""
    entered = Entering()
    if layer is None:
        yield entered
        return
    handle = lm.module.get_submodule(lm.layout.blocks[layer]).register_forward_pre_hook(entered, with_kwargs=True)
    try:
        yield entered
    finally:
        handle.remove()


def _at_columns(value: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(B, width) of `value` (B, T, width): row i at columns[i]."""
    return value[torch.arange(len(columns), device=value.device), columns.to(value.device)]


def _last_block(lm: LanguageModel, paths: Sequence[str]) -> str:
    """The last block that holds one of `paths`; the first one where none does (an embedding)."""
    blocks = lm.layout.blocks
    layer = max(next((i for i, b in enumerate(blocks) if p == b or p.startswith(f"{b}.")), 0) for p in paths)
    return blocks[layer]
