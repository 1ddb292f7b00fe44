"""The stages of an edit, each beside its slow, literal form (tests/editing/reference*.py).

A stage is a function from a `Bench` to rows. What is compared does the same work: the note of each row says how far the
two results are apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import Case
from benchmarks.datasets import build_cases
from benchmarks.speed.stopwatch import Ratio, compare, device_name, matmul_peak, peak_memory, timed
from editing.delta import Delta, Dense, LowRank
from editing.eval import continuation_logprobs
from editing.methods import FAST, Method, Spread, make_method
from editing.model import LanguageModel, Site
from editing.solve import Injection, ValueSettings, optimise_values, states, uses_half
from editing.stats import ModelStatistics, covariances
from editing.text import Contexts, EditRequest, build_contexts

PREFIXES = {5: 10, 10: 10}
LITERAL = {"preset": "published"}  # the settings of the slow, literal way, which the first three variants share
VARIANTS: dict[str, dict] = {
    "float32, same settings": LITERAL,
    "bf16 steps": LITERAL | {"precision": "bfloat16"},
    "fast mode": LITERAL | FAST,
}
EDITS = VARIANTS | {"defaults, fast mode": FAST}  # of whole edits; the defaults search v* elsewhere, by other steps


@dataclass(frozen=True)
class Bench:
    """What every stage works on.

    Attributes:
        requests: facts with the subject's last token as lookup. slow_requests: how many of them the slow side does.
        rounds: A B repetitions.
    """

    lm: LanguageModel
    statistics: ModelStatistics
    requests: tuple[EditRequest, ...]
    slow_requests: int
    rounds: int

    @cached_property
    def chosen(self) -> tuple[EditRequest, ...]:
        return self.requests[: self.slow_requests]

    @property
    def device(self) -> torch.device:
        return self.lm.device

    def compare(
        self, unit: str, slow: Callable, fast: Mapping[str, Callable], note: Callable, units: int = 0
    ) -> list[Ratio]:
        return compare(
            unit, slow, fast, device=self.device, rounds=self.rounds, units=units or len(self.chosen), note=note
        )


def facts(number: int, seed: int = 0) -> list[Case]:
    """World facts, and behind them facts of invented people, edited at the subject's last token."""
    cases = build_cases("world_facts", "fact", None, seed)
    if number > len(cases):
        cases += build_cases("people_facts", "fact", number - len(cases), seed)
    return [replace(c, request=replace(c.request, lookup="subject_last")) for c in cases][:number]


def rome_edits(bench: Bench) -> Iterator[Ratio]:
    """Whole ROME edits against the reference, under each variant."""
    from tests.editing import reference

    plain = make_method("rome", **LITERAL)
    site = _site(bench)
    c = bench.statistics.covariance(site).matrix.double()
    c = c + torch.eye(len(c), dtype=torch.float64) * (bench.statistics.ridge * c.diagonal().mean())
    prefixes = bench.statistics.prefixes(PREFIXES)
    bench.lm.half  # noqa: B018  (copied once per model, not per edit)

    def slow() -> list[torch.Tensor]:
        return [reference.rome(bench.lm, r, plain, c, prefixes) for r in bench.chosen]

    def fast(settings: dict) -> list[torch.Tensor]:
        deltas = make_method("rome", **settings).each(bench.lm, bench.chosen, bench.statistics)
        return [dense(d, site.weight) for d in deltas if site.weight in d.factors]

    yield from bench.compare("edit", slow, {f"ROME edit, {n}": partial(fast, s) for n, s in EDITS.items()}, cosines)


def rome_values(bench: Bench) -> Iterator[Ratio]:
    """v* alone, at ROME's site."""
    site = _site(bench)
    yield from _values(bench, "ROME v*", make_method("rome", **LITERAL), PREFIXES, Injection.at_site(site), site.path)


def memit_values(bench: Bench) -> Iterator[Ratio]:
    """v* at the last of MEMIT's blocks, which its targets are set for."""
    memit = make_method("memit", **LITERAL)
    assert isinstance(memit, Spread)
    last = memit.placement(bench.lm, bench.chosen[0]).layers[-1]
    where = Injection.at_block(bench.lm, last)
    yield from _values(bench, "MEMIT target", memit, {10: memit.prefixes}, where, where.path)


def _values(
    bench: Bench, label: str, method: Method, counts: dict[int, int], where: Injection, path: str
) -> list[Ratio]:
    from tests.editing import reference

    prefixes, contexts = bench.statistics.prefixes(counts), _contexts(bench, counts)

    def slow() -> list[torch.Tensor]:
        values = []
        for request in bench.chosen:
            texts = reference.texts_of(bench.lm, request, prefixes, "subject_last")
            values.append(reference.optimise(bench.lm, request, texts, "subject_last", path, None, method).delta)
        return values

    def fast(settings: dict) -> list[torch.Tensor]:
        search: Any = make_method(method.name, **settings)  # it has the settings of the search
        return [v.delta for v in optimise_values(bench.lm, contexts, where, search)]

    variants = {f"{label}, {name}": partial(fast, settings) for name, settings in VARIANTS.items()}
    return bench.compare("request", slow, variants, cosines)


