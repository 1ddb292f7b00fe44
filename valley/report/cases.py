"""The report's cases: which edits are shown, with the text before and after and every probe, packed for the page's
script.

Texts repeat from rung to rung and from setting to setting, so each is written once and named by its number.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import LABELS, PROBE_KINDS, RUNG
from valley.scores import UNIT, Analysis, matching, unit_numbers, without_errors
from valley.text import clean, short

TEXT = 220  # characters of one text
PROBES = 60  # probes of one case
BUDGET = 4_000_000  # characters of the whole list; about three thousand cases of a dozen probes
CASE_TEXTS = (
    "rung",
    "edit_kind",
    "method",
    "case",
    "split",
    "subject",
    "prompt",
    "answer",
    "old",
    "text_before",
    "text_after",
)
PROBE_TEXTS = ("probe", "lang", "prompt", "answer", "pick_before", "pick_after", "text_after", "value", "reason")
COLUMNS = [
    "run_seed",
    "probe_index",
    "subject",
    "probe",
    "lang",
    "prompt",
    "answer",
    "old",
    "pick_before",
    "pick_after",
    "text_before",
    "text_after",
    "value",
    "reason",
]


class Texts:
    """Numbers for texts, each cleaned and shortened once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self.size = 0
        self._number: dict[tuple[str, int], int] = {}
        self._place: dict[str, int] = {}

    def __call__(self, text: str, width: int = TEXT) -> int:
        number = self._number.get((text, width))
        if number is None:
            shown = short(clean(text), width)
            number = self._place.setdefault(shown, len(self.all))
            if number == len(self.all):
                self.all.append(shown)
                self.size += len(shown) + 3
            self._number[text, width] = number
        return number


def shown_cases(analysis: Analysis, limit: int) -> tuple[dict, int]:
    """At most `limit` cases for the page, and how many there are.

    Only edits with the chosen setting of their rung and edit kind (with every setting where none was chosen), dev and
    test. They are taken in turn from every rung and edit kind, by case name: no choice by outcome.

    Returns:
        `texts`, a list; `cases`, a list of [numbers of CASE_TEXTS, known (0 or 1), hits, probes, how many probes are
        left out]; a hit is [label, mean score or "n/a", measured, probes, level], a probe the numbers of PROBE_TEXTS.
    """
    groups = []
    for pick in analysis.choice.to_dict("records"):
        here = matching(analysis.scores, {name: pick[name] for name in (*RUNG, "edit_kind")})
        if pick["method"]:
            here = matching(here, {"method": pick["method"], "settings": pick["settings"]})
        groups.append(here[["rung", "edit_kind", "method", "case", "split", "known"]].reset_index(names="number"))
    listed = (group.to_dict("records") for group in groups)
    turns = [case for turn in zip_longest(*listed) for case in turn if case is not None]
    total = len(turns)
    probes = _probes(analysis.rows, turns[:limit])
    texts, out, size = Texts(), [], 0
    for case in turns[:limit]:
        line = _case(case, probes[case["number"]], texts)
        size += 120 + 45 * len(line[3])
        if size + texts.size > BUDGET:
            break
        out.append((case["rung"], line))
    order = {name: i for i, name in enumerate(dict.fromkeys(analysis.curve["rung"]))}
    out.sort(key=lambda pair: order[pair[0]])  # stable: rung by rung, kinds in turn
    return {"texts": texts.all, "cases": [line for _, line in out]}, total


def _probes(rows: pd.DataFrame, cases: list[dict]) -> dict[int, list[dict]]:
    """Number of a case, which is its line in the case scores, -> its probes, in order."""
    good = without_errors(rows, [*UNIT, *COLUMNS])
    number = unit_numbers(good).to_numpy()
    shown = np.isin(number, [case["number"] for case in cases])
    good = good.loc[shown, COLUMNS].assign(number=number[shown])
    good = good.sort_values(["run_seed", "probe_index"], kind="stable")
    by_case: dict[int, list[dict]] = defaultdict(list)
    for row in good.to_dict("records"):
        by_case[row["number"]].append({str(k): v for k, v in row.items()})
    return by_case


def _case(case: dict, probes: list[dict], texts: Texts) -> list:
    main = next((p for p in probes if p["probe"] == "efficacy"), probes[0])
    hits = []
    for kind in PROBE_KINDS:
        values = [p["value"] for p in probes if p["probe"] == kind]
        if values:
            measured = [v for v in values if v == v]
            mean = sum(measured) / len(measured) if measured else float("nan")
            level = "none" if not measured else "good" if mean >= 2 / 3 else "poor" if mean <= 1 / 3 else "middling"
            hits.append([texts(LABELS[kind]), f"{mean:.2f}" if measured else "n/a", len(measured), len(values), level])
    about = {**main, **case, "edit_kind": LABELS.get(case["edit_kind"], case["edit_kind"])}
    return [
        [texts(about[name]) for name in CASE_TEXTS],
        int(case["known"]),
        hits,
        [_probe(p, texts) for p in probes[:PROBES]],
        max(0, len(probes) - PROBES),
    ]


def _probe(row: dict, texts: Texts) -> list[int]:
    value = "n/a" if row["value"] != row["value"] else f"{row['value']:.2f}".removesuffix(".00")
    shown = {**row, "probe": LABELS[row["probe"]], "value": value}
    return [texts(shown[name], 120 if name in ("reason", "text_after") else TEXT) for name in PROBE_TEXTS]
