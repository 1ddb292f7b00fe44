"""Edits and answered probes per second on the device, ours and the literal reference in turns (A B A B)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.device.models import PARAPHRASE, PROMPT, Bench, old_answers
from benchmarks.speed.device.record import Deadline, Row
from benchmarks.speed.stopwatch import matmul_peak, timed
from editing.delta import Delta
from editing.eval import continuation_logprobs
from editing.methods import FAST
from editing.solve import Injection, ValueSettings, optimise_values, uses_half
from editing.text import build_contexts

METHODS = ("rome", "memit", "alphaedit", "ultraedit")
ROUNDS = 2
PROBES = 6  # of each edit in the evaluation
EDITS_EVALUATED = 3  # by the literal way, in one round


def rates(make: Callable[[], Bench], batches: Sequence[int], deadline: Deadline) -> Iterator[Row]:
    """Edits of every method at several batch sizes, evaluation, and the share of the peak, on one model."""
    bench = make()
    lm = bench.lm
    yield Row(f"{lm.name}: {lm.n_parameters / 1e6:.0f}M parameters, {lm.dtype}, {lm.n_layers} blocks")
    for i, name in enumerate(METHODS):
        yield from _edits(bench, name, batches, Deadline(deadline.left() / (len(METHODS) + 1 - i)))
    yield from _evaluation(bench, max(batches))
    yield from _share(bench, min(32, max(batches)))


def _edits(bench: Bench, name: str, batches: Sequence[int], deadline: Deadline) -> Iterator[Row]:
    """One method: what it needs once per model, then edits at each batch size."""
    settings, note = fitting(bench, name, deadline)
    seconds, _ = timed(
        bench.lm.device, lambda: bench.method(name, **settings).prepare(bench.lm, bench.requests[:1], bench.statistics)
    )
    yield Row(f"{name}: once per model, what no row above has made", seconds=seconds, note=note)
    slow = literal(bench, name, settings)
    slow()  # the first call chooses kernels, here and below
    variants = {"": {}, ", fast": FAST}
    for label, more in variants.items():
        method = bench.method(name, **settings, **more)
        if label and method == bench.method(name, **settings):
            continue  # a method without a search has no fast mode
        method.each(bench.lm, bench.requests[:1], bench.statistics)
        each = literally = 0.0
        for n in batches:
            if (expected := ROUNDS * (1.5 * each * n + literally)) > deadline.left():
                yield Row(
                    f"{name}{label}", n, note=f"left out: needs about {expected:.0f} s, {deadline.left():.0f} left"
                )
                continue
            row = _in_turns(bench, f"{name}{label}", n, partial(edit, bench, method, n), slow, bench.slow)
            each, literally = row.seconds or 0.0, (row.literal or 0.0) * bench.slow
            yield row


def edit(bench: Bench, method: Any, number: int) -> Sequence[Delta]:
    """`number` edits: independent ones for ROME and R-ROME, one joint edit of all for the others."""
    chosen = bench.requests[:number]
    if method.name == "rome":
        return method.each(bench.lm, chosen, bench.statistics)
    return [method(bench.lm, chosen, bench.statistics)]


def _in_turns(
    bench: Bench, what: str, number: int, fast: Callable[[], object], slow: Callable[[], object], slow_number: int
) -> Row:
    """Literal, ours, literal, ours...: median seconds per edit of each."""
    device = bench.lm.device
    pairs = []
    for _ in range(ROUNDS):
        a, _ = timed(device, slow)
        b, _ = timed(device, fast)
        pairs.append((a / slow_number, b / number))
    ratios = sorted(a / b for a, b in pairs)
    note = f"{ROUNDS} rounds, ratio {ratios[0]:.1f} to {ratios[-1]:.1f}; literal on {slow_number} at a time"
    return Row(what, number, median(b for _, b in pairs), median(a for a, _ in pairs), "edit", note=note)


def fitting(bench: Bench, name: str, deadline: Deadline) -> tuple[dict[str, Any], str]:
    """Settings beside the usual ones, and why: AlphaEdit gets as many sites as can be decomposed in time."""
    if name != "alphaedit":
        return {}, ""
    sites = bench.method(name).edited_sites(bench.lm, bench.requests[0])
    seconds = bench.spectrum_seconds
    number = max(1, min(len(sites), int(deadline.left() / 4 / max(seconds, 1e-3))))
    note = f"{seconds:.2f} s for the spectrum of a site {sites[-1].d_in} wide; {number} of {len(sites)} sites edited"
    return {"span": number / bench.lm.n_layers}, note


def literal(bench: Bench, name: str, settings: dict[str, Any]) -> Callable[[], object]:
    """The literal way to carry out the first `bench.slow` requests, with what its authors keep between calls."""
    from tests.editing import reference, reference_methods

    lm, statistics, chosen = bench.lm, bench.statistics, bench.requests[: bench.slow]
    method: Any = bench.method(name, **settings)
    if name == "ultraedit":
        return lambda: reference_methods.ultraedit(lm, chosen, method)
    sites = method.edited_sites(lm, chosen[0])
    plain = {s.path: statistics.covariance(s).matrix.to(lm.device).double() for s in sites}
    if name == "alphaedit":
        prefixes = statistics.prefixes({10: method.prefixes})
        projectors = {}
        for site in sites:  # from the eigenvectors that we have: an SVD of a wide site takes minutes
            values, vectors = statistics.spectrum(site)
            inside = vectors[:, values < method.null_threshold * values.mean()].to(lm.device)
            projectors[site.path] = inside @ inside.T
        return lambda: reference_methods.alphaedit(lm, chosen, method, plain, prefixes, projectors=projectors)
    for matrix in plain.values():
        matrix.diagonal().add_(statistics.ridge * matrix.diagonal().mean())
    if name == "memit":
        prefixes = statistics.prefixes({10: method.prefixes})
        return lambda: reference.memit(lm, chosen, method, plain, prefixes)
    ((path, c),) = plain.items()
    prefixes, inverse = statistics.prefixes({5: method.short_prefixes, 10: method.long_prefixes}), torch.inverse(c)
    return lambda: [reference.rome(lm, request, method, plain[path], prefixes, inverse) for request in chosen]


def _evaluation(bench: Bench, number: int) -> Iterator[Row]:
    """Probes of `number` edited models, two candidates each: all in the same passes, against one text at a time."""
    from tests.editing import reference_evaluate

    lm, chosen = bench.lm, bench.requests[:number]
    deltas = edit(bench, bench.method("rome", steps=2, **FAST), number)
    old = old_answers(bench.requests)
    prompts, answers, rows = [], [], []
    for i, request in enumerate(chosen):
        others = [bench.requests[(i + k) % len(bench.requests)] for k in range(1, PROBES - 1)]
        texts = [*request.filled(), PARAPHRASE.format(request.subject), *(PROMPT.format(o.subject) for o in others)]
        prompts += texts
        answers += [(request.targets[0], old[i])] * len(texts)
        rows += [i] * len(texts)
    few = PROBES * min(EDITS_EVALUATED, number)
    slow = partial(
        reference_evaluate.continuation_logprobs, lm, prompts[:few], answers[:few], deltas[:EDITS_EVALUATED], rows[:few]
    )
    fast = partial(continuation_logprobs, lm, prompts, answers, deltas, rows)
    same = max(float(abs(a - b).max()) for a, b in zip(slow(), fast(), strict=False))  # first calls: not timed
    row = _in_turns(bench, "evaluation", len(prompts), fast, slow, few)
    yield Row(
        row.what, row.number, row.seconds, row.literal, "probe", note=f"{row.note}; differ by at most {same:.1e} nats"
    )


def _share(bench: Bench, number: int) -> Iterator[Row]:
    """Share of the measured matmul peak that the search for v* reaches, in operations of its products."""
    lm, method = bench.lm, bench.method("rome")
    prefixes = bench.statistics.prefixes({5: 10, 10: 10})
    contexts = [build_contexts(lm, r, prefixes, r.lookup) for r in bench.requests[:number]]
    where = Injection.at_site(method.edited_sites(lm, bench.requests[0])[0])
    for label, more in (("", {}), (", fast", FAST)):
        search = ValueSettings(**{"steps": getattr(method, "steps", 20), **more})
        half = uses_half(lm, search.precision) or lm.dtype == torch.bfloat16
        peak = matmul_peak(
            lm.device, torch.bfloat16 if half else torch.float32, size=4096 if lm.device.type == "cuda" else 512
        )
        with FlopCounterMode(display=False) as counter:
            optimise_values(lm, contexts, where, search)
        seconds, _ = timed(lm.device, lambda search=search: optimise_values(lm, contexts, where, search))
        reached = counter.get_total_flops() / seconds
        note = f"{reached / 1e12:.3g} of {peak / 1e12:.3g} TFLOP/s ({'bfloat16' if half else 'float32'})"
        yield Row(f"v* search{label}", number, seconds / number, unit="request", share=reached / peak, note=note)
