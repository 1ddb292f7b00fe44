"""A saved change made again from its own record, and how far the two are apart.

The record in `delta.json` names model, method, settings, requests, text and seed of the statistics, and dose. On the
same machine with the same libraries the change is the same bit for bit; elsewhere other processors and libraries round
otherwise, and a change counts as reproduced when it differs by at most TOLERANCE of its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any

from benchmarks.measure import open_model, planned
from editing.delta import Delta, compose, single_edits
from editing.errors import BadData, BadModel
from editing.lazy import torch
from editing.methods import make_method
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import EditRequest

TOLERANCE = 1e-2  # Frobenius norm of the difference over that of the saved change


@dataclass(frozen=True)
class ReproducedChange:
    """Whether a change was made again.

    Attributes:
        identical: every number has the same bits. difference: the largest relative one over the changed places.
        model_hash: of the weights, equal to those that the change was made from.
    """

    folder: str
    model: str
    model_hash: str
    identical: bool
    difference: float

    @property
    def reproduced(self) -> bool:
        return self.identical or self.difference <= TOLERANCE

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"reproduced": self.reproduced, "tolerance": TOLERANCE}


def reproduce_change(folder: str | Path, reference: str = "", device: str | None = None) -> ReproducedChange:
    """Make the change that was saved in `folder` again.

    Args:
        reference: of its model, where it has another name on this machine.

    Raises:
        BadData: no readable change, or one that does not say how it was made.
        BadModel: the model is not the one that the change was made from.
    """
    saved = Delta.load(folder)
    parts = _parts(saved.provenance, str(folder))
    name = reference or str(parts[0].get("model", ""))
    lm = open_model(name, device)
    made_for = parts[0].get("model_hash")
    if made_for != lm.weight_hash:
        raise BadModel(
            f"{folder}: made from weights {str(made_for)[:12]}, {name} has {lm.weight_hash[:12]}; "
            "name its model with --model"
        )
    changes = [_again(lm, part, str(folder)) for part in parts]
    again = changes[0] if len(changes) == 1 else compose(changes)
    difference = largest_difference(saved, again)
    return ReproducedChange(str(folder), name, lm.weight_hash, _same_bits(saved, again), difference)


def format_reproduced(done: ReproducedChange) -> str:
    """The outcome in two lines for a terminal."""
    if done.identical:
        verdict = "reproduced bit for bit"
    elif done.reproduced:
        verdict = f"reproduced within {TOLERANCE:g} of its size, not bit for bit (other processor or libraries)"
    else:
        verdict = f"NOT reproduced: it differs by {done.difference:.3g} of its size, {TOLERANCE:g} is allowed"
    return f"{done.folder}: {verdict}\nmodel {done.model}, weights {done.model_hash[:12]}: the same"


def _parts(provenance: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """The records of the single edits of a change, oldest first."""
    parts = single_edits(provenance)
    if any(not {"method", "settings", "requests", "statistics", "model_hash"} <= part.keys() for part in parts):
        raise BadData(f"{folder}: its record does not say how it was made; only what `edit` saved can be repeated")
    return parts


def _request(record: Mapping[str, Any]) -> EditRequest:
    """A request from its JSON: lists there are tuples here."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    if "documents" in values:
        values["documents"] = tuple(map(tuple, values["documents"]))
    return EditRequest(**values)


def _again(lm: LanguageModel, part: Mapping[str, Any], folder: str) -> Delta:
    try:
        method = make_method(part["method"], **part["settings"])
        requests = [_request(one) for one in part["requests"]]
        corpus, seed = str(part["statistics"]["corpus"]), int(part["statistics"]["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(f"{folder}: its record is damaged ({error!r}); save the change again") from error
    lm, _ = planned(lm, [method], requests)
    change = method(lm, requests, ModelStatistics(lm, corpus=corpus, seed=seed))
    dose = float(part.get("dose", 1.0))
    return change if dose == 1 else change.scaled(dose)


def _same_bits(one: Delta, other: Delta) -> bool:
    same = one.context == other.context and list(one.factors) == list(other.factors)
    return same and all(
        vars(change).keys() == vars(other.factors[name]).keys()
        and all(torch.equal(value.cpu(), vars(other.factors[name])[part].cpu()) for part, value in vars(change).items())
        for name, change in one.factors.items()
    )


def largest_difference(one: Delta, other: Delta) -> float:
    """The largest relative Frobenius difference over the changed places; infinite where places or contexts differ."""
    if one.context != other.context or set(one.factors) != set(other.factors):
        return float("inf")
    worst = 0.0
    for name, change in one.factors.items():
        pair = [_numbers(change), _numbers(other.factors[name])]
        if pair[0].shape != pair[1].shape:
            return float("inf")
        apart = float((pair[0] - pair[1]).norm() / pair[0].norm().clamp(min=1e-30))
        if isnan(apart):  # `max` would pass over it
            return float("inf")
        worst = max(worst, apart)
    return worst


def _numbers(change: Any) -> torch.Tensor:
    """A change as one row of numbers: of a low-rank one its product, since factors may be turned."""
    if hasattr(change, "dense"):
        return change.dense().double().flatten().cpu()
    return torch.cat([value.double().flatten().cpu() for value in vars(change).values()])
