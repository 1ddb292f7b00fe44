"""`ladder table`: everything there is to say about the rungs grown here, as one table with a picture.

One line per rung (size and seed): loss, recall of every kind in each language beside its chance, bits per byte, known facts, time.
Rungs of one size differ in their seed only, so their spread is the noise that any curve over sizes must be read against.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.grown.corpus import KINDS
from benchmarks.grown.rungs import grow, read_card
from benchmarks.ladders.grow import grown_rungs
from benchmarks.ladders.strength import rung_strength
from benchmarks.world.facts import LANGS
from editing.cache import atomic_file

STRENGTH = (
    "bits_per_byte_world_en", "bits_per_byte_world_fr", "bits_per_byte_en", "bits_per_byte_fr", "known_rate_en", "known_rate_fr",
)  # fmt: skip
CARD = ("parameters", "steps", "tokens", "loss", "seconds", "cpu_seconds", "tokens_per_second", "device", "weights")
# Okabe and Ito's palette; the dash repeats what the colour says.
LINES = {"seen": ("#0072B2", "-"), "template": ("#009E73", "--"), "language": ("#D55E00", "-."), "multi_hop": ("#CC79A7", ":")}  # fmt: skip
NAMES = {"seen": "told, trained wording", "template": "told, other wording", "language": "told in the other language only", "multi_hop": "two facts to combine"}  # fmt: skip


def ladder_table(
    name: str,
    rungs: Sequence[str] = (),
    device: str | None = None,
    say: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """One row per grown rung of ladder `name`; rungs that are not there yet are grown.

    Columns: rung, size, seed, those of CARD and STRENGTH, parameters_without_embeddings, n_layers, and for every kind of
    sentence and language `recall_KIND_LANG` and `chance_KIND_LANG` (always the relation's most frequent answer), NaN where
    there is no such sentence.

    Raises:
        UserError: no such ladder or rung, or none of them is grown here.
    """
    chosen = grown_rungs(name, rungs)
    say = say or (lambda line: print(line, file=sys.stderr))
    records = []
    for i, (rung, spec) in enumerate(chosen, 1):
        say(f"rung {i} of {len(chosen)}: {rung.name}")
        card = read_card(grow(spec, device=device or "cpu"))
        power = rung_strength(rung, device)
        record: dict = {"rung": rung.name, "size": rung.size or rung.name, "seed": spec.seed}
        record |= {key: card[key] for key in CARD}
        record |= {key: power[key] for key in (*STRENGTH, "parameters_without_embeddings", "n_layers")}
        for kind in KINDS:
            for lang in LANGS:
                score = card["recall"].get(kind, {}).get(lang, {})
                record |= {f"{what}_{kind}_{lang}": score.get(what, float("nan")) for what in ("recall", "chance")}
        records.append(record)
    return pd.DataFrame(records)


def by_size(table: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds and, as `sd_...`, their sample standard deviations (NaN for one seed); sizes in the ladder's order."""
    groups = table.drop(columns=["rung", "seed", "device", "weights"]).groupby("size", sort=False)
    return groups.mean().join(groups.std().add_prefix("sd_")).assign(seeds=groups.size()).reset_index()


def write_table(table: pd.DataFrame, name: str, folder: Path) -> None:
    """table.csv, README.md and table.png in `folder`, each written whole.

    Raises:
        BadData: the folder cannot be written.
    """
    for file, text in (("table.csv", table.to_csv(index=False)), ("README.md", _readme(table, name, folder))):
        with atomic_file(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    picture = io.BytesIO()
    _figure(by_size(table), table).savefig(picture, format="png", dpi=120)
    with atomic_file(folder / "table.png") as temporary:
        temporary.write_bytes(picture.getvalue())


def format_sizes(table: pd.DataFrame) -> str:
    """A Markdown table, one line per size: means over seeds, EN/FR, with the spread of the seeds behind +-."""
    head = [
        "rung",
        "parameters",
        "loss",
        "bits per byte, world",
        *(f"recall {kind}" for kind in LINES),
        "CPU s",
        "tokens/s",
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for _, row in by_size(table).iterrows():
        cells = [str(row["size"]), f"{row['parameters'] / 1e6:.2f}M", _spread(row["loss"], row["sd_loss"], 3)]
        cells.append(_pair(row, "bits_per_byte_world", 3))
        cells += [_pair(row, f"recall_{kind}", 2) for kind in LINES]
        lines.append([*cells, f"{row['cpu_seconds']:.0f}", f"{row['tokens_per_second']:,.0f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _pair(row: pd.Series, key: str, digits: int) -> str:
    """English/French, behind ± the larger spread."""
    values = [row[f"{key}_{lang}"] for lang in LANGS]
    spread = max(row[f"sd_{key}_{lang}"] for lang in LANGS)
    if all(map(pd.isna, values)):
        return "n/a"
    mean = "/".join("n/a" if pd.isna(value) else f"{value:.{digits}f}" for value in values)
    return mean if pd.isna(spread) else f"{mean} ± {spread:.{digits}f}"


def _spread(value: float, spread: float, digits: int) -> str:
    return f"{value:.{digits}f}" if pd.isna(spread) else f"{value:.{digits}f} ± {spread:.{digits}f}"


def _readme(table: pd.DataFrame, name: str, folder: Path) -> str:
    chance = ", ".join(f"{kind} {_chance(table, kind)}" for kind in LINES)
    minutes, cpu = table["seconds"].sum() / 60, table["cpu_seconds"].sum() / 60
    return "\n".join(
        (
            f"# The rungs of ladder {name}",
            "",
            f"    python cli.py ladder grow {name}",
            f"    python cli.py ladder table {name} --out {folder.as_posix()}",
            "",
            f"{len(table)} models of {table['size'].nunique()} sizes; training took {minutes:.0f} minutes, {cpu:.0f} minutes of processor time"
            f" ({', '.join(sorted(set(table['device'])))}; measuring recall and saving not counted). Means over seeds, English/French; behind ± the larger of the two",
            "standard deviations over seeds. Every rung is in `table.csv`.",
            "",
            format_sizes(table),
            "",
            f"Chance (always the relation's most frequent answer), English/French: {chance}.",
            "",
            "![bits per byte and recall against size](table.png)",
            "",
        )
    )


def _chance(table: pd.DataFrame, kind: str) -> str:
    means = [table[f"chance_{kind}_{lang}"].mean() for lang in LANGS]
    return "/".join("n/a" if pd.isna(mean) else f"{mean:.2f}" for mean in means)


def _figure(sizes: pd.DataFrame, table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for lang, (colour, dash) in zip(LANGS, (("#0072B2", "-"), ("#D55E00", "--")), strict=True):
        key = f"bits_per_byte_world_{lang}"
        left.plot(
            sizes["parameters"], sizes[key], dash, color=colour, label={"en": "English", "fr": "French"}.get(lang, lang)
        )
        left.plot(table["parameters"], table[key], ".", color=colour, alpha=0.6)
    left.set(ylabel="bits per byte (lower is stronger)", title="Sentences in a wording held back")
    for kind, (colour, dash) in LINES.items():
        means = [frame[[f"recall_{kind}_{lang}" for lang in LANGS]].mean(axis=1) for frame in (sizes, table)]
        right.plot(sizes["parameters"], means[0], dash, color=colour, label=NAMES[kind])
        right.plot(table["parameters"], means[1], ".", color=colour, alpha=0.6)
    chance = table[[f"chance_language_{lang}" for lang in LANGS]].to_numpy().mean()
    right.axhline(chance, color="#999999", linewidth=0.8)
    right.annotate(
        "chance (other language)",
        (1, chance),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="top",
        fontsize=8,
        color="#666666",
    )
    right.set(ylabel="recall", ylim=(-0.02, 1.02), title="What is recalled (a dot is one seed)")
    for panel in (left, right):
        panel.set_xscale("log")
        panel.set_xlabel("parameters")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    return figure
