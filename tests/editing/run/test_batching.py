"""Running out of memory in the middle of the work changes how long it takes, not what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from editing.delta.delta import Delta, LowRank
from editing.errors import OutOfMemory
from editing.eval import bits_per_byte, replies, text_drift
from editing.methods.fine_tuning.gradients import read_features
from editing.model.language_model import LanguageModel
from editing.run.batching import BackedOff, Budget, is_out_of_memory
from editing.solve.descent import Descent, TrainingSet, adding, by_owner, descend
from editing.solve.keys import states
from editing.solve.value import Injection, ValueSettings, optimise_values
from editing.stats.covariance import covariances
from editing.stats.sampling import sample_tokens
from editing.text.contexts import build_contexts
from editing.text.requests import EditRequest
from tests.editing.families import SENTENCES, tiny_lm
from tests.tiers import fast_are

pytestmark = pytest.mark.usefixtures("little_to_search")
PLACES = ("France", "Spain", "Italy", "New Zealand", "the river", "the old town")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return tiny_lm("gpt2")


@contextmanager
def short_of_memory(lm: LanguageModel, tokens: int, layer: int = 2) -> Iterator[list[int]]:
    """The MLP of a block raises what a GPU raises when it sees more than so many tokens; yields how often it did."""
    failures: list[int] = []

    def full(module: torch.nn.Module, args: tuple) -> None:
        if args[0][..., 0].numel() > tokens:
            failures.append(args[0][..., 0].numel())
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    handle = lm.module.get_submodule(lm.sites()[layer].path).register_forward_pre_hook(full)
    try:
        yield failures
    finally:
        handle.remove()


def requests() -> list[EditRequest]:
    return [EditRequest(f"r{i}", ("The capital of {} is",), p, ("Rome",)) for i, p in enumerate(PLACES)]


def deltas(lm: LanguageModel) -> list[Delta]:
    draw = torch.Generator().manual_seed(0)
    site = lm.sites()[1]
    pairs = [(torch.randn(site.d_out, 1, generator=draw), torch.randn(site.d_in, 1, generator=draw)) for _ in range(5)]
    return [Delta({site.weight: LowRank(left, right)}) for left, right in pairs]


def answers(lm: LanguageModel) -> Sequence[np.ndarray]:
    prompts, rows = list(SENTENCES), [i % 6 - 1 for i in range(len(SENTENCES))]
    answers = [(" cheese", " the old town", " Wellington")] * len(prompts)
    questions = replies(lm, prompts, answers, 3, deltas(lm), rows)
    logp, said = [r.logp for r in questions], [r.text for r in questions]
    return [*logp, np.array([len(s) for s in said])]


def drift(lm: LanguageModel) -> Sequence[np.ndarray]:
    return text_drift(lm, SENTENCES[:2], deltas(lm))


def bits(lm: LanguageModel) -> Sequence[np.ndarray]:
    return [np.array(bits_per_byte(lm, " ".join(SENTENCES), window=32))]


def keys(lm: LanguageModel) -> Sequence[np.ndarray]:
    prompts = [p for r in requests() for p in build_contexts(lm, r, ("The dog is", "I like"), None).prompts]
    return [v.numpy() for v in states(lm, prompts, [(lm.sites()[3].path, s) for s in ("input", "output")]).values()]


def gradients(lm: LanguageModel) -> Sequence[np.ndarray]:
    contexts = [build_contexts(lm, r, (), None) for r in requests()]
    result = read_features(lm, contexts, [lm.sites()[1]], [[1.0] * len(c.prompts) for c in contexts], "target")[
        lm.sites()[1]
    ]
    return [result.key.numpy(), result.gradient.numpy()]


def values(lm: LanguageModel) -> Sequence[np.ndarray]:
    contexts = [build_contexts(lm, r, (), None) for r in requests()]
    result = optimise_values(lm, contexts, Injection.at_site(lm.sites()[1]), ValueSettings(steps=6))
    return [np.stack([v.delta.numpy() for v in result]), np.array([v.steps for v in result])]


def tuned(lm: LanguageModel) -> Sequence[np.ndarray]:
    site = lm.sites()[1]
    problems = [TrainingSet(r.id, build_contexts(lm, r, ("I like",), None).prompts) for r in requests()]
    hooks = lambda p, owner: [adding(site.path, lambda key: by_owner(key, p[0], owner), owner)]  # noqa: E731
    start = [torch.zeros(len(problems), site.d_out, site.d_in)]
    (change,), _ = descend(lm, problems, site.layer, start, hooks, Descent(4, 1e-3, 0.0))
    return [change.numpy()]


def moments(lm: LanguageModel) -> Sequence[np.ndarray]:
    # the hook that fails sits between two sites: the first has had its product by then
    result = covariances(lm, [lm.encode(s) for s in SENTENCES], [lm.sites()[1], lm.sites()[3]])
    return [c.matrix.numpy() for c in result.values()] + [np.array([c.tokens for c in result.values()])]


@pytest.mark.parametrize(
    ("work", "tokens"),
    [
        (answers, 60), (drift, 60), (bits, 60), (keys, 40), (gradients, 40), (values, 40), (tuned, 60), (moments, 60),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_back_off_changes_nothing(
    lm: LanguageModel, work: Callable[[LanguageModel], Sequence[np.ndarray]], tokens: int
) -> None:
    whole = work(lm)
    with (
        short_of_memory(lm, tokens) as failures,
        pytest.warns(BackedOff, match="does not fit into memory; continuing with"),
    ):
        halved = work(lm)
    assert failures, "nothing ran out of memory, so nothing was tested"
    for one, two in zip(whole, halved, strict=True):
        np.testing.assert_allclose(two, one, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "work", fast_are([answers, tuned], [answers, drift, bits, keys, gradients, values, tuned, moments])
)
@pytest.mark.filterwarnings("ignore::editing.run.batching.BackedOff")
def test_one_sequence_that_does_not_fit_is_one_line(lm: LanguageModel, work: Callable) -> None:
    with short_of_memory(lm, 0), pytest.raises(OutOfMemory, match="a single item; shorten") as error:
        work(lm)
    assert "\n" not in str(error.value)


def test_sampling_that_does_not_fit_is_one_line(lm: LanguageModel) -> None:
    with short_of_memory(lm, 7), pytest.raises(OutOfMemory, match="drawing 8 texts of 3 tokens") as error:
        sample_tokens(lm, 8, 3, seed=0)
    assert "\n" not in str(error.value)


def test_the_smaller_size_stays() -> None:
    budget, calls = Budget(100, "working"), []

    def work(members: list[int]) -> int:
        calls.append(len(members))
        if len(members) > 3:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
            )
        return len(members)

    with pytest.warns(BackedOff):
        done = list(budget.run([10] * 10, work))
    assert calls == [10, 5, 2, 2, 2, 2, 2] and budget.halvings == 2 and budget.tokens == 25
    assert [i for members, _ in done for i in members] == list(range(10))


def test_budget_counts_padding_and_rows() -> None:
    def cut(widths: list[int], **more: Any) -> list[list[int]]:
        return [members for members, _ in Budget(12, "working").run(widths, lambda members: None, **more)]

    assert cut([6, 1, 2, 40]) == [[1, 2], [0], [3]]
    assert cut([3, 3, 3], rows=[1, 3, 2], by_length=False) == [[0, 1], [2]]
    assert cut([]) == []


def test_a_batch_ends_before_much_longer_sequences() -> None:
    def cut(widths: list[int], **more: Any) -> list[list[int]]:
        return [members for members, _ in Budget(40, "working").run(widths, lambda members: None, **more)]

    assert cut([2, 5, 2, 2, 5, 2]) == [[0, 2, 3, 5], [1, 4]]
    assert cut([2, 5, 2, 2, 5, 2], by_length=False) == [[0, 1, 2, 3, 4, 5]]
    assert cut([4, 5, 5, 5]) == [[0, 1, 2, 3]], "little to save"
    assert cut([1, 1, 8]) == [[0, 1, 2]], "too few to be a batch of their own"


def test_other_errors_are_not_taken_for_it() -> None:
    def broken(members: list[int]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        list(Budget(100, "working").run([1, 1], broken))
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**55, dtype=torch.float64)
    assert is_out_of_memory(error.value), "the real message of this torch"
