"""Many models x methods x settings x cases -> rows: ladders, data sets, probes, the sweep and its run folder.

    import benchmarks

    plan = benchmarks.Plan(ladder="demo", methods=("rome",), kinds=("fact",), limit=20, seed=0)   # or of your own
    outcome = benchmarks.run_plan("quick", "results/quick")   # only missing cells run; call it again to go on
    lm = benchmarks.load_model("grown:gpt2-2x128")

Names are imported when they are first used, so that `import benchmarks` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.api import run_plan
    from benchmarks.cases import Case, Probe
    from benchmarks.datasets import read_cases
    from benchmarks.ladders import load_ladder
    from benchmarks.models import load_model
    from benchmarks.sweep import Plan, Workers, load_plan

VERSION = "0.2.0"

__all__ = [
    "VERSION",
    "Case",
    "Plan",
    "Probe",
    "Workers",
    "load_ladder",
    "load_model",
    "load_plan",
    "read_cases",
    "run_plan",
]

_PLACES = {
    "Case": ("benchmarks.cases", "Case"),
    "Plan": ("benchmarks.sweep", "Plan"),
    "Probe": ("benchmarks.cases", "Probe"),
    "Workers": ("benchmarks.sweep", "Workers"),
    "load_ladder": ("benchmarks.ladders", "load_ladder"),
    "load_model": ("benchmarks.models", "load_model"),
    "load_plan": ("benchmarks.sweep", "load_plan"),
    "read_cases": ("benchmarks.datasets", "read_cases"),
    "run_plan": ("benchmarks.api", "run_plan"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'benchmarks' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
