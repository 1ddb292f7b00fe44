"""lm-evaluation-harness on a model in memory: a task of ours, whose answers are known, unedited and edited."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from benchmarks.measure.harness import harness_scores, metric_records, refuse_without_harness
from editing.delta.delta import Delta, LowRank
from editing.errors import BadRequest
from tests.benchmarks.tiny import tiny_model

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{file}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["red", "old"]
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
GROUP = """
group: toy_group
task: [toy_choice, toy_other]
aggregate_metric_list: [{metric: acc, aggregation: mean, weight_by_size: true}]
"""
DOCS = [
    {"question": "The town is", "label": 0},
    {"question": "The cat is", "label": 1},
    {"question": "It is", "label": 0},
]


def toy_tasks(folder: Path) -> tuple[str, str]:
    """Files of a task, and of a group that holds it and another one."""
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, DOCS)) + "\n")
    for name in ("toy_choice", "toy_other"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, file=folder / "test.jsonl"))
    (folder / "toy_group.yaml").write_text(GROUP)
    return str(folder / "toy_choice.yaml"), str(folder / "toy_group.yaml")


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="lm-evaluation-harness is installed")
def test_without_it_there_is_one_line() -> None:
    with pytest.raises(BadRequest, match="needs lm-evaluation-harness; install it"):
        refuse_without_harness()


def test_a_group_has_the_examples_of_its_tasks() -> None:
    """What lm_eval 0.4.13 returns for a group with a score, which holds a task and a group without one."""
    of_task = {"name": "x", "alias": "x", "sample_len": 3, "acc,none": 0.5, "acc_stderr,none": "N/A"}
    inner = {"alias": "inner", "name": "inner"}
    outer = {"alias": "outer", "name": "outer", "sample_len": 7, "acc,none": 0.25, "acc_stderr,none": 0.1}
    done = {
        "results": {"one": of_task, "two": of_task, "inner": inner, "outer": outer | {"sample_count": {"acc,none": 7}}},
        "group_subtasks": {"inner": ["two"], "outer": ["one", "inner"]},
        "versions": {"one": 1.0, "two": 1.0, "outer": "2"},
        "n-samples": {"one": {"original": 9, "effective": 3}, "two": {"original": 4, "effective": 4}},
    }
    records = {r["task"]: r for r in metric_records(done)}
    assert {task: (r["metric"], r["value"], r["n"]) for task, r in records.items()} == {
        "one": ("acc", 0.5, 3),
        "two": ("acc", 0.5, 4),
        "outer": ("acc", 0.25, 7),
    }
    assert records["outer"]["stderr"] == 0.1 and records["outer"]["version"] == "2"
    assert math.isnan(records["one"]["stderr"])


def test_a_task_of_ours(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    task, _ = toy_tasks(tmp_path)
    lm = tiny_model(["The town is red.", "The cat is old."])
    site = lm.sites("mlp")[1]
    draw = torch.Generator().manual_seed(0)
    delta = Delta({site.weight: LowRank(*(5 * torch.randn(d, 1, generator=draw) for d in (site.d_out, site.d_in)))})

    def by_hand() -> float:
        right = 0
        for doc in DOCS:
            scores = []
            for word in (" red", " old"):
                ids = lm.encode(doc["question"] + word)
                with torch.no_grad():
                    logits = lm.module(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
                n = len(ids) - len(lm.encode(doc["question"]))
                scores.append(float(sum(logits[t - 1, ids[t]] for t in range(len(ids) - n, len(ids)))))
            right += int(scores.index(max(scores)) == doc["label"])
        return right / len(DOCS)

    before = {r["metric"]: r for r in harness_scores(lm, [task])}
    assert before["acc"]["value"] == pytest.approx(by_hand()) and before["acc"]["n"] == 3
    with delta.applied(lm):
        after = {r["metric"]: r for r in harness_scores(lm, [task])}
        assert after["acc"]["value"] == pytest.approx(by_hand())
    with pytest.raises(BadRequest, match="has no task"):
        harness_scores(lm, ["no_such_task"])
    with pytest.raises(BadRequest, match="no such task file"):
        harness_scores(lm, [str(tmp_path / "none.yaml")])


def test_a_task_beside_a_group_that_holds_it(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    task, group = toy_tasks(tmp_path)
    lm = tiny_model(["The town is red.", "The cat is old."])
    alone = harness_scores(lm, [task]) + harness_scores(lm, [group])
    together = harness_scores(lm, [task, group, task])
    named = [(r["requested"], r["task"], r["value"], r["n"]) for r in together]
    assert named == [(r["requested"], r["task"], r["value"], r["n"]) for r in alone]
    assert [(Path(asked).stem, name, n) for asked, name, _, n in named] == [
        ("toy_choice", "toy_choice", 3),
        ("toy_group", "toy_choice", 3),
        ("toy_group", "toy_other", 3),
        ("toy_group", "toy_group", 6),
    ]
