"""The analysis plan: every choice that could be bent to a result, fixed and hashed before test scores are read.

`stored` writes the plan into the run's folder the first time a verdict is asked for, before any row is read. A verdict by
another plan is still given, and says so.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from valley.rows.files import write_whole
from valley.rows.kinds import STRATA
from valley.rows.schema import RowsError

FILE = "analysis_plan.json"
METRICS = ("harmonic_mean", "harmonic_mean_net", "e_hv", "e_hv_net", "gen_at_spec", "generalisation", "specificity")
AXES = ("bits_per_byte_world", "bits_per_byte", "log10_parameters", "known_rate", "log10_training_tokens")


@dataclass(frozen=True)
class AnalysisPlan:
    """How a run is judged.

    Attributes:
        metric: the editability score whose curve is tested, one of METRICS.
        axes: strength axes, the primary ones first: bits per byte on short true sentences, and on prose where all rungs read it.
        level: of every test. weight: BIC weight that a named shape needs.
        agreeing: on so many axes and with so many methods a shape must show.
        spec: the specificity at which generalisation is read (gen_at_spec).
        depth: a valley less deep than this is of no interest; "no valley deeper than d" needs d at most this.
        which, min_known: stratum of cases, and how many a rung must have.
        draws: of each parametric bootstrap. bootstrap: draws over cases. seed: of all of them.

    Raises:
        RowsError: an unknown metric, axis or stratum; a number out of its range.
    """

    metric: str = "harmonic_mean"
    axes: tuple[str, ...] = ("bits_per_byte_world", "bits_per_byte", "log10_parameters", "known_rate")
    level: float = 0.05
    weight: float = 0.8
    agreeing: int = 2
    spec: float = 0.95
    depth: float = 0.1
    which: str = "known"
    min_known: int = 50
    draws: int = 2000
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value, there in (
            ("metric", self.metric, METRICS),
            ("stratum", self.which, STRATA),
            *(("strength axis", axis, AXES) for axis in self.axes),
        ):
            if value not in there:
                raise RowsError(f"no {what} {value!r}; use one of {', '.join(there)}")
        shares = (self.level, self.weight, self.spec, self.depth)
        counts = (self.agreeing, self.min_known, self.draws, self.bootstrap, len(self.axes))
        if not all(0 < share < 1 for share in shares) or min(counts) < 1:
            raise RowsError("the plan's level, weight, spec and depth lie between 0 and 1, its counts are 1 or more")

    @property
    def digest(self) -> str:
        """SHA-256 of the plan as canonical JSON."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def stored(plan: AnalysisPlan, run: Path) -> str:
    """Store the plan's hash in the run folder if none is there; else the caution when the one there is another.

    Returns:
        "" or one line that names both hashes.

    Raises:
        RowsError: no such run folder, a file that is no plan, a folder that cannot be written.
    """
    if not run.is_dir():
        raise RowsError(f"{run}: no such run folder; make one with `python cli.py bench --out {run}`")
    path = run / FILE
    if not path.exists():
        text = json.dumps({"sha256": plan.digest, "plan": asdict(plan)}, indent=2) + "\n"
        write_whole(path, lambda file: file.write(text.encode()), "analysis plan")
        return ""
    try:
        first = json.loads(path.read_text(encoding="utf-8"))
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in first["plan"].items()}
        kept = AnalysisPlan(**fields)
        whole = kept.digest == first["sha256"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RowsError(f"{path}: not an analysis plan ({error}); delete it to state a new one") from error
    if not whole:
        raise RowsError(f"{path}: the plan and its hash differ, so it was changed by hand; restore it or delete it")
    if kept == plan:
        return ""
    changed = ", ".join(k for k, v in asdict(plan).items() if asdict(kept)[k] != v)
    return (
        f"this verdict follows another plan ({plan.digest[:12]}) than the one stored before test scores were read "
        f"({kept.digest[:12]}); changed: {changed}"
    )


def with_options(**options: Any) -> AnalysisPlan:
    """The default plan with those `options` that are not None."""
    return replace(AnalysisPlan(), **{k: v for k, v in options.items() if v is not None})
