"""A retargeting's questions to scores: per relation, per sibling, and one line per method."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.live.retarget.draws import draw_weights, interval
from benchmarks.live.retarget.panel import GOAL, HELD_OUT, SHARED, SIBLING, TRAINED
from benchmarks.live.retarget.run import LEAST_DISTANCE, Retargeting, share
from benchmarks.measure import DRIFT_TAU
from editing.lazy import pandas as pd

MOVED = (TRAINED, HELD_OUT)


def by_relation(questions: pd.DataFrame) -> pd.DataFrame:
    """One line per method, relation and language: the answer before and after to the first wording, `hits` of `n` that
    are the
    goal's (of a SHARED relation, still its own) before and after, `moved` of the way, the siblings' move there, and
    `net` of it.
    """
    lines = []
    concept = questions[questions["role"].isin((*MOVED, SHARED))]
    for key, part in concept.groupby(["by", "role", "relation", "lang"], sort=False):
        line: dict[str, Any] = dict(zip(("by", "role", "relation", "lang"), key, strict=True))
        first, kin = part.iloc[0], questions[questions["role"] == SIBLING]
        kin = kin[kin["by"].eq(line["by"]) & kin["relation"].eq(line["relation"]) & kin["lang"].eq(line["lang"])]
        line |= {name: first[name] for name in ("own", "goal", "pick_before", "pick_after")} | {"n": len(part)}
        line |= {f"hits_{when}": int((part[f"pick_{when}"] == part["goal"]).sum()) for when in ("before", "after")}
        line |= {"moved": share(part), "siblings": share(kin)}
        lines.append(line | {"net": line["moved"] - line["siblings"]})
    return pd.DataFrame(lines)


def languages_of(questions: pd.DataFrame) -> list[str]:
    """The languages of the questions, that of the edit first."""
    return list(dict.fromkeys(questions["lang"]))


def by_sibling(questions: pd.DataFrame) -> pd.DataFrame:
    """One line per method and sibling (and the goal itself): `moved_LANG` of its way, `kept_LANG` of the `known_LANG`
    answers it had right."""
    lines = []
    kin = questions[questions["role"].isin((SIBLING, GOAL))]
    for key, part in kin.groupby(["by", "role", "about"], sort=False):
        line: dict[str, Any] = dict(zip(("by", "role", "about"), key, strict=True))
        for lang in languages_of(questions):
            here = part[part["lang"] == lang]
            known, kept = _kept(here)
            line |= {f"moved_{lang}": share(here), f"kept_{lang}": kept, f"known_{lang}": known}
        lines.append(line)
    return pd.DataFrame(lines)


def _kept(questions: pd.DataFrame) -> tuple[int, float]:
    """How many different questions were answered rightly before, and the share of them that still are; NaN of none."""
    right = questions["goal"].where(questions["role"] == GOAL, questions["own"])
    questions = questions.assign(right=right).drop_duplicates(["about", "relation", "lang", "template"])
    known = questions[questions["pick_before"] == questions["right"]]
    return len(known), float((known["pick_after"] == known["right"]).mean()) if len(known) else np.nan


def summary(done: Retargeting, seed: int = 0) -> list[dict]:
    """One line per method: what moved, what went along, what is left, what else changed. NaN is not measurable.

    moved_ROLE_LANG and moved_LANG of the way (`share`); hits_LANG, share of the concept's questions answered as the
    goal after, and before; siblings_LANG the same way; net_LANG the difference, with a 95% interval over relations;
    siblings_kept_LANG, goal_kept_LANG and shared_kept_LANG of the answers right before; drift_LANG, geometric mean over
    tokens of their probability relative to before; bits_LANG_before and _after on that text; too_near, the concept's
    questions that are in no share: the unedited model holds concept and goal less than LEAST_DISTANCE nats apart.
    """
    lines = []
    for one in done.made:
        questions = done.questions[done.questions["by"] == one.by]
        concept = questions[questions["role"].isin(MOVED)]
        line: dict = {
            "by": one.by,
            "edit_norm": one.edit_norm,
            "dose": one.dose["value"],
            "known": done.known,
            "n": len(concept),
        }
        line["too_near"] = int((~(concept["distance"] >= LEAST_DISTANCE)).sum())
        for lang in done.langs:
            here, kin = concept[concept["lang"] == lang], _of(questions, SIBLING, lang)
            for role in MOVED:
                line[f"moved_{role.replace(' ', '_')}_{lang}"] = share(here[here["role"] == role])
            line |= {f"moved_{lang}": share(here), f"siblings_{lang}": share(kin)}
            line[f"net_{lang}"] = line[f"moved_{lang}"] - line[f"siblings_{lang}"]
            line[f"net_{lang}_low"], line[f"net_{lang}_high"] = _net_interval(here, kin, seed)
            for when in ("before", "after"):
                line[f"hits_{lang}_{when}"] = float((here[f"pick_{when}"] == here["goal"]).mean())
            for name, role in (("siblings", SIBLING), ("goal", GOAL), ("shared", SHARED)):
                line[f"{name}_kept_{lang}"] = _kept(_of(questions, role, lang))[1]
            line |= _drift(done.texts[(done.texts["by"] == one.by) & (done.texts["lang"] == lang)], lang)
        lines.append(line)
    return lines


def _of(questions: pd.DataFrame, role: str, lang: str) -> pd.DataFrame:
    return questions[(questions["role"] == role) & (questions["lang"] == lang)]


def _drift(texts: pd.DataFrame, lang: str) -> dict[str, float]:
    drift = texts[texts["kind"] == "drift"]
    # The mean KL, not the mean of exp(-KL): one text that breaks must not vanish among those that do not.
    kept = float(np.exp(np.log(drift["value"]).mean() / DRIFT_TAU))
    bits = {f"bits_{lang}_{when}": float(drift[f"text_bits_{when}"].mean()) for when in ("before", "after")}
    return {f"drift_{lang}": kept} | bits


def _net_interval(concept: pd.DataFrame, kin: pd.DataFrame, seed: int) -> tuple[float, float]:
    """95% of share(concept) - share(kin), relations and their questions redrawn, concept and siblings together."""
    both = pd.concat([concept, kin])
    both = both[both["distance"] >= LEAST_DISTANCE]
    gone, way = (both["margin_after"] - both["margin_before"]).to_numpy(float), both["distance"].to_numpy(float)
    weights = draw_weights(both["relation"].to_numpy(str), seed)
    own = (both["role"] != SIBLING).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [(weights[:, part] @ gone[part]) / (weights[:, part] @ way[part]) for part in (own, ~own)]
    return interval(shares[0] - shares[1], both["relation"].nunique())
