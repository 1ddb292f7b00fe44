"""Compares with EasyEdit on the same facts, contexts, covariances and settings, in a separate process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.speed.peers import make_job, run_peer
from benchmarks.speed.quality import known_cases, scores_of
from benchmarks.speed.stages import EDITS, LITERAL, Bench, cosines, dense
from benchmarks.speed.stopwatch import timed
from editing.errors import BadData
from editing.lazy import pandas as pd
from editing.methods import make_method


@dataclass(frozen=True)
class Peer:
    """One method by EasyEdit and by us: CPU-seconds per edit, cosines of the updates, mean scores on known facts."""

    method: str
    editor: str
    facts: int
    seconds: float
    ratio: float
    cosine: str
    scores: dict[str, float]

    def as_row(self) -> dict:
        return asdict(self)


def peers(bench: Bench, facts: int) -> Iterator[Peer]:
    """ROME and MEMIT by EasyEdit and by us, on the first `facts` facts that the model knows.

    Raises:
        BadData: EASYEDIT_HOME is missing, EasyEdit fails, or the model did not come from a transformers folder.
    """
    folder = Path(str(getattr(bench.lm.module, "name_or_path", "")))
    if not (folder / "config.json").is_file():
        raise BadData(f"{bench.lm.name}: not loaded from a transformers folder, which EasyEdit reads; leave --peer 0")
    cases, base = known_cases(bench.lm, facts)
    bench = replace(bench, requests=tuple(c.request for c in cases), slow_requests=facts)
    for name in ("rome", "memit"):
        method = make_method(name, **LITERAL)
        with tempfile.TemporaryDirectory() as work:
            theirs = run_peer(make_job(bench.lm, folder, method, bench.chosen, bench.statistics, work))
        seconds = median(r["cpu_seconds"] for r in theirs["requests"])
        names = theirs["deltas"][0].weights
        yield Peer(
            name,
            "EasyEdit",
            facts,
            seconds,
            1.0,
            "",
            _means(scores_of(bench.lm, cases, base, theirs["deltas"])),
        )
        for label, settings in EDITS.items():
            ours = make_method(name, **settings)
            spent, deltas = timed(bench.device, lambda m=ours: m.each(bench.lm, bench.chosen, bench.statistics))
            pairs = [
                (dense(a, w), dense(b, w))
                for a, b in zip(theirs["deltas"], deltas, strict=True)
                for w in names
                if w in b.factors
            ]
            note = cosines([a for a, _ in pairs], [b for _, b in pairs])
            means = _means(scores_of(bench.lm, cases, base, deltas))
            yield Peer(name, f"ours, {label}", facts, spent / facts, seconds / (spent / facts), note, means)


def _means(scores: pd.DataFrame) -> dict[str, float]:
    return {str(name): float(scores[name].mean()) for name in scores.columns}
