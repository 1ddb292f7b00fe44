"""Model references of the project: those of `editing.references`, and `grown:NAME`, a rung trained here when it is
first used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path

from benchmarks.grown import RungSpec, grow, is_grown, read_card
from editing.errors import UserError
from editing.model import LanguageModel, check_device, load_resolved
from editing.references import CARD, Resolved, absent, check_card, check_folder, parse
from editing.references import resolve as resolve_foreign

__all__ = ["Resolved", "absent", "is_local", "layers_of", "load_model", "parse", "resolve", "training_tokens"]

# The names that config.json files have for the number of blocks.
LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def resolve(
    reference: str | Path, *, cache: Path | None = None, progress: Callable[..., None] | bool | None = None
) -> Resolved:
    """Finds, fetches, converts or grows the model of a reference, and checks its files.

    Args:
        reference: one of the forms in `editing/references/reference.py`.
        cache: cache root instead of `cache_root()`.
        progress: False for none; otherwise long steps show themselves on stderr. Handed on to `grow`.

    Raises:
        BadModel: anything wrong with the reference or its files; one line with the fix.
    """
    parsed = parse(reference)
    if parsed.dtype:
        plain = resolve(str(reference).strip().removesuffix(f"#{parsed.dtype}"), cache=cache, progress=progress)
        return replace(plain, reference=f"{plain.reference}#{parsed.dtype}", dtype=parsed.dtype)
    if parsed.kind != "grown":
        return resolve_foreign(reference, cache=cache, progress=progress)
    folder = Path(grow(parsed.name, cache=cache, progress=progress))
    label = f"grown:{parsed.name}"
    check_folder(label, folder, f"delete {folder} and run again")
    check_card(label, folder)
    return Resolved(label, "grown", folder, f"{label} {folder.name}", "made here")


def load_model(
    reference: str | Path,
    *,
    device: str | None = "cpu",
    dtype: str | None = None,
    cache: Path | None = None,
    progress: Callable[..., None] | bool | None = None,
) -> LanguageModel:
    """The model of a reference, ready to be edited.

    Args:
        device, dtype: as `editing.load`. A device that is not there is refused before anything is fetched or trained.

    Raises:
        BadModel: the reference cannot be resolved or loaded, or no such device.
    """
    check_device(device)
    return load_resolved(resolve(reference, cache=cache, progress=progress), device=device, dtype=dtype, cache=cache)


def is_local(reference: str) -> bool:
    """Whether a model can be loaded here and now, without a download or a training."""
    parsed = parse(reference)
    return is_grown(parsed.name) if parsed.kind == "grown" else absent(reference) is None


def layers_of(reference: str) -> int:
    """The number of blocks of a model, from its name or its config.json; 0 where it is not here yet or states none."""
    try:
        parsed = parse(reference)
        if parsed.kind == "grown":
            return RungSpec.parse(parsed.name).layers
        if not is_local(reference):
            return 0
        config = json.loads((resolve(reference).folder / "config.json").read_text(encoding="utf-8"))
    except (UserError, OSError, ValueError):  # whoever loads the model gets the reason
        return 0
    for part in (config, config.get("text_config") or {}):
        for key in LAYER_KEYS:
            if isinstance(part.get(key), int):
                return part[key]
    return 0


def training_tokens(reference: str, stated: int = 0) -> float:
    """How many tokens a model was trained on: as `stated` by its ladder, else by its card (grown here); NaN where
    unknown."""
    if stated:
        return float(stated)
    if parse(reference).kind not in ("grown", "folder"):
        return nan
    folder = resolve(reference).folder
    if not (folder / CARD).is_file():
        return nan
    tokens = read_card(folder).get("tokens")
    return float(tokens) if isinstance(tokens, int | float) else nan
