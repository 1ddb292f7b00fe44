"""`python cli.py report`: the page, and what goes beside it. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--min-known",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Fewer known cases are not measurable.",
)
@click.option(
    "--crispness",
    type=click.Path(path_type=Path),
    default=None,
    help="The crispness.csv of `ladder crispness`.  [default: RUN/crispness.csv or .csv.gz where there is one]",
)
@click.option(
    "--cases", type=click.IntRange(min=0), default=5000, show_default=True, help="List at most so many edits."
)
@click.option("--png", is_flag=True, help="Also write every chart as PNG.")
@click.option("--svg", is_flag=True, help="Also write every chart as SVG.")
@click.option("--csv", "as_csv", is_flag=True, help="Also write the tables as CSV.")
@click.option("--md", is_flag=True, help="Also write verdict, tables and provenance as Markdown.")
def report(
    run: Path, min_known: int, crispness: Path | None, cases: int, png: bool, svg: bool, as_csv: bool, md: bool
) -> None:
    """Write RUN/report.html: one page with the verdict, figures, tables and every edit, that needs no network.

    \b
    Examples:
      python cli.py report results/demo
      python cli.py report results/demo --min-known 2 --png --csv --md
    """
    from valley.report.files import write_charts, write_markdown, write_tables
    from valley.report.notebook import report_of
    from valley.report.page import write_page

    made = report_of(run, min_known=min_known, crispness=crispness, max_cases=cases)
    paths = [write_page(made, run / "report.html")]
    for form in [form for form, asked in (("png", png), ("svg", svg)) if asked]:
        paths += write_charts(made, run, form)
    paths += write_tables(made, run) if as_csv else []
    paths += [write_markdown(made, run / "report.md")] if md else []
    for path in paths:
        click.echo(f"wrote {path}")
