"""What an edit makes available over its doses: the curve of generalisation against specificity, without a grid."""

from __future__ import annotations

from valley.scores.composites.composite import Composite

COMPOSITES = (
    Composite(
        "dose_area",
        "area under the generalisation-specificity curve of a case's doses",
        lambda means: means.values["dose_area"],
        on_dev="harmonic_raw_all",
    ),
    Composite(
        "dose_gen_at_spec",
        "generalisation at the largest dose of a case that keeps specificity at .9 or more",
        lambda means: means.values["dose_gen_at_spec"],
        on_dev="harmonic_raw_all",
    ),
)
