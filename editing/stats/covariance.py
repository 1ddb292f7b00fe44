"""C = E[k k^T] of the keys that reach a site, over a corpus, for all sites in one pass.

Sums are float32 within a batch and float64 across batches. How closely the corpus determines C is estimated from how
far the texts differ from one another, since the tokens of one text are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from editing.lazy import torch
from editing.model import HEAD, Expert, Hook, LanguageModel, Site
from editing.run import Budget, forward, pad


@dataclass(frozen=True, eq=False)
class Covariance:
    """C of one site.

    Attributes:
        matrix: (d_in, d_in) float32, uncentred.
        tokens: number of keys; of a routed expert, those of the tokens that are sent to it.
        error: its standard error over texts, in Frobenius norm, relative to |C|; NaN of one text, or where
            every key is 0.
    """

    matrix: torch.Tensor
    tokens: int
    error: float


@dataclass(eq=False)
class Products:
    """Of texts i with n_i keys and S_i = sum of k k^T each: what their sums say of C, in float64.

    Attributes:
        total: (d_in, d_in) sum of S_i. weighted: (d_in, d_in) sum of n_i S_i; None where all n_i are `lengths[0]`, so
            that a batch of texts of one length, as those drawn from a model are, keeps one matrix.
        squares: sum of |S_i|^2. lengths: the n_i above 0.
    """

    total: torch.Tensor
    weighted: torch.Tensor | None
    squares: float = 0.0
    lengths: list[int] = field(default_factory=list)

    @classmethod
    def empty(cls, d_in: int, device: torch.device | None = None) -> Products:
        total, weighted = torch.zeros(2, d_in, d_in, dtype=torch.float64, device=device)
        return cls(total, weighted)

    @classmethod
    def of(cls, key_BTD: torch.Tensor, mask_BT: torch.Tensor) -> Products:
        """Those of one batch of texts in float32; keys outside the mask do not count."""
        lengths_B = mask_BT.sum(1)
        key_ND, lengths = key_BTD[mask_BT].float(), [n for n in lengths_B.tolist() if n]
        weighted = None
        if len(set(lengths)) > 1:
            weighted = key_ND.T @ (key_ND * lengths_B.repeat_interleave(lengths_B)[:, None])
        key_BTD = key_BTD.float() * mask_BT[..., None]
        few = key_BTD.shape[1] <= key_BTD.shape[2]  # |K^T K| = |K K^T|: the smaller of the two products
        gram = key_BTD @ key_BTD.mT if few else key_BTD.mT @ key_BTD
        return cls(key_ND.T @ key_ND, weighted, float(gram.double().square().sum()), lengths)

    def add(self, other: Products) -> None:
        """Add those of a batch to a sum, which has both matrices."""
        assert self.weighted is not None
        total = other.total.to(self.total.device)
        self.total += total
        if other.weighted is not None:
            self.weighted += other.weighted.to(self.weighted.device)
        elif other.lengths:
            self.weighted.add_(total, alpha=other.lengths[0])
        self.squares += other.squares
        self.lengths += other.lengths

    def covariance(self) -> Covariance:
        """C = sum of S_i / sum of n_i and its standard error, a ratio's: the texts leave S_i - n_i C."""
        assert self.weighted is not None
        tokens, texts = sum(self.lengths), len(self.lengths)
        matrix = self.total / max(tokens, 1)
        norm, both = float(matrix.norm()), float(torch.dot(self.weighted.flatten(), matrix.flatten()))
        left = self.squares - 2 * both + sum(n * n for n in self.lengths) * norm**2
        known = texts > 1 and norm > 0
        error = (max(left, 0.0) * texts / (texts - 1)) ** 0.5 / tokens / norm if known else float("nan")
        return Covariance(matrix.float().cpu(), tokens, error)


def covariances(
    lm: LanguageModel,
    sequences: Sequence[Sequence[int]],
    sites: Sequence[Site],
    *,
    batch_tokens: int = 4096,
    progress: Callable[[int, int], None] | None = None,
    sums_on: torch.device | None = None,
) -> dict[str, Covariance]:
    """The covariance of every site, by path, in main memory; every sequence is a text.

    Args:
        sums_on: where the float64 sums are kept; None is main memory. A product of a wide site is hundreds of megabytes
            a batch, so that on a GPU with room the sums belong there.
        progress: called as progress(sequences done, sequences in all).

    Raises:
        OutOfMemory: a sequence does not fit alone.
    """
    sums = {s.path: Products.empty(s.d_in, sums_on) for s in sites}
    add_products(lm, sequences, sites, sums, batch_tokens=batch_tokens, progress=progress)
    # popped: of wide sites there is no room for a second copy
    return {path: sums.pop(path).covariance() for path in list(sums)}


def add_products(
    lm: LanguageModel,
    sequences: Sequence[Sequence[int]],
    sites: Sequence[Site],
    sums: dict[str, Products],
    *,
    batch_tokens: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Add what the sequences put in at every site to its `sums`; arguments and errors as of `covariances`."""
    order = sorted({s.path: s for s in sites}.values(), key=lambda s: s.layer)
    head = order.pop() if order[-1].kind == HEAD else None
    last_block = None if head else lm.layout.blocks[order[-1].layer]

    def read(members: list[int]) -> dict[str, Products]:
        """Those of a batch, by path."""
        batch = pad([sequences[i] for i in members], lm, side="right")
        mask_BT = batch.mask.bool()
        products: dict[str, Products] = {}
        hooks = [_multiplying(s.path, mask_BT, products) for s in order]
        if head is None:
            forward(lm, batch, hooks=hooks, stop=last_block)
        else:
            rows, columns = batch.mask.nonzero().T
            states = forward(lm, batch, hooks=hooks, gather=(rows, columns), head=False)
            assert states is not None
            key_BTD = states.new_zeros(*mask_BT.shape, states.shape[-1])
            key_BTD[mask_BT] = states
            products[head.path] = Products.of(key_BTD, mask_BT)
        return products

    done = 0
    budget = Budget(lm.batch_tokens(batch_tokens), "accumulating covariances")
    with torch.no_grad():
        for members, products in budget.run([len(s) for s in sequences], read):
            for path in list(products):
                sums[path].add(products.pop(path))
            done += len(members)
            if progress:
                progress(done, len(sequences))


def _multiplying(path: str, mask_BT: torch.Tensor, products: dict[str, Products]) -> Hook:
    """A hook that puts the products of a batch's keys at real tokens into `products[path]`; of a routed expert, of the
    tokens that are sent to it."""

    def hook(module: torch.nn.Module | Expert, args: tuple, output: object) -> None:
        here = mask_BT.to(args[0].device)
        if isinstance(module, Expert):
            here = here & (args[1][:, 0] != 0).reshape(here.shape)
        products[path] = Products.of(args[0].reshape(*here.shape, -1), here)

    return path, hook
