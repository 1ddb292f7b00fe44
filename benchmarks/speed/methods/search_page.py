"""What `benchmarks.speed.methods.search` found, as parts of docs/reference/methods.md: one table per model, and the
defaults that miss what a search reaches, with the reasons from results/methods_below.toml."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from benchmarks.provenance import ROOT
from benchmarks.speed.methods.grids import NO_SETTINGS, SAME, SEARCH
from benchmarks.speed.methods.search import ENOUGH, SLACK, best_of
from editing.lazy import pandas as pd

# [efficacy] and [composite]: method -> why its default misses.
REASONS = ROOT / "results" / "methods_below.toml"
OPEN = "No cause was measured."
BRACKETS = {
    "efficacy": f"In brackets: the model, the default's efficacy, and how many searched settings reach {ENOUGH:.2f}.",
    "composite": 'In brackets: the model, "best - default", and the same difference on other facts.',
}


def number(value: Any) -> str:
    return "" if pd.isna(value) else f"{float(value):.2f}"


def with_interval(one: Any, value: str, low: str, high: str, sign: str = "") -> str:
    """A number with its 95% interval, where it has one."""
    if one[low] == "" or pd.isna(one[low]):
        return f"{float(one[value]):{sign}.2f}"
    return f"{float(one[value]):{sign}.2f} [{float(one[low]):{sign}.2f}, {float(one[high]):{sign}.2f}]"


def as_text(settings: str) -> str:
    """Settings as they are given on the command line."""
    return ", ".join(f"{key}={value}" for key, value in json.loads(settings).items()) or "the default"


def bests(search: pd.DataFrame) -> dict[tuple[str, str], dict[Any, Any]]:
    """(rung, method) -> the best line, with `tried`, `reaching` and the default's efficacy and composite."""
    best_lines = {}
    for (rung, method), own in search.groupby(["rung", "method"], sort=False):
        rows = own.astype(object).where(own.notna(), "").to_dict("records")
        best, default = best_of(rows), next((row for row in rows if row["settings"] == "{}"), None)
        reaching = sum(row["efficacy"] != "" and float(row["efficacy"]) >= ENOUGH for row in rows)
        about = {"tried": len(rows), "reaching": reaching, "default": default}
        best_lines[str(rung), str(method)] = (best or {}) | about
    return best_lines


def search_table(search: pd.DataFrame, rung: str) -> list[str]:
    """The table of one model; empty where nothing was searched."""
    best_lines = {method: best for (name, method), best in sorted(bests(search).items()) if name == rung}
    if not best_lines:
        return []
    heads = ["settings", f"reach {ENOUGH:.2f}", "default", "best", "best - default", "on other facts", "best settings"]
    lines = [f"Search on {rung}:", "", f"| method | {' | '.join(heads)} |", "|---|" + "---:|" * 6 + "---|"]
    for method, best in best_lines.items():
        default = best["default"]
        cells = [str(best["tried"]), str(best["reaching"])]
        cells += [number(default["composite"]) if default and default["composite"] != "" else "refused"]
        if best.get("composite") in (None, ""):
            cells += ["all refused", "", "", ""]
        else:
            other = best.get("other_gain", "") != ""
            cells += [
                number(best["composite"]),
                with_interval(best, "gain", "gain_low", "gain_high", "+"),
                with_interval(best, "other_gain", "other_low", "other_high", "+") if other else "",
                as_text(best["settings"]),
            ]
        mark = "**" if _gains(best) else ""
        lines.append(f"| {mark}`{method}`{mark} | {' | '.join(cells)} |")
    lacking = ", ".join(f"`{name}`" for name in sorted(set(SEARCH) - set(best_lines)))
    unsearched = f"Not searched on {rung}: {lacking}. Of these, only the settings in the table above were measured."
    return [*lines, "", *([unsearched, ""] if lacking else [])]


def _gains(best: dict[Any, Any]) -> bool:
    """Whether the best is more than SLACK above the default."""
    return best.get("composite") not in (None, "") and float(best["gain"]) > SLACK


