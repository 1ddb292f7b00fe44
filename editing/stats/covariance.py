"""C = E[k k^T] of the keys that reach a site, over a corpus, for all sites in one pass.

Sums are float32 within a batch and float64 across batches. Even and odd batches are summed apart, so that their
distance says how closely the corpus determines C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from editing.lazy import torch
from editing.model import HEAD, Expert, Hook, LanguageModel, Site
from editing.run import Budget, forward, pad


@dataclass(frozen=True, eq=False)
class Covariance:
    """C of one site.

    Attributes:
        matrix: (d_in, d_in) float32, uncentred.
        tokens: number of keys; of a routed expert, those of the tokens that are sent to it.
        error: half of the relative Frobenius distance between the two halves of the corpus.
    """

    matrix: torch.Tensor
    tokens: int
    error: float


def covariances(
    lm: LanguageModel,
    sequences: Sequence[Sequence[int]],
    sites: Sequence[Site],
    *,
    batch_tokens: int = 4096,
    progress: Callable[[int, int], None] | None = None,
    sums_on: torch.device | None = None,
) -> dict[str, Covariance]:
    """The covariance of every site, by path, in main memory.

    Args:
        sums_on: where the float64 sums are kept; None is main memory. A product of a wide site is hundreds of megabytes
            a batch, so that on a GPU with room the sums belong there.
        progress: called as progress(sequences done, sequences in all).

    Raises:
        OutOfMemory: a sequence does not fit alone.
    """
    order = sorted({s.path: s for s in sites}.values(), key=lambda s: s.layer)
    head = order.pop() if order[-1].kind == HEAD else None
    last_block = None if head else lm.layout.blocks[order[-1].layer]

    def read(members: list[int]) -> dict[str, tuple[int, torch.Tensor]]:
        """Keys of a batch, and k k^T summed over them, by path."""
        batch = pad([sequences[i] for i in members], lm, side="right")
        mask = batch.mask.reshape(-1).bool()
        products: dict[str, tuple[int, torch.Tensor]] = {}
        hooks = [_multiplying(s.path, mask, products) for s in order]
        if head is None:
            forward(lm, batch, hooks=hooks, stop=last_block)
        else:
            rows, columns = batch.mask.nonzero().T
            states = forward(lm, batch, hooks=hooks, gather=(rows, columns), head=False)
            assert states is not None
            products[head.path] = len(states), states.float().T @ states.float()
        return products

    place, read_at = sums_on or torch.device("cpu"), [*order, *([head] if head else [])]
    sums = {s.path: torch.zeros(2, s.d_in, s.d_in, dtype=torch.float64, device=place) for s in read_at}
    counts, done = {s.path: [0, 0] for s in read_at}, 0
    budget = Budget(lm.batch_tokens(batch_tokens), "accumulating covariances")
    with torch.no_grad():
        for i, (members, products) in enumerate(budget.run([len(s) for s in sequences], read)):
            for path in list(products):
                keys, product = products.pop(path)
                counts[path][i % 2] += keys
                sums[path][i % 2] += product.to(place)
            done += len(members)
            if progress:
                progress(done, len(sequences))
    # popped: of wide sites there is no room for a second copy
    return {s.path: _covariance(sums.pop(s.path), counts[s.path]) for s in read_at}


def _multiplying(path: str, mask: torch.Tensor, products: dict[str, tuple[int, torch.Tensor]]) -> Hook:
    """A hook that puts the number of keys k of a batch's real tokens and the sum of k k^T into `products[path]`; mask
    (B T,)."""

    def hook(module: torch.nn.Module | Expert, args: tuple, output: object) -> None:
        here = mask.to(args[0].device)
        if isinstance(module, Expert):
            here = here & (args[1][:, 0] != 0)
        key_ND = args[0].reshape(-1, args[0].shape[-1])[here].float()
        products[path] = len(key_ND), key_ND.T @ key_ND

    return path, hook


def _covariance(halves: torch.Tensor, counts: Sequence[int]) -> Covariance:
    """From the sums (2, d_in, d_in) of two halves of the corpus, which are overwritten, and their numbers of tokens."""
    total = halves.sum(0).div_(max(sum(counts), 1))
    one, two = (halves[h].div_(max(counts[h], 1)) for h in (0, 1))
    error = float(one.sub_(two).norm() / total.norm()) / 2 if counts[1] else float("nan")
    return Covariance(total.float().cpu(), sum(counts), error)
