"""`ladder table`: everything there is to say about the rungs grown here, as one table with a picture.

One line per rung (size and seed): loss, recall of every kind in each language beside its chance, bits per byte, known
facts, time. Rungs of one size differ in their seed only, so their spread is the noise that any curve over sizes must be
read against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.grown import KINDS, grow, read_card
from benchmarks.ladders.grow import grown_rungs
from benchmarks.ladders.strength import rung_strength
from benchmarks.world import LANGS
from editing.files import atomic_file
from editing.lazy import pandas as pd
from editing.progress import announce

STRENGTH = (
    "bits_per_byte_world_en",
    "bits_per_byte_world_fr",
    "bits_per_byte_en",
    "bits_per_byte_fr",
    "known_rate_en",
    "known_rate_fr",
)
CARD = ("parameters", "steps", "tokens", "loss", "seconds", "cpu_seconds", "tokens_per_second", "device", "weights")
# Kinds of sentence whose recall is drawn and listed, with their names in the picture's legend.
RECALLED = {
    "seen": "stated, wording of the training",
    "template": "stated, other wording",
    "language": "stated in the other language only",
    "multi_hop": "two facts to combine",
}


def ladder_table(
    name: str,
    rungs: Sequence[str] = (),
    device: str | None = None,
    say: Callable[[str], None] = announce,
) -> pd.DataFrame:
    """One row per grown rung of ladder `name`; rungs that are not there yet are grown.

    Columns: rung, size, seed, those of CARD and STRENGTH, parameters_without_embeddings, n_layers, and for every kind
    of sentence and language `recall_KIND_LANG` and `chance_KIND_LANG` (always the relation's most frequent answer), NaN
    where there is no such sentence.

    Raises:
        UserError: no such ladder or rung, or none of them is grown here.
    """
    chosen = grown_rungs(name, rungs)
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
    """Means over seeds and, as `sd_...`, their sample standard deviations (NaN for one seed); sizes in the ladder's
    order."""
    groups = table.drop(columns=["rung", "seed", "device", "weights"]).groupby("size", sort=False)
    return groups.mean().join(groups.std().add_prefix("sd_")).assign(seeds=groups.size()).reset_index()


def write_table(table: pd.DataFrame, name: str, folder: Path) -> None:
    """table.csv, README.md and table.png in `folder`, each written whole.

    Raises:
        BadData: the folder cannot be written.
    """
    from benchmarks.ladders.table_chart import table_chart
    from benchmarks.pictures import write_png

    for file, text in (("table.csv", table.to_csv(index=False)), ("README.md", _readme(table, name, folder))):
        with atomic_file(folder / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_png(table_chart(table, RECALLED), folder / "table.png")


def format_sizes(table: pd.DataFrame) -> str:
    """A Markdown table, one line per size: means over seeds, EN/FR, with the spread of the seeds behind +-."""
    head = [
        "rung",
        "parameters",
        "loss",
        "bits per byte, world",
        *(f"recall {kind}" for kind in RECALLED),
        "CPU s",
        "tokens/s",
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for _, row in by_size(table).iterrows():
        cells = [str(row["size"]), f"{row['parameters'] / 1e6:.2f}M", _spread(row["loss"], row["sd_loss"], 3)]
        cells.append(_pair(row, "bits_per_byte_world", 3))
        cells += [_pair(row, f"recall_{kind}", 2) for kind in RECALLED]
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
    chance = ", ".join(f"{kind} {_chance(table, kind)}" for kind in RECALLED)
    minutes, cpu = table["seconds"].sum() / 60, table["cpu_seconds"].sum() / 60
    return "\n".join(
        (
            f"# The rungs of ladder {name}",
            "",
            "Question: how well does each rung of this ladder model its world's text and recall its facts?",
            "",
            f"Answer: {_answer(table)}",
            "",
            f"    python cli.py ladder grow {name}",
            f"    python cli.py ladder table {name} --out {folder.as_posix()}",
            "",
            f"The ladder has {len(table)} models of {table['size'].nunique()} sizes. Training took "
            f"{minutes:.0f} minutes on {', '.join(sorted(set(table['device'])))} ({cpu:.0f} minutes of processor time)."
            " This does not count measuring recall and saving.",
            "Values are means over the seeds of a size, English/French. The number after ± is the larger of the two "
            "standard deviations over seeds. Every rung is in `table.csv`.",
            "",
            format_sizes(table),
            "",
            f"Recall by chance (always giving the relation's most frequent answer), English/French: {chance}.",
            "",
            "![bits per byte and recall against size](table.png)",
            "",
        )
    )


def _answer(table: pd.DataFrame) -> str:
    """Bits per byte and recall of the first and the last size, beside chance."""
    sizes = by_size(table)
    first, last = sizes.iloc[0], sizes.iloc[-1]
    bits, seen = (
        [_pair(row, key, n) for row in (first, last)] for key, n in (("bits_per_byte_world", 3), ("recall_seen", 2))
    )
    return (
        f"from {first['size']} to {last['size']}, bits per byte of the world's text go from {bits[0]} to {bits[1]} "
        f"(English/French), and recall of the statements seen in training from {seen[0]} to {seen[1]} "
        f"(chance {_chance(table, 'seen')})."
    )


def _chance(table: pd.DataFrame, kind: str) -> str:
    means = [table[f"chance_{kind}_{lang}"].mean() for lang in LANGS]
    return "/".join("n/a" if pd.isna(mean) else f"{mean:.2f}" for mean in means)
