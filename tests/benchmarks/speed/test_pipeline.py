"""The pipeline's benchmark accounts for all of the time, and its evaluation beside EasyEdit's asks the same and finds
the same."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.cases import Case
from benchmarks.datasets.common_probes import with_common_probes
from benchmarks.measure.answers import measure, measure_base, measure_drift, own_wordings
from benchmarks.measure.records import probe_rows
from benchmarks.speed import report as speed
from benchmarks.speed.evaluation import (
    FREE_TEXT,
    agreement,
    ask_short,
    beside,
    bootstrap_ratio,
    by_kind,
    short_of,
    six_of,
)
from benchmarks.speed.peers.evaluation import PeerEvaluation, read_found
from benchmarks.speed.pipeline import SHARED, pipeline
from benchmarks.speed.pipeline_table import COLUMNS, read_lines, section, write_lines
from benchmarks.speed.readme import write_readme
from benchmarks.speed.stages import facts
from benchmarks.watch import Spent, Watch
from editing.cache import cache_root
from editing.delta.delta import Delta, LowRank
from editing.errors import BadData, BadRequest
from editing.model.language_model import LanguageModel
from tests.benchmarks.tiny import World, world
from tests.editing.families import random_module, tiny_lm, tokenizer
from tests.tiers import fast_are

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def edits(lm: LanguageModel, number: int) -> list[Delta]:
    """Random rank-one changes, large enough to change answers."""
    site, draw = lm.sites("mlp")[0], torch.Generator().manual_seed(0)
    pair = lambda: (torch.randn(n, 1, generator=draw) for n in (site.d_out, site.d_in))  # noqa: E731
    return [Delta({site.weight: LowRank(*pair())}) for _ in range(number)]


def some(number: int) -> Sequence[Case]:
    return with_common_probes(facts(number))


def test_a_watch_counts_every_stage_once() -> None:
    watch, began = Watch(), Spent.now()
    with watch("whole"):
        for _ in range(2):
            with watch("part"), watch("inner"):
                sum(i * i for i in range(200_000))
        with pytest.raises(RuntimeError), watch("part"):
            raise RuntimeError
    whole = Spent.now() - began
    assert list(watch.spent) == [("whole", "part", "inner"), ("whole", "part"), ("whole",)]
    assert all(s.cpu >= 0 and s.wall >= 0 for s in watch.spent.values())
    assert sum(s.cpu for s in watch.spent.values()) <= whole.cpu  # nothing is counted twice
    inner = watch.spent["whole", "part", "inner"].cpu
    assert inner > watch.spent["whole", "part"].cpu  # nor in the stage around it


@pytest.mark.slow
def test_the_stages_of_a_sweep_are_all_of_it(tiny: World) -> None:
    before = cache_root()
    table = pipeline(tiny.model, ("rome", "ike"), 4, 2, "cpu", f"fact_file:{tiny.facts}")
    assert cache_root() == before
    assert table.groupby("round")["share"].sum().tolist() == pytest.approx([1, 1])
    assert table["cpu_seconds"].ge(0).all() and table["wall_seconds"].ge(0).all()
    for _, part in table.groupby("round"):
        assert {"loading", "strength", "known facts", "unedited answers", "statistics"} <= set(
            part.loc[part["method"].eq(""), "what"]
        )
        assert set(part.loc[part["method"].eq(""), "what"]) <= set(SHARED)
        for method in ("rome", "ike"):
            own = part[part["method"].eq(method)]
            assert set(own["what"]) == {"edit", "evaluation", "rows", "writing"}
            assert own["cases"].between(2, 4).all() and own["questions"].gt(own["cases"]).all()


def test_a_pipeline_without_a_known_fact_is_refused(tiny: World) -> None:
    with pytest.raises(BadRequest, match="knows none of 2 facts; raise --cases"):
        pipeline(str(tiny.folder / "one"), ("ike",), 2, 1, "cpu", "world_facts")


@pytest.mark.slow
def test_a_pipeline_of_a_method_that_reaches_nothing_is_refused(tiny: World) -> None:
    """With one block, no token of a target depends on the subject's last token."""
    with pytest.raises(BadRequest, match=r"no edit of rome was evaluated .*leave it out of --methods"):
        pipeline(str(tiny.folder / "one"), ("rome",), 4, 1, "cpu", f"fact_file:{tiny.facts}")


