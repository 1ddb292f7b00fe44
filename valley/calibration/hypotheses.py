"""Calibration of H1 to H6, H8 and H9: how often each rejects where nothing is there, and where something clearly is.

Every run is simulated as case scores and goes through `valley.hypotheses.judge`, as a real one does (H7 is the shape
test and has separate tables). A score of a case at a model is

    level(size) + wander(size) + luck(model) + relation + subject + case + noise(model, case)

where the last but one terms are shared by all models, so that facts are hard or easy everywhere, and the luck is partly
shared by all methods and kinds. `NULLS` vary what a test could be fooled by. Where a hypothesis has two parts that must
both pass (H9) only one of them is null.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from editing.lazy import pandas as pd
from valley.hypotheses import INCONCLUSIVE, REFUTED, SUPPORTED, Evidence, hypotheses, judge
from valley.rows import NET, PROBE_KINDS
from valley.scores import BASE, PLAN_AXES, SCORES, AnalysisPlan, Available, Resampler, chooser
from valley.statistics import harmonic, weighted_means
from valley.verdicts import Rate

PLAN = AnalysisPlan(min_known=10, bootstrap=200, draws=300)
SIDES = ("generalisation", "specificity")
MEASURED = (*PROBE_KINDS, NET, *SIDES, "delta_layer")
LUCK, WANDER, NOISE, CASES = 0.05, 0.03, 0.1, 0.1  # standard deviations; WANDER of a difference between two scores


# H7 has its rules calibrated (`rules.py`); runs with readings beside edits are not simulated yet.
NOT_SIMULATED = frozenset({"H7", "H10", "H11", "H12", "H13", "H14"})


@dataclass(frozen=True)
class World:
    """What a run is made of: sizes and seeds, cases in relations and subjects, how much those share, models that are
    missing, subjects that share their relation with no other."""

    name: str
    sizes: int = 9
    seeds: int = 3
    cases: int = 60
    relations: int = 8
    per_subject: int = 3
    shared: float = 0.07  # sd of a relation's and of a subject's part
    missing: float = 0.0  # share of the models
    alone: float = 0.0  # share of the subjects


NULLS = (
    World("plain"),
    World("a third of the models missing", missing=1 / 3),
    World("few cases", cases=24, relations=4),
    World("cases alike within relations and subjects", shared=0.2),
)
CLEAR = replace(NULLS[0], name="clear effect")


@dataclass(frozen=True)
class Model:
    rung: str
    size: int
    index: int


PATTERNS = 8  # of missing models; a run draws one


def models(world: World, rng: np.random.Generator) -> tuple[Model, ...]:
    """Those that are there; the first seed of every second size always is."""
    return _models(world, int(rng.integers(PATTERNS)))


@cache
def _models(world: World, pattern: int) -> tuple[Model, ...]:
    rng = np.random.default_rng([pattern, 9])
    every = [(i, s) for i in range(world.sizes) for s in range(world.seeds)]
    kept = [(i, s) for i, s in every if rng.random() >= world.missing or (s == 0 and i % 2 == 0)]
    return tuple(Model(f"m{i}-s{s}", i, n) for n, (i, s) in enumerate(kept))


@cache
def case_list(world: World, kind: str) -> pd.DataFrame:
    """dataset, case, subject, cluster of the cases of one edit kind; subjects and relations cross, unless alone."""
    n = np.arange(world.cases)
    subject = n // world.per_subject
    relation = relations_of(world, subject, subject + n)
    text: Callable[[str, np.ndarray], list[str]] = lambda word, numbers: [f"{word}{i:03d}" for i in numbers]  # noqa: E731
    about = {"dataset": "sim", "case": text("c", n), "subject": text(kind, subject)}
    first = 0 if kind == "fact" else world.cases
    return pd.DataFrame(about | {"cluster": text("r", relation), "pair": n + first})


def relations_of(world: World, subject: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Numbers of relations: `turn` modulo the shared ones, but one each for the last subjects, the share `alone`."""
    shared = int(subject.max() + 1) * (1 - world.alone)
    return np.where(subject < shared, turn % world.relations, world.relations + subject)


@cache
def resampler(world: World, kinds: tuple[str, ...]) -> Resampler:
    cases = pd.concat([case_list(world, kind).assign(ladder="sim", edit_kind=kind) for kind in kinds])
    return Resampler(cases, PLAN.bootstrap, PLAN.seed)


