"""Crispness of a ladder's models or of one model: measured rung by rung, written as CSV and PNG, shown as a short
table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.crispness.measure import CONTROLS, MEASURES, Setup, crispness
from benchmarks.crispness.pairs import Pairs, concept_pairs
from benchmarks.crispness.picture import crispness_chart
from benchmarks.ladders import choose_rungs
from benchmarks.measure import open_model, statistics_of, stored_table
from benchmarks.pictures import write_png
from benchmarks.world import own_knowledge
from editing.cache import cache_root
from editing.errors import BadData, UserError
from editing.files import atomic_file, made_folder
from editing.lazy import pandas as pd
from editing.model import LanguageModel
from editing.progress import announce
from editing.stats import corpus_hash

VERSION = 1  # raise it when the same model would give other rows than before
SHOWN = (*MEASURES, "align_rank", "patch_nats")


@dataclass(frozen=True)
class Crispness:
    """What a run gave: the table (see `benchmarks.crispness.COLUMNS`), the files written, a line per optional rung left
    out and per one that failed."""

    frame: pd.DataFrame
    files: tuple[Path, ...]
    skipped: tuple[str, ...]
    failed: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The summary, with null for what is not measurable: JSON has no NaN."""
        rows = summary(self.frame).to_dict("records")
        return {
            "summary": [{key: None if value != value else value for key, value in row.items()} for row in rows],
            "files": [str(path) for path in self.files],
            "skipped": list(self.skipped),
            "failed": list(self.failed),
        }


def run_crispness(
    name: str,
    concepts: Sequence[str] = (),
    rungs: Sequence[str] = (),
    out: Path | None = None,
    device: str | None = None,
    setup: Setup | None = None,
    say: Callable[[str], None] = announce,
    file: str | Path = "",
) -> Crispness:
    """Measure every rung of a ladder, or one model.

    Args:
        file: of one's own concepts in two languages, instead of the suite.
        name: a ladder's name or file, or a model reference. rungs: only these of the ladder.
        out: folder for crispness.csv and crispness.png, made if need be; None writes nothing.
        say: called with one line per rung.

    Raises:
        UserError: no such ladder, rung, model or concept; the folder cannot be written. Before any work where it can
            be.
    """
    setup = setup or Setup()
    pairs = concept_pairs(own_knowledge(file) if file else None)
    pairs.chosen(concepts)
    chosen, skipped = choose_rungs(name, rungs)
    if out is not None:
        made_folder(out)
    frames, failed = [], []
    began = time.perf_counter()
    for i, rung in enumerate(chosen, 1):
        if len(chosen) > 1:
            spent = time.perf_counter() - began
            left = f", about {spent / (i - 1) * (len(chosen) - i + 1) / 60:.0f} min left" if spent > 5 else ""
            say(f"rung {i} of {len(chosen)}: {rung.name}{left}")
        try:
            frame = _measured(open_model(rung.model, device), concepts, setup, pairs)
        except UserError as error:
            if len(chosen) == 1:
                raise
            failed.append(f"failed: rung {rung.name}: {error}")
            continue
        frames.append(frame.assign(rung=rung.name, model=rung.model))
        if out is not None:  # after every rung, so that what a killed run has measured is kept
            with atomic_file(out / "crispness.csv") as temporary:
                pd.concat(frames, ignore_index=True).to_csv(temporary, index=False)
    if not frames:
        raise BadData(f"{name}: no rung could be measured; {[*skipped, *failed, 'it has none'][0]}")
    whole = pd.concat(frames, ignore_index=True)
    files: list[Path] = []
    if out is not None:
        files = [out / "crispness.csv", out / "crispness.png"]
        write_png(crispness_chart(whole), files[1])
    return Crispness(whole, tuple(files), skipped, tuple(failed))


def _measured(lm: LanguageModel, concepts: Sequence[str], setup: Setup, pairs: Pairs) -> pd.DataFrame:
    """Measures one model, or reads what was measured before: a run that was killed goes on with its next rung."""

    def measured() -> pd.DataFrame:
        statistics = statistics_of(lm, setup.seed, setup.corpus)
        return crispness(lm, concepts, setup, statistics=statistics, pairs=pairs)

    identity = [VERSION, list(concepts), repr(setup), repr(pairs), *filter(None, [corpus_hash(setup.corpus)])]
    return stored_table(cache_root() / "crispness", lm, identity, measured)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Per rung, concept and measure: the layer where the measurement is highest, its value, and the controls' values
    there."""
    both = frame[(frame["direction"] == "both") & frame["measure"].isin(SHOWN)]
    records = []
    for keys, lines in both.groupby(["rung", "concept", "measure"], sort=False):
        table = lines.pivot_table(index="layer", columns="control", values="value")
        if "none" not in table or table["none"].isna().all():
            continue
        layer = table["none"].idxmax()
        about = dict(zip(("rung", "concept", "measure"), keys, strict=True)) | {"layer": int(str(layer))}
        records.append(about | {c: float(table[c].to_dict()[layer]) for c in CONTROLS if c in table})
    return pd.DataFrame(records)


def format_crispness(result: Crispness, most: int = 6) -> str:
    """The summary of the first `most` concepts as text for a terminal."""
    table = summary(result.frame)
    names = list(dict.fromkeys(table["concept"]))
    shown = table[table["concept"].isin(names[:most])].rename(columns={"none": "value", "layer": "best layer"})
    lines = [shown.to_string(index=False, float_format=lambda v: f"{v:.3f}")]
    if len(names) > most:
        lines.append(f"... and {len(names) - most} more concepts in crispness.csv")
    lines += [*result.skipped, *result.failed, *(f"wrote {path}" for path in result.files)]
    return "\n".join(lines)
