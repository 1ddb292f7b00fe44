"""Duplicates and contradictions among edits that are made together."""

from __future__ import annotations

import json

from benchmarks.datasets import check_file
from benchmarks.sweep import Plan
from benchmarks.sweep.pools import pools
from editing.text import EditRequest, edit_set


def request(subject: str, target: str, prompt: str = "The capital of {} is") -> EditRequest:
    return EditRequest("x", (prompt,), subject, (target,))


def test_contradictions_duplicates_and_overwritten_edits_are_counted_apart():
    requests = [request("France", "Rome"), request("France", "madrid"), request("Japan", "Oslo")]
    requests += [request("japan", "Oslo"), request("France", "Madrid"), request("Peru", "Rome")]
    result = edit_set(requests)
    assert (result.excluding, result.duplicates, result.overwritten) == ((0, 1, 4), (3, 4), (0,))
    assert result.notes() == (
        "3 of 6 requests exclude each other: same prompt, other target",
        "2 of 6 requests repeat an earlier request",
    )
    assert not edit_set(requests[4:]).notes()
    assert not edit_set([request("France", "Rome"), request("France", "euro", "The currency of {} is")]).notes()


def test_a_check_of_a_file_and_a_sweep_say_so(tmp_path):
    path = tmp_path / "facts.json"
    facts = [("France", "Rome"), ("France", "Madrid"), ("Japan", "Oslo"), ("Japan", "Oslo")]
    path.write_text(json.dumps([{"prompt": "The capital of {} is", "subject": s, "target": t} for s, t in facts]))
    about = check_file(str(path))
    name = f"fact_file:{path}"
    plan = Plan("demo", ("rome",), ("fact",), 10, 0, (name,))
    assert [line for line in pools(plan, plan.choices(), [""])[0][1] if "requests" in line] == [
        f"{name}: 2 of 4 requests exclude each other: same prompt, other target",
        f"{name}: 1 of 4 requests repeat an earlier request",
    ]
    assert (about["excluding"], about["duplicates"]) == (2, 1)
    assert [line for line in about["account"] if "language" not in line] == [
        "fact_file: 2 of 4 requests exclude each other: same prompt, other target",
        "fact_file: 1 of 4 requests repeat an earlier request",
    ]
