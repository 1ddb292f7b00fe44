"""The area under a front of generalisation and specificity."""

from __future__ import annotations

import numpy as np


def hypervolume(generalisation: np.ndarray, specificity: np.ndarray) -> np.ndarray:
    """E_HV = integral over s in [0, 1] of max{Gen : Spec >= s}, for settings on the last axis: (..., k) -> (...).

    No edit at all generalises 0 at specificity 1, so where no setting is specific enough the integrand is 0; a negative
    generalisation counts as 0. NaN settings take no part; NaN where there is no other.
    """
    gen, spec = np.broadcast_arrays(np.asarray(generalisation, float), np.asarray(specificity, float))
    absent = np.isnan(gen) | np.isnan(spec)
    gen, spec = np.where(absent, 0, np.maximum(gen, 0)), np.where(absent, 0, np.clip(spec, 0, 1))
    order = np.argsort(-spec, axis=-1, kind="stable")
    gen, spec = np.take_along_axis(gen, order, -1), np.take_along_axis(spec, order, -1)
    reach = np.maximum.accumulate(gen, axis=-1)
    width = spec - np.concatenate([spec[..., 1:], np.zeros((*spec.shape[:-1], 1))], axis=-1)
    return np.where(absent.all(axis=-1), np.nan, (reach * width).sum(axis=-1))
