"""The smallest dose of an edit at which its own prompts give the target, found from one change without a new search.

A search for v* ends where the target is nearly certain, which is further than it must go: the same change at a lower
dose (`Delta.scaled`) says the target too and leaves more of the neighbours alone. A prompt gives its target when every
target token, behind those before it, is e^margin times as likely as any other token. Doses 0, 1/4, ... 2 are read in
the same passes, then the interval below the first one at which most prompts give their target is halved six times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from editing.delta import Delta
from editing.errors import BadRequest
from editing.eval.continuations import LOGIT_ROWS
from editing.eval.versions import last_logits
from editing.lazy import torch
from editing.model import LanguageModel
from editing.run import Budget
from editing.text import EditRequest, prompt_answers

AUTO = "auto"
MARGIN = 1.0  # nats between a target token and the likeliest other one
FIRST = tuple(i / 4 for i in range(9))
HALVINGS = 6  # the dose is exact to 1/4 / 2^6
BATCH_TOKENS = 4096
ENTRIES = 2**28  # numbers in the copies of a change that are read at once


@dataclass(frozen=True)
class Dose:
    """At which dose an edit is used.

    Attributes:
        value: the dose; None for an edit that has no multiples.
        reached: the number of the edit's `prompts` that give their target there; -1 where the dose was not searched.
        margin: nats, see the head of this file.
    """

    value: float | None
    reached: int = -1
    prompts: int = 0
    margin: float = MARGIN

    def line(self) -> str:
        """One line for a terminal."""
        if self.value is None:
            return "dose: none; a text or a codebook has no multiples, this edit is used as it is"
        if self.reached < 0:
            return f"dose {self.value:g}: {'the change as the method makes it' if self.value == 1 else 'as given'}"
        margin = f"with a margin of {self.margin:g} nat{'' if self.margin == 1 else 's'}"
        if not self.reached:
            return (
                f"dose {self.value:g}: no prompt of the edit gives its target {margin} at any dose up to {FIRST[-1]:g}"
            )
        if self.prompts == 1:
            which = "the edit's prompt gives its target"
        else:
            count = f"all {self.prompts}" if self.reached == self.prompts else f"{self.reached} of {self.prompts}"
            which = f"{count} prompts of the edit give their targets"
        if not self.value:
            return f"dose 0: {which} {margin} without any edit, no dose adds one"
        return f"dose {self.value:.3g}: the smallest at which {which} {margin}"

    def record(self) -> dict[str, Any]:
        """The same for a delta's provenance and for JSON."""
        return {"value": self.value, "reached": self.reached, "prompts": self.prompts, "margin": self.margin,
                "line": self.line()}  # fmt: skip


def check_dose(dose: str | float) -> str | float:
    """`dose` as "auto" or a number.

    Raises:
        BadRequest: neither, or below zero.
    """
    if dose == AUTO:
        return AUTO
    try:
        value = float(dose)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(dose, bool) or not 0 <= value < math.inf:
        raise BadRequest(f"dose {dose!r}: write auto, or a number from 0 on, such as 0.5")
    return value


def at_dose(
    lm: LanguageModel, delta: Delta, requests: Sequence[EditRequest], dose: str | float = AUTO
) -> tuple[Delta, Dose]:
    """`delta`, made for `requests`, at a dose: a number, or the smallest that does what it should ("auto").

    The margin is the one that the change was made for, where its method has one. Dose 1 gives the change itself. An
    edit without multiples (in context, by a codebook) stays as it is where the dose is "auto" or 1. An erasure, which
    gives no target, is whole at dose 1, which "auto" is then.

    Raises:
        BadRequest: no such dose, or a number for an edit without multiples.
    """
    dose = check_dose(dose)
    if dose == AUTO and not delta.has_dose:
        return delta, Dose(None)
    if dose == AUTO and delta.provenance.get("erases"):
        dose = 1.0
    margin = float(delta.provenance.get("margin", MARGIN))
    chosen = smallest_dose(lm, delta, requests, margin) if dose == AUTO else Dose(float(dose))
    assert chosen.value is not None
    scaled = delta if chosen.value == 1 else delta.scaled(chosen.value)
    if chosen.reached < 0:
        return scaled, chosen
    return Delta(scaled.factors, {**scaled.provenance, "dose_choice": chosen.record()}), chosen


def smallest_dose(
    lm: LanguageModel,
    delta: Delta,
    requests: Sequence[EditRequest],
    margin: float = MARGIN,
    coarse: np.ndarray | None = None,
) -> Dose:
    """The smallest dose at which as many of the requests' prompts give their target as at any dose up to 2.

    Where no dose makes a prompt give its target the dose is 1. Between the doses of FIRST the number of prompts is
    taken to grow with the dose.

    Args:
        coarse: `target_margins` at FIRST, where they are known, as for several margins of one edit.
    """
    prompts = sum(len(r.prompts) for r in requests)
    coarse = target_margins(lm, delta, requests, FIRST) if coarse is None else coarse
    count = (coarse >= margin).sum(1)
    most = int(count.max())
    if not most:
        return Dose(1.0, 0, prompts, margin)
    first = int(count.argmax())
    high, low = FIRST[first], FIRST[max(first - 1, 0)]
    for _ in range(HALVINGS if first else 0):
        middle = (low + high) / 2
        if (target_margins(lm, delta, requests, [middle]) >= margin).sum() >= most:
            high = middle
        else:
            low = middle
    return Dose(high, most, prompts, margin)


def target_margins(
    lm: LanguageModel, delta: Delta, requests: Sequence[EditRequest], doses: Sequence[float] | np.ndarray
) -> np.ndarray:
    """(doses, prompts) nats between the target's tokens and the likeliest other token, the least over the tokens.

    Every prompt is read under every dose; the blocks below the change once for all of them.
    """
    pairs = [pair for r in requests for pair in zip(r.filled(), r.targets, strict=True)]
    questions = prompt_answers(lm, [prompt for prompt, _ in pairs], [[target] for _, target in pairs])
    answers = [one.answers[0] for one in questions]
    texts = [[*one.ids, *answer] for one, answer in zip(questions, answers, strict=True)]
    margins = np.full((len(doses), len(texts)), math.nan)
    each = sum(sum(t.numel() for t in vars(change).values()) for change in delta.factors.values())
    at_once = max(1, ENTRIES // max(each, 1))
    for begin in range(0, len(doses), at_once):
        versions = [delta.scaled(float(dose)) for dose in doses[begin : begin + at_once]]
        for length in sorted({len(answer) for answer in answers}):
            members = [i for i, answer in enumerate(answers) if len(answer) == length]
            cells = [(row, i) for i in members for row in range(len(versions))]

            def read(chosen: list[int], cells=cells, versions=versions, length=length) -> np.ndarray:
                rows, places = zip(*(cells[c] for c in chosen), strict=True)
                logits = last_logits(lm, [texts[i] for i in places], length, versions, rows).float()
                target = torch.tensor([answers[i] for i in places], device=logits.device)[..., None]
                own = logits.gather(2, target)[..., 0]
                other = logits.scatter_(2, target, -math.inf).amax(2)  # in place: they take a quarter of a gigabyte
                return (own - other).amin(1).cpu().numpy()

            budget = Budget(lm.batch_tokens(BATCH_TOKENS), "choosing the dose")
            with torch.no_grad():
                widths = [max(len(texts[i]), BATCH_TOKENS * length // LOGIT_ROWS) for _, i in cells]
                for chosen, values in budget.run(widths, read):
                    for c, value in zip(chosen, values, strict=True):
                        row, i = cells[c]
                        margins[begin + row, i] = value
    return margins