def keys(bench: Bench) -> Iterator[Ratio]:
    """k* of MEMIT's five layers: one forward pass for all requests and layers, against one per request and layer."""
    from tests.editing import reference

    prefixes, contexts = bench.statistics.prefixes(PREFIXES), _contexts(bench, PREFIXES)
    sites = _five_sites(bench)

    def slow() -> list[torch.Tensor]:
        texts = [reference.texts_of(bench.lm, r, prefixes, "subject_last") for r in bench.chosen]
        return [torch.cat([reference.read(bench.lm, t, s.path, "input") for t in texts]) for s in sites]

    def fast() -> list[torch.Tensor]:
        inputs = states(bench.lm, [p for c in contexts for p in c.prompts], [(s.path, "input") for s in sites])
        return [inputs[s.path, "input"] for s in sites]

    yield from bench.compare("request", slow, {"keys, 5 layers": fast}, _errors)


def solves(bench: Bench) -> Iterator[Ratio]:
    """C^-1 k of every request: one Cholesky factorisation, against one inverse per request as in the ROME code."""
    site = _site(bench)
    c = bench.statistics.covariance(site).matrix.double()
    c = c + torch.eye(len(c), dtype=torch.float64) * (bench.statistics.ridge * c.diagonal().mean())
    key = torch.randn(site.d_in, len(bench.chosen), generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def slow() -> list[torch.Tensor]:
        return [torch.inverse(c) @ key[:, i] for i in range(key.shape[1])]

    def fast() -> list[torch.Tensor]:
        return list(torch.cholesky_solve(key, torch.linalg.cholesky(c)).T)

    yield from bench.compare("request", slow, {f"solve, {site.d_in} wide": fast}, _errors)


def evaluation(bench: Bench, edits: int = 64, probes: int = 20, rounds: int = 1) -> Iterator[Ratio]:
    """`edits` single edits x `probes` prompts x two answers: one pass, against one text at a time per edit."""
    from tests.editing import reference_evaluate

    cases = facts(edits)
    deltas = _random_edits(bench, len(cases))
    prompts, answers, rows = [], [], []
    for i, case in enumerate(cases):
        with_candidates = [p for p in case.probes if p.candidates]
        for n in range(probes):
            p = with_candidates[n % len(with_candidates)]
            prompts.append(
                p.prompt if n < len(with_candidates) else f"{p.prompt} {'also ' * (n // len(with_candidates))}".rstrip()
            )
            answers.append(p.candidates[:2])
            rows.append(i)

    def slow() -> list[np.ndarray]:
        return reference_evaluate.continuation_logprobs(bench.lm, prompts, answers, deltas, rows)

    def fast() -> list[np.ndarray]:
        return continuation_logprobs(bench.lm, prompts, answers, deltas, rows)

    def note(a: list[np.ndarray], b: list[np.ndarray]) -> str:
        same = np.mean([x.argmax() == y.argmax() for x, y in zip(a, b, strict=True)])
        difference = max(np.abs(x - y).max() for x, y in zip(a, b, strict=True))
        return f"largest difference {difference:.1e} nats, same choice {same:.1%}"

    name = f"evaluation, {edits} edits x {probes} probes"
    yield from replace(bench, rounds=rounds).compare("edit", slow, {name: fast}, note, edits)


def covariance(bench: Bench, tokens: int = 10_000) -> Iterator[Ratio]:
    """C of five layers: one streaming pass, against one pass per layer."""
    from tests.editing import reference_evaluate

    sites = _five_sites(bench)
    sequences = bench.statistics.sequences()
    sequences = sequences[: max(1, tokens // max(map(len, sequences)))]
    units = sum(map(len, sequences)) / 1000

    def slow() -> list[torch.Tensor]:
        return [reference_evaluate.covariance(bench.lm, sequences, s) for s in sites]

    def fast(lm: LanguageModel) -> list[torch.Tensor]:
        result = covariances(lm, sequences, sites)
        return [result[s.path].matrix for s in sites]

    ways = {"covariance, 5 layers, float32 passes": partial(fast, bench.lm)}
    if bench.lm.half_wins:
        ways["covariance, 5 layers, bf16 passes (used here)"] = partial(fast, bench.lm.half)
    yield from bench.compare("1,000 tokens", slow, ways, _errors, max(1, round(units)))


STAGES = (keys, solves, rome_values, memit_values, rome_edits, evaluation, covariance)


def growth(bench: Bench, counts: Sequence[int]) -> Iterator[dict]:
    """Seconds per fast edit with 1, 4, 16... requests at a time, and per probe with 2, 8, 32... candidates."""
    method = make_method("rome", **FAST)
    for n in (n for n in counts if n <= len(bench.requests)):
        chosen = bench.requests[:n]
        peak = peak_memory(bench.device, lambda chosen=chosen: method.each(bench.lm, chosen, bench.statistics))
        seconds, _ = timed(bench.device, lambda chosen=chosen: method.each(bench.lm, chosen, bench.statistics))
        yield {"what": "requests", "n": n, "seconds": seconds / n, "per": "edit", "peak_bytes": peak}
    for depth in (0.1, 0.3, 0.5, 0.7, 0.9):
        deep = replace(method, depth=depth)
        bench.statistics.prepare(deep.edited_sites(bench.lm, bench.requests[0]))
        chosen = bench.requests[:16]
        seconds, _ = timed(bench.device, lambda deep=deep, c=chosen: deep.each(bench.lm, c, bench.statistics))
        yield {"what": "depth of the edit", "n": depth, "seconds": seconds / len(chosen), "per": "edit"}
    cases = facts(64)
    words = sorted({c for case in cases for p in case.probes for c in p.candidates})
    prompts = [case.probes[0].prompt for case in cases]
    for n in (2, 8, 32, 128):
        answers = [words[:n]] * len(prompts)
        seconds, _ = timed(bench.device, lambda answers=answers: continuation_logprobs(bench.lm, prompts, answers))
        yield {"what": "candidates", "n": n, "seconds": seconds / len(prompts), "per": "probe"}


def sizes(benches: Iterable[Bench], number: int = 16) -> Iterator[dict]:
    """Seconds per fast edit of models of different sizes, `number` requests at a time."""
    method = make_method("rome", **FAST)
    for bench in benches:
        chosen = bench.requests[:number]
        method.prepare(bench.lm, chosen, bench.statistics)
        method.each(bench.lm, chosen[:1], bench.statistics)  # copies and prefixes are made once per model
        seconds, _ = timed(bench.device, lambda b=bench, c=chosen: method.each(b.lm, c, b.statistics))
        size = f"{bench.lm.n_parameters / 1e6:.2f}M ({bench.lm.name})"
        yield {"what": "parameters", "n": size, "seconds": seconds / len(chosen), "per": "edit"}


def utilisation(bench: Bench) -> Iterator[dict]:
    """Share of the measured matmul peak that the v* search reaches, in floating-point operations of its products."""
    contexts, where = _contexts(bench, PREFIXES), Injection.at_site(_site(bench))
    for name, settings in VARIANTS.items():
        search = ValueSettings.with_preset(**settings)
        half = uses_half(bench.lm, search.precision)
        peak = matmul_peak(bench.device, torch.bfloat16 if half else torch.float32)
        with FlopCounterMode(display=False) as counter:
            optimise_values(bench.lm, contexts, where, search)
        seconds, _ = timed(bench.device, lambda search=search: optimise_values(bench.lm, contexts, where, search))
        reached = counter.get_total_flops() / seconds
        yield {"what": f"v*, {name}", "flops": reached, "peak": peak, "share": reached / peak}


def about(bench: Bench) -> dict:
    """Model and device of a run."""
    return {
        "model": bench.lm.name,
        "parameters": bench.lm.n_parameters,
        "layers": bench.lm.n_layers,
        "device": device_name(bench.device),
        "requests": len(bench.chosen),
        "seconds are": "wall" if bench.device.type == "cuda" else "CPU",
    }


def _site(bench: Bench) -> Site:
    layer = make_method("rome", **LITERAL).placement(bench.lm, bench.chosen[0]).layers[0]
    return bench.lm.sites("mlp")[layer]


def _five_sites(bench: Bench) -> list[Site]:
    last = make_method("memit", **LITERAL).placement(bench.lm, bench.chosen[0]).layers[-1]
    return list(bench.lm.sites("mlp")[max(0, last - 4) : last + 1])


def _contexts(bench: Bench, counts: dict[int, int]) -> list[Contexts]:
    prefixes = bench.statistics.prefixes(counts)
    return [build_contexts(bench.lm, r, prefixes, "subject_last") for r in bench.chosen]


def _random_edits(bench: Bench, number: int) -> list[Delta]:
    """Rank-one changes in random directions: what they do does not matter to the clock."""
    site, draw = _site(bench), torch.Generator().manual_seed(0)
    size = 0.1 * float(bench.lm.weight(site.weight).float().norm()) / (site.d_out * site.d_in) ** 0.5
    pairs = [
        (torch.randn(site.d_out, 1, generator=draw), torch.randn(site.d_in, 1, generator=draw)) for _ in range(number)
    ]
    return [Delta({site.weight: LowRank(size * left, right)}) for left, right in pairs]


def dense(delta: Delta, name: str) -> torch.Tensor:
    """(d_out, d_in) change of one weight."""
    change = delta.factors[name]
    assert isinstance(change, LowRank | Dense)
    return change.dense()


def cosines(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> str:
    """Median and smallest cosine of pairs of updates; `b` is empty where its edits change other weights."""
    if not b:
        return "another weight"
    values = [
        float(torch.nn.functional.cosine_similarity(x.flatten(), y.flatten(), dim=0)) for x, y in zip(a, b, strict=True)
    ]
    return f"cosine of the updates {np.median(values):.5f}, smallest {min(values):.5f}"


def _errors(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> str:
    errors = [float((x - y).norm() / x.norm()) for x, y in zip(a, b, strict=True)]
    return f"relative error at most {max(errors):.1e}"
