"""The corpus "error:E": text drawn from the model itself until its covariances are known to a relative error E.

Text is drawn in rounds of ROUND sequences. The sequences take turns between two halves; with C1 and C2 the covariances
of the halves and C that of both, the error of C is estimated as |C1 - C2| / (2 |C|) in Frobenius norms. (With n
sequences in all and a variance s^2 per sequence, C1 - C2 has variance 4 s^2 / n and C has s^2 / n: half the distance of
the halves.)

Each site stops by itself at its first round with an error below E, so that what a site gets does not depend on the
other sites that were prepared with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from editing.lazy import torch
from editing.model import LanguageModel, Site
from editing.stats.covariance import Covariance, covariances

# Raise VERSION in editing/stats/statistics.py when one of these changes: covariances on disk depend on them.
ROUND = 16  # sequences per round
LIMIT = 20_000  # drawn tokens at most


def parse_error(value: str) -> float | None:
    """The E of "error:E", above 0 and below 1; None where `value` is no such number."""
    error = float(value) if re.fullmatch(r"0?\.\d+", value) else 0.0
    return error or None


class _Halves:
    """Sums of the key products of one site, (d_in, d_in) float64, in two halves."""

    def __init__(self, d_in: int) -> None:
        self.sums = torch.zeros(2, d_in, d_in, dtype=torch.float64)
        self.tokens = [0, 0]

    def add(self, half: int, part: Covariance) -> None:
        self.sums[half] += part.matrix.double() * part.tokens
        self.tokens[half] += part.tokens

    def covariance(self) -> Covariance:
        total = self.sums.sum(0) / sum(self.tokens)
        first, second = (self.sums[half] / self.tokens[half] for half in (0, 1))
        return Covariance(total.float(), sum(self.tokens), float((first - second).norm() / total.norm()) / 2)


def covariances_to_error(
    lm: LanguageModel,
    sites: Sequence[Site],
    error: float,
    rounds: int,
    draw: Callable[[int], list[list[int]]],
) -> dict[str, Covariance]:
    """The covariance of every site, by path, each from as few rounds of text as its `error` needs, `rounds` at most.

    Args:
        draw: the sequences of round i, at least two.
    """
    halves = {site.path: _Halves(site.d_in) for site in sites}
    results: dict[str, Covariance] = {}
    unfinished = list(sites)
    for i in range(rounds):
        sequences = draw(i)
        for half in (0, 1):
            for path, part in covariances(lm, sequences[half::2], unfinished).items():
                halves[path].add(half, part)
        results |= {site.path: halves[site.path].covariance() for site in unfinished}
        unfinished = [site for site in unfinished if not results[site.path].error < error]
        if not unfinished:
            break
    return results
