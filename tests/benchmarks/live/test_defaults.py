"""The search for the default settings of an edit: who meets which concepts, what is chosen, and how it goes on."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.live.defaults import USUAL, search
from tests.benchmarks.tiny import World, world

pytestmark = pytest.mark.usefixtures("own_cache")

CORPUS = "samples:500"
PLACES = {
    "rename": (("unembedding_swap", "{}"), ("placebo", "{}")),
    "retarget": (("placebo", "{}"), ("embedding", '{"untied": true}')),
}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> World:
    """Few concepts and cheap places."""
    monkeypatch.setattr(search, "PLACES", PLACES)
    monkeypatch.setattr(search, "CONTROLS", {kind: places[:1] for kind, places in PLACES.items()})
    monkeypatch.setattr(search, "DEVELOPMENT", (1, 2))
    monkeypatch.setattr(search, "TEST", 2)
    monkeypatch.setitem(USUAL, "rename", (*PLACES["rename"][1][:1], {}))
    return world()


def test_development_concepts_are_no_test_concepts() -> None:
    for kind in search.KINDS:
        development, test = search.split(kind)
        assert len(development) == search.DEVELOPMENT[1] and len(test) == search.TEST
        assert not {case.id for case in development} & {case.id for case in test}


@pytest.mark.slow
@pytest.mark.parametrize("kind", search.KINDS)
def test_the_best_place_on_development_concepts_meets_the_test_concepts(
    kind: str, tiny: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "KINDS", (kind,))
    lines = search.run(tiny.model, tmp_path, CORPUS)
    assert set(lines.groupby(["stage", "kind", "method", "settings", "case"]).size()) == {len(search.RULES)}
    development, test = search.split(kind)
    ranks = search.ranked(search.Table(next(tmp_path.glob("*.csv"))), kind, development)
    met = lines[lines["stage"] == "test"]
    assert set(met["kind"]) == {kind} and set(met["case"]) == {case.id for case in test}
    assert set(zip(met["method"], met["settings"], strict=True)) == {ranks[0][0].place, *search.CONTROLS[kind]}


@pytest.mark.slow
def test_the_test_alone_measures_todays_default_and_goes_on_where_it_stopped(tiny: World, tmp_path: Path) -> None:
    lines = search.run(tiny.model, tmp_path, CORPUS, search=False)
    assert set(lines["stage"]) == {"test"}
    assert {"placebo", "unembedding_swap"} == set(lines.loc[lines["kind"] == "rename", "method"])
    (file,) = tmp_path.glob("*.csv")
    written = file.read_bytes()
    kept = pd.read_csv(file).iloc[: -len(search.RULES)]
    kept.to_csv(file, index=False, float_format="%.4g", lineterminator="\n")
    search.run(tiny.model, tmp_path, CORPUS, search=False)
    assert file.read_bytes() == written


def test_free_text_is_read_beside_the_candidates_of_renames(tiny: World, tmp_path: Path) -> None:
    lines = search.run(tiny.model, tmp_path, CORPUS, free_text=1)
    assert set(lines["stage"]) == {search.FREE} and set(lines["kind"]) == {"rename"} and lines["case"].nunique() == 1
    swap = lines[lines["method"] == "unembedding_swap"]
    assert len(swap) == len(search.RULES) and swap["written_paraphrase"].between(0, 1).all()
    assert swap[["efficacy", "paraphrase"]].notna().all().all()