@pytest.mark.slow
def test_the_kinds_of_an_evaluation_share_all_of_it() -> None:
    lm, cases = tiny_lm("gpt2"), some(2)
    parts = by_kind(lm, cases, measure_base(lm, cases), edits(lm, 2), rounds=2)
    assert sum(p.share for p in parts) == pytest.approx(1)
    kinds = {p.kind for case in cases for p in case.probes}
    assert {p.kind for p in parts} == kinds | {FREE_TEXT}
    questions = sum(p.questions for p in parts if p.kind != FREE_TEXT)
    assert questions == sum(len(case.probes) for case in cases)


@pytest.mark.parametrize("family", fast_are(["gpt2"], ["gpt2", "llama"]))
def test_the_short_questions_find_what_the_rows_hold(family: str) -> None:
    """`rewrite_acc`, `rephrase_acc` and `locality_acc` of valley/scores/published are means of these two columns."""
    lm, cases = tiny_lm(family), some(2)
    deltas, base = edits(lm, 2), measure_base(lm, cases)
    shorts = [short_of(case) for case in cases]
    after, before = ask_short(lm, shorts, deltas), ask_short(lm, shorts, [Delta({})] * 2)
    answers, drift = measure(lm, cases, base.priors, deltas), measure_drift(lm, cases, deltas)
    for i, case in enumerate(cases):
        rows = pd.DataFrame(probe_rows(case, base.answers[i], base.priors[i], answers[i], drift[i])).iloc[six_of(case)]
        assert rows["probe"].value_counts().to_dict() == {"efficacy": 1, "paraphrase": 2, "neighbour": 3}
        order = {row["prompt"]: row for _, row in rows.iterrows()}
        own = [order[prompt] for prompt, _ in shorts[i].questions]
        assert [row["token_accuracy_after"] for row in own[:3]] == list(after[i].accuracy[:3])
        agree = [np.mean(np.equal(a, b)) for a, b in zip(after[i].tokens[3:], before[i].tokens[3:], strict=True)]
        assert [row["token_agreement"] for row in own[3:]] == agree


def test_a_case_without_six_short_prompts_is_refused() -> None:
    case = facts(1)[0]
    bare = replace(case, probes=tuple(p for p in case.probes if p.kind != "neighbour"))
    with pytest.raises(BadRequest, match="fewer than two paraphrases or three neighbours"):
        short_of(bare)


@pytest.mark.skipif(not os.environ.get("EASYEDIT_HOME"), reason="EASYEDIT_HOME names no checkout of EasyEdit")
def test_the_peer_finds_the_same_token_accuracies(tmp_path: Path) -> None:
    random_module("llama", len(tokenizer()), spread=0.1).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    lm = LanguageModel.wrap(AutoModelForCausalLM.from_pretrained(tmp_path), tokenizer(), name="tiny")
    cases, deltas = some(2), edits(lm, 2)
    shorts = [replace(short_of(case), target="x y z") for case in cases]
    peer, result = PeerEvaluation(lm), []
    for short, delta in zip(shorts, deltas, strict=True):
        with delta.applied(lm):
            result.append(read_found(peer(short)))
    same = "same token accuracy 6/6, same locality tokens 6/6"
    assert agreement(result, ask_short(lm, shorts, deltas)) == same
    sides = list(beside(lm, cases, measure_base(lm, cases), deltas, rounds=1))
    assert [s.questions for s in sides] == [12, 12, 12, sum(len(c.probes) for c in cases)]
    assert sides[1].note == same and all(s.low <= s.cpu_ratio <= s.high for s in sides)


