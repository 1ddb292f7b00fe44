"""Hypotheses: one module each, here or in `of_readings/`; its name begins with the number, such as `h10_`.

Such a module has ID ("H1"), STATEMENT, STATISTIC and TEST (one line each), SIDED (True: a positive effect is what is
stated; False: any effect other than 0 is), MARGIN (the smallest effect of interest) and `test(evidence) -> Finding`, a
pure function that raises `Untestable` with the reason where the run lacks what it needs.

Verdicts, at the level of the plan and with p corrected by Holm (1979) over all hypotheses that were tested: *refuted*
when the 95% interval lies below MARGIN, be the effect different from 0 or not, or when p is below the level and the
sign is the other one;
*supported* when p is below the level and the sign is the stated one; *inconclusive* otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import ModuleType

import numpy as np

from editing.plugins import Named, modules_in, need
from valley.hypotheses._evidence import Evidence, Finding, Untestable
from valley.rows import RowsError
from valley.statistics import holm

SUPPORTED, REFUTED, INCONCLUSIVE = "supported", "refuted", "inconclusive"
PARTS = ("ID", "STATEMENT", "STATISTIC", "TEST", "SIDED", "MARGIN", "test")


@dataclass(frozen=True)
class Result:
    """One hypothesis judged. `finding` is None and `reason` says why where it could not be tested."""

    id: str
    statement: str
    statistic: str
    test: str
    verdict: str
    reason: str
    finding: Finding | None
    p_holm: float

    def as_json(self) -> dict[str, object]:
        """Plain values, None for NaN."""
        flat = asdict(self) | {"finding": None if self.finding is None else _plain(asdict(self.finding))}
        return _plain(flat)


def _plain(record: dict) -> dict[str, object]:
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in record.items()}


def hypotheses() -> dict[str, ModuleType]:
    """All hypotheses by ID, in the order of their numbers.

    Raises:
        BadPlugin: a module that cannot be imported, lacks one of PARTS, or has the ID of another.
    """
    by_id: Named[ModuleType] = Named()
    for module in modules_in("valley.hypotheses"):
        if re.fullmatch(r"h\d+_\w+", module.__name__.rpartition(".")[2]):
            need(module, PARTS)
            by_id.put(module.ID, module, module.__file__)
    return dict(sorted(by_id.items(), key=lambda one: (len(one[0]), one[0])))


def judge(evidence: Evidence, only: Sequence[str] = ()) -> list[Result]:
    """Test hypotheses on one run.

    Args:
        only: IDs; empty means all. Holm's correction counts those that were tested here, so ask for all in a study.

    Raises:
        RowsError: no hypothesis of such an ID.
    """
    there = hypotheses()
    for name in only:
        if name not in there:
            raise RowsError(f"no hypothesis {name!r}; use one of {', '.join(there)}")
    chosen = {i: module for i, module in there.items() if not only or i in only}
    findings: dict[str, Finding] = {}
    reasons: dict[str, str] = {}
    for i, module in chosen.items():
        try:
            findings[i] = module.test(evidence)
        except Untestable as error:
            reasons[i] = str(error)
    corrected = dict(zip(findings, holm([f.p for f in findings.values()]), strict=True))
    out = []
    for i, module in chosen.items():
        finding, p = findings.get(i), corrected.get(i, np.nan)
        if finding is None:
            verdict, reason = INCONCLUSIVE, f"not tested: {reasons[i]}"
        else:
            verdict, reason = _verdict(finding, p, module.SIDED, module.MARGIN, evidence.plan.level)
        out.append(Result(i, module.STATEMENT, module.STATISTIC, module.TEST, verdict, reason, finding, p))
    return out


def _verdict(finding: Finding, p: float, sided: bool, margin: float, level: float) -> tuple[str, str]:
    if finding.ruling:
        if finding.ruling == SUPPORTED and p >= level:
            return INCONCLUSIVE, f"p = {p:.3g} after Holm"
        return finding.ruling, finding.note
    if finding.high < margin and (sided or finding.low > -margin):
        return REFUTED, f"the 95% interval excludes an effect of {margin:g}, the smallest of interest"
    if p < level:
        if sided and finding.effect < 0:
            return REFUTED, f"the effect has the other sign, p = {p:.3g} after Holm"
        return SUPPORTED, f"p = {p:.3g} after Holm"
    return INCONCLUSIVE, f"p = {p:.3g} after Holm, and the 95% interval does not exclude an effect of {margin:g}"


def format_results(results: Sequence[Result]) -> str:
    """The verdicts as text for a terminal."""
    out: list[str] = []
    for r in results:
        out.append(f"{r.id:3} {r.verdict.upper():12} {r.statement}")
        if r.finding is not None:
            f = r.finding
            out.append(
                f"    {r.statistic}: {f.effect:.3f} (95% interval {f.low:.3f} to {f.high:.3f}), "
                f"p = {f.p:.3g}, n = {f.n} {f.unit}"
            )
            if f.note and f.note != r.reason:
                out.append(f"    {f.note}")
        out.append(f"    {r.reason}")
    return "\n".join(out)
