"""Sequential edits on a small model: the table, the picture, and the model as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from benchmarks.datasets.registry import build_cases
from benchmarks.live.sequence import (
    LEAST_DRIFT,
    _Checkpoints,
    _read,
    checkpoints,
    edit_in_sequence,
    run_sequences,
    sequence_chart,
    write_sequences,
)
from benchmarks.measure import drift_texts, measure, measure_base, own_wordings
from benchmarks.models import load_model
from cli import cli
from editing.errors import BadData, BadRequest
from editing.eval import text_drift
from editing.methods import apply_sequence, make_method
from editing.model.language_model import hash_weights
from editing.stats.statistics import ModelStatistics
from tests.benchmarks.tiny import facts, tiny_model, world


def test_checkpoints_are_log_spaced() -> None:
    assert checkpoints(1) == (1,)
    assert checkpoints(40) == (1, 3, 10, 32, 40)
    assert checkpoints(1000) == (1, 3, 10, 32, 100, 316, 1000)


def test_a_sequence_is_looked_at_and_taken_back(tmp_path: Path) -> None:
    cases, lm = build_cases(f"fact_file:{world().facts}", "fact"), load_model(world().model)
    edited, kept = cases[:4], cases[4:]
    before = hash_weights(lm.module)
    settings = {"lookup": "last", "depth": 0.9, "covariance_weight": 1.0, "clamp": 4.0, "steps": 6, "prefixes": 1}
    result = edit_in_sequence(
        lm, "memit", settings, edited, kept, ModelStatistics(lm, tmp_path, "samples:2000"), batch=2
    )
    assert result.about["restored"] and hash_weights(lm.module) == before
    wide = result.rows.pivot_table(index="edits", columns="score", values="value")
    assert list(wide.index) == [0, 2, 4]  # 1 and 3 are reached in the middle of a batch
    assert float(wide["efficacy, all so far"][2]) > 0 and float(wide["drift en, nats"][4]) > 0
    shares = result.rows[result.rows["low"].notna()]
    assert (shares["low"] <= shares["value"]).all() and (shares["value"] <= shares["high"]).all()
    paths = write_sequences({"memit": result}, tmp_path / "out", "a title")
    assert [p.name for p in paths] == ["sequence.csv", "sequence.json", "sequence.png"]
    assert set(pd.read_csv(paths[0])["method"]) == {"memit"} and paths[2].read_bytes()[:4] == b"\x89PNG"


def test_a_model_that_gives_no_numbers_has_no_new_answer() -> None:
    """Edits may blow up a model; numpy names the first candidate as the largest of NaNs."""
    lm = load_model(world().model)
    cases = build_cases(f"fact_file:{world().facts}", "fact")
    measured = _Checkpoints(lm, cases[2:], cases[:2], 1, None)
    with torch.no_grad():
        weight = lm.module.get_output_embeddings().weight[0]
        before = weight.clone()
        weight.fill_(torch.nan)
        measured._answers(4)
        weight.copy_(before)
    shares = {row["score"]: row["value"] for row in measured.rows if "low" in row}
    assert len(shares) >= 4 and set(shares.values()) == {0.0}


def test_the_picture_has_a_panel_per_share_and_drift_and_bears_what_blew_up() -> None:
    lines = [
        {"method": method, "edits": edits, "score": score, "value": value, "low": low, "high": low, "n": n}
        for method in ("rome", "memit")
        for edits in (0, 1, 10)
        for score, value, low, n in (("efficacy, all so far", 0.5, 0.4, 9), ("drift en, nats", float("inf"), float("nan"), 1),
                                     ("bits per byte en", 2.0, float("nan"), 1))
    ]  # fmt: skip
    efficacy, drift = sequence_chart(pd.DataFrame(lines), "a title").to_dict()["concat"]
    assert [panel["title"] for panel in (efficacy, drift)] == ["efficacy, all so far", "drift en, nats"]
    marks = [[layer["mark"]["type"] for layer in panel["layer"]] for panel in (efficacy, drift)]
    assert marks == [["area", "line", "circle"], ["line", "circle"]], "a drift has no interval"
    assert drift["layer"][0]["encoding"]["y"]["scale"]["domain"] == [0, LEAST_DRIFT]


def test_nothing_known_apart_is_refused(tmp_path: Path) -> None:
    cases = [c for c in build_cases("world_facts", "fact") if c.relation == "capital"][:6]
    lm = tiny_model([c.probes[0].prompt for c in cases])
    with pytest.raises(BadRequest, match="knows none of the facts kept apart"):
        edit_in_sequence(lm, "rome", {}, cases[:3], cases[3:], ModelStatistics(lm, tmp_path, "samples:400"))


def test_too_many_edits_are_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        BadRequest, match=r"has \d+ facts, \d+ of them kept apart .*; 99999 edits need more; lower --edits"
    ):
        run_sequences("no/such-model", ["rome"], 99999, tmp_path)
    (tmp_path / "one.json").write_text(json.dumps(facts()[:1]))
    with pytest.raises(BadRequest, match=r"has 1 facts, 1 of them kept apart .*; add facts about a second subject"):
        run_sequences("no/such-model", ["rome"], 1, tmp_path, dataset=str(tmp_path / "one.json"))
    with pytest.raises(BadData, match=r"one.json: cannot write there"):
        run_sequences("no/such-model", ["rome"], 1, tmp_path / "one.json")
    done = CliRunner().invoke(cli, ["sequence", "--model", "x", "--methods", "rom", "--out", str(tmp_path)])
    assert done.exit_code == 2 and "rom" in done.output


@pytest.mark.slow
def test_methods_that_are_there_are_not_run_again(tmp_path: Path) -> None:
    cases = [c for c in build_cases("world_facts", "fact") if c.relation == "continent"]
    answers = [(p, p.candidates[p.old]) for c in cases for p in c.probes if p.lang == "en" and p.old is not None]
    lm = tiny_model([f"{p.prompt} {answer}." for p, answer in answers], steps=200, width=64)
    lm.module.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    said: list[str] = []
    few = {"steps": 2, "prefixes": 1, "short_prefixes": 1, "long_prefixes": 0}
    run = lambda methods, edits: run_sequences(  # noqa: E731
        str(tmp_path / "model"), methods, edits, tmp_path / "out", settings=few, say=said.append
    )
    run(["memit"], 3)
    first = (tmp_path / "out" / "sequence.csv").read_text()
    run(["memit", "emmet"], 3)
    assert "memit: in" in said[1] and said[2].startswith("emmet: 3 edits")
    assert (tmp_path / "out" / "sequence.csv").read_text().startswith(first)
    run(["memit"], 2)  # another sequence: made anew
    assert said[-1].startswith("memit: 2 edits")
    with pytest.raises(BadData, match=r"holds a sequence of another model, .*name another folder"):
        run_sequences(world().model, ["memit"], 2, tmp_path / "out")
    table = tmp_path / "out" / "sequence.csv"
    table.write_text(table.read_text().partition("\n")[0] + "\n")
    with pytest.raises(BadData, match=r"damaged \(sequence\.csv has no rows of memit after 2 edits\); delete it"):
        run(["memit"], 2)
    (tmp_path / "out" / "sequence.json").write_text("{")
    with pytest.raises(BadData, match=r"sequence\.json: damaged"):
        run(["memit"], 2)


def test_a_failed_method_is_in_the_exit_code(tmp_path: Path) -> None:
    """It was 0 where another method had gone through."""
    model = Path(__file__).resolve().parents[3] / "results" / "ladders" / "grown-quick" / "rungs" / "gpt2-1x64"
    options = ["--methods", "ft_m,lre", "--set", "lookup=subject_last", "--edits", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(cli, ["sequence", "--model", str(model), *options])
    assert done.exit_code == 1 and "lre: failed: " in done.output and "sequence.csv" in done.output


def test_a_record_without_its_model_is_damaged(tmp_path: Path) -> None:
    """It ended in a KeyError."""
    (tmp_path / "sequence.csv").write_text("method,edits,score,value\nmemit,2,x,1\n")
    for about, what in (({"edits": 2, "key": "k", "model": "m"}, "memit has no model_hash"), ("none", "sequence.json")):
        (tmp_path / "sequence.json").write_text(json.dumps({"memit": about}))
        with pytest.raises(BadData, match=what):
            _read(tmp_path)


def test_edits_in_context_are_evaluated_behind_their_context(tmp_path: Path) -> None:
    """The text of IKE is in no weight: it was left out, so that nothing was edited and all untouched facts stayed."""
    lm, cases = load_model(world().model), build_cases(f"fact_file:{world().facts}", "fact")
    edited, kept = [own_wordings(c) for c in cases[:2]], [own_wordings(c) for c in cases[2:]]
    statistics = ModelStatistics(lm, tmp_path, "identity")
    rows = edit_in_sequence(lm, "ike", {}, edited, kept, statistics).rows
    last = rows[rows["edits"] == 2].set_index("score")["value"]
    whole = apply_sequence(lm, make_method("ike"), [case.request for case in edited], statistics)
    assert whole.context and not whole.factors
    bits = text_drift(lm, [drift_texts()["en"][0]], [whole])[1]
    assert last["bits per byte en"] == pytest.approx(bits[0, 0], abs=1e-6)
    base = measure_base(lm, kept)
    said = measure(lm, kept, base.priors, [whole], [0] * len(kept), 0)
    stayed = [
        int((answer.logp - prior).argmax()) == probe.old
        for case, answers, priors in zip(kept, said, base.priors, strict=True)
        for probe, answer, prior in zip(case.probes, answers, priors, strict=True)
        if probe.kind == "efficacy"
    ]
    assert all(base.known) and last["untouched facts"] == sum(stayed) / len(stayed)
