"""What the project has: methods, models, ladders, data sets, plans, metrics, readings, as plain data and as text."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any

from benchmarks.datasets import dataset_names, describe, kinds_of
from benchmarks.grown import KNOWN
from benchmarks.ladders import ladder_names, load_ladder
from benchmarks.measure import open_model, strength
from benchmarks.models import absent, is_local
from benchmarks.plans import plan_names, plan_path
from benchmarks.readings import Reading, make_reading, reading_names
from benchmarks.text import aligned, format_pairs, format_value
from editing.errors import BadRequest, NoSite
from editing.methods import Method, easyedit_editors, is_easyedit, make_method, method_names
from editing.model import EXPERT, KINDS, LanguageModel
from editing.references import known_packages
from valley.rows import MEANINGS
from valley.scores import composites

Entry = dict[str, Any]


def methods() -> list[Entry]:
    """Name, summary and default settings of every editing method, then EasyEdit's editors."""
    made = [make_method(name) for name in method_names()]
    own = [{"name": one.name, "summary": one.summary, "settings": one.settings()} for one in made]
    return own + _peers()


def _peers() -> list[Entry]:
    """EasyEdit's editors where EASYEDIT_HOME names a checkout (all are imported there, some seconds), with the reason
    why one cannot be used; a line on how to get them where it does not."""
    if not os.environ.get("EASYEDIT_HOME"):
        summary = "EasyEdit's editors; set EASYEDIT_HOME to a checkout of it (docs/guides/easyedit.md)"
        return [{"name": "easyedit:EDITOR", "summary": summary}]
    return [
        {"name": f"easyedit:{editor}", "summary": f"cannot be used: {reason}" if reason else "EasyEdit's own code"}
        for editor, reason in easyedit_editors().items()
    ]


def models() -> list[Entry]:
    """Models that this machine has or can make by itself: installed packages, trained rungs."""
    packages = [
        {
            "name": f"package:{name}",
            "here": is_local(f"package:{name}"),
            "summary": f"{about['note']}; {about['licence']}",
        }
        for name, about in known_packages().items()
    ]
    grown = [
        {"name": f"grown:{name}", "here": is_local(f"grown:{name}"), "summary": "trained here at its first use"}
        for name in KNOWN
    ]
    return packages + grown


def ladders() -> list[Entry]:
    """Name, title and number of rungs of every ladder of the project."""
    loaded = [load_ladder(name) for name in ladder_names()]
    return [{"name": ladder.name, "rungs": len(ladder.rungs), "title": ladder.title} for ladder in loaded]


def datasets() -> list[Entry]:
    """Every data set, the kinds of edit it offers, and what it is."""
    return [{"name": name, "kinds": list(kinds_of(name)), "summary": describe(name)} for name in dataset_names()]


def plans() -> list[Entry]:
    """The sweep plans of the project."""
    loaded = [(name, tomllib.loads(plan_path(name).read_text("utf-8"))) for name in plan_names()]
    return [{"name": name, "ladder": plan["ladder"], "summary": plan.get("title", "")} for name, plan in loaded]


def metrics() -> list[Entry]:
    """Every score, and every composite that --metric takes, the primary one first; in [0, 1], higher is better."""
    scores = [{"name": name, "summary": meaning} for name, meaning in MEANINGS.items()]
    return scores + [{"name": one.name, "summary": f"composite: {one.choice}"} for one in composites()]


def readings() -> list[Entry]:
    """Name, summary and settings of every reading, and what its measures are."""
    made = [make_reading(name) for name in reading_names()]
    return [
        {"name": one.name, "summary": one.summary, "settings": asdict(one), "measures": dict(one.measures)}
        for one in made
    ]


CATALOGUE: dict[str, Callable[[], list[Entry]]] = {
    "methods": methods,
    "models": models,
    "ladders": ladders,
    "datasets": datasets,
    "plans": plans,
    "metrics": metrics,
    "readings": readings,
}


HIDDEN = ("settings", "measures")  # shown by `describe` alone


def format_entries(entries: Sequence[Entry]) -> str:
    """A list of the catalogue as text, one line per entry."""
    return "\n".join(
        aligned([tuple(map(_cell, (value for key, value in one.items() if key not in HIDDEN))) for one in entries])
    )


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "here" if value else "not here"
    return ", ".join(value) if isinstance(value, list) else format_value(value)


