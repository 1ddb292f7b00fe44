"""What a step of the search for v* takes on a GPU, counted on the CPU as on a simulated device: how often the host would
wait, and how many kernels it would launch. Neither may grow with the number of requests.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from editing.solve.value import Injection, ValueSettings, optimise_values
from editing.text.contexts import build_contexts
from editing.text.requests import EditRequest
from tests.editing.families import tiny_lm
from tests.tiers import fast_are

PREFIXES = ("The river runs through the old town", "Zoe likes tea", "I", "Because the dog barks at the baker")
# What makes the host wait until the device has computed a value or a shape. `.numpy()` works on the host alone.
WAITS = {
    "cpu", "item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "equal", "allclose",
    "masked_select", "unique", "unique_consecutive", "bincount", "repeat_interleave",
}  # fmt: skip
# Operations that launch nothing: they describe memory anew, or draw on the host which contexts a step reads.
FREE = {
    "view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "unsqueeze", "squeeze", "detach",
    "alias", "split", "split_with_sizes", "as_strided", "_reshape_alias", "empty", "empty_like", "lift_fresh", "unbind", "randperm",
}  # fmt: skip


class Waits(TorchFunctionMode):
    """Counts calls that a device would have to finish its work for; indexing by a mask is one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        index = args[1] if name in ("__getitem__", "__setitem__") else None
        parts = index if isinstance(index, tuple) else (index,)
        if name in WAITS or any(isinstance(p, torch.Tensor) and p.dtype == torch.bool for p in parts):
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


class Launches(TorchDispatchMode):
    """Counts operations that would start a kernel, those of the backward pass included."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ not in FREE
        return func(*args, **(kwargs or {}))


def requests(number: int) -> list[EditRequest]:
    names = ("Brie", "Gouda", "tea", "Zoe", "France", "Spain", "Italy", "New Zealand")
    return [EditRequest(str(i), ("{} comes from",), names[i % 8], ("Italy and Rome",)) for i in range(number)]


def per_step(family: str, number: int, optimiser: str, contexts_per_step: int) -> tuple[float, float, Counter]:
    """Waits and launches of one step, from two searches that differ in their number of steps alone."""
    lm = tiny_lm(family)
    contexts = [build_contexts(lm, r, PREFIXES) for r in requests(number)]
    where = Injection.at_site(lm.sites("mlp")[1])
    counted = []
    for steps in (3, 5):
        settings = ValueSettings(optimiser=optimiser, steps=steps, stop_loss=0.0, contexts_per_step=contexts_per_step)
        with Waits() as waits, Launches() as launches:
            optimise_values(lm, contexts, where, settings)
        counted.append((waits.counts, launches.count))
    (few, launched_few), (many, launched_many) = counted
    more = many - few
    return more.total() / 2, (launched_many - launched_few) / 2, more


@pytest.mark.parametrize(
    ("family", "optimiser", "contexts_per_step"),
    fast_are(
        [("llama", "adam", 2), ("gpt2", "gauss_newton", 2)],
        [("gpt2", "adam", 0), ("llama", "adam", 2), ("gpt2", "gauss_newton", 2), ("llama", "gauss_newton", 0)],
    ),
)
def test_a_step_waits_twice_at_most(family: str, optimiser: str, contexts_per_step: int) -> None:
    waits, launches, what = per_step(family, 2, optimiser, contexts_per_step)
    more_waits, more_launches, _ = per_step(family, 6, optimiser, contexts_per_step)
    assert 1 <= waits <= 2, what
    assert launches <= 400
    assert more_waits == waits and abs(more_launches - launches) <= 2, "they grow with the requests"


def test_the_counters_count() -> None:
    with Waits() as waits, Launches() as launches:
        x = torch.ones(3) * 2
        assert bool((x > 1).all())
        x[x > 1] = 0
        x.view(3, 1).tolist()
    assert waits.counts == {"__bool__": 1, "__setitem__": 1, "tolist": 1}
    assert launches.count >= 4
