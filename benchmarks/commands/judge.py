"""Commands that judge a finished run: tables, tests, comparison, report. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.commands.options import FOLDER, command, emit, option, printed, write_csv
from editing.errors import BadRequest

crispness, readings = option("--crispness"), option("--readings")
# Here an option that is not given keeps the value of the analysis plan that is stored in the run.
min_known = option("--min-known", default=None, show_default="the stored plan's, else 50")
stratum = option("--stratum", "--which", default=None, show_default="the stored plan's, else known", into="which")
metric = option("--metric")
out = option("--out", show_default="RUN")


def _echo_cautions(quiet: bool, *cautions: str) -> None:
    """Print what there is to know of the scores: how they differ from the stored analysis plan, whether they are not
    above placebo (on stderr when `quiet`)."""
    for caution in filter(None, cautions):
        click.echo(f"Caution: {caution}.", err=quiet)


@command()
@click.argument("run", type=FOLDER)
@min_known
@metric
@click.option("--brief", is_flag=True, help="One line per model and kind of edit instead of all scores.")
@out
@printed
def curve(run: Path, min_known: int | None, metric: str | None, brief: bool, out: Path | None, as_json, csv) -> None:
    """Print how editable each model of RUN is, and write the two charts into RUN or --out.

    \b
    Examples:
      valley curve results/demo
      valley curve results/demo --min-known 2 --brief
    """
    from valley.report import Report, write_curve_charts
    from valley.rows import read_run
    from valley.scores import CURVE_COLUMNS, analyse, former_metric, plan_caution, with_options
    from valley.text import format_brief, format_summary, format_table

    plan = with_options(run, min_known=min_known, metric=metric)
    rows = read_run(run, CURVE_COLUMNS, doses=True, categories=True)
    analysis = analyse(rows, plan.min_known, plan.bootstrap, plan.seed, which=plan.which, metric=plan.metric)
    table = analysis.curve
    form = format_brief if brief else format_table
    emit(table, lambda: f"{form(table)}\n\n{format_summary(table)}", as_json, csv)
    caution = plan_caution(run, min_known=min_known, metric=metric)
    _echo_cautions(as_json, caution, analysis.note, former_metric(plan))
    paths = write_curve_charts(Report(analysis, run.name), out or run)
    for path in paths:
        click.echo(f"wrote {path}", err=as_json)
    if not paths:
        click.echo("no chart: nothing was measured; the table gives the reasons", err=as_json)


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--metrics",
    metavar="NAME",
    default="ours",
    show_default=True,
    help="Definitions: ours (by kind of probe), counterfact (ES, PS, NS, S...), easyedit (token accuracies), "
    "free_text (choice among candidates compared with greedy text).",
)
@metric
@option("--stratum")
@printed
def scores(run: Path, metrics: str, metric: str | None, stratum: str, as_json: bool, csv: Path | None) -> None:
    """Print the scores of every setting of RUN, with 95% intervals.

    --metrics ours prints the score of --metric with its two sides, above placebo where the setting's own placebo ran;
    then each kind of probe without that correction, and the gates that a setting fails.

    \b
    Examples:
      valley scores results/demo --metrics counterfact
      valley scores results/demo --metrics easyedit --stratum all --csv results/demo/easyedit.csv
    """
    from valley.rows import read_run, run_record
    from valley.scores import SCORE_COLUMNS, former_metric, plan_caution, published_scores, with_options
    from valley.text import format_scores

    rows, plan = read_run(run, SCORE_COLUMNS, categories=True), with_options(run, metric=metric)
    table = published_scores(rows, metrics, stratum, plan.metric)
    emit(table, lambda: format_scores(table, stratum), as_json, csv)
    failed = int((rows["error"] != "").sum())
    if failed:
        click.echo(f"{failed} failed cells are not in these numbers; the report lists them.", err=as_json)
    left_out = (run_record(run).get("packed") or {}).get("left_out")
    if left_out and metrics != "ours":
        click.echo(
            f"A packed run: `pack` left out {', '.join(left_out)}, so columns made of them are n/a.", err=as_json
        )
    former = former_metric(plan) if metrics == "ours" else ""
    _echo_cautions(as_json, plan_caution(run, which=stratum, metric=metric), table.attrs.get("note", ""), former)


@command()
@click.argument("run", type=FOLDER)
@min_known
@stratum
@metric
@printed
def editability(
    run: Path, min_known: int | None, which: str | None, metric: str | None, as_json: bool, csv: Path | None
) -> None:
    """Print, for each model size and method, the score of the best setting.

    Printed with it: its two sides, net transfer, E_HV, generalisation at specificity .95, and how much may be lost
    because the setting was chosen on few cases.

    \b
    Example:
      valley editability results/demo --min-known 2
    """
    from valley.rows import read_run
    from valley.scores import (
        available,
        ends_missed,
        format_editability,
        format_ends,
        format_regret,
        former_metric,
        plan_caution,
        with_options,
    )
    from valley.scores import editability as table_of
    from valley.verdicts import format_strata, strata

    plan = with_options(run, min_known=min_known, which=which, metric=metric)
    rows = read_run(run, doses=True)
    scored = available(rows, plan)
    table = table_of(scored)
    notes = [*format_regret(scored.lines), *format_strata(strata(scored), plan.which)]
    notes += format_ends(ends_missed(rows))
    emit(table, lambda: "\n".join([format_editability(table), *notes]), as_json, csv)
    caution = plan_caution(run, min_known=min_known, which=which, metric=metric)
    _echo_cautions(as_json, caution, scored.note, former_metric(plan))


@command()
@click.argument("run", type=FOLDER)
@metric
@min_known
@stratum
@printed
def shape(
    run: Path, metric: str | None, min_known: int | None, which: str | None, as_json: bool, csv: Path | None
) -> None:
    """Test whether the curve of RUN is a decline, a hump or a valley.

    The verdict may be "inconclusive". The first call stores the hash of the analysis plan in RUN, before any score is
    read. A later verdict by another plan says so.

    \b
    Example:
      valley shape results/demo --min-known 2
    """
    from valley.rows import read_run
    from valley.scores import available, ends_missed, format_ends, format_regret, former_metric, stored, with_options
    from valley.verdicts import (
        Specifications,
        format_sensitivity,
        format_shapes,
        format_specifications,
        format_strata,
        sensitivity,
        shapes,
        strata,
    )

    plan = with_options(run, metric=metric, min_known=min_known, which=which)
    caution = stored(plan, run)
    rows = read_run(run, doses=True)
    scored = available(rows, plan)
    tests, paired = shapes(scored, plan, caution), sensitivity(rows, scored, plan)
    every = Specifications(scored, plan)
    counts, missed = strata(scored), ends_missed(rows)
    verdicts = {"/".join(key): None if verdict is None else verdict.outcome for key, verdict in paired.items()}
    about = tests.as_json() | {"strata": counts.to_dict("records"), "known_everywhere": verdicts}
    about |= {"composites": every.table.to_dict("records"), "combined": every.as_json()}
    about |= {"ends_missed": missed.to_dict("records")}
    notes = [*format_strata(counts, plan.which), *format_sensitivity(paired, plan)]
    notes += [*format_regret(scored.lines), *format_ends(missed)]
    text = ["", format_shapes(tests), *notes]
    emit(about, lambda: "\n".join([format_specifications(every), *text]), as_json, csv, table=tests.tests)
    _echo_cautions(as_json, scored.note, former_metric(plan))


@command()
@click.argument("run", type=FOLDER)
@click.option("--only", default="", metavar="H2,H5", help="Judge only these; Holm's correction then counts only these.")
@crispness
@readings
@min_known
@stratum
@printed
def hypotheses(run, only, crispness, readings, min_known, which, as_json, csv) -> None:
    """Judge each hypothesis on RUN: effect, interval, Holm-corrected test, verdict.

    \b
    Examples:
      valley hypotheses results/demo --min-known 2
      valley hypotheses results/demo --only H2 --json
    """
    from valley.hypotheses import Evidence, format_results, judge
    from valley.rows import crispness_of, read_run, readings_of
    from valley.scores import stored, with_options

    plan = with_options(run, min_known=min_known, which=which)
    tables = crispness_of(run, crispness), readings_of(run, readings)
    caution = stored(plan, run)
    names = tuple(part.strip() for part in only.split(",") if part.strip())
    results = judge(Evidence(read_run(run, doses=True), plan, *tables), names)
    about = {"hypotheses": [r.as_json() for r in results], "plan_sha256": plan.digest, "caution": caution}
    emit(about, lambda: format_results(results), as_json, csv, table=about["hypotheses"])
    _echo_cautions(as_json, caution)


@command()
@click.argument("run_a", type=FOLDER)
@click.argument("run_b", type=FOLDER)
@click.option(
    "--by", type=click.Choice(("method", "ladder", "kind")), default=None, help="Group by this alone, not by all three."
)
@click.option(
    "--pair",
    type=click.Choice(("method", "setting")),
    default="method",
    show_default=True,
    help="Pair the setting that each run chose for a method, or the settings that both runs have.",
)
@option("--stratum", "--which")
@option("--min-known")
@click.option("--anyway", is_flag=True, help="Compare runs of different plans too; how the plans differ is printed.")
@option("--out", help="Folder for comparison.csv, overlay.png, overlay.svg.")
@printed
def compare(run_a, run_b, by, pair, stratum, min_known, anyway, out, as_json, csv) -> None:
    """Print how RUN_B differs from RUN_A: paired differences (B - A) with intervals.

    Cases are paired by rung, kind of edit, method and case. Runs of different plans are refused, with what differs.

    \b
    Examples:
      valley compare results/before results/after --out results/comparison
      valley compare results/rome results/memit --by kind --anyway
    """
    from valley.compare import commits, differences, format_comparison
    from valley.compare import compare as compare_runs
    from valley.rows import read_run
    from valley.scores import plan_caution

    cautions = {str(run): plan_caution(run, which=stratum, min_known=min_known) for run in (run_a, run_b)}
    for run, caution in cautions.items():
        _echo_cautions(True, caution and f"{run}: {caution}")
    rows = {"A": read_run(run_a), "B": read_run(run_b)}
    unlike = differences(run_a, run_b, rows["A"], rows["B"])
    if unlike and not anyway:
        raise BadRequest(
            f"{run_a} and {run_b} are not of one plan: {'; '.join(unlike)}. Add --anyway to compare them all the same"
        )
    comparison = compare_runs(rows["A"], rows["B"], by or "", pair, stratum, min_known)
    notes = [f"unlike: {line}" for line in unlike] + [line for line in (commits(run_a, run_b),) if line]
    lines = json.loads(comparison.table.to_json(orient="records", force_ascii=False))
    counts = {name: getattr(comparison, name) for name in ("pairs", "only_a", "only_b", "unknown", "notes")}
    about = {"unlike": unlike, "cautions": cautions, **counts, "differences": lines}
    text = [f"A: {run_a}", f"B: {run_b}", *notes]
    emit(about, lambda: "\n".join([*text, format_comparison(comparison)]), as_json, csv, table=comparison.table)
    if out is not None:
        from valley.compare import write_overlay

        write_csv(comparison.table, out / "comparison.csv", as_json)
        for path in write_overlay(rows, out, by or "", min_known, stratum):
            click.echo(f"wrote {path}", err=as_json)


@command()
@click.argument("run", type=FOLDER)
@min_known
@stratum
@metric
@crispness
@click.option(
    "--cases", type=click.IntRange(min=0), default=5000, show_default=True, help="List at most this many edits."
)
@click.option("--png", is_flag=True, help="Also write every chart as PNG.")
@click.option("--svg", is_flag=True, help="Also write every chart as SVG.")
@click.option("--csv", "as_csv", is_flag=True, help="Also write the tables as CSV.")
@click.option("--md", is_flag=True, help="Also write verdict, tables and provenance as Markdown.")
@out
@option("--json", help="Print the files written as JSON.")
def report(run: Path, min_known, which, metric, crispness, cases: int, png, svg, as_csv, md, out, as_json) -> None:
    """Write report.html: one page with verdict, figures, tables and every edit.

    The page needs no network.

    \b
    Examples:
      valley report results/demo
      valley report results/demo --min-known 2 --png --csv --md
    """
    from valley.report import report_of, write_charts, write_markdown, write_page, write_tables

    page = report_of(run, min_known=min_known, which=which, metric=metric, crispness=crispness, max_cases=cases)
    folder = out or run
    paths = [write_page(page, folder / "report.html")]
    for form, chosen in (("png", png), ("svg", svg)):
        paths += write_charts(page, folder, form) if chosen else []
    paths += write_tables(page, folder) if as_csv else []
    paths += [write_markdown(page, folder / "report.md")] if md else []
    emit({"files": paths}, lambda: "\n".join(f"wrote {path}" for path in paths), as_json, None)


@command()
@click.argument("run", type=FOLDER)
@click.option("--sql", default=None, metavar="SELECT", help="Query in SQL (DuckDB) over the table `rows`.")
@click.option(
    "--csv", is_flag=False, flag_value="-", default=None, metavar="[PATH]", help="Write CSV to PATH, else print it."
)
@option("--json")
def rows(run: Path, sql: str | None, csv: str | None, as_json: bool) -> None:
    """Print the rows of RUN (one per probe of an edited case), or the result of a query.

    \b
    Examples:
      valley rows results/demo --csv demo.csv
      valley rows results/demo --sql "SELECT rung, probe, avg(value) FROM rows GROUP BY ALL ORDER BY ALL"
    """
    if csv == "-" and as_json:
        raise BadRequest("--csv without a path and --json both print the rows; give one of them")

    from valley.rows import all_rows, ask_rows, format_rows

    answer = all_rows(run, overview=not (csv or as_json)) if sql is None else ask_rows(run, sql)
    if csv == "-":
        click.echo(answer.to_csv(index=False), nl=False)
        return
    if csv and not as_json:
        write_csv(answer, Path(csv))
        return
    emit(answer, lambda: format_rows(answer), as_json, Path(csv) if csv else None)


@command()
@click.option("--rungs", type=click.IntRange(min=3), required=True, help="Number of model sizes on the ladder.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Models trained per size.")
@click.option("--sd", type=float, required=True, help="Standard deviation of a score between models of one size.")
@click.option("--depth", type=float, required=True, help="Depth of the valley: its lower shoulder minus its bottom.")
@click.option("--level", type=float, default=0.05, show_default=True, help="Significance level of the test.")
@click.option("--simulations", type=click.IntRange(min=100), default=2000, show_default=True, help="Simulated runs.")
@option("--seed", help="Random seed of the simulation.")
@printed
def power(rungs, seeds, sd, depth, level, simulations, seed, as_json, csv) -> None:
    """Print how often a ladder would show a valley of a given depth, and the smallest that it could.

    \b
    Example:
      valley power --rungs 8 --seeds 3 --sd .03 --depth .2
    """
    from valley.verdicts import format_power
    from valley.verdicts import power as power_of

    result = power_of(rungs, seeds, sd, depth, level, simulations, seed)
    emit(result.as_json(), lambda: format_power(result), as_json, csv)


COMMANDS = (curve, scores, editability, shape, hypotheses, compare, report, rows, power)