def describe_entry(name: str, device: str | None = None) -> Entry:
    """Everything about one method, reading, ladder, data set, plan, metric or model.

    Args:
        device: where a model is loaded to be described.

    Raises:
        BadRequest: nothing has that name.
        BadModel: a model reference that cannot be resolved or loaded.
    """
    if is_easyedit(name):
        method = make_method(name)
        return {"method": name, "summary": method.summary, "settings": describe_settings(method)}
    for what, entries in CATALOGUE.items():
        entry = next((one for one in entries() if one["name"] == name), None)
        if entry is None or what == "models":
            continue
        if what == "methods":
            return {"method": name, "summary": entry["summary"], "settings": describe_settings(make_method(name))}
        if what == "readings":
            about = {"reading": name, "summary": entry["summary"], "measures": entry["measures"]}
            return about | {"settings": describe_settings(make_reading(name))}
        if what == "ladders":
            return describe_ladder(name)
        return {what.removesuffix("s"): name} | {key: value for key, value in entry.items() if key != "name"}
    if ":" in name or "/" in name or name.startswith((".", "~")):
        return describe_model(name, device)
    names = [one["name"] for what, entries in CATALOGUE.items() for one in entries()]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else "see `valley list methods` and the like"
    raise BadRequest(f"nothing is called {name!r:.80}; {hint}")


def describe_settings(method: Method | Reading) -> list[Entry]:
    """The settings of a method or reading: name, default (of a method in both presets), unit, meaning, and its only
    values where there are such."""
    published = make_method(method.name, preset="published").settings() if isinstance(method, Method) else {}
    return [
        {
            "name": field.name,
            "default": field.default,
            "published": published.get(field.name, field.default),
            "unit": field.metadata["unit"],
            "meaning": field.metadata["help"],
            "choices": list(field.metadata["choices"]),
        }
        for field in fields(method)
    ]


def format_description(about: Entry) -> str:
    """`describe_entry` as text."""
    if "rungs" in about and isinstance(about["rungs"], list):
        return format_ladder(about)
    if "settings" not in about:
        pairs = {key.replace("_", " "): _cell(value) for key, value in about.items() if key != "sites"}
        for one in about.get("sites", ()):
            shape = f"{one['count']}, {one['first']} ... ({one['d_in']} -> {one['d_out']})"
            pairs[f"sites {one['kind']}"] = shape if one["count"] else "none"
        return format_pairs(pairs)
    lines = [f"{about.get('method') or about['reading']}: {about['summary']}"]
    lines += aligned([(f"  {name}", meaning) for name, meaning in about.get("measures", {}).items()])
    rows = [("  setting", "default", "published", "unit", "meaning")]
    for one in about["settings"]:
        choices = f" ({', '.join(one['choices'])})" if one["choices"] else ""
        other = "" if one["published"] == one["default"] else _default(one["published"])
        rows.append((f"  {one['name']}", _default(one["default"]), other, one["unit"], one["meaning"] + choices))
    return "\n".join([*lines, *aligned(rows)])


def _default(value: object) -> str:
    return "unset" if value is None else str(value)


def describe_model(reference: str, device: str | None = None) -> dict[str, object]:
    """What a reference resolves to, with its sites and strength.

    Raises:
        BadModel: the reference cannot be resolved or loaded.
    """
    lm = open_model(reference, device)
    about: dict[str, object] = {
        "reference": reference,
        "source": lm.source,
        "weights_sha256": lm.weight_hash,
        "architecture": type(lm.module).__name__,
        "width": lm.d_model,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "prefix": lm.tokenizer.decode(lm.prefix_ids) if lm.prefix_ids else "",  # tokens put before every text
        "sites": [*(_site(lm, kind) for kind in KINDS), *_experts(lm)],
    }
    return about | asdict(strength(lm))


def _experts(lm: LanguageModel) -> list[Entry]:
    """The routed experts that can be edited, as one entry; none where there are none."""
    sites = [site for layer, path in enumerate(lm.experts) if path for site in lm.expert_sites(layer)]
    if not sites:
        return []
    first = sites[0]
    return [{"kind": EXPERT, "count": len(sites), "first": first.path, "d_in": first.d_in, "d_out": first.d_out}]


def _site(lm: LanguageModel, kind: str) -> Entry:
    try:
        sites = lm.sites(kind)
    except NoSite:
        return {"kind": kind, "count": 0, "first": "", "d_in": 0, "d_out": 0}
    return {"kind": kind, "count": len(sites), "first": sites[0].path, "d_in": sites[0].d_in, "d_out": sites[0].d_out}


def describe_ladder(name: str) -> dict[str, object]:
    """A ladder with all that its file says of its rungs, weakest first; `absent` says why a rung cannot be used right
    now.

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
    return "\n".join([f"{about['name']}: {about['title']}", *aligned(rows)])
