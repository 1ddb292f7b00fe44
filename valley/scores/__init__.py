"""From rows to scores per case, the best setting per rung, and the editability curve."""

from valley.scores.available import PLAN_AXES, SCORES, Available, available
from valley.scores.cases import UNIT, case_scores, failures, harmonic, unmeasurable
from valley.scores.composites import CASE_COLUMNS, PRIMARY, Composite, Means, composites, defensible, insensitive_to
from valley.scores.curve import CURVE_COLUMNS, Analysis, analyse
from valley.scores.figure_tables import depth_scores, editability_points, transfer_points
from valley.scores.grid import ends_missed, format_ends
from valley.scores.plan import AnalysisPlan, plan_caution, plan_differences, stored, with_options
from valley.scores.points import points
from valley.scores.published import PLACE, SCORE_COLUMNS, TABLES
from valley.scores.settings import BASE, Resampler, choose, derived, matching, on_split, placebo_of, stratum
from valley.scores.sizes import editability, format_editability
from valley.scores.strengths import AXES, DEMANDS, StrengthAxis, axes_of, strengths

__all__ = [
    "AXES",
    "BASE",
    "CASE_COLUMNS",
    "CURVE_COLUMNS",
    "DEMANDS",
    "PLACE",
    "PLAN_AXES",
    "PRIMARY",
    "SCORES",
    "SCORE_COLUMNS",
    "TABLES",
    "UNIT",
    "Analysis",
    "AnalysisPlan",
    "Available",
    "Composite",
    "Means",
    "Resampler",
    "StrengthAxis",
    "analyse",
    "available",
    "axes_of",
    "case_scores",
    "choose",
    "composites",
    "defensible",
    "depth_scores",
    "derived",
    "editability",
    "editability_points",
    "ends_missed",
    "failures",
    "format_editability",
    "format_ends",
    "harmonic",
    "insensitive_to",
    "matching",
    "on_split",
    "placebo_of",
    "plan_caution",
    "plan_differences",
    "points",
    "stored",
    "stratum",
    "strengths",
    "transfer_points",
    "unmeasurable",
    "with_options",
]
