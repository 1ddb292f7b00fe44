"""`ladder export`: trained rungs as folders of half the size, and a ladder of them, so that others can start without
training.

Weights are rounded to bfloat16. The card says so: it keeps the hash of the float32 weights, which growing the rung
again gives, and its recall is measured again on the rounded weights.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.grown import RungSpec, ground, grow, measure_recall, read_card
from benchmarks.ladders.grow import grown_rungs
from benchmarks.ladders.ladder import load_ladder
from editing.errors import BadData
from editing.files import atomic_file, atomic_folder
from editing.lazy import torch, transformers
from editing.progress import announce
from editing.references import CARD, quiet_transformers

LADDER = "ladder.toml"


def export_ladder(
    name: str,
    out: Path,
    rungs: Sequence[str] = (),
    seeds: Sequence[int] = (),
    say: Callable[[str], None] = announce,
) -> tuple[Path, ...]:
    """Write the grown rungs of ladder `name` into folders of `out`, and `out`/ladder.toml, which lists all of them that
    are there.

    Args:
        rungs: only these. seeds: only rungs of these seeds. Rungs that are not there yet are grown first.

    Returns:
        The folders, in the ladder's order.

    Raises:
        UserError: no such ladder or rung, nothing left to write, or the folder cannot be written.
    """
    title = load_ladder(name).title
    chosen = [(rung, spec) for rung, spec in grown_rungs(name, rungs) if not seeds or spec.seed in seeds]
    if not chosen:
        raise BadData(f"ladder {name}: no grown rung is left to export; ask for other --rungs or --seeds")
    for rung, _ in chosen:
        _refuse_foreign(out / rung.name)
    for i, (rung, spec) in enumerate(chosen, 1):
        say(f"rung {i} of {len(chosen)}: {rung.name}")
        _export(spec, out / rung.name)
    entries = [f"title = {json.dumps(title + '; trained, rounded to bfloat16', ensure_ascii=False)}"]
    for rung, spec in grown_rungs(name):
        folder = out / rung.name
        if (folder / CARD).is_file() and (card := read_card(folder)).get("name") == spec.name:
            entries.append(
                "\n".join(
                    (
                        "\n[[rung]]",
                        f'name = "{rung.name}"',
                        f'model = "{_reference(folder)}"',
                        f"parameters = {card['parameters']}",
                        f"training_tokens = {card['tokens']}",
                        f'note = "{spec.name} in bfloat16"',
                    )
                )
            )
    with atomic_file(out / LADDER) as temporary:
        temporary.write_text("\n".join(entries) + "\n", encoding="utf-8")
    return tuple(out / rung.name for rung, _ in chosen)


def _refuse_foreign(folder: Path) -> None:
    """Refuse a place that holds something else than an exported rung, which would be replaced.

    Raises:
        BadData: it does.
    """
    if folder.exists() and not (folder / CARD).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadData(f"{folder}: holds something else than an exported rung; name another --out")


def _reference(folder: Path) -> str:
    """A folder as a model reference: a relative one begins with ./, or it would read as a hub id."""
    return folder.as_posix() if folder.is_absolute() or folder.parts[0] == ".." else f"./{folder.as_posix()}"


def _export(spec: RungSpec, folder: Path) -> None:
    """One folder with its card, written whole."""
    from benchmarks.grown import one_torch_thread

    source = grow(spec)
    on = ground(spec.finished)
    with quiet_transformers():
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    card = read_card(source)
    with one_torch_thread():  # what a user of the folder gets: the rounded weights, computed with in float32
        recall = measure_recall(model.float().eval(), on.tokenizer, on.corpus)
    shutil.rmtree(folder, ignore_errors=True)
    with quiet_transformers(), atomic_folder(folder) as temporary:
        model.to(torch.bfloat16).save_pretrained(temporary)
        on.tokenizer.save_pretrained(temporary)
        card |= {
            "stored": "bfloat16",
            "weights_float32": card["weights"],
            "weights": hashlib.sha256((temporary / "model.safetensors").read_bytes()).hexdigest(),
            "recall": recall,
        }
        (temporary / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
