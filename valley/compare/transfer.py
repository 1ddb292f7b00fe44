"""What crosses from the language of an edit to another: a line per pair of languages and spelling, net of siblings.

A case counts as spelt alike in a pair where both names are one text in the two languages (case and accents aside): the
subject's and the new answer's. There transfer may be no more than the same tokens. It is mixed where one of them is.
"alike - different" is the difference of the two: what the spelling adds. Where there are several pairs of languages,
lines from "all" to "all" take their cases together.
"""

from __future__ import annotations

import unicodedata

import numpy as np

from editing.lazy import pandas as pd
from valley.rows import CASE, CONTROLS, PLACEBO, RUNG, SETTING, RowsError
from valley.scores import is_placebo_of
from valley.statistics import bounds, unit_weights, weighted_means

ALIKE, MIXED, DIFFERENT, EVERY = "alike", "mixed", "different", "all"
GAIN = "alike - different"
DRAWS = 1000
EDITED = ("edit_kind", *CASE)  # a case id may be in several data sets and kinds of edit
LANGUAGES = r":[a-z]{2}(-[a-z]{2})+$"  # end of the name of a data set that is the same in other languages
NEEDED = (
    *RUNG, *SETTING, "edit_lang", *EDITED, "subject", "about", "answer", "probe", "probe_index", "lang",
    "value", "hit_before", "error", "known", "split",
)  # fmt: skip


def plain(text: str) -> str:
    """Lower case, no accents: for comparing names."""
    flat = unicodedata.normalize("NFD", text.casefold())
    return "".join(char for char in flat if not unicodedata.combining(char))


def transfer_table(rows: pd.DataFrame, known_only: bool = True, seed: int = 0) -> pd.DataFrame:
    """Per rung, method, setting, language of the edit and of the question, and spelling: scores with 95% intervals.

    Columns: n (cases), cross_lingual, net (cross_lingual - (1 - neighbour), both in that language, per case) with
    net_low and net_high, before (share of the questions that the unedited model answers with the new answer), placebo
    (cross_lingual of the placebo of that method and setting on the same cases; NaN where none ran). Lines of GAIN have
    the difference of the nets, and as n the cases of the smaller group.

    Args:
        rows: of one run or of several; columns NEEDED.
        known_only: only edits whose fact the unedited model knew.

    Raises:
        RowsError: no cross-lingual rows.
    """
    good = rows[rows["error"] == ""]
    if known_only:
        good = good[good["known"].fillna(False).astype(bool)]
    controls = good[(good["method"] == PLACEBO) & (good["probe"] == "cross_lingual")]
    good = good[~good["method"].isin(CONTROLS)]
    keys = [*RUNG, *SETTING, "edit_lang", *EDITED]
    crossed = good[good["probe"] == "cross_lingual"]
    if crossed.empty:
        raise RowsError("no cross-lingual answers of known edits in these rows; run bench over languages, or use --all")
    target = good[good["probe"] == "efficacy"].sort_values("probe_index").groupby(keys)["answer"].first()
    per_case = crossed.groupby([*keys, "lang"]).agg(
        cross_lingual=("value", "mean"),
        before=("hit_before", "mean"),
        about=("about", "first"),
        answer=("answer", "first"),
        subject=("subject", "first"),
    )
    kept = good[good["probe"] == "neighbour"].groupby([*keys, "lang"])["value"].mean()
    per_case["net"] = per_case["cross_lingual"] - (1 - kept.reindex(per_case.index))
    per_case["placebo"] = _of_placebos(per_case.index, controls)
    per_case = per_case.reset_index().merge(target.rename("target").reset_index(), on=keys, how="left")
    same = [
        (plain(str(a)) == plain(str(b))) + (plain(str(c)) == plain(str(d)))
        for a, b, c, d in per_case[["about", "subject", "answer", "target"]].itertuples(index=False)
    ]
    per_case["spelling"] = np.array([DIFFERENT, MIXED, ALIKE])[same]
    by = [*RUNG, *SETTING, "edit_lang", "lang"]
    parts = [(dict(zip(by, key, strict=True)), part) for key, part in per_case.groupby(by, sort=False)]
    for key, part in per_case.groupby([*RUNG, *SETTING], sort=False):
        if len(part[["edit_lang", "lang"]].drop_duplicates()) > 1:
            parts.append((dict(zip(by, (*key, EVERY, EVERY), strict=True)), part))
    lines = []
    for of_key, part in parts:
        groups = {name: part[part["spelling"] == name] for name in (ALIKE, MIXED, DIFFERENT)}
        for spelling, some in {EVERY: part, **groups}.items():
            if len(some):
                lines.append(of_key | {"spelling": spelling} | _line(some, seed))
        if len(groups[ALIKE]) > 1 and len(groups[DIFFERENT]) > 1:
            lines.append(of_key | {"spelling": GAIN} | _difference(groups[ALIKE], groups[DIFFERENT], seed))
    return pd.DataFrame(lines)


