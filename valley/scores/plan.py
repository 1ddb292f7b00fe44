"""The analysis plan: every choice that could be bent to a result, fixed and hashed before test scores are read.

`stored` writes the plan into the run's folder the first time a verdict is requested, before any row is read. A verdict
by another plan is still given, and says so.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, StrictFloat, StrictInt, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from valley.rows import (
    PLAN_FILE,
    STRATA,
    RowsError,
    extension_note,
    first_problem,
    plan_digest,
    store_plan,
    stored_plan,
)
from valley.scores.composites import FORMER, PRIMARY, composites
from valley.scores.settings import needed

FILE = PLAN_FILE
METRICS = (
    *(one.name for one in composites()),
    *("e_hv", "gen_at_spec", "generalisation", "specificity", "cross_lingual"),
    *FORMER,
)
AXES = (
    "place_in_ladder",
    "bits_per_byte_world",
    "bits_per_byte",
    "log10_parameters",
    "known_rate",
    "log10_training_tokens",
)

Share = Annotated[StrictFloat, Field(gt=0, lt=1)]
Count = Annotated[StrictInt, Field(ge=1)]


@dataclass(frozen=True, config={"extra": "forbid", "json_schema_extra": {"description": "How a run is judged."}})
class AnalysisPlan:
    """How a run is judged. The descriptions of the fields say what each is.

    Raises:
        RowsError: an unknown field, metric, axis or stratum; a number out of its range.
    """

    metric: Literal[METRICS] = Field(  # type: ignore[valid-type]
        default=PRIMARY,
        description="score by which settings are chosen and whose curve is tested; `harmonic_mean` and "
        "`harmonic_mean_net` are former names of `first_study` and `first_study_net`",
    )
    axes: tuple[Literal[AXES], ...] = Field(  # type: ignore[valid-type]
        default=("bits_per_byte_world", "bits_per_byte", "log10_parameters", "log10_training_tokens"),
        min_length=1,
        description="strength axes, the primary ones first",
    )
    level: Share = Field(default=0.05, description="level of every test, between 0 and 1")
    weight: Share = Field(default=0.8, description="BIC weight that a named shape needs, between 0 and 1")
    agreeing: Count = Field(default=2, description="number of axes, and of methods, on which a shape must show")
    spec: Share = Field(
        default=0.95, description="specificity at which generalisation is read (gen_at_spec), between 0 and 1"
    )
    depth: Share = Field(default=0.1, description="least depth of a valley that is of interest, between 0 and 1")
    which: Literal[STRATA] = Field(default="known", description="stratum of cases")  # type: ignore[valid-type]
    min_known: Count = Field(
        default=50,
        description="number of cases of the stratum that a rung must have (edits of concepts: 20 at most); a rung of "
        "fewer than 5 is in no verdict on a shape",
    )
    draws: Count = Field(default=2000, description="draws of each parametric bootstrap")
    bootstrap: Count = Field(default=1000, description="bootstrap draws over cases")
    seed: StrictInt = Field(default=0, ge=0, description="random seed of all draws, 0 or more")

    @model_validator(mode="wrap")
    @classmethod
    def _refused_in_one_line(cls, values: Any, handler: ModelWrapValidatorHandler) -> Any:
        try:
            return handler(values)
        except ValidationError as error:
            raise RowsError(f"analysis plan: {first_problem(error, cls, values)}") from error

    def needed(self, kind: str) -> int:
        """Cases of a kind of edit that a rung must have."""
        return needed(self.min_known, kind)

    @property
    def digest(self) -> str:
        """SHA-256 of the plan as canonical JSON."""
        return plan_digest(asdict(self))


def stored(plan: AnalysisPlan, run: Path) -> str:
    """Store the plan's hash in the run folder if none is there; else the caution when the one there is another. A run
    that was extended has a caution too.

    A plan of an older version may lack fields: its hash is checked over the fields it has, the others take their
    default.

    Returns:
        "" or one line, which names the options that differ.

    Raises:
        RowsError: no such run folder, a file that is no plan, a folder that cannot be written.
    """
    if not run.is_dir():
        raise RowsError(f"{run}: no such run folder; make one with `python cli.py bench --out {run}`")
    store_plan(run, asdict(plan))
    return plan_caution(run, **asdict(plan))


def plan_caution(run: Path, **chosen: Any) -> str:
    """One line where a table is made by other options than the analysis plan stored in `run` states; stores nothing.

    Args:
        chosen: fields of the plan with their values; None is not checked.

    Raises:
        RowsError: a stored file that is no plan.
    """
    changed = plan_differences(run, **chosen)
    other = f"this follows another analysis plan than the one stored first: {'; '.join(changed)}" if changed else ""
    return "; ".join(filter(None, (other, extension_note(run))))


def plan_differences(run: Path, **chosen: Any) -> list[str] | None:
    """The fields in which `chosen` differs from the plan stored in `run`, with both values; None where none is stored.

    Raises:
        RowsError: a stored file that is no plan.
    """
    plan = _stored(run)
    if plan is None:
        return None
    kept = asdict(plan)
    return [
        f"{name} {_text(value)}, not {_text(kept[name])}"
        for name, value in chosen.items()
        if value not in (None, kept[name])
    ]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def with_options(run: Path | None = None, **options: Any) -> AnalysisPlan:
    """The plan stored in `run`, or the default one where none is, with those `options` that are not None.

    Raises:
        RowsError: a stored file that is no plan.
    """
    kept = _stored(run) if run is not None else None
    return replace(kept or AnalysisPlan(), **{k: v for k, v in options.items() if v is not None})


def _stored(run: Path) -> AnalysisPlan | None:
    record = stored_plan(run)
    if record is None:
        return None
    try:
        return AnalysisPlan(**record[0])
    except (RowsError, TypeError) as error:
        raise RowsError(f"{run / FILE}: not an analysis plan ({error}); delete it to state a new one") from error


def former_metric(plan: AnalysisPlan) -> str:
    """A line where the plan is of an earlier version and judges by its score; else empty."""
    if plan.metric not in FORMER:
        return ""
    return (
        f"scores are the first study's ({plan.metric}), as this run's analysis plan says; --metric {PRIMARY} is today's"
    )
