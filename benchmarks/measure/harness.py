"""lm-evaluation-harness on a model in memory, as it stands: unedited, or inside `Delta.applied`. An optional extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from editing.errors import BadRequest
from editing.model import LanguageModel


def refuse_without_harness() -> None:
    """Raises BadRequest where lm-evaluation-harness is not installed."""
    if find_spec("lm_eval") is None:
        raise BadRequest('--lm-eval needs lm-evaluation-harness; install it: pip install "concept-valley[harness]"')


def harness_scores(lm: LanguageModel, tasks: Sequence[str], limit: int | None = None) -> list[dict[str, Any]]:
    """One record per task and metric: requested, task, metric, value, stderr, version, n.

    Args:
        tasks: names of its tasks, groups or tags, or paths of task files (YAML). Each is run by itself and is the
            `requested` of its records, since the harness refuses a task beside a group that holds it.
        limit: most examples of a task; None takes all.

    Raises:
        BadRequest: not installed, or no such task.
    """
    refuse_without_harness()
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    files = [Path(task) for task in tasks if task.endswith((".yaml", ".yml"))]
    for file in files:
        if not file.is_file():
            raise BadRequest(f"--lm-eval {file}: no such task file; check the path")
    manager = TaskManager(include_path=[str(folder) for folder in dict.fromkeys(f.parent for f in files)] or None)
    names = [Path(task).stem if task.endswith((".yaml", ".yml")) else task for task in tasks]
    unknown = [name for name in names if name not in manager.all_tasks]
    if unknown:
        raise BadRequest(f"--lm-eval: the harness has no task {unknown[0]!r}; list them: lm_eval --tasks list")
    first = lm.prefix_ids[0] if lm.prefix_ids else None
    model = HFLM(
        pretrained=lm.module, tokenizer=lm.tokenizer, device=str(lm.device), batch_size=1,
        add_bos_token=bool(lm.prefix_ids), prefix_token_id=first,
    )  # fmt: skip
    records = []
    for task, name in dict(zip(tasks, names, strict=True)).items():
        done = simple_evaluate(
            model, tasks=[name], limit=limit, task_manager=manager, bootstrap_iters=0, log_samples=False
        )
        records += [{"requested": task} | record for record in metric_records(done)]
    return records


def metric_records(done: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of `harness_scores`, without `requested`, of what the harness returns: of the tasks, and of the
    groups that have a score.

    Its `results` hold "metric,filter" beside names and sizes; only tasks have sizes in `n-samples`.
    """
    records = []
    for task, results in done["results"].items():
        for key, value in results.items():
            metric, _, variant = key.partition(",")
            if variant and isinstance(value, int | float) and not metric.endswith("_stderr"):
                error = results.get(f"{metric}_stderr,{variant}")
                records.append(
                    {
                        "task": task,
                        "metric": metric,
                        "value": float(value),
                        "stderr": float(error) if isinstance(error, int | float) else float("nan"),
                        "version": str(done["versions"].get(task, "")),
                        "n": _examples(done, task),
                    }
                )
    return records


def _examples(done: Mapping[str, Any], task: str) -> int:
    """How many examples a task has, or the tasks of a group together."""
    if task in done["n-samples"]:
        return int(done["n-samples"][task]["effective"])
    return sum(_examples(done, child) for child in done["group_subtasks"].get(task, ()))
