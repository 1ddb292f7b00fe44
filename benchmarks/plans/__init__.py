"""Plans of sweeps that come with the project, one TOML file each."""

from benchmarks.plans.names import plan_names, plan_path

__all__ = [
    "plan_names",
    "plan_path",
]
