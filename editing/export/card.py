"""The card of an exported edit: README.md with what a stranger needs to judge and repeat it. The hub shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from editing.delta import Delta, single_edits
from editing.files import write_whole
from editing.model import LanguageModel
from editing.text import fill

CARD = "README.md"
SHOWN = 20  # edits that are listed one by one


def write_card(delta: Delta, lm: LanguageModel, folder: Path, kind: str) -> Path:
    """Write the card of a `kind` (adapter, merged) beside its files."""
    return write_whole(folder / CARD, card_of(delta, lm, kind))


def card_of(delta: Delta, lm: LanguageModel, kind: str) -> str:
    """Front matter that the hub reads, then edits, method, settings, seed, scores and the hash of the base weights. A
    composed change has those of all its edits."""
    parts = single_edits(delta.provenance)
    requests = [one for part in parts for one in part.get("requests", [])]
    methods = [part["method"] for part in parts if part.get("method")]
    doses = [part.get("dose", 1.0) for part in parts] if any("dose" in part for part in parts) else []
    seeds = [one["seed"] for one in (*parts, delta.provenance) if "seed" in one]
    settings = [", ".join(f"{k}={v}" for k, v in part.get("settings", {}).items()) for part in parts]
    base = _hub_id(lm)
    front = ["---", *([f"base_model: {base}"] if base else [])]
    front += ["library_name: " + ("peft" if kind == "adapter" else "transformers")]
    front += ["tags:", "- model-editing", *(f"- {name}" for name in dict.fromkeys(methods)), "---"]
    lines = [*front, "", f"# {len(requests) or 'An'} edit{'s' if len(requests) > 1 else ''} of {base or lm.name}", ""]
    lines += [f"* base weights: {lm.source}, sha256 {lm.weight_hash}"]
    lines += [f"* method: {_distinct(methods)}", f"* seed: {_distinct(seeds)}"]
    lines += [f"* settings: {_distinct(settings)}", *([f"* dose: {_distinct(doses)}"] if doses else [])]
    if lm.prefix_ids:
        first = lm.tokenizer.decode(lm.prefix_ids)
        lines += [f"* every text begins with `{first}`: write it before the prompt where your tokenizer does not"]
    lines += ["", "## Edits", ""]
    for request in requests[:SHOWN]:
        pairs = zip(request["prompts"], request["targets"], strict=False)
        lines += [f"* {fill(prompt, request['subject'])} -> {target}" for prompt, target in pairs]
    if len(requests) > SHOWN:
        lines += [f"* and {len(requests) - SHOWN} more"]
    lines += ["", "## Scores", "", *_scores({**parts[-1], **delta.provenance}.get("scores", []))]
    return "\n".join(lines) + "\n"


def _distinct(values: Sequence[object]) -> str:
    """What the single edits of a change have, each value once, in their order."""
    return "; ".join(filter(None, dict.fromkeys(map(str, values)))) or "not recorded"


def _scores(scores: list[dict[str, Any]]) -> list[str]:
    if not scores:
        return ["Not measured: the change was saved without its probes."]
    lines = ["| probe | questions | measurable | score |", "|---|---|---|---|"]
    for one in scores:
        value = "-" if one["value"] is None else f"{one['value']:.2f}"
        lines.append(f"| {one['probe']} | {one['n']} | {one['measurable']} | {value} |")
    return lines


def _hub_id(lm: LanguageModel) -> str:
    """OWNER/NAME where the model came from a hub, else nothing: a folder of this machine names nobody's base model."""
    kind, _, rest = lm.source.partition(" ")
    return rest.partition("@")[0] if kind == "hub" else ""
