"""Prompts whose states behind every layer are kept, so that a run with a changed state costs the blocks above it only.

Layer -1 is the embedding: the state that enters the first block. Layer l is the output of block l. Only tokens from the
cut on are run (`editing.run.Splice`): what stands left of it does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.readings.prompts.answers import Answers, target_places
from editing.lazy import torch
from editing.model import Hook, LanguageModel
from editing.run import Budget, Splice, capture, first, forward, with_first
from editing.solve import states
from editing.text import Prompt

BATCH_TOKENS = 1024  # products of fewer rows are slower than the padding that smaller batches save


@dataclass(frozen=True)
class Prepared:
    """n prompts with targets, cut at `cuts` (n,).

    Attributes:
        behind: per layer from -1 on, (n, S, d_model) the unchanged states from each cut on.
    """

    lm: LanguageModel
    prompts: tuple[Prompt, ...]
    cuts: tuple[int, ...]
    splice: Splice
    behind: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, lm: LanguageModel, prompts: Sequence[Prompt], cuts: Sequence[int] | None = None) -> Prepared:
        """Read all prompts once; they are cut at their lookups unless `cuts` says otherwise."""
        cuts = [p.lookup for p in prompts] if cuts is None else cuts
        heads = [min(p.head, cut) for p, cut in zip(prompts, cuts, strict=True)]
        splice = Splice.prepare(lm, [p.ids for p in prompts], cuts, 0, heads)
        assert splice.hidden is not None
        behind = [splice.hidden, *_outputs(lm, splice, splice.hidden)]
        return cls(lm, tuple(prompts), tuple(cuts), splice, tuple(behind))

    def outputs(self, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The states behind every layer from -1 on, when `hidden` (n, S, d_model) enters the first block."""
        return (hidden, *_outputs(self.lm, self.splice, hidden))

    def run(
        self,
        layer: int,
        rows: torch.Tensor,
        hidden: torch.Tensor,
        gather: tuple[torch.Tensor, torch.Tensor],
        hooks: Sequence[Hook] = (),
    ) -> torch.Tensor:
        """Logits at the `gather` places (rows among `rows`, columns from the cut on) when the state behind `layer` of
        the prompts `rows` (m,) is `hidden` (m, S, d_model). Differentiable in `hidden` and in what `hooks` add; these
        see as many columns as the longest of the prompts has."""
        part, blocks = self.splice.select(rows), self.lm.layout.blocks
        width = int(part.batch.mask.sum(1).max())
        batch, hidden = part.batch.narrowed(width), hidden[:, :width]
        start, hooks = layer + 1, list(hooks)
        if start == len(blocks):  # behind the last block there is no block to enter
            start = layer

            def put(module: torch.nn.Module, args: tuple, output: object) -> object:
                return with_first(output, hidden.to(first(output).dtype))

            hooks.append((blocks[layer], put))
        logits = forward(self.lm, batch, past=part.past, start=start, hidden=hidden, gather=gather, hooks=hooks)
        assert logits is not None
        return logits

    def places(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows among `rows`, columns from the cut on, and tokens of all targets, for `run`."""
        row, column, token = target_places([self.prompts[i] for i in rows], self.lm.device)
        cuts = torch.tensor([self.cuts[i] for i in rows], device=self.lm.device)
        return row, column - cuts[row], token

    def answers(self, layer: int, rows: Sequence[int], hidden: torch.Tensor, hooks: Sequence[Hook] = ()) -> Answers:
        """The answers of the prompts `rows` under changed states, all in one batch; see `run`."""
        row, column, token = self.places(rows)
        index = torch.tensor(list(rows), device=self.lm.device)
        return Answers.of(self.run(layer, index, hidden, (row, column), hooks), row, token, len(rows))

    def answers_by_length(
        self, layer: int, rows: Sequence[int], hidden_of: Callable[[list[int]], torch.Tensor]
    ) -> Answers:
        """The same in batches of prompts of about one length, so that little is padded.

        Args:
            hidden_of: numbers of some of `rows` -> (m, S, d_model) their states behind `layer`.
        """

        def read(members: list[int]) -> Answers:
            return self.answers(layer, [rows[m] for m in members], hidden_of(members))

        widths = [len(self.prompts[i].ids) - self.cuts[i] for i in rows]
        budget = Budget(self.lm.batch_tokens(BATCH_TOKENS), "asking under changed states")
        parts = list(budget.run(widths, read))
        order = torch.tensor([m for members, _ in parts for m in members], device=self.lm.device).argsort()
        return Answers(*(torch.cat([getattr(a, key) for _, a in parts])[order] for key in ("logp", "exact")))


def _outputs(lm: LanguageModel, splice: Splice, hidden: torch.Tensor) -> list[torch.Tensor]:
    """(n, S, d_model) outputs of all blocks when `hidden` enters the first one."""
    store: dict[tuple[str, str], torch.Tensor] = {}
    blocks, width = lm.layout.blocks, splice.batch.ids.shape[1]
    anywhere = torch.zeros(1, dtype=torch.long, device=lm.device)
    hooks = [capture(block, "output", store, width) for block in blocks]
    with torch.no_grad():
        forward(
            lm, splice.batch, past=splice.past, start=0, hidden=hidden, gather=(anywhere, anywhere), hooks=hooks,
            stop=blocks[-1],
        )  # fmt: skip
    return [store[block, "output"] for block in blocks]


def block_states(
    lm: LanguageModel, prompts: Sequence[Prompt], layers: Sequence[int], *, batch: int = 64
) -> torch.Tensor:
    """(n, layers, d_model) float32 states behind `layers` (-1: the embedding) at the lookups."""
    blocks = [(lm.layout.blocks[layer], "output") for layer in layers if layer >= 0]
    behind = states(lm, prompts, blocks) if blocks else {}
    by_layer = {layer: behind[lm.layout.blocks[layer], "output"] for layer in layers if layer >= 0}
    if -1 in layers:
        parts = [_embedded(lm, [prompts[i] for i in members]) for members in in_batches(len(prompts), batch)]
        by_layer[-1] = torch.cat(parts)
    return torch.stack([by_layer[layer] for layer in layers], 1)


def _embedded(lm: LanguageModel, prompts: Sequence[Prompt]) -> torch.Tensor:
    """(n, d_model) states that enter the first block at the lookups."""
    lookups = [p.lookup for p in prompts]
    splice = Splice.prepare(lm, [p.ids[: p.lookup + 1] for p in prompts], lookups, 0)
    assert splice.hidden is not None
    return splice.hidden[:, 0].float().cpu()


def in_batches(total: int, size: int) -> list[list[int]]:
    """The numbers below `total` in runs of `size`."""
    return [list(range(start, min(start + size, total))) for start in range(0, total, size)]
