"""A sweep: plan, cells, schedule, store and the executors that run it."""

from benchmarks.sweep.ability import format_ability, measure_ability, refuse_harness
from benchmarks.sweep.estimate import estimate, estimate_json, format_estimate
from benchmarks.sweep.executors.execute import execute
from benchmarks.sweep.executors.slurm import array_script
from benchmarks.sweep.executors.workers import Workers
from benchmarks.sweep.planning.plan import ADAPTIVE, EVERY, Plan, Split
from benchmarks.sweep.planning.plan_file import PlanFile, load_plan, run_name
from benchmarks.sweep.planning.plan_flags import PLAN_OPTIONS, overridden
from benchmarks.sweep.run_folder.compact import Compacted, compact
from benchmarks.sweep.run_folder.merge import merge
from benchmarks.sweep.run_folder.method_files import changed_methods
from benchmarks.sweep.runner import Outcome, format_outcome, run_bench
from benchmarks.sweep.search.search_points import case_means
from benchmarks.sweep.search.search_points import judge as judge_setting
from benchmarks.sweep.shards import parse_shard
from benchmarks.sweep.status import format_status, status

__all__ = [
    "ADAPTIVE",
    "EVERY",
    "PLAN_OPTIONS",
    "Compacted",
    "Outcome",
    "Plan",
    "PlanFile",
    "Split",
    "Workers",
    "array_script",
    "case_means",
    "changed_methods",
    "compact",
    "estimate",
    "estimate_json",
    "execute",
    "format_ability",
    "format_estimate",
    "format_outcome",
    "format_status",
    "judge_setting",
    "load_plan",
    "measure_ability",
    "merge",
    "overridden",
    "parse_shard",
    "refuse_harness",
    "run_bench",
    "run_name",
    "status",
]
