"""Depths as fractions are not the same layers at every size; where an end of the model is missed is said."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from cli import cli
from tests.valley.build import edit, frame, probes
from valley.rows.plan_record import store_plan
from valley.scores.grid import ends_missed, format_ends


def tried(rung: int, layers: int, chosen: list[int], method: str = "rome", **more) -> list[dict]:
    """Rows of one case edited in each of the `chosen` of `layers` layers."""
    return [
        row | {"n_layers": layers, "depth": (layer + 0.5) / layers, "settings": f'{{"depth":{layer}}}'}
        for layer in chosen
        for row in edit("a", probes(efficacy=[1.0], neighbour=[1.0]), rung=f"m{rung}", rung_index=rung, method=method, **more)
    ]  # fmt: skip


def test_a_grid_that_misses_the_first_layer_of_the_larger_models_is_told():
    rows = frame([*tried(0, 2, [0, 1]), *tried(1, 4, [0, 3]), *tried(2, 6, [1, 5]), *tried(3, 8, [1, 7])])
    (line,) = ends_missed(rows).to_dict("records")
    assert line == {"ladder": "toy", "method": "rome", "end": "first", "tried": 2, "missed": ("m2", "m3")}
    (text,) = format_ends(ends_missed(rows))
    assert (
        text
        == "the first layer was tried at 2 of 4 rungs, not at m2, m3, by rome; a change just there may be the grid's"
    )


def test_a_grid_that_is_alike_everywhere_is_not():
    reached = frame([*tried(0, 1, [0]), *tried(1, 6, [0, 5])])
    never = frame([*tried(0, 4, [1, 2]), *tried(1, 6, [1, 2, 3])])
    assert ends_missed(reached).empty and ends_missed(never).empty and format_ends(ends_missed(never)) == []


def test_each_method_is_looked_at_alone_and_one_without_layers_or_a_control_not_at_all():
    rows = frame([
        *tried(0, 1, [0]), *tried(1, 6, [0, 4]), *tried(0, 1, [0], "memit"), *tried(1, 6, [1, 5], "memit"),
        *tried(0, 1, [0], "placebo"), *tried(1, 6, [2], "placebo"),
        *(row | {"depth": 0.0} for rung, n in ((0, 1), (1, 6)) for row in tried(rung, n, [0], "ike")),
    ])  # fmt: skip
    assert [(x["method"], x["end"]) for x in ends_missed(rows).to_dict("records")] == [
        ("memit", "first"),
        ("rome", "last"),
    ]


def test_judgements_print_it(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    frame([*tried(0, 2, [0, 1]), *tried(1, 6, [1, 5])]).to_parquet(tmp_path / "cells" / "one.parquet")
    store_plan(tmp_path, {"min_known": 1, "draws": 20, "bootstrap": 20})
    for command in ("editability", "shape"):
        text = CliRunner().invoke(cli, [command, str(tmp_path), "--min-known", "1"], catch_exceptions=False)
        assert text.exit_code == 0, text.output
        assert "the first layer was tried at 1 of 2 rungs, not at m1, by rome" in text.stdout
    made = CliRunner().invoke(cli, ["report", str(tmp_path), "--min-known", "1", "--md"], catch_exceptions=False)
    assert made.exit_code == 0, made.output
    assert "The first layer was tried at 1 of 2 rungs, not at m1, by rome" in (tmp_path / "report.md").read_text(
        "utf-8"
    )
