"""The specification curve: the best method's curve and its verdict under every composite, and what they say together.

Source: Simonsohn et al. 2020, "Specification curve analysis"; Steegen et al. 2016 for the multiverse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from editing.lazy import pandas as pd
from valley.scores import SCORES, AnalysisPlan, Available, composites, defensible
from valley.verdicts.multiverse import Multiverse, combine
from valley.verdicts.shape import Shapes, best_method, shapes
from valley.verdicts.verdict import Verdict

UNMEASURED = "not measurable"
UNPOWERED = "; the smallest valley"  # how the end of a text begins that needs a simulation, which is not made here
TABLE = ("ladder", "edit_kind", "composite", "choice", "votes", "outcome", "sizes", "text")
CURVES = ("ladder", "edit_kind", "composite", "choice", "outcome", "family", "size", "strength", "value", "seeds")


@dataclass(frozen=True)
class Specifications:
    """Every composite's verdict on a run.

    Attributes:
        scored: the scores. plan: the analysis plan; its metric is one composite among the others.
    """

    scored: Available
    plan: AnalysisPlan

    @cached_property
    def judged(self) -> dict[str, Shapes]:
        """Composite -> its tests and verdicts, without what no rule uses."""
        return {one.name: shapes(self.scored, replace(self.plan, metric=one.name), whole=False) for one in composites()}

    def verdict(self, composite: str, ladder: str, kind: str) -> Verdict | None:
        """None where no model's score could be measured."""
        lines, j = self.scored.lines, SCORES.index(composite)
        here = (lines["ladder"] == ladder) & (lines["edit_kind"] == kind)
        if np.isnan(self.scored.values[here.to_numpy(), j]).all():
            return None
        return self.judged[composite].verdicts[ladder, kind]

    @cached_property
    def kinds(self) -> list[tuple[str, str]]:
        """The pairs of ladder and edit kind of the run."""
        pairs = self.scored.lines[["ladder", "edit_kind"]].drop_duplicates()
        return [(str(ladder), str(kind)) for ladder, kind in pairs.itertuples(index=False, name=None)]

    @cached_property
    def combined(self) -> dict[tuple[str, str], Multiverse]:
        """(ladder, edit kind) -> what the composites that vote say together."""
        return {key: combine({one.name: self.verdict(one.name, *key) for one in defensible()}) for key in self.kinds}

    def as_json(self) -> list[dict[str, object]]:
        """The combined verdicts: ladder, edit_kind, outcome, text, share, unmeasured."""
        return [
            {"ladder": ladder, "edit_kind": kind, "outcome": one.verdict.outcome, "text": one.verdict.text,
             "share": one.share, "unmeasured": list(one.unmeasured)}
            for (ladder, kind), one in self.combined.items()
        ]  # fmt: skip

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line per ladder, edit kind and composite: TABLE."""
        voters = {one.name for one in defensible()}
        lines = []
        for key in self.kinds:
            for one in composites():
                judged = self.verdict(one.name, *key)
                outcome, text = (
                    (UNMEASURED, "") if judged is None else (judged.outcome, judged.text.partition(UNPOWERED)[0])
                )
                about = (*key, one.name, one.choice, one.name in voters, outcome, self._curves[one.name, *key])
                lines.append((*about[:-1], about[-1]["size"].nunique(), text))
        return pd.DataFrame(lines, columns=list(TABLE))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One line per ladder, edit kind, composite and size: CURVES; `strength` is log10 of the parameters."""
        parts = []
        for line in self.table.to_dict("records"):
            curve = self._curves[line["composite"], line["ladder"], line["edit_kind"]]
            if len(curve):
                parts.append(curve.assign(**{name: line[name] for name in CURVES[:5]}))
        return pd.concat(parts)[list(CURVES)] if parts else pd.DataFrame(columns=list(CURVES))

    @cached_property
    def _curves(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """(composite, ladder, edit kind) -> the best method's mean score by size: size, family, strength, value,
        seeds."""
        lines, made = self.scored.lines.rename(columns={"log10_parameters": "strength"}), {}
        lines = lines[["ladder", "edit_kind", "family", "size", "rung", "method", "strength"]]
        for ladder, kind in self.kinds:
            here = np.flatnonzero((lines["ladder"] == ladder) & (lines["edit_kind"] == kind))
            for one in composites():
                j = SCORES.index(one.name)
                values = lines.iloc[here].assign(value=self.scored.values[here, j], dev=self.scored.dev[here, j])
                sizes = best_method(values.dropna(subset=["value"])).groupby(["family", "size"], sort=False)
                means = sizes.agg({"strength": "mean", "value": ["mean", "size"]})
                means.columns = ["strength", "value", "seeds"]
                made[one.name, ladder, kind] = means.reset_index().sort_values(
                    ["strength", "size"], kind="stable", ignore_index=True
                )
        return made


def what_decides(table: pd.DataFrame) -> list[str]:
    """In words, a line per ladder and edit kind: which verdicts the composites give, and which choice parts them."""
    several = table["ladder"].nunique() > 1
    out = []
    for (ladder, kind), part in table.groupby(["ladder", "edit_kind"], sort=False):
        votes = part[part["votes"] & (part["outcome"] != UNMEASURED)]
        name = f"{kind} edits{f', ladder {ladder}' if several else ''}"
        unmeasured = int((part["votes"] & (part["outcome"] == UNMEASURED)).sum())
        tail = f"; {unmeasured} more could not be measured" if unmeasured else ""
        if votes.empty:
            out.append(f"{name}: no composite could be measured{tail}")
            continue
        groups = [f"{outcome} by {len(names)}" for outcome, names in votes.groupby("outcome", sort=False)["composite"]]
        line = f"{name}: of {len(votes)} composites {', '.join(groups)}{tail}"
        if votes["outcome"].nunique() > 1:
            line += f"; {_dividing(votes)}"
        out.append(line)
    return out


def _dividing(votes: pd.DataFrame) -> str:
    """The side of a choice that occurs with one outcome only, if there is one."""
    for outcome, part in votes.groupby("outcome", sort=False):
        others = votes[votes["outcome"] != outcome]
        sides = [set.intersection(*(set(choice.split(", ")) for choice in part["choice"]))]
        alone = sides[0] - set().union(*(set(choice.split(", ")) for choice in others["choice"]))
        if alone:
            return f"{outcome} exactly where the score is {' and '.join(sorted(alone))}"
    return "no single choice decides it"


def format_specifications(every: Specifications) -> str:
    """The combined verdicts, what decides them, and a line per composite, for a terminal."""
    several = len({ladder for ladder, _ in every.kinds}) > 1
    out = []
    words = what_decides(every.table)
    for (ladder, kind), line in zip(every.kinds, words, strict=True):
        out.append(
            f"{kind} edits{f', ladder {ladder}' if several else ''}: {every.combined[ladder, kind].verdict.text}"
        )
        out.append(f"  {line.partition(': ')[2]}")
    return "\n".join(out)
