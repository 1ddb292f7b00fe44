"""C = E[k k^T] of the keys that reach a site, over a corpus, for all wanted sites in one streaming pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from editing.model.language_model import LanguageModel
from editing.model.sites import Site
from editing.run.batching import Budget
from editing.run.forward import forward, hooked, pad


@dataclass(frozen=True, eq=False)
class Covariance:
    """matrix (d_in, d_in) float32, uncentred; tokens: how many keys; error: relative Frobenius distance of two halves / 2."""

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
) -> dict[str, Covariance]:
    """The covariance of every site, by path. Sums in float32 per batch and float64 across batches.

    Even and odd batches are summed apart, so that their distance says how far the corpus has pinned C down; the run ends
    behind the last wanted site.
    """
    last = max(sites, key=lambda s: s.layer)
    sums = {s.path: torch.zeros(2, s.d_in, s.d_in, dtype=torch.float64) for s in sites}
    counts = [0, 0]
    fresh: dict[str, torch.Tensor] = {}  # products of the batch at work: a batch that fails half-way counts for nothing
    mask: torch.Tensor = torch.empty(0)

    def accumulate(path: str):
        def hook(module: torch.nn.Module, args: tuple, output: object) -> None:
            key_ND = args[0].reshape(-1, args[0].shape[-1])[mask.to(args[0].device)].float()
            fresh[path] = key_ND.T @ key_ND

        return path, hook

    def read(members: list[int]) -> int:
        nonlocal mask
        fresh.clear()
        batch = pad([sequences[i] for i in members], lm, side="right")
        mask = batch.mask.reshape(-1).bool()
        forward(lm, batch, stop=behind_last)
        return int(mask.sum())

    order = sorted({s.path: s for s in sites}.values(), key=lambda s: s.layer)
    behind_last = lm.layout.blocks[last.layer]
    done = 0
    budget = Budget(lm.batch_tokens(batch_tokens), "accumulating covariances")
    with torch.no_grad(), hooked(lm, [accumulate(s.path) for s in order]):
        for i, (members, tokens) in enumerate(budget.run([len(s) for s in sequences], read)):
            counts[i % 2] += tokens
            for path in list(fresh):
                sums[path][i % 2] += fresh.pop(path).cpu()
            done += len(members)
            if progress:
                progress(done, len(sequences))
    result = {}
    for site in order:
        halves = sums.pop(site.path)  # wide sites: no second copy of what is this large
        total = halves.sum(0).div_(max(sum(counts), 1))
        one, two = (halves[h].div_(max(counts[h], 1)) for h in (0, 1))
        error = float(one.sub_(two).norm() / total.norm()) / 2 if counts[1] else float("nan")
        result[site.path] = Covariance(total.float(), sum(counts), error)
    return result
