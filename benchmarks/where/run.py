"""`valley where`: search one model, read the localiser's map beside it, and say where to edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic

from benchmarks.ladders import choose_rungs
from benchmarks.live import USUAL
from benchmarks.readings import make_reading, run_readings
from benchmarks.sweep import ADAPTIVE, Plan, Split, run_bench
from benchmarks.text import aligned
from benchmarks.where.choice import Choice, best, choices, write_choices
from benchmarks.where.every import Beside, beside_every_place, format_beside
from editing.errors import BadData, BadRequest
from editing.lazy import pandas as pd
from editing.methods import FAST, make_method, taken_by
from editing.stats import CORPUS
from valley.rows import read_run

FILE = "where.toml"
METHODS = ("rome", "memit")
DOSES = (0.5, 0.75, 1.0, 1.5)
COARSE_MAP = {"layers": 8, "facts": 2, "draws": 1}  # of the localiser, whose map is a picture and no choice
MAP_FACTS = 4  # per relation
LEAST = 0.01  # minutes that the map leaves of a budget
PROBES = 3  # of a kind and language by default: an edit costs several times as much as its questions


@dataclass(frozen=True)
class Where:
    """What a search found: the best choice per kind, every measured setting and dose, the localiser's map (layer,
    token, effect of restored maps) and the file of settings; `beside`: per kind the choice beside every place, where
    they were measured, at layers `apart` from each other."""

    model: str
    chosen: dict[str, Choice]
    every: tuple[Choice, ...]
    map: pd.DataFrame
    file: Path
    failed: tuple[str, ...]
    beside: dict[str, Beside] = field(default_factory=dict)
    apart: int = 0

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "model": self.model,
            "chosen": {kind: one.__dict__ for kind, one in self.chosen.items()},
            "every": [one.__dict__ for one in self.every],
            "map": self.map.to_dict("records"),
            "file": str(self.file),
            "failed": list(self.failed),
            "beside": {kind: one.__dict__ | {"best": one.best.__dict__} for kind, one in self.beside.items()},
        }


def run_where(
    model: str,
    out: Path,
    *,
    kinds: Sequence[str] = ("fact", "rename", "retarget"),
    methods: Sequence[str] = (),
    datasets: Sequence[str] = (),
    budget: float = 10.0,
    limit: int = 36,
    probes: int = PROBES,
    fast: bool = True,
    device: str | None = None,
    seed: int = 0,
    localiser: bool = True,
    every: int = 0,
    quiet: bool = False,
) -> Where:
    """Search where `model` is best edited. The folder is a run folder: the same command goes on with it.

    Args:
        datasets: sources of the cases, as in `bench`; empty takes those of the project.
        methods: the first one searches the places, the others are tried at the best ones; empty means METHODS, and what
            `edit` does where nothing is stated is tried beside them.
        budget: minutes for all of it but `every`; 0 is no limit. limit: cases per kind, a third of them to choose on.
        probes: at most so many questions of a kind and language are evaluated per case.
        localiser: whether to read the map of causal tracing too.
        every: distance of the layers at which every place is measured too, beside the budget; 0 measures none.

    Raises:
        UserError: no such model, method or kind; several models; a budget that is no number of minutes; nothing could
            be measured.
    """
    if not 0 <= budget < inf:
        raise BadRequest(f"--budget {budget}: write minutes from 0 on; 0 is no limit")
    for kind in kinds:
        if kind not in USUAL:
            raise BadRequest(f"--kinds {kind}: no such kind of edit; use one or more of {', '.join(USUAL)}")
    for name in methods:
        make_method(name)  # refuses an unknown one
    rungs = [rung.name for rung in choose_rungs(model)[0]]
    if len(rungs) > 1:
        raise BadRequest(f"{model} is a ladder of {len(rungs)} models ({', '.join(rungs):.80}); name one model")
    began = monotonic()
    traced = _map(model, device, seed, localiser)
    plan = Plan(
        ladder=model,
        methods=tuple(methods) or METHODS,
        kinds=tuple(kinds),
        limit=limit,
        seed=seed,
        datasets=tuple(datasets),
        sites=("mlp", "value", "attn"),
        corpus=CORPUS,
        settings=tuple(FAST.items()) if fast else (),
        probes=probes,
        search=ADAPTIVE,
        budget=budget and max(budget - (monotonic() - began) / 60, LEAST),
        known=True,
        doses=DOSES,
        split=Split(seed),
        starts=() if methods else tuple(usual_starts(kinds, fast)),
    )
    outcome = run_bench(plan, out, device, quiet)
    rows = read_run(out, doses=True)
    measured = choices(rows, seed)
    if not measured:
        reason = outcome.failed[0] if outcome.failed else "the model knows none of the facts"
        raise BadData(
            f"{model}: no edit could be measured ({reason:.200}); raise --limit, or name other --kinds or --datasets"
        )
    chosen = best(measured)
    file = Path(out) / FILE
    write_choices(chosen, model, file)
    beside = beside_every_place(plan, chosen, rows, out, every, device, quiet) if every else {}
    return Where(model, chosen, tuple(measured), traced, file, outcome.failed, beside, every)


def usual_starts(kinds: Sequence[str], fast: bool) -> Iterator[tuple[str, str, tuple[tuple[str, object], ...]]]:
    """Kind, method and settings of `edit` where nothing is stated; of the kinds where these are not a method's own."""
    for kind in kinds:
        method, settings = USUAL[kind]
        if settings:
            yield kind, method, tuple(sorted(((taken_by(method, FAST) if fast else {}) | settings).items()))


