"""What there is: ladders, methods, data sets, and what a model reference resolves to. Text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.datasets import dataset_names, describe, kinds_of
from benchmarks.ladders import ladder_names, load_ladder
from benchmarks.measure.opening import open_model
from benchmarks.measure.strength import strength
from benchmarks.models import absent
from benchmarks.text import _table
from editing.errors import NoSite
from editing.methods import make_method, method_names
from editing.model.language_model import LanguageModel
from editing.model.sites import KINDS


def describe_model(reference: str, device: str | None = None) -> dict[str, object]:
    """What a reference resolves to, with its sites and strength.

    Raises:
        BadModel: the reference cannot be resolved or loaded.
    """
    lm = open_model(reference, device)
    about: dict[str, object] = {
        "reference": reference,
        "source": lm.source,
        "weights sha256": lm.weight_hash,
        "architecture": type(lm.module).__name__,
        "width": lm.d_model,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "tokens put before every text": lm.tokenizer.decode(lm.prefix_ids) if lm.prefix_ids else "",
    }
    about |= {f"sites {kind}": _site(lm, kind) for kind in KINDS}
    return about | {key.replace("_", " "): value for key, value in asdict(strength(lm)).items()}


def _site(lm: LanguageModel, kind: str) -> str:
    try:
        sites = lm.sites(kind)
    except NoSite:
        return "none"
    return f"{len(sites)}, {sites[0].path} ... ({sites[0].d_in} -> {sites[0].d_out})"


def ladders() -> list[dict[str, object]]:
    """Name, title and number of rungs of every ladder that comes with the project."""
    found = [load_ladder(name) for name in ladder_names()]
    return [{"name": ladder.name, "title": ladder.title, "rungs": len(ladder.rungs)} for ladder in found]


def list_ladders() -> str:
    """The ladders as text."""
    return "\n".join(_table([(str(one["name"]), f"{one['rungs']} rungs", str(one["title"])) for one in ladders()]))


def describe_ladder(name: str) -> dict[str, object]:
    """A ladder with all that its file says of its rungs, weakest first; `absent` says why a rung cannot be used right now.

    Raises:
        BadData: no such ladder, or a wrong file.
    """
    ladder = load_ladder(name)
    rungs = [asdict(rung) | {"absent": absent(rung.model) or ""} for rung in ladder.rungs]
    return {"name": ladder.name, "title": ladder.title, "rungs": rungs}


def format_ladder(about: Mapping[str, Any]) -> str:
    """`describe_ladder` as text."""
    rows = [("  rung", "model", "parameters", "tokens", "licence and notes")]
    for rung in about["rungs"]:
        parts = [rung["licence"], rung["note"], *(key for key in ("gated", "optional", "unpinned") if rung[key])]
        parts += [rung["checked"] and f"checked: {rung['checked']}", rung["absent"]]
        sizes = (
            f"{rung['parameters']:,}" if rung["parameters"] else "",
            f"{rung['training_tokens']:.3g}" if rung["training_tokens"] else "",
        )
        rows.append((f"  {rung['name']}", rung["model"], *sizes, "; ".join(part for part in parts if part)))
    return "\n".join([f"{about['name']}: {about['title']}", *_table(rows)])


def list_methods() -> str:
    """Every method with its default settings."""
    lines = []
    for name in method_names():
        method = make_method(name)
        lines.append(f"{name}: {type(method).summary}")
        lines.append("  " + " ".join(f"{key}={value}" for key, value in method.settings().items()))
    return "\n".join(lines)


def list_datasets() -> str:
    """Every data set, the kinds of edit it offers, and what it is."""
    return "\n".join(_table([(name, ", ".join(kinds_of(name)), describe(name)) for name in dataset_names()]))
