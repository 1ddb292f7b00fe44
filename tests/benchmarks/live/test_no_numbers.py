"""What is no number (NaN) stays one: it is never an interval, a zero or the best value."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.live.chat import summary as chat_summary
from benchmarks.live.defaults.search import worth
from benchmarks.live.reproduce import largest_difference
from benchmarks.live.retarget.run import share
from benchmarks.oracle import Distances, jensen_shannon, score
from benchmarks.oracle.score import harm
from editing.delta import Delta, Dense, export_peft
from editing.errors import BadRequest
from editing.stats import cosine_warning
from tests.editing.families import tiny_lm


def test_an_edit_that_gives_no_numbers_has_no_oracle_score() -> None:
    apart = jensen_shannon(np.array([0.9, 0.1]), np.full(2, nan))
    assert isnan(apart)
    value, reason = score(Distances(0.3, apart, 0.05, 3))
    assert isnan(value) and reason
    assert isnan(harm(Distances(0.3, nan, 0.05, 3)))


def test_a_change_without_numbers_is_not_reproduced() -> None:
    good, bad = Delta({"a.weight": Dense(torch.ones(2, 2))}), Delta({"a.weight": Dense(torch.full((2, 2), nan))})
    assert largest_difference(good, bad) == float("inf")


def test_what_chat_cannot_measure_has_no_interval() -> None:
    kinds = ["efficacy", "paraphrase", "cross_lingual", "neighbour", "same_subject"]
    edits, placebos = (pd.DataFrame({kind: np.full(6, v) for kind in kinds}) for v in (1.0, 0.0))
    edits["efficacy"] = nan
    lines = chat_summary({"plain": (edits, placebos), "chat": (edits, placebos)}, "plain", 0)
    for line in lines:
        if line["score"] in ("efficacy", "net efficacy", "composite", "survives efficacy"):
            assert all(isnan(line[key]) for key in ("value", "low", "high")), line


def test_a_margin_that_is_no_number_is_no_standstill() -> None:
    table = pd.DataFrame({"distance": [2.0, 2.0], "margin_before": [-1.0, -1.0], "margin_after": [1.0, nan]})
    assert isnan(share(table)) and isnan(share(table.assign(margin_after=nan)))


def test_an_efficacy_that_is_no_number_is_worth_nothing_known() -> None:
    assert isnan(worth(pd.Series({"efficacy": nan, "paraphrase": 0.8, "neighbour": 0.8})))


def test_a_dense_change_without_numbers_is_no_adapter(tmp_path: Path) -> None:
    lm = tiny_lm("llama")
    path = f"{lm.layout.blocks[1]}.mlp.down_proj"
    change = Dense(torch.full(tuple(lm.submodule(path).weight.shape), nan))
    with pytest.raises(BadRequest, match="NaN"):
        export_peft(Delta({f"{path}.weight": change}), lm, tmp_path / "peft")


def test_a_cosine_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadRequest):
        cosine_warning("r", nan, 1.0)
