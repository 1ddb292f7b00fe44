"""The one way this package runs a model: padded batches, a reusable prefix, and only the blocks that matter.

An edit at block L and position p changes nothing below L and nothing left of p. So the keys and values left of p are
computed once (`Prefix`), the hidden state entering block L is computed once, and a step of an optimiser runs the blocks
from L up on the few tokens from p on (`Splice` in editing/run/splice.py). Works for every family transformers offers,
because it drives the model's own forward: blocks below L are skipped, block L's input is replaced, and the
language-model head gets only the positions whose logits are needed. In models with recurrent blocks what stands left is
read again instead (editing/run/reread.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

from editing.delta import ChangeHook
from editing.errors import BadRequest
from editing.lazy import cache_utils, nn, torch
from editing.model import Hook, LanguageModel, hooked, with_entering
from editing.run.reread import Entering, Reread, StepCache, on_last


@dataclass(frozen=True)
class Batch:
    """Padded sequences: ids, mask (1 at real tokens) and positions (real tokens counted from 0), each (B, T) long."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor

    @property
    def size(self) -> int:
        return self.ids.shape[0]

    def narrowed(self, width: int) -> Batch:
        """The first `width` columns; of a batch padded on the right, with `width` its longest sequence, the same."""
        return Batch(self.ids[:, :width], self.mask[:, :width], self.positions[:, :width])


def refuse_too_long(lm: LanguageModel, tokens: Sequence[int], before: int = 0) -> None:
    """Check that the model has positions for `tokens` behind `before` others.

    Raises:
        BadRequest: it has too few.
    """
    if (length := before + len(tokens)) > lm.max_length:
        tail = lm.tokenizer.decode(tokens[-12:])
        raise BadRequest(
            f"a text of {length} tokens that ends {tail!r:.80}: the model reads {lm.max_length}; "
            "shorten prompt, target or context"
        )


def pad(
    sequences: Sequence[Sequence[int]], lm: LanguageModel, *, side: str, first: torch.Tensor | None = None
) -> Batch:
    """Sequences as one batch, padded left or right. `first` (B,) long: the position of each sequence's first token (0).

    Raises:
        BadRequest: a sequence goes on where the model has no positions.
    """
    width = max((len(s) for s in sequences), default=0)
    starts = [0] * len(sequences) if first is None else first.tolist()
    for start, sequence in zip(starts, sequences, strict=True):
        refuse_too_long(lm, sequence, start)
    empty = [lm.pad_id] * width
    if side == "left":
        rows = [[*empty[len(s) :], *s] for s in sequences]
        real = [[0] * (width - len(s)) + [1] * len(s) for s in sequences]
    else:
        rows = [[*s, *empty[len(s) :]] for s in sequences]
        real = [[1] * len(s) + [0] * (width - len(s)) for s in sequences]
    ids, mask = (torch.tensor(table, dtype=torch.long).reshape(len(sequences), width) for table in (rows, real))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    ids, mask, positions = ids.to(lm.device), mask.to(lm.device), positions.to(lm.device)
    if first is not None:
        positions = positions + first[:, None]
    return Batch(ids, mask, positions)