def _of_placebos(index: pd.Index, controls: pd.DataFrame) -> np.ndarray:
    """For each entry of `index` (RUNG, SETTING, edit_lang, EDITED, lang) the mean of its placebo in `controls`."""
    means = controls.groupby([*RUNG, "settings", "edit_lang", *EDITED, "lang"], observed=True)["value"].mean()
    names = controls["settings"].unique()
    pairs = {key: [name for name in names if is_placebo_of(name, *key)] for key in _settings_of(index)}
    out = []
    for key in index:
        place, setting, rest = key[: len(RUNG)], key[len(RUNG) : len(RUNG) + 2], key[len(RUNG) + 2 :]
        some = [means.get((*place, name, *rest), np.nan) for name in pairs[setting]]
        out.append(some[0] if some else np.nan)
    return np.array(out, dtype=float)


def _settings_of(index: pd.Index) -> set[tuple[str, str]]:
    return {(key[len(RUNG)], key[len(RUNG) + 1]) for key in index}


def _net(part: pd.DataFrame, seed: int) -> tuple[float, np.ndarray, int]:
    """Mean net, its value in each draw of the cases (DRAWS, 1), how many cases have one. A case that was edited in
    several languages (`world_facts:en-fr`, `world_facts:fr-en`), or evaluated in several, is drawn as one."""
    values = part[["net"]].to_numpy(float)
    cases = part.assign(dataset=part["dataset"].astype("str").str.replace(LANGUAGES, "", regex=True))
    code = cases.groupby(list(EDITED), observed=True).ngroup().to_numpy()
    weights = unit_weights(code.max() + 1, DRAWS, np.random.default_rng(seed))[:, code]
    measured = np.isfinite(values[:, 0])
    centre = float(np.nanmean(values)) if measured.any() else np.nan
    return centre, weighted_means(weights, values), len(set(code[measured]))


def _difference(first: pd.DataFrame, second: pd.DataFrame, seed: int) -> dict[str, float]:
    (a, a_samples, a_n), (b, b_samples, b_n) = _net(first, seed), _net(second, seed + 1)
    n = min(a_n, b_n)
    low, high = bounds(a_samples - b_samples, n, n, np.array([a - b]), -2.0, 2.0)
    both = {name: float(first[name].mean() - second[name].mean()) for name in ("cross_lingual", "before", "placebo")}
    return {"n": n, **both, "net": a - b, "net_low": float(low[0]), "net_high": float(high[0])}


def _line(part: pd.DataFrame, seed: int) -> dict[str, float]:
    centre, samples, n = _net(part, seed)
    low, high = bounds(samples, n, n, np.array([centre]), -1.0, 1.0)
    means = {name: float(part[name].mean()) for name in ("cross_lingual", "before", "placebo")}
    return {"n": len(part), **means, "net": centre, "net_low": float(low[0]), "net_high": float(high[0])}


def format_transfer(table: pd.DataFrame) -> str:
    """The table for a terminal."""
    width = max(20, 1 + max(map(len, table["rung"]), default=0))
    places = f"{'method':<10}{'from':<5}{'to':<5}{'spelt':<18}"
    lines = [f"{'rung':<{width}}{places}{'n':>4}{'cross':>8}{'before':>8}{'placebo':>9}  net of siblings"]
    for row in table.to_dict("records"):
        net = "n/a" if np.isnan(row["net"]) else f"{row['net']:.2f} [{row['net_low']:.2f}, {row['net_high']:.2f}]"
        placebo = "n/a" if np.isnan(row["placebo"]) else f"{row['placebo']:.2f}"
        lines.append(
            f"{row['rung']:<{width}}{row['method']:<10}{row['edit_lang']:<5}{row['lang']:<5}{row['spelling']:<18}{row['n']:>4}"
            f"{row['cross_lingual']:>8.2f}{row['before']:>8.2f}{placebo:>9}  {net}"
        )
    lines.append(
        "cross: share of questions in the other language with the new answer; before: the same unedited; placebo: the"
    )
    lines.append("same after the edit of an unrelated subject; alike: subject and new answer are the same text in both")
    lines.append("languages, mixed: one of them; net: cross - what siblings lost; 95% by cases")
    return "\n".join(lines)
