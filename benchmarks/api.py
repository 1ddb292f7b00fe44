"""`benchmarks.run_plan`: a plan carried out from Python or by the command `bench`, its analysis plan stored first."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.sweep import Outcome, Plan, Workers, execute, load_plan
from editing.errors import BadRequest
from valley.scores import AnalysisPlan, plan_differences


def run_plan(
    plan: Plan | str | Path,
    out: str | Path,
    *,
    min_known: int | None = None,
    which: str | None = None,
    metric: str | None = None,
    workers: Workers | int = 1,
    device: str | None = None,
    quiet: bool = False,
    verbose: bool = False,
) -> Outcome:
    """Run the missing cells of a plan into the run folder `out`; interrupt it and call it again to go on.

    Args:
        plan: a plan, or the name or the TOML file of one.
        min_known, which, metric: of the analysis plan; None is what the plan says, or the default.
        workers: processes, or a `Workers`.
        device: torch device of the models; None is the best there is.
        quiet: no progress on stderr. verbose: print the traceback of a failed cell.

    Raises:
        UserError: something named does not exist, or the folder holds a run of another plan (both before any work).
        KeyboardInterrupt: with a message that says what is kept.
    """
    plan = with_analysis(plan if isinstance(plan, Plan) else load_plan(plan), out, min_known, which, metric)
    workers = Workers(count=workers) if isinstance(workers, int) else workers
    return execute(plan, out, workers, device, quiet, verbose)


def with_analysis(
    plan: Plan, out: str | Path, min_known: int | None = None, which: str | None = None, metric: str | None = None
) -> Plan:
    """The plan with the whole analysis plan that the sweep stores in `out`; with none where one is stored already.

    Raises:
        BadRequest: another one is stored there. RowsError: an unknown field, or a value that does not fit.
    """
    options = {"min_known": min_known, "which": which, "metric": metric}
    stated = dict(plan.analysis) | {name: value for name, value in options.items() if value is not None}
    fields = asdict(AnalysisPlan(**stated))  # type: ignore[arg-type]
    differences = plan_differences(Path(out), **{name: fields[name] for name in stated})
    if differences:
        raise BadRequest(f"{out}: another analysis plan is stored there ({'; '.join(differences)}); use another --out")
    return replace(plan, analysis=tuple(fields.items()) if differences is None else ())