@dataclass(frozen=True)
class Prefix:
    """Keys and values of left-padded prefixes: per layer (B, heads, P, d_head), None below `start`; mask (B, P)."""

    keys: tuple[torch.Tensor | None, ...]
    values: tuple[torch.Tensor | None, ...]
    mask: torch.Tensor

    def select(self, rows: torch.Tensor) -> Prefix:
        """Rows of the batch, in any order and number."""

        def pick(states: torch.Tensor | None) -> torch.Tensor | None:
            return None if states is None else states.index_select(0, rows.to(states.device))

        return Prefix(tuple(map(pick, self.keys)), tuple(map(pick, self.values)), self.mask.index_select(0, rows))

    @classmethod
    def joined(cls, parts: Sequence[Prefix]) -> Prefix:
        """The rows of several, padded on the left to the longest."""
        width = max(part.mask.shape[1] for part in parts)

        def rows(states: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
            there = [nn.functional.pad(t, (0, 0, width - t.shape[2], 0)) for t in states if t is not None]
            return torch.cat(there) if there else None

        layers = range(len(parts[0].keys))
        keys, values = (tuple(rows([getattr(p, n)[i] for p in parts]) for i in layers) for n in ("keys", "values"))
        masks = [nn.functional.pad(part.mask, (width - part.mask.shape[1], 0)) for part in parts]
        return cls(keys, values, torch.cat(masks))

    def above(self, start: int) -> Prefix:
        """The same for runs that begin at block `start`: keys and values of the blocks below are dropped."""
        keys, values = (tuple(t if i >= start else None for i, t in enumerate(s)) for s in (self.keys, self.values))
        return Prefix(keys, values, self.mask)

    def lengths(self) -> torch.Tensor:
        """(B,) long: number of real tokens."""
        return self.mask.sum(1)

    def cache(self) -> cache_utils.Cache:
        """The same as transformers take them."""
        from editing.run.fixed_layer import FixedLayer

        length = self.mask.shape[1]
        return cache_utils.Cache(layers=[FixedLayer(k, v, length) for k, v in zip(self.keys, self.values, strict=True)])

    def extended(self, cache: cache_utils.Cache, mask: torch.Tensor) -> Prefix:
        """This prefix and the tokens behind it that a run with `cache` read; mask (B, T) of those, padded on the right.

        Rows are moved to the right end, so that the next token stands next to its last one (sliding windows count
        columns).
        """
        whole = torch.cat([self.mask, mask], 1)
        order = whole.argsort(dim=1, stable=True)  # padding first, tokens in their order

        def moved(old: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
            joined = new if old is None else torch.cat([old, new], -2)
            index = order.to(joined.device)[:, None, :, None].expand(-1, joined.shape[1], -1, joined.shape[3])
            return joined.gather(2, index)

        layers: list = cache.layers
        pairs = [
            (None, None) if layer.added is None else (moved(k, layer.added[0]), moved(v, layer.added[1]))
            for k, v, layer in zip(self.keys, self.values, layers, strict=True)
        ]
        return Prefix(tuple(k for k, _ in pairs), tuple(v for _, v in pairs), whole.gather(1, order))


class _Stop(Exception):
    pass


@contextmanager
def _from_block(lm: LanguageModel, start: int, hidden: torch.Tensor) -> Iterator[None]:
    """Blocks below `start` do nothing; block `start` reads `hidden` (B, T, d_model)."""
    filler = lm.layout.tuple_output
    blocks = [lm.module.get_submodule(path) for path in lm.layout.blocks]

    def idle(hidden_states: torch.Tensor, *args: object, **kwargs: object) -> object:
        return (hidden_states, *[None] * (filler - 1)) if filler else hidden_states

    def replace(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return with_entering(args, kwargs, hidden)

    handle = blocks[start].register_forward_pre_hook(replace, with_kwargs=True)
    saved: list[object] = []  # accelerate keeps its own forward on the instance
    try:
        for block in blocks[:start]:
            saved.append(vars(block).get("forward"))
            block.forward = idle
        yield
    finally:
        handle.remove()
        for block, original in zip(blocks[:start], saved, strict=False):  # an interrupt may leave some unreplaced
            if original is None:
                vars(block).pop("forward", None)
            else:
                block.forward = original


@contextmanager
def _gathered(lm: LanguageModel, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """The head sees only the states at (rows, columns), as a batch of one sequence."""

    def gather(module: nn.Module, args: tuple) -> tuple:
        return (args[0][rows.to(args[0].device), columns.to(args[0].device)][None], *args[1:])

    handle = lm.module.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def _for_head(lm: LanguageModel, hooks: Sequence[Hook], rows: torch.Tensor) -> list[Hook]:
    """`hooks`, where those that give every sequence its own change know which sequence a gathered state belongs to."""
    head = lm.module.get_output_embeddings()
    return [
        (path, hook.for_rows(rows)) if isinstance(hook, ChangeHook) and lm.submodule(path) is head else (path, hook)
        for path, hook in hooks
    ]


def forward(
    lm: LanguageModel,
    batch: Batch,
    *,
    past: Prefix | Reread | None = None,
    record: cache_utils.Cache | Entering | StepCache | None = None,
    start: int = 0,
    hidden: torch.Tensor | None = None,
    gather: tuple[torch.Tensor, torch.Tensor] | None = None,
    hooks: Sequence[Hook] = (),
    stop: str | None = None,
    head: bool = True,
) -> torch.Tensor | None:
    """Run the model on `batch` behind `past`.

    Args:
        record: a cache that receives keys and values: an empty one, or `past.cache()` beside `past`; or what collects
            the states that enter the blocks; or the model's own cache, which is read and extended.
        start, hidden: skip the blocks below `start` and feed it `hidden` (B, T, d_model).
        gather: (N,) rows and (N,) columns of the positions whose logits are returned; None means all last columns.
        hooks: forward hooks by module path.
        stop: path of the last module that is needed; the run ends behind it and None is returned.
        head: False ends the run before the head and returns what it reads, (N, d_model).

    Returns:
        (N, vocabulary) logits in the model's type, or None with `stop`.

    Raises:
        UserError: another thread runs the same model.
    """
    if gather is None:
        rows = torch.arange(batch.size, device=lm.device)
        gather = rows, torch.full_like(rows, batch.ids.shape[1] - 1)
    if isinstance(past, Reread):
        batch, hidden, gather, hooks = _with_left(past, batch, start, hidden, gather, hooks)
        past = None
    arguments = _arguments(lm, batch, past, record)
    hooks = _for_head(lm, hooks, gather[0])
    if stop is not None:
        hooks.append((stop, _halt))
    with ExitStack() as stack:
        stack.enter_context(lm.state.running(lm.name))
        if hidden is not None:
            stack.enter_context(_from_block(lm, start, hidden))
        stack.enter_context(hooked(lm, hooks))
        stack.enter_context(_gathered(lm, *gather))
        if isinstance(record, Entering):
            for path in lm.layout.blocks:
                handle = lm.module.get_submodule(path).register_forward_pre_hook(record, with_kwargs=True)
                stack.callback(handle.remove)
        states: list[torch.Tensor] = []
        if not head:
            handle = lm.module.get_output_embeddings().register_forward_pre_hook(_before_head(states))
            stack.callback(handle.remove)
        try:
            output = lm.module(**arguments)
        except _Stop:
            return states[0].to(lm.device) if states else None
    if isinstance(record, StepCache):
        record.keep(output)
    return output.logits[0].to(lm.device)


def _with_left(
    left: Reread,
    batch: Batch,
    start: int,
    hidden: torch.Tensor | None,
    gather: tuple[torch.Tensor, torch.Tensor],
    hooks: Sequence[Hook],
) -> tuple[Batch, torch.Tensor | None, tuple[torch.Tensor, torch.Tensor], Sequence[Hook]]:
    """The arguments of `forward` with the columns of `left` before those of `batch`."""
    hooks = on_last(hooks, batch.size, batch.ids.shape[1])
    if hidden is not None:
        entering = left.entering[start]
        assert entering is not None
        hidden = torch.cat([entering.to(hidden.device, hidden.dtype), hidden], 1)
    pairs = ((left.ids, batch.ids), (left.mask, batch.mask), (left.positions, batch.positions))
    whole = Batch(*(torch.cat(pair, 1) for pair in pairs))
    return whole, hidden, (gather[0], gather[1] + left.ids.shape[1]), hooks


def _arguments(
    lm: LanguageModel, batch: Batch, past: Prefix | None, record: cache_utils.Cache | Entering | StepCache | None
) -> dict[str, object]:
    """The keyword arguments of the module's forward, by the names that this model has for them."""
    names = _argument_names(type(lm.module))
    mask = batch.mask if past is None else torch.cat([past.mask, batch.mask], 1)
    cache = record
    if isinstance(record, Entering | StepCache):
        cache = record.cache if isinstance(record, StepCache) else None
    elif record is None and past is not None:
        cache = past.cache()
    used = cache is not None or isinstance(record, StepCache)
    arguments: dict[str, object] = {"input_ids": batch.ids, "attention_mask": mask, "use_cache": used}
    if "position_ids" in names:
        arguments["position_ids"] = batch.positions
    if cache is not None:
        arguments["cache" if "cache" in names else "past_key_values"] = cache  # transformers 5.24 renames it
    return arguments


@cache
def _argument_names(kind: type[nn.Module]) -> frozenset[str]:
    """Of the forward of a model class; looking them up costs as much as a small block."""
    return frozenset(signature(kind.forward).parameters)


def _halt(module: nn.Module, args: tuple, output: object) -> None:
    raise _Stop


def _before_head(states: list[torch.Tensor]) -> Callable[[nn.Module, tuple], None]:
    """A hook that keeps what the head reads at the gathered positions, and ends the run."""

    def hook(module: nn.Module, args: tuple) -> None:
        states.append(args[0][0])
        raise _Stop

    return hook


def prefill(
    lm: LanguageModel,
    sequences: Sequence[Sequence[int]],
    *,
    hooks: Sequence[Hook] = (),
    logits: bool = False,
    stop: str | None = None,
) -> tuple[Prefix | Reread | None, torch.Tensor | None]:
    """Keys and values of whole sequences for all blocks up to `stop`; with `logits`, also those at the last tokens.

    Sequences may be empty (their rows are fully masked); if all are, there is no prefix and None is returned.
    """
    if not any(len(s) for s in sequences):
        return None, None
    batch = pad(sequences, lm, side="left")
    record = Entering() if lm.layout.recurrent else cache_utils.DynamicCache()
    stop = None if logits else stop or lm.layout.blocks[-1]
    out = forward(lm, batch, record=record, hooks=hooks, stop=stop)
    return left_of(lm, batch, record), out


def left_of(lm: LanguageModel, batch: Batch, record: Any) -> Prefix | Reread | None:
    """What a run of `batch` has recorded, to be put before other batches; None where it read no token."""
    if not batch.ids.shape[1]:
        return None
    if isinstance(record, Entering):
        return Reread(batch.ids, batch.mask, tuple(record.states))
    layers: list = record.layers
    missing = (None,) * (len(lm.layout.blocks) - len(layers))
    return Prefix(tuple(t.keys for t in layers) + missing, tuple(t.values for t in layers) + missing, batch.mask)


def read_beginnings(
    lm: LanguageModel, sequences: Sequence[Sequence[int]], heads: Sequence[int], stop: str | None = None
) -> tuple[Prefix, torch.Tensor] | None:
    """The first heads[i] tokens of every sequence, each distinct beginning read once.

    Returns:
        The distinct beginnings and which one each sequence has, (B,) long; None where there is little to share, or
        what stands left is read again anyway.
    """
    if lm.layout.recurrent:
        return None
    beginnings: dict[tuple[int, ...], int] = {}
    which = [beginnings.setdefault(tuple(s[:h]), len(beginnings)) for s, h in zip(sequences, heads, strict=True)]
    if 2 * len(beginnings) > len(sequences):
        return None
    past, _ = prefill(lm, list(beginnings), stop=stop)
    assert not isinstance(past, Reread)
    return None if past is None else (past, torch.tensor(which, device=past.mask.device))


def prefill_shared(
    lm: LanguageModel, sequences: Sequence[Sequence[int]], heads: Sequence[int]
) -> Prefix | Reread | None:
    """The same as `prefill`, with the first heads[i] tokens of each sequence read once for all that begin alike."""
    beginnings = read_beginnings(lm, sequences, heads)
    if beginnings is None:
        return prefill(lm, sequences)[0]
    distinct, which = beginnings
    past = distinct.select(which)
    rest = [s[h:] for s, h in zip(sequences, heads, strict=True)]
    if not any(len(r) for r in rest):
        return past
    batch, cache = pad(rest, lm, side="right", first=past.lengths()), past.cache()
    forward(lm, batch, past=past, record=cache, stop=lm.layout.blocks[-1])
    return past.extended(cache, batch.mask)