def test_a_peer_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EASYEDIT_HOME", raising=False)
    lm = tiny_lm("llama")
    with pytest.raises(BadRequest, match="not loaded from a transformers folder"):
        PeerEvaluation(lm)
    lm.module.save_pretrained(tmp_path)
    lm.module.name_or_path = str(tmp_path)
    with pytest.raises(BadData, match="EASYEDIT_HOME: not set"):
        PeerEvaluation(lm)


def test_known_facts_do_not_hang_on_free_text(tiny: World) -> None:
    """The filter leaves the greedy continuations out; every number behind its decision keeps its bits."""
    lm = tiny_lm("gpt2")
    cases = [own_wordings(case) for case in some(4)]
    whole, bare = measure_base(lm, cases), measure_base(lm, cases, new_tokens=0)
    assert whole.known == bare.known
    for a, b in zip(whole.answers, bare.answers, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x is not None and y is not None and np.array_equal(x.logp, y.logp) and x.text and not y.text


def test_an_interval_holds_its_ratio() -> None:
    assert bootstrap_ratio([4.0, 8.0], [2.0, 4.0]) == (2.0, 2.0, 2.0)
    ratio, low, high = bootstrap_ratio([4.0, 9.0, 6.0], [2.0, 3.0, 4.0])
    assert 1.5 <= low <= ratio <= high <= 3 and low < high


def test_the_page_shows_what_is_in_the_file(tmp_path: Path) -> None:
    line = dict.fromkeys(COLUMNS, float("nan")) | dict.fromkeys(("note", "method"), "")
    line |= {"model": "m", "device": "d", "torch": "2", "commit": "c", "cases": 2, "questions": 12, "wall_seconds": 3.0}
    stages = [("", "loading", 1.0, 0.1), ("rome", "edit", 4.0, 0.4), ("rome", "evaluation", 5.0, 0.5)]
    lines = [
        line | {"table": "pipeline", "round": 1, "method": m, "what": w, "cpu_seconds": s, "share": share}
        for m, w, s, share in stages
    ]
    again = {"table": "pipeline", "round": 2, "method": "rome", "what": "edit", "cpu_seconds": 5.0, "share": 1.0}
    lines.append(line | again)
    lines.append(line | {"table": "kinds", "method": "rome", "what": "efficacy", "cpu_seconds": 1.0, "share": 1.0})
    ratios = {"cpu_ratio": 2.5, "low": 2.0, "high": 3.0, "wall_ratio": 2.4, "rounds": 3, "cpu_seconds": 1.0}
    lines.append(line | ratios | {"table": "beside", "method": "rome", "what": "ours"})
    write_lines(tmp_path, pd.DataFrame(lines, columns=list(COLUMNS)))
    write_readme(tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "2 edits (2 facts, 1 methods) in 10 CPU-seconds (9 s wall): **0.2 cases/s, 1.2 probes/s**" in page
    assert "Round 2, with strength and statistics on disk: 5 CPU-seconds (3 s wall), 0.4 cases/s." in page
    assert "| rome | 2 | 2.5 | 0 | 56% | 0.222 | 1.33 | 0.2 |" in page
    assert "| efficacy | 6.0 | 0.5 | 100.0% |" in page
    assert "| ours | 6 | 0.5 | 1.5 | 2.50 | 2.00-3.00 | 2.40 | 83 |  |" in page
    record = {"model": "m", "parameters": 1e6, "layers": 2, "device": "d", "requests": 1, "seconds are": "CPU"}
    record |= {"versions": {"torch": "2"}, "ratios": []}
    speed._write(tmp_path, record)  # the other command keeps the section
    assert json.loads((tmp_path / "speed.json").read_text()) == record
    assert (tmp_path / "README.md").read_text().endswith("\n".join(section(tmp_path)) + "\n")
    (tmp_path / "pipeline.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadData, match="has other columns"):
        read_lines(tmp_path)
