"""From rows to scores per case, the best setting per rung, and the editability curve."""

from valley.scores.available import PLAN_AXES, SCORES, Available, available
from valley.scores.cases import UNIT, case_scores, failures, matching, unit_numbers, unmeasurable, without_errors
from valley.scores.composites import (
    CASE_COLUMNS,
    PRIMARY,
    Composite,
    Means,
    by_name,
    chooser,
    composites,
    defensible,
    insensitive_to,
)
from valley.scores.curve import CURVE_COLUMNS, Analysis, analyse
from valley.scores.figure_tables import depth_scores, editability_points, kind_points, transfer_points
from valley.scores.grid import ends_missed, format_ends
from valley.scores.plan import (
    AnalysisPlan,
    former_metric,
    plan_caution,
    plan_differences,
    stored,
    with_options,
)
from valley.scores.points import points
from valley.scores.published import PLACE, SCORE_COLUMNS, published_scores
from valley.scores.resampling import BASE, PARTS, Resampler, Sampled
from valley.scores.settings import CONCEPTS, choose, is_placebo_of, on_split, placebo_of, placebos, stratum
from valley.scores.sizes import editability, format_editability, format_regret
from valley.scores.strengths import AXES, DEMANDS, StrengthAxis, axes_of, strengths

__all__ = [
    "AXES",
    "BASE",
    "CASE_COLUMNS",
    "CONCEPTS",
    "CURVE_COLUMNS",
    "DEMANDS",
    "PARTS",
    "PLACE",
    "PLAN_AXES",
    "PRIMARY",
    "SCORES",
    "SCORE_COLUMNS",
    "UNIT",
    "Analysis",
    "AnalysisPlan",
    "Available",
    "Composite",
    "Means",
    "Resampler",
    "Sampled",
    "StrengthAxis",
    "analyse",
    "available",
    "axes_of",
    "by_name",
    "case_scores",
    "choose",
    "chooser",
    "composites",
    "defensible",
    "depth_scores",
    "editability",
    "editability_points",
    "ends_missed",
    "failures",
    "format_editability",
    "format_ends",
    "format_regret",
    "former_metric",
    "insensitive_to",
    "is_placebo_of",
    "kind_points",
    "matching",
    "on_split",
    "placebo_of",
    "placebos",
    "plan_caution",
    "plan_differences",
    "points",
    "published_scores",
    "stored",
    "stratum",
    "strengths",
    "transfer_points",
    "unit_numbers",
    "unmeasurable",
    "with_options",
    "without_errors",
]
