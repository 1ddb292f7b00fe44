"""Holm's correction for several tests (Holm 1979, "A simple sequentially rejective multiple test procedure")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values, in the given order; they control the chance of any false claim. NaN is no test."""
    values = np.asarray(p, float)
    adjusted = np.full(len(values), np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    if len(order):
        factors = np.arange(len(order), 0, -1)
        adjusted[order] = np.maximum.accumulate(values[order] * factors).clip(max=1)
    return adjusted.tolist()
