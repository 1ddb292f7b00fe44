"""`ladder grow`: train the grown rungs of a ladder, one after another; what is there already is only reported.

Each rung is a unit: a stopped or killed run goes on with the rung it was in, from its last state, and ends with the
same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.grown import RungSpec, grow, read_card
from benchmarks.ladders.ladder import Rung, choose_rungs
from editing.errors import BadData, UserError
from editing.progress import announce

PREFIX = "grown:"
TOKEN_COST = 50_000  # measured on two cores: 1x32 to 8x384 take 12 to 430 microseconds a token
SHOWN = ("seen", "template", "language", "multi_hop")


@dataclass(frozen=True)
class GrownTable:
    """One card per grown rung, in the ladder's order, and one line per rung that failed."""

    records: tuple[dict, ...]
    failed: tuple[str, ...]

    def as_json(self) -> dict:
        return {"rungs": list(self.records), "failed": list(self.failed)}


def grow_ladder(
    name: str,
    rungs: Sequence[str] = (),
    seeds: Sequence[int] = (),
    device: str = "cpu",
    *,
    checkpoints: bool = False,
    cache: Path | None = None,
    say: Callable[[str], None] = announce,
) -> GrownTable:
    """Grow the rungs of `name` that are not there yet.

    Args:
        name: a ladder's name or file, or a model reference `grown:...`. rungs: only these of the ladder.
        seeds: grow every rung with these seeds instead of its own.
        checkpoints: keep the models along each training as well.
        say: called with one line per rung, with an estimate of what is left.

    Raises:
        UserError: no such ladder or rung, or none of them is grown here.
    """
    chosen = [spec for _, spec in grown_rungs(name, rungs)]
    names = list(dict.fromkeys(_seeded(spec, seed) for spec in chosen for seed in (seeds or (None,))))
    sizes = [_work(name) for name in names]
    records, failed = [], []
    began, done = time.perf_counter(), 0.0
    for i, (one, size) in enumerate(zip(names, sizes, strict=True), 1):
        spent = time.perf_counter() - began
        left = f", about {spent * sum(sizes[i - 1 :]) / done / 60:.0f} min left" if done and spent > 5 else ""
        say(f"rung {i} of {len(names)}: {one}{left}")
        try:
            before = time.perf_counter()
            card = read_card(grow(one, cache=cache, device=device, checkpoints=checkpoints))
        except UserError as error:
            failed.append(f"failed: {one}: {error}")
            continue
        done += size if time.perf_counter() - before > 2 else 0.0  # one that was there says nothing about the pace
        records.append(card)
    return GrownTable(tuple(records), tuple(failed))


def grown_rungs(name: str, rungs: Sequence[str] = ()) -> list[tuple[Rung, RungSpec]]:
    """The rungs of ladder `name`, or only those requested, that are trained here, and what each is.

    Raises:
        UserError: no such ladder or rung, or none of them is grown here.
    """
    chosen = [rung for rung in choose_rungs(name, rungs)[0] if rung.model.startswith(PREFIX)]
    if not chosen:
        raise BadData(
            f"ladder {name}: none of its rungs is grown here; take one with models `grown:...`, see `ladder list`"
        )
    return [(rung, RungSpec.parse(rung.model.removeprefix(PREFIX))) for rung in chosen]


def _seeded(spec: RungSpec, seed: int | None) -> str:
    return (spec if seed is None else replace(spec, seed=seed)).name


def _work(name: str) -> float:
    """Cost of a training in arbitrary units: weights of the blocks, and what each token costs whatever the size, x
    tokens."""
    spec = RungSpec.parse(name)
    return (spec.layers * spec.width**2 + TOKEN_COST) * spec.recipe.tokens


def format_grown(table: GrownTable) -> str:
    """The cards as a table; recall is EN/FR."""
    head = ("rung", "parameters", "loss", *SHOWN, "CPU s", "tokens/s", "weights")
    rows: list[tuple[str, ...]] = [head]
    for card in table.records:
        recall = [
            "/".join(f"{score['recall']:.2f}" for score in card["recall"].get(kind, {}).values()) or "-"
            for kind in SHOWN
        ]
        rows.append(
            (
                card["name"],
                f"{card['parameters']:,}",
                f"{card['loss']:.3f}",
                *recall,
                f"{card['cpu_seconds']:.0f}",
                f"{card['tokens_per_second']:,}",
                card["weights"][:12],
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *table.failed])
