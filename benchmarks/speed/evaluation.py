"""The evaluation of many edits: what each kind of question costs, and ours beside EasyEdit's on the same questions.

Both take turns in one process on the same weights. EasyEdit asks one edited model at a time; ours asks all edits in the
same passes. What is compared is the evaluation after the edit alone: neither side's edits, nor the unedited model's
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from benchmarks.cases import Case
from benchmarks.measure import Base, measure, measure_drift
from benchmarks.speed.peers.evaluation import Found, PeerEvaluation, Short, read_found
from benchmarks.watch import Spent
from editing.delta import Delta
from editing.errors import BadRequest
from editing.eval import Race, replies
from editing.model import LanguageModel

SIX = {"efficacy": 1, "paraphrase": 2, "neighbour": 3}
DRAWS = 2000
FREE_TEXT = "free text"
Questions = tuple[Case, list[np.ndarray | None]]  # a case and, per probe, its prior


@dataclass(frozen=True)
class Part:
    """What the questions of one kind cost, evaluated separately; medians over rounds.

    Attributes:
        questions: of all cases together.
        share: of the CPU-seconds of all parts.
    """

    kind: str
    cases: int
    questions: int
    spent: Spent
    share: float


@dataclass(frozen=True)
class Beside:
    """One way of evaluating the same edits beside EasyEdit's.

    Attributes:
        cases: edits. questions: prompts of all of them together.
        spent: median over rounds, for all edits.
        cpu_ratio, wall_ratio: their seconds over ours, sums over rounds; low, high: 95% bootstrap interval over rounds
            of cpu_ratio.
        note: how the results compare.
    """

    side: str
    cases: int
    questions: int
    rounds: int
    spent: Spent
    cpu_ratio: float
    low: float
    high: float
    wall_ratio: float
    note: str = ""


def only(case: Case, priors: Sequence[np.ndarray | None], kinds: set[str]) -> Questions:
    """`case` and its priors with only the probes of some kinds."""
    return _at(case, priors, [i for i, p in enumerate(case.probes) if p.kind in kinds])


def by_kind(
    lm: LanguageModel, cases: Sequence[Case], base: Base, deltas: Sequence[Delta], rounds: int = 1
) -> list[Part]:
    """Every kind of question alone under `deltas`, without free text; free text as what it adds to all of them."""
    kinds = list(dict.fromkeys(p.kind for case in cases for p in case.probes))
    candidate_kinds = [k for k in kinds if k not in ("drift", "fluency")]

    def ask(kinds: set[str], new_tokens: int) -> Spent:
        pairs = [only(c, q, kinds) for c, q in zip(cases, base.priors, strict=True)]
        own_cases, priors = [c for c, _ in pairs], [q for _, q in pairs]
        return spent(lambda: measure(lm, own_cases, priors, deltas, new_tokens=new_tokens))

    taken: dict[str, list[Spent]] = {k: [] for k in (*kinds, FREE_TEXT)}
    for _ in range(rounds):
        for kind in kinds:
            drift = lambda: measure_drift(lm, cases, deltas)  # noqa: E731
            taken[kind].append(spent(drift) if kind == "drift" else ask({kind}, 0))
        taken[FREE_TEXT].append(ask(set(candidate_kinds), base.new_tokens) - ask(set(candidate_kinds), 0))
    middle = {k: _median(times) for k, times in taken.items()}
    total = sum(s.cpu for s in middle.values())
    count = {k: sum(p.kind == k for c in cases for p in c.probes) for k in kinds}
    count[FREE_TEXT] = sum(count[k] for k in candidate_kinds)
    return [Part(k, len(cases), count[k], s, s.cpu / total) for k, s in middle.items()]


def six_of(case: Case) -> list[int]:
    """Indices of the six short probes of a case: the edit, two paraphrases, three neighbours, in its language.

    Raises:
        BadRequest: it has fewer.
    """
    left, kept = dict(SIX), []
    for i, p in enumerate(case.probes):
        if p.lang == case.request.lang and left.get(p.kind, 0):
            left[p.kind] -= 1
            kept.append(i)
    if any(left.values()):
        raise BadRequest(f"case {case.id}: fewer than two paraphrases or three neighbours; take other cases")
    return kept


def short_of(case: Case) -> Short:
    """The six short prompts of a case, see `six_of`, as EasyEdit asks them."""
    of = {kind: [p for p in map(case.probes.__getitem__, six_of(case)) if p.kind == kind] for kind in SIX}
    said = lambda p: p.candidates[p.answer]  # noqa: E731
    rewrite = of["efficacy"][0]
    near = tuple((p.prompt, said(p)) for p in of["neighbour"])
    return Short(said(rewrite), rewrite.prompt, tuple(p.prompt for p in of["paraphrase"]), near)


def ask_short(lm: LanguageModel, shorts: Sequence[Short], deltas: Sequence[Delta]) -> list[Found]:
    """What EasyEdit's evaluation finds about each edit, in passes over all of them."""
    rows = [i for i, short in enumerate(shorts) for _ in short.questions]
    pairs = [pair for short in shorts for pair in short.questions]
    race = Race(np.zeros(1), (0,))
    said = replies(lm, [p for p, _ in pairs], [(t,) for _, t in pairs], 0, deltas, rows, races=[race] * len(pairs))
    answers, at = [], 0
    for short in shorts:
        own = said[at : at + len(short.questions)]
        at += len(own)
        border = 1 + len(short.rephrase)
        shares = [float(np.mean(np.equal(r.forced[0], r.tokens[0]))) for r in own[:border]]
        accuracy = (*shares, *[float("nan")] * (len(own) - border))
        answers.append(Found(accuracy, (*[()] * border, *(r.forced[0] for r in own[border:]))))
    return answers