def _map(model: str, device: str | None, seed: int, localiser: bool) -> pd.DataFrame:
    """layer, position, value: mean effect of restored maps over relations, in the first language."""
    columns = ["layer", "position", "value"]
    if not localiser:
        return pd.DataFrame(columns=columns)
    tracing = make_reading("tracing", seed=seed, **COARSE_MAP)
    read = run_readings(model, [tracing], limit=MAP_FACTS, device=device, seed=seed, say=lambda line: None)
    table = read.table[(read.table["measure"] == "mlp_effect") & (read.table["control"] == "none")]
    table = table[table["lang"] == "en"].dropna(subset=["value"])
    return table.groupby(["layer", "position"])["value"].mean().reset_index()[columns]


def format_where(result: Where) -> str:
    """The result as text for a terminal; it ends with what to paste."""
    head = ("kind", "method", "site", "lookup", "layer", "dose", "gen.", "spec.", "harmonic mean", "cases")
    rows = [head, *(_line(one) for one in result.chosen.values())]
    lines = aligned(rows)
    for kind, one in result.chosen.items():
        second = next(
            (o for o in result.every if o.kind == kind and (o.place, o.method) != (one.place, one.method)), None
        )
        if second is not None and second.close:
            lines.append(f"{kind}: {second.place} by {second.method} ({second.score:.3f}) is as good within error")
    lines += [format_beside(kind, one, result.apart) for kind, one in result.beside.items()]
    if len(result.map):
        top = result.map.loc[result.map.groupby("position")["value"].idxmax()]
        places = ", ".join(f"{p} {layer} ({v:.3f})" for layer, p, v in top.itertuples(index=False, name=None))
        lines.append(f"localiser (causal tracing, layer of the largest effect per token): {places}")
    lines += [f"failed: {line}" for line in result.failed[:5]]
    lines.append(
        f"wrote {result.file}; use it with: valley edit --model {result.model} --at {result.file} and --fact, --rename "
        "or --retarget"
    )
    lines += [f"  {kind}: valley edit --model {result.model} {one.line}" for kind, one in result.chosen.items()]
    return "\n".join(lines)


def _line(one: Choice) -> tuple[str, ...]:
    scores = (f"{one.generalisation:.3f}", f"{one.specificity:.3f}", f"{one.score:.3f} ({one.low:.3f}-{one.high:.3f})")
    layer = "" if one.layer is None else f"{one.layer} of {one.layers}"
    return one.kind, one.method, one.site, one.lookup, layer, f"{one.dose:g}", *scores, str(one.n)