def missed(table: pd.DataFrame, search: pd.DataFrame, default: str) -> dict[str, dict[str, list[str]]]:
    """Method -> where its default misses, and by how much: "efficacy"; "composite", where the gain of the best holds on
    other facts or was not measured there; "chance", where it does not hold."""
    best_lines = bests(search)
    where: dict[str, dict[str, list[str]]] = {"efficacy": {}, "composite": {}, "chance": {}}
    for row in table[(table["settings"] == default) & ~(table["efficacy"] >= ENOUGH)].to_dict("records"):
        best = best_lines.get((row["rung"], SAME.get(row["method"]) or row["method"]))
        searched = "" if best is None else f", {best['reaching']} of {best['tried']} settings reach {ENOUGH:.2f}"
        value = number(row["efficacy"]) or "refused"
        where["efficacy"].setdefault(row["method"], []).append(f"{row['rung']} {value}{searched}")
    for (rung, method), best in best_lines.items():
        if _gains(best):
            other = best.get("other_gain", "")
            kind = "chance" if other != "" and float(other) <= SLACK else "composite"
            text = f"{rung} {float(best['gain']):+.2f}" + (
                f", {float(other):+.2f} on other facts" if other != "" else ""
            )
            where[kind].setdefault(method, []).append(text)
    return where


def reasons() -> dict[str, dict[str, str]]:
    """What REASONS says."""
    return tomllib.loads(REASONS.read_text(encoding="utf-8"))


def verdicts(table: pd.DataFrame, search: pd.DataFrame, default: str) -> list[str]:
    """The defaults that miss efficacy ENOUGH or the best composite of a search, with the models and the reasons."""
    where = missed(table, search, default)
    lines, known = [], reasons()
    titles = {
        "efficacy": f"## Defaults below efficacy {ENOUGH:.2f}",
        "composite": f"## Defaults more than {SLACK:.2f} below the best composite of a search",
    }
    for kind, title in titles.items():
        if where[kind]:
            lines += [title, "", BRACKETS[kind], ""]
        for method, places in sorted(where[kind].items()):
            lines.append(f"- `{method}` ({'; '.join(places)}): {known.get(kind, {}).get(method, OPEN)}")
        lines += [""] if where[kind] else []
    if where["chance"]:
        lines += ["## Best settings that do not hold on other facts", ""]
        lines += [
            f"More than {SLACK:.2f} above the default on the facts that chose them, but at most {SLACK:.2f} above it "
            "on other facts, so the defaults stay. " + BRACKETS["composite"],
            "",
        ]
        lines += [f"- `{method}` ({'; '.join(places)})" for method, places in sorted(where["chance"].items())] + [""]
    return lines


def summary(search: pd.DataFrame) -> list[str]:
    """The pairs of a method and a model that meet the rule for defaults, and the methods that meet it everywhere."""
    best_lines = bests(search)
    if not best_lines:
        return []
    never: dict[str, list[str]] = {}
    short: dict[str, list[str]] = {}
    for (rung, method), best in best_lines.items():
        if not best["reaching"]:
            never.setdefault(method, []).append(rung)
        elif lacks := _lacks(best):
            short.setdefault(method, []).append(f"{rung} {lacks}")
    met = len(best_lines) - sum(len(places) for where in (never, short) for places in where.values())
    whole = sorted({method for _, method in best_lines} - set(never) - set(short))
    same = ", ".join(f"`{one}` (single edits are the same as those of `{other}`)" for one, other in SAME.items())
    return [
        f"**Does one default serve every model?** A default meets the rule on a model if it reaches efficacy "
        f"{ENOUGH:.2f} and its composite is at most {SLACK:.2f} below the best of the search. Where it is further "
        f'below, the column "on other facts" decides. **Of {len(best_lines)} pairs of a method and a model, {met} meet '
        "it:**",
        "",
        f"- met on every model that was searched: {', '.join(f'`{name}`' for name in whole) or 'no method'}.",
        *(f"- `{name}` misses it: {'; '.join(places)}." for name, places in sorted(short.items())),
        *(
            f"- `{name}` misses it, as no setting reaches efficacy {ENOUGH:.2f}: {', '.join(places)}."
            for name, places in sorted(never.items())
        ),
        f"- not searched: {', '.join(f'`{name}`' for name in NO_SETTINGS)} (no settings), {same}.",
        "",
        'A composite in this list is default - best, the reverse of the column "best - default".',
        "",
    ]


def _lacks(best: dict[Any, Any]) -> str:
    """What a default lacks of the rule where some setting reaches ENOUGH, "" where it lacks nothing."""
    default, other = best["default"], best.get("other_gain", "")
    lacks = []
    if not _reaches(default):
        lacks.append(f"efficacy {number(default['efficacy']) if default and default['efficacy'] != '' else 'refused'}")
    if _gains(best) and (other == "" or float(other) > SLACK):
        lacks.append(
            f"composite {-float(best['gain']):+.2f}" + ("" if other == "" else f", {-float(other):+.2f} on other facts")
        )
    return " and ".join(lacks)


def _reaches(default: dict[Any, Any] | None) -> bool:
    return default is not None and default["efficacy"] != "" and float(default["efficacy"]) >= ENOUGH
