"""The table of a grown ladder: means over seeds, their spread, files; and rungs exported in bfloat16."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.grown.corpus import KINDS
from benchmarks.grown.rungs import read_card
from benchmarks.ladders.export import export_ladder
from benchmarks.ladders.ladder import load_ladder
from benchmarks.ladders.table import (
    CARD,
    RECALLED,
    STRENGTH,
    by_size,
    format_sizes,
    ladder_table,
    write_table,
)
from benchmarks.ladders.table_chart import table_chart
from benchmarks.models import load_model
from editing.errors import BadData

ONE = (
    '[[rung]]\nname = "a"\nmodel = "grown:gpt2-1x32@batch8192"\nseeds = [0, 1]\n[[rung]]\nname = "b"\nmodel = "gpt2"\n'
)


def made_up(values: dict[str, list[float]]) -> pd.DataFrame:
    """Rungs of sizes a, a, b whose every number is in `values`, by size."""
    records = []
    for size, numbers in values.items():
        for seed, number in enumerate(numbers):
            record: dict = {"rung": f"{size}-s{seed}", "size": size, "seed": seed}
            record |= dict.fromkeys((*CARD, *STRENGTH, "parameters_without_embeddings", "n_layers"), number)
            record |= {"device": "cpu", "weights": "0"}
            record |= {f"{w}_{k}_{lang}": number for w in ("recall", "chance") for k in KINDS for lang in ("en", "fr")}
            records.append(record)
    return pd.DataFrame(records)


def test_means_and_spread_over_seeds(tmp_path: Path) -> None:
    table = made_up({"small": [0.1, 0.3], "large": [0.8]})
    sizes = by_size(table).set_index("size")
    assert list(sizes.index) == ["small", "large"] and list(sizes["seeds"]) == [2, 1]
    assert sizes.loc["small", "recall_seen_en"] == pytest.approx(0.2)
    assert sizes.loc["small", "sd_recall_seen_en"] == pytest.approx(0.02**0.5)
    assert pd.isna(sizes.loc["large", "sd_recall_seen_en"])
    lines = format_sizes(table).splitlines()
    assert "0.20/0.20 ± 0.14" in lines[2] and "0.80/0.80 |" in lines[3]
    write_table(table, "mine", tmp_path)
    again = pd.read_csv(tmp_path / "table.csv")
    assert list(again["rung"]) == list(table["rung"]) and again["recall_seen_en"].tolist() == [0.1, 0.3, 0.8]
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    assert lines[2] in (tmp_path / "README.md").read_text()


def test_the_picture_names_what_it_draws() -> None:
    table = made_up({"small": [0.1, 0.3], "large": [0.8]})
    table[["recall_multi_hop_en", "recall_multi_hop_fr"]] = float("nan")
    bits, recall = table_chart(table, RECALLED).to_dict()["hconcat"]
    lines = [
        bits["layer"][0],
        recall["layer"][0]["layer"][0],
    ]  # recall has the rule of chance beside them
    names = [line["encoding"]["color"]["scale"]["domain"] for line in lines]
    assert names == [["English", "French"], [RECALLED[kind] for kind in ("seen", "template", "language")]]
    assert "Recall against parameters" in recall["title"]


def test_a_ladder_without_grown_rungs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ONE)
    with pytest.raises(BadData, match="none of its rungs is grown here"):
        ladder_table(str(path), ("b",))
    with pytest.raises(BadData, match="no grown rung is left"):
        export_ladder(str(path), tmp_path, seeds=(7,))


def test_the_ladders_that_lie_in_results_load() -> None:
    root = Path(__file__).resolve().parents[3] / "results" / "ladders"
    for name in ("standard", "grown-quick"):
        for rung in load_ladder(root / name / "rungs" / "ladder.toml").rungs:
            assert (root.parents[1] / rung.model / "model.safetensors").is_file(), rung.model


@pytest.mark.slow
def test_exported_rungs_are_a_ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path / "cache"))
    path, out = tmp_path / "mine.toml", tmp_path / "out"
    path.write_text(ONE)
    folders = export_ladder(str(path), out, seeds=(1,), say=lambda line: None)
    assert [folder.name for folder in folders] == ["a-s1"]
    (rung,) = load_ladder(out / "ladder.toml").rungs
    assert load_model(rung.model).n_parameters == rung.parameters
    card, table = read_card(folders[0]), ladder_table(str(path), ("a-s1",), say=lambda line: None)
    assert card["weights_float32"] == table["weights"].item() != card["weights"]
    assert abs(card["recall"]["seen"]["en"]["recall"] - table["recall_seen_en"].item()) < 0.05


def test_an_export_replaces_exported_rungs_alone(tmp_path: Path) -> None:
    path, precious = tmp_path / "mine.toml", tmp_path / "out" / "a" / "precious.txt"
    path.write_text(ONE)
    precious.parent.mkdir(parents=True)
    precious.write_text("keep")
    with pytest.raises(BadData, match="holds something else than an exported rung"):
        export_ladder(str(path), tmp_path / "out", ("a",))
    assert precious.read_text() == "keep"


def test_an_export_in_parts_lists_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ladder listed the rungs of the last command alone."""
    monkeypatch.setenv("VALLEY_CACHE", str(tmp_path / "cache"))
    path, out = tmp_path / "mine.toml", tmp_path / "out"
    path.write_text('[[rung]]\nname = "a"\nmodel = "grown:gpt2-1x32@atlas20-long0.1-batch1024"\nseeds = [0, 1]\n')
    for seed in (1, 0):
        (folder,) = export_ladder(str(path), out, seeds=(seed,), say=lambda line: None)
        assert folder.name == ("a-s1" if seed else "a")
    assert [rung.name for rung in load_ladder(out / "ladder.toml").rungs] == ["a", "a-s1"]