def parts(world: World, kind: str, rng: np.random.Generator) -> np.ndarray:
    """(cases,) what relation, subject and case add to a score at every model."""
    table = case_list(world, kind)
    out = CASES * rng.standard_normal(len(table))
    for name in ("cluster", "subject"):
        codes, levels = pd.factorize(table[name])
        out += world.shared * rng.standard_normal(len(levels))[codes]
    return out


@dataclass(frozen=True)
class Curve:
    """The scores of one kind and method, each (models, cases). `depths`: (models,) best ones, in place of one for
    all."""

    kind: str
    method: str
    values: dict[str, np.ndarray]
    depths: np.ndarray | None = None


@cache
def _frame(world: World, kind: str, method: str, there: tuple[Model, ...]) -> pd.DataFrame:
    """What describes the case scores of one kind and method, model by model."""
    one, n = pd.concat([case_list(world, kind)] * len(there), ignore_index=True), world.cases
    about = {"rung": np.repeat([m.rung for m in there], n), "rung_index": np.repeat([m.index for m in there], n)}
    return one.assign(
        **about,
        ladder="sim",
        edit_kind=kind,
        method=method,
        settings="{}",
        depth=0.5,
        split="test",
        edit_lang="en",
        known=True,
        known_everywhere=True,
        **dict.fromkeys((*BASE, *SIDES), np.nan),
    )


def evidence_of(
    world: World, there: tuple[Model, ...], curves: list[Curve], crispness: pd.DataFrame | None = None
) -> Evidence:
    """What `judge` is given: every curve's scores with the real bootstrap over cases."""
    draw = resampler(world, tuple(dict.fromkeys(curve.kind for curve in curves)))
    lines, values, samples, tables = [], [], [], []
    for curve in curves:
        frame = _frame(world, curve.kind, curve.method, there)
        weights, n = draw.weights(case_list(world, curve.kind)), len(there)
        absent = np.full((n, world.cases), np.nan)
        flat = np.stack([curve.values.get(name, absent) for name in MEASURED], axis=-1)
        by_case = flat.transpose(1, 0, 2).reshape(world.cases, -1)
        for w, out in ((np.ones((1, world.cases)), values), (weights, samples)):
            means = weighted_means(w, by_case).reshape(len(w) * n, -1)
            made = np.full((len(means), len(SCORES)), np.nan)
            made[:, [SCORES.index(name) for name in MEASURED]] = means
            made[:, SCORES.index(NET)] = np.maximum(means[:, MEASURED.index(NET)], 0)
            made[:, SCORES.index("score")] = harmonic(*(means[:, MEASURED.index(side)] for side in SIDES))
            out.append(made.reshape(len(w), n, -1).transpose(1, 0, 2))
        depths = np.full(n, 0.5) if curve.depths is None else curve.depths
        lines += [
            dict.fromkeys(PLAN_AXES, np.nan)
            | {
                "ladder": "sim",
                "rung_index": m.index,
                "rung": m.rung,
                "size": f"m{m.size}",
                "edit_kind": curve.kind,
                "method": curve.method,
                "settings": "{}",
                "scored_on": "test",
                "reason": "",
                "n": world.cases,
                "depth": depth,
                "family": "grown",
                "grid": "",
                "dev": np.nan,
                PLAN.axes[0]: float(m.size),
            }
            for m, depth in zip(there, depths, strict=True)
        ]
        tables.append(frame.assign(**{name: v.ravel() for name, v in curve.values.items()}))
    scores = pd.concat(tables, ignore_index=True)
    dev = np.full((len(lines), len(SCORES)), np.nan)
    relations = np.array([[case_list(world, line["edit_kind"])["cluster"].nunique()] for line in lines])
    counts = np.broadcast_to(relations, dev.shape), np.full(dev.shape, world.cases)
    measured = np.concatenate(values)[:, 0], np.concatenate(samples), *counts, dev
    scored = Available(pd.DataFrame(lines), *measured, scores, draw, PLAN.metric, chooser(PLAN.metric))
    return Evidence(scored, PLAN, crispness)


