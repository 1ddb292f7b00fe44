"""RAVEL's files: what is read of them, which entities a model knows, and what is said where they are few."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks.crispness.pairs import fitting
from benchmarks.readings.prompts import answer_scores, known, known_material, read_ravel
from cli import cli
from editing.errors import BadData
from editing.text import tokenise, with_beginnings
from tests.benchmarks.readings.small import COLOURS, HOMES, NAMES, TEMPLATES, make, source
from tests.editing.families import tiny_lm
from tests.once import made_once

pytestmark = pytest.mark.usefixtures("own_cache")
UNKNOWN = ("zebra", "otter", "camel")


def answers(relation: str) -> dict[str, str]:
    values = list(COLOURS if relation == "colour" else HOMES)
    return {name: values[number % len(values)] for number, name in enumerate(NAMES)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """RAVEL's files about the animals that the small model knows, three that it does not, and one without a home; the
    first prompt of each attribute is one that it never read."""
    table = {name: {"colour": answers("colour")[name], "home": answers("home")[name], "age": "7"} for name in NAMES}
    table |= {name: {"colour": "forest", "home": "white", "age": "7"} for name in UNKNOWN}
    table["donkey"]["home"] = ""
    prompts = {r: ["%s", *(t.replace("{}", "%s") for t in TEMPLATES[r, "en"]), "%s and %s"] for r in ("colour", "home")}
    prompts["age"] = ["The age of the %s is"]
    (tmp_path / "ravel_city_entity_attributes.json").write_text(json.dumps(table))
    (tmp_path / "ravel_city_attribute_to_prompts.json").write_text(json.dumps(prompts))
    return tmp_path


def test_ravel_is_read(shared_data) -> None:
    folder = shared_data / "ravel"
    if not folder.is_dir():
        pytest.skip(f"no RAVEL at {folder}")
    ravel = read_ravel(folder, "physical_object")
    assert {"Category", "Color", "Size", "Texture"} == set(ravel.templates)
    every = [text for texts in ravel.templates.values() for text in texts]
    assert all(text.replace("{{", "").replace("}}", "").count("{}") == 1 for text in every)
    assert ravel.question("bamboo", "Color", 0).target == "green"


def test_ravel_names_what_is_wrong(tmp_path) -> None:
    with pytest.raises(BadData, match="no kind 'planet'"):
        read_ravel(tmp_path, "planet")
    with pytest.raises(BadData, match="name the folder of RAVEL's files"):
        read_ravel(tmp_path, "city")
    (tmp_path / "ravel_city_entity_attributes.json").write_text("[]")
    with pytest.raises(BadData, match="no table of entities"):
        read_ravel(tmp_path, "city")


@pytest.mark.parametrize(
    ("attributes", "prompts", "message"),
    [
        ({"Rome": None}, {"Country": ["%s is in"]}, "'Rome': write its attributes as"),
        ({"Rome": {"Country": ["Italy"]}}, {"Country": ["%s is in"]}, "'Rome': Country is .*write one text"),
        ({"Rome": {"Country": "Italy"}}, {"Country": "%s is in"}, "'Country': write a list of prompts"),
        ({"Rome": {"Country": "Italy"}}, {"Country": ["Rome is in"]}, "'Country': no prompt has the entity's place %s"),
        ({"Rome": {"Country": "Italy"}}, {"Language": ["In %s they speak"]}, "none of its attributes .Language."),
    ],
)
def test_ravel_names_a_wrong_record(tmp_path, attributes: dict, prompts: dict, message: str) -> None:
    (tmp_path / "ravel_city_entity_attributes.json").write_text(json.dumps(attributes))
    (tmp_path / "ravel_city_attribute_to_prompts.json").write_text(json.dumps(prompts))
    with pytest.raises(BadData, match=message):
        read_ravel(tmp_path, "city")


def test_the_entities_that_the_model_knows_are_found_and_counted(folder: Path) -> None:
    ravel = read_ravel(folder)
    material, examined = known_material(source().lm, ravel, 100)
    by_name = {one.relation: one for one in examined}
    right = {q.entity for i, q in enumerate(source().material.questions) if q.relation == "home" and source().right[i]}
    assert {q.entity for q in material.questions if q.relation == "home"} == right - {"donkey"}
    home = by_name["home"]
    assert (home.entities, home.without, home.examined) == (len(NAMES) + len(UNKNOWN), 1, len(NAMES) + len(UNKNOWN) - 1)
    assert home.known == home.kept == len(right - {"donkey"}) and home.template in TEMPLATES["home", "en"]
    assert (
        by_name["age"].known == 0
        and "age: 0 known entities with 0 answers are read; 0 of 15 examined" in by_name["age"].line
    )
    assert not any(q.entity in UNKNOWN or q.relation == "age" for q in material.questions)
    assert "1 have no answer in the file" in home.line and "no more are left" in home.line


def test_the_search_ends_with_enough_and_asks_known_entities_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "TRIALS", ((2, 3), (3, 2)))
    monkeypatch.setattr(known, "BATCH", 1)
    material, examined = known_material(source().lm, read_ravel(folder), 4)
    names = [{q.entity for q in material.questions if q.relation == relation} for relation in ("colour", "home")]
    assert len(names[0]) == len(names[1]) == 4 and len(names[0] & names[1]) >= 3  # the donkey may be among the first
    assert examined[0].examined < examined[0].entities and "were not examined (that is enough)" in examined[0].line
    assert {q.wording for q in material.questions} == {1, 2}  # not the prompt that gives no answer
    again, _ = known_material(source().lm, read_ravel(folder), 4)
    assert again == material
    assert known_material(source().lm, read_ravel(folder), 4, seed=1)[0] != material


def test_a_search_that_was_interrupted_goes_on_behind_the_attributes_it_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    examine = known._examine

    def interrupted(lm, ravel, relation, names, limit):
        searched.append(relation)
        if searched.count("home") == 1 and relation == "home":
            raise KeyboardInterrupt
        return examine(lm, ravel, relation, names, limit)

    monkeypatch.setattr(known, "_examine", interrupted)
    with pytest.raises(KeyboardInterrupt):
        known_material(source().lm, read_ravel(folder), 5)
    known_material(source().lm, read_ravel(folder), 5)
    assert searched == ["colour", "home", "home", "age"]


def test_the_command_says_how_many_are_known_and_what_could_not_be_read(folder: Path) -> None:
    model = str(made_once("readings-model", make) / "animals")
    arguments = ["read", model, "--data", f"ravel:{folder}", "--limit", "9"]
    result = CliRunner().invoke(cli, [*arguments, "--readings", "linearity,interference,tracing"])
    assert result.exit_code == 0, result.output
    assert "ravel:city, colour: 9 known entities with 4 answers are read" in result.output
    assert "ravel:city, age: 0 known entities with 0 answers are read; 0 of 15 examined are known" in result.output
    few = CliRunner().invoke(cli, [*arguments[:-1], "5", "--readings", "linearity,interchange"])
    assert few.exit_code == 0 and "linearity, en, facts or entities there: colour 1, home 1" in few.output, few.output
    refused = CliRunner().invoke(cli, [*arguments, "--readings", "crispness"])
    assert refused.exit_code == 2 and "asks about the world's concepts only" in refused.output


def test_nothing_known_is_said_and_no_error(folder: Path) -> None:
    file = folder / "ravel_city_entity_attributes.json"
    file.write_text(json.dumps({name: {"age": "7"} for name in NAMES}))
    model = str(made_once("readings-model", make) / "animals")
    result = CliRunner().invoke(cli, ["read", model, "--data", f"ravel:{folder}#city"])
    assert result.exit_code == 0, result.output
    assert "age: 0 known entities with 0 answers are read; 0 of 12 examined are known" in result.output


@pytest.mark.parametrize("family", ["llama", "lfm2"])
def test_beginnings_read_once_change_no_answer(family: str) -> None:
    lm = tiny_lm(family)
    texts = ("The capital of France is", "The capital of Italy is", "The dairy food made from milk is called the")
    prompts = [fitting(lm, text, "", "last", " Paris") for text in texts]
    prompts[:2] = [tokenise(lm, "The capital of {} is", name, "subject_last", " Paris") for name in ("France", "Italy")]
    shared = with_beginnings(prompts, [0, 0, 1])
    assert 0 < shared[0].head == shared[1].head <= prompts[0].lookup and shared[2].head == prompts[2].lookup
    whole, parts = answer_scores(lm, [replace(p, head=0) for p in prompts]), answer_scores(lm, shared)
    assert torch.equal(whole.exact, parts.exact)
    torch.testing.assert_close(whole.logp, parts.logp, atol=1e-4, rtol=0)


def test_a_group_of_one_is_cut_at_its_lookup() -> None:
    prompt = tokenise(source().lm, "The colour of the {} is", "heron", "subject_last", "red")
    longer = replace(prompt, ids=(*prompt.ids, 1))
    assert [p.head for p in with_beginnings([prompt, longer], ["a", "b"])] == [prompt.lookup] * 2
