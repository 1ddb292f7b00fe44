"""`edit --dose` scales the same change, `edit --add` puts it beside saved ones; both are what Python makes, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import editing
from editing.delta import compose
from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import facts, world
from tests.same import same_changes

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_dose_and_a_saved_change_beside_it_are_the_sum_that_python_makes(tmp_path: Path) -> None:
    for name, record in zip(("one", "two"), facts(), strict=False):
        (tmp_path / f"{name}.json").write_text(json.dumps([record]))
    usual = ("edit", "--model", world().model, "--corpus", "samples:256", "--fast")
    call(*usual, "--fact", str(tmp_path / "one.json"), "--dose", "1", "--save", str(tmp_path / "first"))
    second = (*usual, "--fact", str(tmp_path / "two.json"), "--dose", "0.5")
    done = call(*second, "--add", str(tmp_path / "first"), "--save", str(tmp_path / "both"), "--json")
    assert json.loads(done.stdout)["restored"] is True

    lm = editing.load(world().model, device="cpu")
    parts = [
        editing.edit(
            lm,
            # draws are seeded by the request's name: a file's first record is number 1
            editing.Request(record["prompt"], record["subject"], record["target"], id=f"fact:1:{record['subject']}"),
            corpus="samples:256",
            fast=True,
            dose=dose,
        )
        for record, dose in zip(facts(), (1, 0.5), strict=False)
    ]
    same_changes(compose(parts), editing.Delta.load(tmp_path / "both"))
    refused(*usual, "--fact", str(tmp_path / "two.json"), "--add", str(tmp_path / "nothing"))


def test_a_change_of_another_model_is_not_added(tmp_path: Path) -> None:
    (tmp_path / "fact.json").write_text(json.dumps([facts()[0]]))
    usual = ("edit", "--fact", str(tmp_path / "fact.json"), "--corpus", "samples:256", "--fast")
    call(*usual, "--model", world().model, "--save", str(tmp_path / "two"))
    other = str(world().folder / "one")
    said = refused(*usual, "--model", other, "--add", str(tmp_path / "two"))
    assert "made from a model of hash" in said
