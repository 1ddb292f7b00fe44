"""The commands that judge a run: power, editability, shape, hypotheses. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

import json
from pathlib import Path

import click

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@click.command()
@click.option("--rungs", type=click.IntRange(min=3), required=True, help="Sizes of model on the ladder.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Models trained per size.")
@click.option("--sd", type=float, required=True, help="Standard deviation of a score between models of one size.")
@click.option("--depth", type=float, required=True, help="Of the valley: score at its lower shoulder less its bottom.")
@click.option("--level", type=float, default=0.05, show_default=True, help="Of the test.")
@click.option("--simulations", type=click.IntRange(min=100), default=2000, show_default=True, help="Simulated runs.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the simulation.")
@as_json
def power(rungs, seeds, sd, depth, level, simulations, seed, as_json) -> None:
    """How often a ladder of that size would show a valley of that depth, and the smallest valley it could show.

    \b
    Example:
      python cli.py power --rungs 8 --seeds 3 --sd .03 --depth .2
    """
    from valley.verdicts.power import format_power
    from valley.verdicts.power import power as power_of

    found = power_of(rungs, seeds, sd, depth, level, simulations, seed)
    _print_json(found.as_json()) if as_json else click.echo(format_power(found))


run = click.argument("run", type=click.Path(path_type=Path))
min_known = click.option(
    "--min-known", type=click.IntRange(min=1), default=None, help="Fewer known cases are not measurable.  [default: 50]"
)
which = click.option(
    "--which", default=None, help="Cases: known (at their rung), known_everywhere or all.  [default: known]"
)
metric = click.option(
    "--metric", default=None, help="harmonic_mean, e_hv, gen_at_spec, generalisation...  [default: harmonic_mean]"
)


@click.command()
@run
@min_known
@which
@as_json
def editability(run: Path, min_known: int | None, which: str | None, as_json: bool) -> None:
    """What each size of model makes available to each method: best harmonic mean, E_HV, generalisation at specificity .95.

    \b
    Example:
      python cli.py editability results/demo --min-known 2
    """
    from valley.rows.schema import read_run
    from valley.scores.available import available
    from valley.scores.grid import ends_missed, format_ends
    from valley.scores.plan import with_options
    from valley.scores.sizes import editability as table_of
    from valley.scores.sizes import format_editability
    from valley.verdicts.strata import format_strata, strata

    plan = with_options(min_known=min_known, which=which)
    rows = read_run(run)
    found = available(rows, plan)
    table = table_of(found)
    if as_json:
        click.echo(table.to_json(orient="records", force_ascii=False, indent=2))
    else:
        more = [*format_strata(strata(found), plan.which), *format_ends(ends_missed(rows))]
        click.echo("\n".join([format_editability(table), *more]))


@click.command()
@run
@metric
@min_known
@which
@as_json
def shape(run: Path, metric: str | None, min_known: int | None, which: str | None, as_json: bool) -> None:
    """Is the curve of RUN a decline, a hump, a valley? Tests, weights, and a verdict that may be "inconclusive".

    The first call stores the analysis plan's hash in RUN, before any score is read; a later verdict by another plan says so.

    \b
    Example:
      python cli.py shape results/demo --min-known 2
    """
    from valley.rows.schema import read_run
    from valley.scores.available import available
    from valley.scores.grid import ends_missed, format_ends
    from valley.scores.plan import stored, with_options
    from valley.verdicts.shape import format_shapes, shapes
    from valley.verdicts.strata import format_sensitivity, format_strata, sensitivity, strata

    plan = with_options(metric=metric, min_known=min_known, which=which)
    caution = stored(plan, run)
    rows = read_run(run)
    scored = available(rows, plan)
    found, paired = shapes(scored, plan, caution), sensitivity(rows, scored, plan)
    counts, missed = strata(scored), ends_missed(rows)
    if as_json:
        told = {"/".join(key): None if v is None else v.text for key, v in paired.items()}
        more = {"strata": counts.to_dict("records"), "known_everywhere": told, "ends_missed": missed.to_dict("records")}
        _print_json(found.as_json() | more)
    else:
        more = [*format_strata(counts, plan.which), *format_sensitivity(paired, plan.min_known), *format_ends(missed)]
        click.echo("\n".join([format_shapes(found), *more]))


@click.command()
@run
@click.option("--only", default="", metavar="H2,H5", help="Only these; Holm's correction then counts only these.")
@click.option(
    "--crispness",
    type=click.Path(path_type=Path),
    default=None,
    help="The crispness.csv of `ladder crispness`, for H6 and H9.  [default: RUN/crispness.csv or .csv.gz where there is one]",
)
@min_known
@which
@as_json
def hypotheses(run, only, crispness, min_known, which, as_json) -> None:
    """What RUN says about the retargeting hypotheses: effect, interval, test and verdict of each, Holm-corrected.

    \b
    Examples:
      python cli.py hypotheses results/demo --min-known 2
      python cli.py hypotheses results/demo --only H2 --json
    """
    from valley.hypotheses import format_results, judge
    from valley.hypotheses._evidence import Evidence
    from valley.rows.crispness import crispness_of
    from valley.rows.schema import read_run
    from valley.scores.plan import stored, with_options

    plan = with_options(min_known=min_known, which=which)
    crisp = crispness_of(run, crispness)
    caution = stored(plan, run)
    names = tuple(part.strip() for part in only.split(",") if part.strip())
    results = judge(Evidence(read_run(run), plan, crisp), names)
    if as_json:
        _print_json({"hypotheses": [r.as_json() for r in results], "plan_sha256": plan.digest, "caution": caution})
    else:
        click.echo(format_results(results) + (f"\nCaution: {caution}." if caution else ""))


COMMANDS = (power, editability, shape, hypotheses)
