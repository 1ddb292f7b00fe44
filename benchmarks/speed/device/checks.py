"""The contract of the methods, their equality with the literal references, and bit-for-bit revert, on a device.

The checks of tests/editing/methods as plain functions: a machine that is lent has no pytest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.device.models import AMPLE
from benchmarks.speed.device.record import Deadline, Row
from editing.delta import Delta, Dense, LowRank, delta_hooks
from editing.eval import continuation_logprobs
from editing.methods import make_method, method_names
from editing.model import LanguageModel, hash_weights
from editing.run import forward, pad
from editing.stats import ModelStatistics, covariances

FAMILIES = ("gpt2", "llama", "gemma2", "falcon", "mistral", "phi")
NEAR = 1e-3  # largest relative distance of what must be equal up to rounding
ROUNDED = 0.05  # the same, where one of the two has covariances read in bfloat16
TEXT = "The dairy food made from milk curds is called"


def checks(device: torch.device, work: Path, families: int, deadline: Deadline) -> Iterator[Row]:
    """All checks, on tiny random models of the first `families` of FAMILIES."""
    from tests.editing.families import tiny_lm

    lm = moved(tiny_lm("gpt2", spread=0.3), device)
    statistics = ModelStatistics(lm, work / "contract", "samples:800", memory=lambda: AMPLE)
    for name in method_names():
        yield from _guarded(f"{name}: contract", lambda name=name: contract(name, lm, statistics))
    for family in FAMILIES[:families]:
        yield from _guarded(f"{family}: equality", lambda family=family: equality(family, device, work / family))
    yield from _guarded("cpu", lambda: same_as_on_the_cpu(lm, statistics.sequences(), work / "cpu"))


def _guarded(what: str, rows: Any) -> Iterator[Row]:
    """The rows of one check, or a row with its error."""
    try:
        yield from rows()
    except Exception as error:
        yield Row(what, ok=False, note=f"{type(error).__name__}: {' '.join(str(error).split()):.300}")


def moved(lm: LanguageModel, device: torch.device) -> LanguageModel:
    return LanguageModel.wrap(lm.module.to(device), lm.tokenizer, name=lm.name)


def contract(name: str, lm: LanguageModel, statistics: ModelStatistics) -> Iterator[Row]:
    """What tests/editing/methods/test_contract.py holds of every method."""
    from tests.editing.worked import CONTRACT_REQUESTS, NOT_MOVING, quick

    method, before, answer = quick(name), hash_weights(lm.module), _logits(lm)
    deltas = method.each(lm, CONTRACT_REQUESTS, statistics)
    joint = method(lm, CONTRACT_REQUESTS[:2], statistics)
    untouched = hash_weights(lm.module) == before and torch.equal(_logits(lm), answer)
    yield Row(f"{name}: the model is left as it was", ok=untouched)
    again = method.each(lm, CONTRACT_REQUESTS, statistics)
    apart = max(map(_distance, deltas, again))
    note = "bit for bit" if apart == 0 else f"not bit for bit: relative distance {apart:.1e}"
    yield Row(f"{name}: same seed, same edit", ok=apart < NEAR, note=note)
    (alone,) = method.each(lm, CONTRACT_REQUESTS[:1], statistics)
    apart = _distance(deltas[0], alone)
    yield Row(f"{name}: edits together are independent", ok=apart < NEAR, note=f"relative distance {apart:.1e}")
    for delta in (deltas[0], joint):
        with delta.applied(lm):
            pass
    yield Row(f"{name}: revert bit for bit", ok=hash_weights(lm.module) == before)
    rows = [2, -1, 0, 1]
    with torch.no_grad():
        batch = pad([lm.encode(TEXT)] * len(rows), lm, side="right")
        hooked = forward(lm, batch, hooks=delta_hooks(lm, deltas, rows))
        assert hooked is not None
        worst = 0.0
        for row, line in zip(rows, hooked, strict=True):
            with (deltas[row] if row >= 0 else Delta({})).applied(lm):
                inside = _logits(lm)[-1]
            worst = max(worst, float((line - inside).abs().max() / inside.abs().max()))
    yield Row(f"{name}: hooks and weights agree", ok=worst < NEAR, note=f"relative difference {worst:.1e}")
    if name in NOT_MOVING:
        return
    moved_up = 0
    for request, delta in zip(CONTRACT_REQUESTS, deltas, strict=True):
        targets = [[t] for t in request.targets]
        pair = [continuation_logprobs(lm, request.filled(), targets, d) for d in ([], [delta])]
        moved_up += sum(float(a[0]) for a in pair[1]) > sum(float(b[0]) for b in pair[0])
    yield Row(
        f"{name}: the target becomes likelier", ok=moved_up == len(deltas), note=f"{moved_up} of {len(deltas)} edits"
    )


def equality(family: str, device: torch.device, work: Path) -> Iterator[Row]:
    """ROME, MEMIT and their descendants, evaluation and covariances beside the literal references."""
    from tests.editing import reference, reference_evaluate, reference_methods
    from tests.editing.worked import LIGHT, REQUESTS, model, ridged

    lm = moved(model(family), device)
    statistics = ModelStatistics(lm, work, "samples:800", memory=lambda: AMPLE)
    ridge = {s.path: ridged(statistics, s) for s in lm.sites("mlp")}
    plain = {s.path: statistics.covariance(s).matrix.double() for s in lm.sites("mlp")}
    pair = (REQUESTS[0], REQUESTS[3])

    def row(what: str, delta: Delta, slow: dict[str, torch.Tensor]) -> Row:
        apart = max(_apart(_dense(delta, name), change) for name, change in slow.items())
        return Row(f"{family}: {what} equals its reference", ok=apart < NEAR, note=f"relative distance {apart:.1e}")

    rome = make_method("rome", preset="published", depth=0.5, steps=6, short_prefixes=2, long_prefixes=2, **LIGHT)
    site = rome.edited_sites(lm, REQUESTS[0])[0]
    deltas = rome.each(lm, REQUESTS[:1], statistics)
    prefixes = statistics.prefixes({5: 2, 10: 2})
    slow = reference.rome(lm, REQUESTS[0], rome, ridge[site.path], prefixes)
    yield row("ROME", deltas[0], {site.weight: slow})
    spread: dict[str, Any] = {"preset": "published", "depth": 0.6, "span": 0.5, "steps": 6, "prefixes": 3}
    ten = statistics.prefixes({10: 3})
    memit = make_method("memit", covariance_weight=5.0, **spread, **LIGHT)
    yield row("MEMIT", memit(lm, pair, statistics), reference.memit(lm, pair, memit, ridge, ten))
    emmet, pmet = make_method("emmet", **spread), make_method("pmet", covariance_weight=5.0, **spread)
    yield row("EMMET", emmet(lm, pair, statistics), reference_methods.emmet(lm, pair, emmet, ridge, ten))
    yield row("PMET", pmet(lm, pair, statistics), reference_methods.pmet(lm, pair, pmet, ridge, ten))
    alpha = make_method("alphaedit", **spread | {"preset": "scale_free", "optimiser": "adam"})
    yield row("AlphaEdit", alpha(lm, pair, statistics), reference_methods.alphaedit(lm, pair, alpha, plain, ten)[0])
    ultra = make_method("ultraedit", depth=0.6, span=0.5, warmup=4)
    yield row("UltraEdit", ultra(lm, pair, statistics), reference_methods.ultraedit(lm, pair, ultra)[0])
    prompts, answers = [TEXT, "I like"] * 2, [["cheese", "bread and more"], ["tea"]] * 2
    rows = [0, 0, -1, -1]
    ours = continuation_logprobs(lm, prompts, answers, deltas, rows)
    literal = reference_evaluate.continuation_logprobs(lm, prompts[:2], answers[:2], deltas, rows[:2])
    apart = max(float(abs(a - b).max()) for a, b in zip(literal, ours, strict=False))
    yield Row(f"{family}: evaluation equals its reference", ok=apart < NEAR, note=f"differ by {apart:.1e} nats")
    sequences = statistics.sequences()[:4]
    one = covariances(lm, sequences, [site])[site.path].matrix
    apart = _apart(one, reference_evaluate.covariance(lm, sequences, site))
    yield Row(f"{family}: covariance equals its reference", ok=apart < NEAR, note=f"relative distance {apart:.1e}")


def same_as_on_the_cpu(lm: LanguageModel, texts: Sequence[Sequence[int]], work: Path) -> Iterator[Row]:
    """A ROME edit made on the device and one made on the CPU, with covariances of the same texts (tokens) and no
    contexts.

    Both would be drawn anew by the other device. A GPU reads the texts in bfloat16, of which ROUNDED is the mark.
    """
    from tests.editing.worked import CONTRACT_REQUESTS, quick

    device, method, corpus = lm.device, quick("rome", short_prefixes=0, long_prefixes=0), work / "corpus.txt"
    corpus.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_text("\n".join(lm.tokenizer.decode(text) for text in texts), encoding="utf-8")

    def edit() -> Delta:
        statistics = ModelStatistics(lm, work, f"text:{corpus}", memory=lambda: AMPLE)
        return method.each(lm, CONTRACT_REQUESTS[:1], statistics)[0]

    here = edit()
    try:
        lm.module.to("cpu")
        there = edit()
    finally:
        lm.module.to(device)
    apart = _distance(here, there)
    yield Row("ROME is the same on the CPU", ok=apart < ROUNDED, note=f"relative distance {apart:.1e}")


def _logits(lm: LanguageModel) -> torch.Tensor:
    with torch.no_grad():
        return lm.module(input_ids=torch.tensor([lm.encode(TEXT)], device=lm.device)).logits[0]


def _distance(one: Delta, two: Delta) -> float:
    """Largest relative distance of two deltas at one place; 0 where they are equal bit for bit."""
    if one.weights != two.weights or one.context != two.context:
        return float("inf")
    distances = [0.0]
    for name in one.weights:
        parts = zip(vars(one.factors[name]).values(), vars(two.factors[name]).values(), strict=True)
        if not all(torch.equal(a, b) for a, b in parts):
            pair = [d.factors[name] for d in (one, two)]
            full = [c.dense() if isinstance(c, LowRank | Dense) else _flat(c) for c in pair]
            distances.append(_apart(*full))
    return max(distances)


def _flat(change: Any) -> torch.Tensor:
    return torch.cat([part.double().flatten() for part in vars(change).values()])


def _dense(delta: Delta, name: str) -> torch.Tensor:
    change = delta.factors[name]
    assert isinstance(change, LowRank | Dense)
    return change.dense()


def _apart(one: torch.Tensor, two: torch.Tensor) -> float:
    one, two = one.double().cpu(), two.double().cpu()
    return float((one - two).norm() / two.norm().clamp(min=1e-30))