def scatter(
    world: World,
    there: tuple[Model, ...],
    level: np.ndarray,
    shared: np.ndarray,
    own: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """(models, cases) scores around `level` (sizes,). shared (models,): luck that methods have in common. own (cases,):
    `parts`."""
    size = [m.size for m in there]
    luck = LUCK * np.sqrt(0.5) * (shared + rng.standard_normal(len(there)))
    return level[size][:, None] + luck[:, None] + own + NOISE * rng.standard_normal((len(there), len(own)))


def h1(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    there = models(world, rng)
    level = 0.4 + (0.3 * np.linspace(0, 1, world.sizes) if effect else np.zeros(world.sizes))
    y = scatter(world, there, level, rng.standard_normal(len(there)), parts(world, "retarget", rng), rng)
    return evidence_of(world, there, [Curve("retarget", "rome", {"relation": y})])


def h2(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    """Null: a straight rise as high as the step, or, where the world is called so, one that saturates."""
    there, x = models(world, rng), np.linspace(0, 1, world.sizes)
    rise = 1 - np.exp(-4 * x) if world.name == SATURATING else x
    level = 0.1 + 0.4 * ((x > 0.5) if effect else rise)
    y = scatter(world, there, level, rng.standard_normal(len(there)), parts(world, "fact", rng), rng)
    return evidence_of(world, there, [Curve("fact", "rome", {NET: y})])


def h3(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    there = models(world, rng)
    shared, level = rng.standard_normal(len(there)), np.full(world.sizes, 0.5)
    one, other = (parts(world, "fact", rng) for _ in range(2))
    tables = []
    for method, own in (("rome", one), ("steer", one if effect else other)):
        y = scatter(world, there, level, shared, own, rng)
        tables.append(Curve("fact", method, {"generalisation": y, "specificity": np.ones_like(y)}))
    return evidence_of(world, there, tables)


def h4(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    """Null: each size has another best layer, the same for its seeds and for both methods."""
    there = models(world, rng)
    layers = {i: (np.arange(3 + i % 4) + 1) / (3 + i % 4) for i in range(world.sizes)}
    best = {i: depths[np.abs(depths - 0.5).argmin()] if effect else rng.choice(depths) for i, depths in layers.items()}
    flat = np.full((len(there), world.cases), 0.5)
    depths = np.array([best[m.size] for m in there])
    curves = [
        Curve("fact", method, {"generalisation": flat, "specificity": flat}, depths) for method in ("rome", "memit")
    ]
    made = evidence_of(world, there, curves)
    assert isinstance(made.rows, Available)
    # Every model tried all its layers: as many of its cases stand for one each.
    tried = np.concatenate([np.resize(layers[m.size], world.cases) for m in there] * len(curves))
    return replace(made, rows=replace(made.rows, scores=made.rows.scores.assign(depth=tried)))


def h5(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    there = models(world, rng)
    level = (0.15 if effect else 0.0) + WANDER * rng.standard_normal(world.sizes)
    y = scatter(world, there, level, rng.standard_normal(len(there)), parts(world, "fact", rng), rng)
    return evidence_of(world, there, [Curve("fact", "rome", {"delta_layer": y})])


def h8(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    there = models(world, rng)
    shared, tables = rng.standard_normal(len(there)), []
    for kind, level in (("fact", 0.4), ("rename", 0.6 if effect else 0.4)):
        sizes = level + WANDER / np.sqrt(2) * rng.standard_normal(world.sizes)
        y = scatter(world, there, sizes, shared, parts(world, kind, rng), rng)
        tables.append(Curve(kind, "rome", {"generalisation": y, "specificity": np.ones_like(y)}))
    return evidence_of(world, there, tables)


def crisp(world: World, there: tuple[Model, ...], rng: np.random.Generator, **measures: np.ndarray) -> pd.DataFrame:
    """A crispness table: each measure (subjects,) with noise of every model, of types that are the subjects' own
    relations."""
    names = list(dict.fromkeys(case_list(world, "fact")["subject"]))
    types = concept_types(world)
    blocks = [
        pd.DataFrame(
            {
                "rung": m.rung,
                "concept": names,
                "group": [f"type{i}" for i in types],
                "layer": 1,
                "depth": 0.5,
                "measure": measure,
                "direction": "both",
                "control": "none",
                "value": value + 0.05 * rng.standard_normal(len(names)),
            }
        )
        for m in there
        for measure, value in measures.items()
    ]
    return pd.concat(blocks, ignore_index=True)


def concept_types(world: World) -> np.ndarray:
    """(subjects,) number of the type of every concept."""
    n = np.arange(case_list(world, "fact")["subject"].nunique())
    return relations_of(world, n, n)


def concept_parts(world: World, rng: np.random.Generator) -> np.ndarray:
    """(subjects,) what type and concept add: concepts of one type are alike."""
    types = concept_types(world)
    return world.shared * rng.standard_normal(types.max() + 1)[types] + CASES * rng.standard_normal(len(types))


def on_concepts(
    world: World, effects: dict[str, bool], rng: np.random.Generator, signs: dict[str, tuple[str, float]]
) -> Evidence:
    """Edits of one case per concept, and crispness that predicts the scores named in `effects` as True only."""
    alone = replace(world, per_subject=1)
    there = models(alone, rng)
    shared, level = rng.standard_normal(len(there)), np.full(world.sizes, 0.5)
    scores: dict[str, np.ndarray] = {}
    measures: dict[str, np.ndarray] = {}
    for score, (measure, sign) in signs.items():
        own, other = concept_parts(alone, rng), concept_parts(alone, rng)
        scores[score] = scatter(alone, there, level, shared, own, rng)
        measures[measure] = sign * (own if effects[score] else other)
    scores = {
        "specificity": np.ones_like(next(iter(scores.values()))),
        "generalisation": next(iter(scores.values())),
    } | scores
    table = Curve("fact", "rome", scores)
    return evidence_of(alone, there, [table], crisp(alone, there, rng, **measures))


def h6(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    return on_concepts(world, {"generalisation": effect}, rng, {"generalisation": ("C_key", 1.0)})


def h9(world: World, effect: bool, rng: np.random.Generator) -> Evidence:
    signs = {"cross_lingual": ("leak_translation", 1.0), "neighbour": ("leak_siblings", -1.0)}
    return on_concepts(world, {"cross_lingual": True, "neighbour": effect}, rng, signs)


SATURATING = "a rise that saturates"
# Those whose test permutes within relations meet relations of very different sizes: one large, most of one subject.
WITHIN_RELATIONS = frozenset({"H3", "H6", "H9"})
ALONE = World("subjects alone in their relations", relations=1, alone=0.6)
RUNS: dict[str, Callable[[World, bool, np.random.Generator], Evidence]] = {
    "H1": h1,
    "H2": h2,
    "H3": h3,
    "H4": h4,
    "H5": h5,
    "H6": h6,
    "H8": h8,
    "H9": h9,
}


def worlds(name: str) -> tuple[World, ...]:
    harder = (World(SATURATING),) if name == "H2" else (ALONE,) if name in WITHIN_RELATIONS else ()
    return (*NULLS, *harder, CLEAR)


def rates(name: str, world: World, runs: int, seed: int = 0) -> dict[str, Any]:
    """One hypothesis in one world: share of runs with p below the level before Holm, with its interval, and of every
    verdict."""
    verdicts: dict[str, int] = {SUPPORTED: 0, REFUTED: 0, INCONCLUSIVE: 0}
    hits = 0
    for r in range(runs):
        rng = np.random.default_rng([seed, r, *f"{name}/{world.name}".encode()])
        # Draws of a test's own, lest an accident of one set of them is taken for the test's level.
        evidence = replace(RUNS[name](world, world == CLEAR, rng), plan=replace(PLAN, seed=r))
        (result,) = judge(evidence, (name,))
        assert result.finding is not None, result.reason
        hits += result.finding.p < PLAN.level
        verdicts[result.verdict] += 1
    rate = Rate(hits, runs)
    line = {"hypothesis": name, "world": world.name, "truth": "effect" if world == CLEAR else "null", "runs": runs}
    line |= {"rejected": rate.value, "rejected_low": rate.interval[0], "rejected_high": rate.interval[1]}
    return line | {verdict: n / runs for verdict, n in verdicts.items()}


def calibrate_hypotheses(runs: int) -> pd.DataFrame:
    """Every hypothesis of RUNS under every null, and half as many runs under a clear effect."""
    assert set(RUNS) == set(hypotheses()) - NOT_SIMULATED
    cells = [(name, world) for name in RUNS for world in worlds(name)]
    return pd.DataFrame([rates(name, world, runs // 2 if world == CLEAR else runs) for name, world in cells])
