"""Write results/proof from the runs of `make proof`: python -m benchmarks.commands.proof

A section whose run is missing or unfinished stays as the page has it, or says that it was not measured; nothing here
trains or edits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from benchmarks.commands.proof import charts, claims, page, tables
from benchmarks.oracle import FILE
from benchmarks.pictures import write_png
from benchmarks.sweep import status
from editing.files import atomic_file, write_whole
from editing.lazy import pandas as pd
from valley.rows import read_run_json, readings_of
from valley.scores import with_options

SHORT = "In short"
HEAD = """# Proof of the instrument

Written by `make proof` (`python -m benchmarks.commands.proof`); the tables are the CSV files beside this page. What the
words mean is in [docs/concepts/proof.md](../../docs/concepts/proof.md). All models are trained here, so their truth is
known: it was planted, or the model was trained again on the edited world. The models are small; how many, and how many
seeds, stands with each claim.
"""
OF_MODELS = """What the models themselves do, means over their seeds (carry: recall of facts stated in one language
only, evaluated in the other; seen: recall of what was stated):"""
OF_INSTRUMENT = """What the instrument measures on them. page_p: Page's trend test over the seeds, two-sided.
detectable: the difference of two means that these seeds show 80% of the time. resolution: the smallest step of the
dial between neighbouring levels that was distinguished at level .05."""
SHOWN = {
    "shared": {
        "cross_lingual": "transfer to French",
        "cross_lingual_net": "net of neighbours",
        "paraphrase": "paraphrase",
        "harmonic_raw_all": "composite",
    },
    "switch": {"cross_lingual": "transfer to French", "paraphrase": "paraphrase", "harmonic_raw_all": "composite"},
    "homonym": {"same_subject": "facts of the concept kept", "neighbour": "other countries kept"},
    "people": {"same_subject": "same subject kept", "neighbour": "neighbours kept", "specificity": "specificity"},
}
# Run -> dial, end of its files' names, words.
DIALS = {
    "planted-rise": ("shared", "shared", "share of the names that are the same in both languages"),
    "planted-switch": ("switch", "switch", "share of sentences that say both names in the other language"),
    "homonyms": ("homonym", "homonym", "share of names that belong to two things"),
    "superposition": ("people", "people-64", "people in a width of 64"),
    "superposition-wide": ("people", "people-128", "people in a width of 128"),
}


@dataclass(frozen=True)
class Section:
    """A part of the page, and its claim in a sentence. No text: its run is missing."""

    title: str
    run: str
    text: str = ""
    claim: str = ""


@click.command()
@click.option("--runs", type=click.Path(path_type=Path), default=Path("results/proof/runs"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/proof"), show_default=True)
def main(runs: Path, out: Path) -> None:
    """Write the page, its tables and its pictures; a section whose run is missing or unfinished stays as it is."""
    out.mkdir(parents=True, exist_ok=True)
    made = [_oracle(runs, out), _composites(runs, out), _verdicts(runs, out), _ends(runs, out)]
    made += [*(_dial(name, runs, out) for name in DIALS), _readings(runs, out)]
    file = out / "README.md"
    before = sections_of(file.read_text()) if file.is_file() else {}
    sections = [_dated(section, runs) if section.text else _kept(section, before) for section in made]
    short = "\n".join(f"* {_link(section.title)}: {section.claim}" for section in sections if section.claim)
    parts = [HEAD, f"## {SHORT}\n\n{short}\n", *(f"## {s.title}\n\n{s.text.strip(chr(10))}" for s in sections)]
    text = "\n".join(part.strip("\n") + "\n" for part in parts)
    click.echo(f"wrote {write_whole(file, text)}")


def sections_of(page_text: str) -> dict[str, Section]:
    """The sections of a page that was written before, by title."""
    parts = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", page_text, re.MULTILINE))
    claims_of = dict(re.findall(r"^\* \[(.+)\]\(#.*?\): (.+)$", parts.pop(SHORT, ""), re.MULTILINE))
    return {title: Section(title, "", text.strip("\n"), claims_of.get(title, "")) for title, text in parts.items()}


def _finished(run: Path) -> bool:
    return (run / "cells").is_dir() and (state := status(run)).done >= state.expected


def _dated(section: Section, runs: Path) -> Section:
    """With a line that says which run it is made from, since sections of one page may be of different days."""
    about = read_run_json(runs / section.run)
    made = f"{about['fixed_at'][:10]}, {about['commit'][:12]}"
    return replace(section, text=f"{section.text}\n\nRun `{section.run}`: {made}.")


def _kept(section: Section, before: Mapping[str, Section]) -> Section:
    if section.title in before:
        click.echo(f"run {section.run} is missing or unfinished: section {section.title!r} stays as it is", err=True)
        return before[section.title]
    return Section(section.title, section.run, f"Not measured: run `{section.run}` is missing or unfinished.")


def _link(title: str) -> str:
    """A link to a section of the same page."""
    anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
    return f"[{title}](#{anchor})"


def _csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as temporary:
        table.round(4).to_csv(temporary, index=False)


def _oracle(runs: Path, out: Path) -> Section:
    title = "Edits beside retrained models"
    run = runs / "saturated"
    if not (run / FILE).is_file():
        return Section(title, run.name)
    table, sizes = tables.oracle_table(run), tables.oracle_by_size(run)
    _csv(table, out / "oracle.csv")
    _csv(sizes, out / "oracle-by-size.csv")
    write_png(charts.oracle_chart(table), out / "oracle.png")
    write_png(charts.size_chart(sizes), out / "oracle-by-size.png")
    text = page.oracle_section(table, sizes, tables.least_recall(run), tables.drawn_where_rome_edits(run))
    return Section(title, run.name, text, claims.oracle_claim(table))


def _composites(runs: Path, out: Path) -> Section:
    title = "Which composite says what retraining says"
    run = runs / "saturated"
    if not (run / FILE).is_file():
        return Section(title, run.name)
    choice = tables.composites(run)
    _csv(choice.table, out / "composites.csv")
    _csv(choice.winners, out / "composites-chosen.csv")
    write_png(charts.composite_chart(choice.table), out / "composites.png")
    return Section(title, run.name, page.composites_section(choice), claims.composites_claim(choice))


def _verdicts(runs: Path, out: Path) -> Section:
    title = "Are planted shapes found, and none where nothing was planted?"
    there = {name: tables.curve_and_verdict(runs / name) for name in page.PLANTED if _finished(runs / name)}
    if not there:
        return Section(title, "planted-valley")
    curves = [curve.assign(ladder=name) for name, (curve, _) in there.items()]
    _csv(pd.concat(curves), out / "verdicts.csv")
    drawn = {name: (curve, next(iter(judged.verdicts.values())).outcome) for name, (curve, judged) in there.items()}
    write_png(charts.verdict_chart(drawn, "transfer to French"), out / "verdicts.png")
    lines = page.verdict_lines(there)
    return Section(title, "planted-valley", page.verdicts_section(lines), claims.verdicts_claim(lines))


def _dial(name: str, runs: Path, out: Path) -> Section:
    dial, end, words = DIALS[name]
    title = f"Dose-response: {words}"
    if not _finished(runs / name):
        return Section(title, name)
    _, _, scores, trends = tables.planted(runs / name, with_options(runs / name))
    _csv(trends, out / f"dose-{end}.csv")
    shown = SHOWN[dial]
    write_png(charts.dose_chart(scores, dial, shown, words), out / f"dose-{end}.png")
    carry = tables.carries(scores["model"])
    _csv(carry, out / f"carry-{end}.csv")
    truth = scores[["model", dial]].drop_duplicates().merge(carry, on="model")
    means = truth.groupby(dial)[["carry", "chance", "seen"]].mean().reset_index()
    measured = page.trend_section(trends, (*shown, "generalisation", "efficacy"))
    seen = page.what_follows(trends, shown)
    parts = [f"![dose-response](dose-{end}.png)", OF_MODELS, page.markdown(means)]
    text = "\n\n".join([*parts, seen, OF_INSTRUMENT, measured])
    return Section(title, name, text, seen.splitlines()[0])


def _ends(runs: Path, out: Path) -> Section:
    title = "Do retrained models carry news along the dial of shared names?"
    run = runs / "ends"
    if not (run / FILE).is_file():
        return Section(title, run.name)
    carried, trend = tables.carried_by_twins(run)
    _csv(carried, out / "oracle-shared.csv")
    return Section(title, run.name, page.twins_section(carried, trend), claims.twins_claim(carried))


def _readings(runs: Path, out: Path) -> Section:
    title = "Readings along the dial of shared names"
    run = runs / "ends"
    if readings_of(run) is None:
        return Section(title, run.name)
    lines, trends = tables.readings_along(run)
    _csv(trends, out / "readings-shared.csv")
    write_png(charts.reading_chart(lines), out / "readings-shared.png")
    return Section(title, run.name, page.readings_section(trends), claims.readings_claim(trends))


if __name__ == "__main__":
    main()