def beside(
    lm: LanguageModel, cases: Sequence[Case], base: Base | None, deltas: Sequence[Delta], rounds: int
) -> Iterator[Beside]:
    """EasyEdit, ours on its questions, ours on its prompts with our scores, ours on all probes, in turns.

    Where bfloat16 products are faster, its questions are also evaluated on a bfloat16 copy.

    Without `base` only the same questions: our scores lean on what the unedited model says.

    Raises:
        BadData: no checkout of EasyEdit. BadRequest: a case without six short prompts.
    """
    shorts = [short_of(case) for case in cases]
    peer = PeerEvaluation(lm)
    plain = [Delta(delta.factors, context=delta.context) for delta in deltas]  # a copy has another hash
    same: dict[str, Callable[[], list[Found]]] = {"ours, the same questions": lambda: ask_short(lm, shorts, deltas)}
    if lm.half_wins:
        same["ours, the same questions, bfloat16 copy"] = lambda: ask_short(lm.half, shorts, plain)
    count = sum(len(s.questions) for s in shorts)
    ours: dict[str, tuple[int, Callable[[], object]]] = {name: (count, work) for name, work in same.items()}
    if base is not None:
        six = [_at(case, priors, six_of(case)) for case, priors in zip(cases, base.priors, strict=True)]

        def scored() -> None:
            measure(lm, [c for c, _ in six], [q for _, q in six], deltas, new_tokens=base.new_tokens)

        def everything() -> None:
            measure(lm, cases, base.priors, deltas, new_tokens=base.new_tokens)
            measure_drift(lm, cases, deltas)

        ours["ours, the same prompts with all candidates and free text"] = (sum(len(c.probes) for c, _ in six), scored)
        ours["ours, all probes of a case"] = (sum(len(c.probes) for c in cases), everything)
    theirs: list[Spent] = []
    times_of: dict[str, list[Spent]] = {name: [] for name in ours}
    results: list[Found] = []
    for _ in range(rounds):
        took, results = Spent(), []
        for short, delta in zip(shorts, deltas, strict=True):
            with delta.applied(lm):  # the edit itself is not part of their evaluation
                began = Spent.now()
                result = peer(short)
                took += Spent.now() - began
            results.append(read_found(result))
        theirs.append(took)
        for name, (_, work) in ours.items():
            times_of[name].append(spent(work))
    notes = {name: agreement(results, work()) for name, work in same.items()}
    yield Beside("EasyEdit", len(cases), count, rounds, _median(theirs), 1.0, 1.0, 1.0, 1.0)
    for name, times in times_of.items():
        ratio, low, high = bootstrap_ratio([s.cpu for s in theirs], [s.cpu for s in times])
        wall = sum(s.wall for s in theirs) / sum(s.wall for s in times)
        note = notes.get(name, "")
        yield Beside(name, len(cases), ours[name][0], rounds, _median(times), ratio, low, high, wall, note)


def agreement(theirs: Sequence[Found], ours: Sequence[Found]) -> str:
    """On how many prompts both find the same."""
    pairs = [
        (a, b, s, t)
        for x, y in zip(theirs, ours, strict=True)
        for a, b, s, t in zip(x.accuracy, y.accuracy, x.tokens, y.tokens, strict=True)
    ]
    accuracies = [a == b for a, b, s, _ in pairs if not s]
    tokens = [s == t for _, _, s, t in pairs if s]
    return f"same token accuracy {sum(accuracies)}/{len(accuracies)}, same locality tokens {sum(tokens)}/{len(tokens)}"


def bootstrap_ratio(slow: Sequence[float], fast: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """sum(slow) / sum(fast) and its 95% interval over draws of rounds, each with both of its times."""
    pairs = np.array([slow, fast]).T
    drawn = pairs[np.random.default_rng(seed).integers(len(pairs), size=(DRAWS, len(pairs)))].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    return float(sum(slow) / sum(fast)), float(low), float(high)


def spent(work: Callable[[], object]) -> Spent:
    """What one call takes."""
    began = Spent.now()
    work()
    return Spent.now() - began


def _at(case: Case, priors: Sequence[np.ndarray | None], kept: Sequence[int]) -> Questions:
    """`case` with some of its probes; efficacy probes stay, without a prior (so not measured) where not in `kept`."""
    there = [i for i, p in enumerate(case.probes) if i in kept or p.kind == "efficacy"]
    return replace(case, probes=tuple(case.probes[i] for i in there)), [priors[i] if i in kept else None for i in there]


def _median(times: Sequence[Spent]) -> Spent:
    return Spent(median(s.cpu for s in times), median(s.wall for s in times))
