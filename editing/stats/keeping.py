"""Texts that an edit is to leave alone, as a part of its key covariance.

A rank-one change acts on a state k by u . k with u = C^-1 k*. Prompts of one form have most of their key in common, and
C of general text hardly counts that part, so the change of one such prompt acts on all of them. The keys of kept texts,
n x d_in, add their second moment D: u = (C + w c D)^-1 k*, where c brings D to C's mean diagonal and w has no unit. It
is the preservation term of MEMIT (Meng et al. 2023, eq. 14, K0) with the kept texts beside the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence

from editing.errors import BadRequest
from editing.lazy import torch
from editing.model import Site
from editing.stats.statistics import ModelStatistics
from editing.text import EditRequest


def refuse_nothing_kept(requests: Sequence[EditRequest]) -> None:
    """For edits that weigh texts to keep.

    Raises:
        BadRequest: a request has none.
    """
    for request in requests:
        if not request.keep:
            raise BadRequest(f"request {request.id!r}: no texts to keep; give it some, or keep_weight=0")


def solve_keeping(
    statistics: ModelStatistics, site: Site, keys: torch.Tensor, kept: torch.Tensor, weight: float
) -> torch.Tensor:
    """(C + weight c D)^-1 keys, see the head of this file, by the Woodbury identity from one factor of C.

    Args:
        keys: (d_in, m). kept: (n, d_in), n > 0. weight: above 0.

    Returns:
        (d_in, m), float64.
    """
    kept_In = kept.T.double()
    mean_square = float((kept_In**2).mean())
    scale = weight * float(statistics.covariance(site).matrix.diagonal().double().mean()) / (mean_square * len(kept))
    solved = statistics.solve(site, torch.cat([keys.double(), kept_In], dim=1))
    keys_Im, kept_solved_In = solved[:, : keys.shape[1]], solved[:, keys.shape[1] :]
    inner_nn = kept_In.T @ kept_solved_In
    inner_nn.diagonal().add_(1 / scale)
    return keys_Im - kept_solved_In @ torch.linalg.solve(inner_nn, kept_In.T @ keys_Im)
