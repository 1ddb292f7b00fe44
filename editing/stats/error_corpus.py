"""The corpus "error:E": text drawn from the model itself until its covariances are known to a relative error E.

Text is drawn in rounds of ROUND sequences; the error is the standard error over texts of covariance.py.

Each site stops by itself at its first round with an error below E, so that what a site gets does not depend on the
other sites that were prepared with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from editing.model import LanguageModel, Site
from editing.stats.covariance import Covariance, Products, add_products

# Raise VERSION in editing/stats/statistics.py when one of these changes: covariances on disk depend on them.
ROUND = 16  # sequences per round
LIMIT = 20_000  # drawn tokens at most


def parse_error(value: str) -> float | None:
    """The E of "error:E", above 0 and below 1; None where `value` is no such number."""
    error = float(value) if re.fullmatch(r"0?\.\d+", value) else 0.0
    return error or None


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
    sums = {site.path: Products.empty(site.d_in) for site in sites}
    results: dict[str, Covariance] = {}
    unfinished = list(sites)
    for i in range(rounds):
        add_products(lm, draw(i), unfinished, sums)
        results |= {site.path: sums[site.path].covariance() for site in unfinished}
        unfinished = [site for site in unfinished if not results[site.path].error < error]
        if not unfinished:
            break
    return results
