"""`python cli.py compare`: two runs, case by case. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--by", type=click.Choice(("method", "ladder", "kind")), default=None, help="A block per method, rung or edit kind instead of all three.")  # fmt: skip
@click.option("--pair", type=click.Choice(("method", "setting")), default="method", show_default=True, help="Each run's chosen setting of a method, or the settings both have.")  # fmt: skip
@click.option("--which", type=click.Choice(("known", "known_everywhere", "all")), default="known", show_default=True, help="Cases: by what the unedited models knew, in both runs.")  # fmt: skip
@click.option("--min-known", type=click.IntRange(min=1), default=50, show_default=True, help="Fewer pairs are not measurable.")  # fmt: skip
@click.option("--anyway", is_flag=True, help="Compare runs of unlike plans; the differences are told.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Folder for comparison.csv, overlay.png, overlay.svg.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(run_a, run_b, by, pair, which, min_known, anyway, out, as_json) -> None:
    """What RUN_B does better or worse than RUN_A: paired differences with intervals, and their curves over each other.

    Cases are paired by rung, edit kind, method and case. Runs that were not asked the same are refused, with what differs.

    \b
    Examples:
      python cli.py compare results/before results/after --out results/comparison
      python cli.py compare results/rome results/memit --by kind --anyway
    """
    from valley.compare.differences import commits, differences
    from valley.compare.pairs import compare as compare_runs
    from valley.compare.pairs import format_comparison
    from valley.rows.schema import RowsError, read_run

    rows = {"A": read_run(run_a), "B": read_run(run_b)}
    unlike = differences(run_a, run_b, rows["A"], rows["B"])
    if unlike and not anyway:
        raise RowsError(
            f"{run_a} and {run_b} are not of one plan: {'; '.join(unlike)}. Add --anyway to compare them all the same"
        )
    found = compare_runs(rows["A"], rows["B"], by or "", pair, which, min_known)
    notes = [f"unlike: {line}" for line in unlike] + [line for line in (commits(run_a, run_b),) if line]
    if as_json:
        lines = json.loads(found.table.to_json(orient="records", force_ascii=False))
        about = {name: getattr(found, name) for name in ("pairs", "only_a", "only_b", "unknown", "notes")}
        click.echo(json.dumps({"unlike": unlike, **about, "differences": lines}, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join([f"A: {run_a}", f"B: {run_b}", *notes, format_comparison(found)]))
    if out is not None:
        from valley.compare.figure import write_overlay
        from valley.rows.files import write_whole

        text = found.table.to_csv(index=False).encode()
        files = [write_whole(out / "comparison.csv", lambda file: file.write(text), "table")]
        for path in [*files, *write_overlay(rows, out, by or "", min_known, which)]:
            click.echo(f"wrote {path}", err=as_json)
