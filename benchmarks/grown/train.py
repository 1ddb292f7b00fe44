"""The training loop of the grown rungs: small transformers, short sequences, made fast on few CPU cores.

What makes it fast (measured; see LOG.md): Muon needs few tokens; the loss over the vocabulary computes its own gradient
in slices that stay in the processor's cache; documents that share a row do not see each other (unrelated sentences
before a fact slowed its learning two to three times); matrix products run in bfloat16 where the processor has tiles for
it, weights and updates stay float32; a batch is cut in a fixed number of shards, each run by one thread with
one torch thread, which neither spins when other processes want the cores nor makes the result depend on how many cores
there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.grown.muon import Adam, Muon, squares
from benchmarks.grown.recipe import Recipe
from editing.errors import BadData

SHARDS = 2
SLICE = 128
LOOKAHEAD = 8
IGNORED = -100


def documents(
    sentences: Sequence[Sequence[int]],
    length: int,
    company: float,
    rng: np.random.Generator,
    frequency: np.ndarray | None = None,
) -> list[list[int]]:
    """One epoch of documents of at most `length` tokens: every sentence once, shuffled, a share `company` joined.

    `frequency`: (sentences,) how often each comes per epoch; between whole numbers by chance, anew in every epoch.
    """
    out: list[list[int]] = []
    needed = 0
    order = np.arange(len(sentences))
    if frequency is not None:
        order = np.repeat(order, np.floor(frequency + rng.random(len(sentences))).astype(np.int64))
    for index in order[rng.permutation(len(order))]:
        ids = sentences[index]
        if not ids:  # a sentence that the text leaves out
            continue
        if needed > 0 and len(out[-1]) + len(ids) <= length - 1:
            out[-1].extend(ids)
            needed -= 1
        else:
            out.append(list(ids))
            needed = int(rng.integers(1, 8)) if rng.random() < company else 0
    return out


def batches(
    sentences: Sequence[Sequence[int]], end: int, recipe: Recipe, seed: int, frequency: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Endless batches (rows, length + 1) of token ids: documents that start with `end`, then IGNORED.

    A row's last document is closed by `end` too. The room left when none of the next few documents fits is padding.
    `frequency`: as in `documents`.

    Raises:
        BadData: a sentence is longer than the longest document may be.
    """
    longest = max(map(len, sentences))
    if longest >= recipe.length:
        raise BadData(f"recipe: a sentence has {longest} tokens; make the length {longest + 1} or more")
    rng = np.random.default_rng([seed, 1])
    queue: list[list[int]] = []
    made = 0
    while True:
        batch = np.full((max(1, recipe.batch // recipe.length), recipe.length + 1), IGNORED, dtype=np.int64)
        for row in batch:
            at = 0
            while True:
                if len(queue) < LOOKAHEAD:
                    company = recipe.company if made >= recipe.alone * recipe.steps else 0.0
                    queue = documents(sentences, recipe.length, company, rng, frequency) + queue
                fits = next((i for i in range(1, LOOKAHEAD + 1) if len(queue[-i]) + 2 + at <= len(row)), None)
                if fits is None:
                    break
                ids = queue.pop(-fits)
                row[at : at + len(ids) + 2] = [end, *ids, end]
                at += len(ids) + 1
        made += 1
        yield batch


def segments(inputs: torch.Tensor, end: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions counted from the start of each document, and who may see whom: earlier tokens of the same document.

    Shapes: inputs (rows, length), documents opened by `end`; positions (rows, length); mask (rows, 1, length, length),
        bool.
    """
    opens = inputs == end
    at = torch.arange(inputs.shape[1], device=inputs.device)
    start = torch.where(opens, at, 0).cummax(1).values
    causal = at[:, None] >= at[None, :]
    return at - start, (causal & (start[:, :, None] == start[:, None, :]))[:, None]


class SlicedLoss(torch.autograd.Function):
    """Sum of next-token losses of `hidden @ weight.T`, and its gradient, computed slice by slice.

    Args of apply: hidden (n, d) float32, weight (vocabulary, d) float32, labels (n,), dtype of the products.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype
    ) -> torch.Tensor:
        low, states = weight.to(dtype), hidden.to(dtype)
        to_hidden, to_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        loss = hidden.new_zeros(())
        for start in range(0, len(hidden), SLICE):
            part = slice(start, start + SLICE)
            label = labels[part, None]
            logs = torch.log_softmax(states[part] @ low.T, -1, dtype=torch.float32)
            loss -= logs.gather(1, label).sum()
            slope = logs.exp_().scatter_add_(1, label, logs.new_full(label.shape, -1.0)).to(dtype)
            to_hidden[part] = slope @ low
            to_weight += slope.T @ states[part]
        ctx.save_for_backward(to_hidden, to_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        to_hidden, to_weight = ctx.saved_tensors
        return to_hidden * grads[0], to_weight * grads[0], None, None


def product_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where it is faster: on CUDA, and on processors with AMX tiles; else float32."""
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return torch.bfloat16 if device.type == "cuda" or (device.type == "cpu" and tiles()) else torch.float32


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """torch with one thread per calling thread inside, as it was outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Trainer:
    """A training: weights, optimiser state and the stream of batches. `step()` does one update, returns the loss.

    Args:
        model: a transformers causal language model, float32. Changed in place, save what is frozen.
        sentences: token ids of the training sentences.
        end: id of the document separator.
        seed: of the order of the sentences.
        frequency: (sentences,) how often each is read per epoch; once when left out.
    """

    def __init__(
        self,
        model: Any,
        sentences: Sequence[Sequence[int]],
        end: int,
        recipe: Recipe,
        seed: int,
        frequency: np.ndarray | None = None,
    ) -> None:
        self.model, self.recipe, self.end, self.done, self.seen = model, recipe, end, 0, 0
        self.device = next(model.parameters()).device
        self.dtype = product_dtype(self.device)
        self.log: list[tuple[int, float]] = []
        self.since: list[float] = []
        self.optimisers: list[Muon | Adam] = []
        self.batches = batches(sentences, end, recipe, seed, frequency)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names, self.parameters = zip(*trained, strict=True)
        self.head = model.get_output_embeddings().weight
        self.updates = list(self._updates())
        self.shards = SHARDS if self.device.type == "cpu" else 1

    def _updates(self) -> Iterator[Callable[[list[torch.Tensor], float], None]]:
        tables = {id(self.head), id(self.model.get_input_embeddings().weight)}
        conv = {id(m.weight) for m in self.model.modules() if type(m).__name__ == "Conv1D"}
        by_shape: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
        rest: dict[float, list[int]] = {}
        for index, (name, p) in enumerate(zip(self.names, self.parameters, strict=True)):
            if p.ndim == 2 and id(p) not in tables and "wpe" not in name:
                for block, view in enumerate(squares(p.detach())):
                    by_shape.setdefault((*view.shape, id(p) in conv), []).append((index, block))
            else:
                rate = self.recipe.embedding_lr if p.ndim == 2 else self.recipe.vector_lr
                rest.setdefault(rate, []).append(index)

        def muon(blocks: list[tuple[int, int]], transposed: bool) -> Callable[[list[torch.Tensor], float], None]:
            optimiser = Muon([squares(self.parameters[i].detach())[b] for i, b in blocks], transposed, dtype=self.dtype)
            self.optimisers.append(optimiser)
            return lambda grads, pace: optimiser.step(
                [squares(grads[i])[b] for i, b in blocks], pace * self.recipe.matrix_lr
            )

        def adam(indices: list[int], rate: float) -> Callable[[list[torch.Tensor], float], None]:
            optimiser = Adam([self.parameters[i] for i in indices])
            self.optimisers.append(optimiser)
            return lambda grads, pace: optimiser.step([grads[i] for i in indices], pace * rate)

        for (*_, transposed), blocks in by_shape.items():
            yield muon(blocks, transposed)
        for rate, indices in rest.items():
            yield adam(indices, rate)

    def _gradients(self, batch: np.ndarray, count: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Loss (mean over the `count` labels of the whole batch) of one shard and its gradients."""
        ids = torch.from_numpy(batch).to(self.device)
        labels = ids[:, 1:].reshape(-1)
        inputs = ids[:, :-1].clamp(min=0).contiguous()
        low = self.dtype != torch.float32
        positions, mask = segments(inputs, self.end)
        with torch.enable_grad():
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low, cache_enabled=False):
                weights = torch.zeros(mask.shape, dtype=torch.bfloat16 if low else torch.float32, device=self.device)
                weights.masked_fill_(~mask, torch.finfo(weights.dtype).min)
                hidden = self.model.base_model(
                    inputs, attention_mask=weights, position_ids=positions, use_cache=False
                ).last_hidden_state
            keep = labels >= 0
            flat = hidden.reshape(-1, hidden.shape[-1])[keep].float()
            loss = SlicedLoss.apply(flat, self.head, labels[keep], self.dtype) / count
            return loss.detach(), torch.autograd.grad(loss, self.parameters)

    def step(self, each: Callable[..., Iterable]) -> float:
        """One update; the loss. `each` calls a function with every item of a list, as `map` does."""
        batch = next(self.batches)
        count = int((batch[:, 1:] >= 0).sum())
        shards = [shard for shard in np.array_split(batch, self.shards) if len(shard)]
        parts = list(each(lambda shard: self._gradients(shard, count), shards))
        grads = [torch.stack(same).sum(0) for same in zip(*[slopes for _, slopes in parts], strict=True)]
        pace = self.recipe.pace(self.done)
        list(each(lambda update: update(grads, pace), self.updates))
        self.done += 1
        self.seen += count
        return float(sum(loss for loss, _ in parts))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights and moments by name: the part of the state that is large. Not copies."""
        out = {f"weight.{name}": p.detach() for name, p in zip(self.names, self.parameters, strict=True)}
        for number, optimiser in enumerate(self.optimisers):
            out |= {f"moment.{number}.{at}": moment for at, moment in enumerate(optimiser.moments())}
        return out

    def numbers(self) -> dict[str, Any]:
        """The rest of the state, for JSON."""
        return {"done": self.done, "seen": self.seen, "log": self.log, "since": self.since}

    def restore(self, tensors: Mapping[str, torch.Tensor], numbers: Mapping[str, Any]) -> None:
        """A new trainer becomes the one that gave `tensors()` and `numbers()`.

        Raises:
            KeyError, ValueError, RuntimeError: they are not of such a trainer.
        """
        own = self.tensors()
        if own.keys() != tensors.keys():
            raise ValueError("other tensors than this model's")
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
        self.done, self.seen = int(numbers["done"]), int(numbers["seen"])
        self.log, self.since = [(int(step), float(loss)) for step, loss in numbers["log"]], list(numbers["since"])
        for optimiser in self.optimisers:
            if isinstance(optimiser, Adam):
                optimiser.steps = self.done
        for _ in range(self.done):
            next(self.batches)

    def run(
        self,
        progress: Callable[[int, int, float], None] | None = None,
        after: Callable[[], None] | None = None,
    ) -> list[tuple[int, float]]:
        """The remaining steps. Returns about 50 entries (step, mean loss in nats since the entry before).

        After every step `after` is called, then `progress` with steps done, steps in all and the last loss.
        """
        total, every = self.recipe.steps, max(1, self.recipe.steps // 50)
        self.model.train()
        # On processors flash attention is slow in bfloat16. The choice is global in torch, so it is made outside the
        # threads.
        plain = self.dtype == torch.bfloat16 and self.device.type == "cpu"
        backends = [SDPBackend.MATH] if plain else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        with (
            one_torch_thread(),
            sdpa_kernel(backends),
            ThreadPoolExecutor(self.shards, initializer=lambda: torch.set_num_threads(1)) as pool,
        ):
            while self.done < total:
                self.since.append(self.step(pool.map if self.shards > 1 else map))
                if self.done % every == 0 or self.done == total:
                    self.log.append((self.done, sum(self.since) / len(self.since)))
                    self.since = []
                if after is not None:
                    after()
                if progress is not None:
                    progress(self.done, total, self.log[-1][1] if self.log else self.since[-1])
        self.model.eval()
        return self.log


class Stopwatch:
    """Wall and processor seconds of the training alone, added up over its parts.

    Args:
        before: what earlier parts took, as `read` gave it.
    """

    def __init__(self, before: Mapping[str, float]) -> None:
        self.before, self.away = {"seconds": 0.0, "cpu_seconds": 0.0, **before}, (0.0, 0.0)
        self.start = self._now()

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """{seconds, cpu_seconds} so far."""
        spent = [now - start - away for now, start, away in zip(self._now(), self.start, self.away, strict=True)]
        return {key: round(self.before[key] + s, 2) for key, s in zip(("seconds", "cpu_seconds"), spent, strict=True)}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside does not count."""
        left = self._now()
        try:
            yield
        finally:
            wall, cpu = (back - start for back, start in zip(self._now(), left, strict=True))
            self.away = (self.away[0] + wall, self.away[1] + cpu)
