"""The analysis plan: every choice that could be bent to a result, fixed and hashed before test scores are read.

`stored` writes the plan into the run's folder the first time a verdict is asked for, before any row is read. A verdict
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
from valley.scores.composites import composites

FILE = PLAN_FILE
CONCEPTS = 20  # cases that a rung must have of edits whose subject is a concept
METRICS = (
    "harmonic_mean", "harmonic_mean_net", "e_hv", "e_hv_net", "gen_at_spec", "generalisation", "specificity",
    "cross_lingual", *(one.name for one in composites()),
)  # fmt: skip
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

    metric: Literal[METRICS] = Field(default="harmonic_mean", description="editability score whose curve is tested")  # type: ignore[valid-type]
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
        default=50, description="number of cases of the stratum that a rung must have (edits of concepts: 20 at most)"
    )
    draws: Count = Field(default=2000, description="draws of each parametric bootstrap")
    bootstrap: Count = Field(default=1000, description="bootstrap draws over cases")
    seed: StrictInt = Field(default=0, description="random seed of all draws")

    @model_validator(mode="wrap")
    @classmethod
    def _refused_in_one_line(cls, values: Any, handler: ModelWrapValidatorHandler) -> Any:
        try:
            return handler(values)
        except ValidationError as error:
            raise RowsError(f"analysis plan: {first_problem(error, cls, values)}") from error

    def needed(self, kind: str) -> int:
        """`min_known` for facts; renames, retargets and erasures need CONCEPTS at most, as there are fewer of them."""
        return self.min_known if kind == "fact" else min(self.min_known, CONCEPTS)

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
    record = stored_plan(run)
    if record is None:
        return None
    try:
        kept = asdict(AnalysisPlan(**record[0]))
    except (RowsError, TypeError) as error:
        raise RowsError(f"{run / FILE}: not an analysis plan ({error}); delete it to state a new one") from error
    return [
        f"{name} {_text(value)}, not {_text(kept[name])}"
        for name, value in chosen.items()
        if value not in (None, kept[name])
    ]


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def with_options(**options: Any) -> AnalysisPlan:
    """The default plan with those `options` that are not None."""
    return replace(AnalysisPlan(), **{k: v for k, v in options.items() if v is not None})
