"""Seeds that some generator would refuse in the middle of the work are refused before it."""

from __future__ import annotations

import pytest

from benchmarks.sweep import Plan
from editing.errors import BadRequest
from editing.methods import make_method
from editing.seeds import GREATEST, check_seed
from editing.stats import check_corpus
from tests.benchmarks.commands.test_cli import refused


@pytest.mark.parametrize("seed", [-1, GREATEST + 1, 1.0, True, "1"])
def test_what_is_no_seed_is_refused(seed) -> None:
    with pytest.raises(BadRequest, match=r"^seed .*: write a whole number from 0 to 2\*\*63 - 1$"):
        check_seed(seed)


def test_the_greatest_seed_is_taken() -> None:
    assert check_seed(GREATEST) == GREATEST
    make_method("rome", seed=GREATEST)


def test_plans_methods_and_commands_refuse_it() -> None:
    with pytest.raises(BadRequest, match="whole number from 0"):
        Plan(ladder="demo", methods=("rome",), kinds=("fact",), limit=1, seed=10**30)
    with pytest.raises(BadRequest, match="at most 2"):
        make_method("rome", seed=10**30)
    line = refused("power", "--rungs", "3", "--seeds", "3", "--sd", ".03", "--depth", ".2", "--seed", "-1")
    assert "seed -1: write a whole number" in line


@pytest.mark.parametrize("number", ["99999999999999999999", "²"])
def test_a_corpus_of_no_number_of_tokens_that_fits_is_refused(number: str) -> None:
    with pytest.raises(BadRequest, match="at most 100,000,000"):
        check_corpus(f"samples:{number}")
