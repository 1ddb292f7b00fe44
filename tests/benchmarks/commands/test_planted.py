"""The command `planted` and the page of the proof: on rows with a known answer (fast), on models trained for it (slow)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.commands.proof.__main__ import main
from benchmarks.commands.proof.tables import carries
from cli import cli
from tests.valley.build import edit, frame, probes

LADDER = """title = "two lexicons against one"
[[rung]]
name = "s0"
model = "grown:gpt2-1x64@atlas60"
seeds = [0, 1]
[[rung]]
name = "s100"
model = "grown:gpt2-1x64@atlas60-shared1"
seeds = [0, 1]
"""


def run(folder: Path, levels: tuple[float, ...], noise: float = 0.02) -> Path:
    """A run whose transfer is the planted level, three seeds each, and whose other scores are constant."""
    rng = np.random.default_rng(0)
    parts = []
    for place, level in enumerate(levels):
        for seed in range(3):
            option = f"-switch{level:g}" if level else ""
            name = f"step{place}" + (f"-s{seed}" if seed else "")
            model = f"grown:gpt2-1x64{f'-s{seed}' if seed else ''}@atlas60{option}"
            about = {"rung": name, "rung_index": 3 * place + seed, "model": model, "split": "test"}
            for case in range(8):
                value = float(np.clip(level + 0.2 + noise * rng.normal(), 0, 1))
                measured = probes(efficacy=[1.0], paraphrase=[0.9], cross_lingual_fr=[value], neighbour=[0.9])
                parts.append(edit(f"c{case}", measured, **about))
    (folder / "cells").mkdir(parents=True)
    frame(*parts).to_parquet(folder / "cells" / "all.parquet", index=False)
    about = {
        "expected": 1,
        "fixed_at": "2026-11-30T08:00:00+00:00",
        "commit": "0123456789abcdef",
        "packed": {"rows": 1},
    }
    (folder / "run.json").write_text(json.dumps(about))
    fields = {"metric": "cross_lingual", "axes": ["place_in_ladder"], "agreeing": 1, "min_known": 5}
    from valley.scores import AnalysisPlan, stored

    stored(AnalysisPlan(**fields | {"axes": tuple(fields["axes"]), "draws": 200, "bootstrap": 200}), folder)
    return folder


def test_the_planted_dial_is_read_from_the_names_and_its_trend_is_shown(tmp_path):
    rise = run(tmp_path / "planted-rise", (0.0, 0.1, 0.3, 0.5))
    result = CliRunner().invoke(cli, ["planted", str(rise), "--json"])
    assert result.exit_code == 0, result.output
    lines = pd.DataFrame(json.loads(result.stdout)).set_index("score")
    assert lines.loc["cross_lingual", "switch 0.5"] == pytest.approx(0.7, abs=0.03)
    assert lines.loc["cross_lingual", "page_p"] < 0.01
    assert lines.loc["cross_lingual", "resolution"] == pytest.approx(0.1)
    assert lines.loc["paraphrase", "switch 0"] == pytest.approx(0.9)


def test_the_page_shows_what_was_planted_and_what_was_not_measured(tmp_path):
    run(tmp_path / "runs" / "planted-valley", (0.5, 0.35, 0.2, 0.0, 0.2, 0.35, 0.5))
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["--runs", str(tmp_path / "runs"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "| planted-valley | valley |" in text
    assert "run `saturated` is missing" in text
    assert (out / "verdicts.png").stat().st_size > 0 and "Run `planted-valley`: 2026-11-30, 0123456789ab." in text


def test_an_unfinished_run_is_no_section(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs" / "planted-valley", (0.5, 0.2, 0.5))
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"expected": 10_000}))
    result = CliRunner().invoke(main, ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "run `planted-valley` is missing or unfinished" in (tmp_path / "out" / "README.md").read_text()


def test_a_run_without_a_planted_dial_is_refused_in_one_line(tmp_path):
    flat = run(tmp_path / "flat", (0.1, 0.1, 0.1))
    result = CliRunner().invoke(cli, ["planted", str(flat)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "switch, shared, homonym, people" in result.stderr


@pytest.mark.slow
def test_models_of_one_lexicon_carry_news_and_edits_across(tmp_path):
    """About two minutes: four trainings in the small world, the same edits at each, and four retrained models."""
    ladder = tmp_path / "two.toml"
    ladder.write_text(LADDER)
    runner, out = CliRunner(), tmp_path / "run"
    bench = ["bench", "proof-planted", "--ladder", str(ladder), "--datasets", "planned_edits:1-rung"]
    result = runner.invoke(cli, [*bench, "--out", str(out)])
    assert result.exit_code == 0, result.output
    carry = carries(["grown:gpt2-1x64@atlas60", "grown:gpt2-1x64@atlas60-shared1"])["carry"]
    assert carry[1] > carry[0] + 0.3  # the truth that was planted
    result = runner.invoke(cli, ["planted", str(out), "--min-known", "3", "--json"])
    lines = pd.DataFrame(json.loads(result.stdout)).set_index(["method", "score"])
    transfer = lines.loc[("rome", "cross_lingual")]
    assert transfer["shared 1"] > transfer["shared 0"] + 0.2  # what the instrument measures of it
    result = runner.invoke(cli, ["oracle", str(out), "--scope", "one", "--json"])
    retrained = pd.DataFrame(json.loads(result.stdout)).groupby("rung")["news_other_language_oracle"].mean()
    assert retrained["s100"] > retrained["s0"] + 0.3  # what retraining says of it


def test_the_page_of_the_proof_keeps_sections_whose_runs_are_missing(tmp_path: Path) -> None:
    """The committed page, written again where there is no run, is the same; an empty folder says "not measured"."""
    committed = (Path(__file__).parents[3] / "results" / "proof" / "README.md").read_text()
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "README.md").write_text(committed)
    for folder in ("page", "empty"):
        done = CliRunner().invoke(main, ["--runs", str(tmp_path / "none"), "--out", str(tmp_path / folder)])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "page" / "README.md").read_text() == committed
    assert (tmp_path / "empty" / "README.md").read_text().count("Not measured: run") == committed.count("\n## ") - 1
