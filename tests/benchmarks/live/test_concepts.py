"""Concepts of an edit: from the suite, from a file, or drafted; a draft is checked text by text and readable as a file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.live.concepts import OpenModel, concepts_for, halves
from benchmarks.live.draft.checks import Checked, check, unlike, usable
from benchmarks.live.draft.draft import draft_concepts
from benchmarks.live.draft.elicit import Writer, prompts_of
from benchmarks.live.draft.writing import as_toml, format_draft, write_draft
from benchmarks.live.edit import chosen_cases
from benchmarks.world.own_concepts import own_knowledge
from editing.errors import BadData, BadRequest
from editing.eval import continuation_logprobs
from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import tiny_model, world

pytestmark = pytest.mark.usefixtures("own_cache")

CITIES = {"New York": "the statue of liberty", "New Orleans": "the birth of jazz", "Paris": "the iron tower"}
SENTENCE = "The city with {} is"


@pytest.fixture(scope="module")
def cities():
    """A tiny model that knows three cities, two of which begin alike."""
    return tiny_model([f"{SENTENCE.format(what)} {name}." for name, what in CITIES.items()], steps=90)


def test_whole_names_are_compared_although_they_begin_alike(cities) -> None:
    for name, what in CITIES.items():
        prompt = SENTENCE.format(what)
        (checked,) = check(cities, name, list(CITIES), [(what, "model", prompt, "")])
        (logp,) = continuation_logprobs(cities, [prompt], [(name,)])
        assert checked.rank == 1 and checked.of == 3 and checked.logp == pytest.approx(float(logp[0]), abs=1e-4)
    prompt = SENTENCE.format(CITIES["New Orleans"])
    (other,) = check(cities, "New York", list(CITIES), [("x", "model", prompt, "")])
    assert other.rank > 1 and "does not answer the word" in other.comment


def test_a_word_alone_is_not_answered_and_names_keep_their_capitals(cities) -> None:
    prompt = SENTENCE.format(CITIES["Paris"])
    (alone,) = check(cities, "Paris", [], [(CITIES["Paris"], "model", prompt, "")])
    assert (alone.rank, alone.of, alone.answered) == (1, 1, False) and "no siblings" in alone.comment
    writer = Writer(cities, "en", 0)
    assert [writer.cased(name) for name in ("New York", "NATO", "McIntosh", "tea")] == [
        "New York", "NATO", "McIntosh", "tea",
    ]  # fmt: skip


def test_texts_that_give_the_name_away_or_say_nothing_are_dropped_and_counted() -> None:
    from collections import Counter

    dropped: Counter[str] = Counter()
    kept = usable("tea", ["the drink of tea leaves", "the team drink", "the cup", "The  team drink", "cut..."], dropped)
    assert kept == ["the team drink"]
    assert sum(dropped.values()) == 4 and dropped["holds the word"] == 1 and dropped["repeated"] == 1
    texts = [Checked(text, "model", 0.0, 1, 2) for text in ("the city", "the city of jazz", "a town", "the big city")]
    assert [one.text for one in unlike(texts, 2)] == ["the city", "a town"]
    assert len(unlike(texts, 4)) == 4


def test_a_draft_is_a_file_that_can_be_used_whatever_the_model_writes(cities, tmp_path: Path) -> None:
    draft = draft_concepts(cities, ["New York", "violoncello"], seed=1)
    path = tmp_path / "draft.toml"
    write_draft(draft, path)
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert {key: table[key] for key in ("languages", "concept")} == {
        key: draft.table()[key] for key in ("languages", "concept")
    }
    known = own_knowledge(path)
    assert [known.name(key, "en") for key in known.own[:2]] == ["New York", "violoncello"]
    assert [known.name(key, "en") for key in draft.knowledge.own] == ["New York", "violoncello"]
    for concept in draft.concepts[:2]:
        assert len(concept.definitions) == 3 and concept.cloze and "rank" in concept.cloze.comment
        assert concept.drawn == 32 and f"{concept.name} (" in format_draft(draft)
    with pytest.raises(BadData, match="is there already; name another file, or add --force"):
        write_draft(draft, path)
    write_draft(draft, path, force=True)


@pytest.mark.slow
def test_the_same_seed_drafts_the_same(cities) -> None:
    draft, again = (draft_concepts(cities, ["New York", "violoncello"], seed=1) for _ in range(2))
    assert as_toml(draft) == as_toml(again)


def test_questions_are_shortened_to_what_the_model_reads(cities) -> None:
    questions = prompts_of("en")["define"]
    whole = Writer(cities, "en", 0).question("define", "tea", 20)
    assert whole.count("\n") == len(questions["examples"]) + 1 and whole.endswith("\ntea: the")
    room = cities.max_length - 60
    short = Writer(cities, "en", 0).question("define", "tea", room)
    assert short.startswith(questions["heading"]) and len(short) < len(whole)
    with pytest.raises(BadRequest, match="no draft in 'xx': there are prompts in en"):
        prompts_of("xx")


@pytest.mark.parametrize("word", ["", "  ", "{x}", "a|b", "w" * 90])
def test_what_is_no_name_is_not_drafted(cities, word: str) -> None:
    with pytest.raises(BadRequest, match="cannot draft"):
        draft_concepts(cities, [word])


def test_unknown_words_are_drafted_and_shown() -> None:
    lines: list[str] = []
    model = OpenModel(world().model, "cpu")
    known = concepts_for(["violoncello", "cheese"], "", model, 0, lines.append)
    text = "\n".join(lines)
    assert "no concept of the suite is called 'violoncello': drafting" in text
    assert f"valley concepts draft violoncello --model {world().model} --seed 0 --out concepts.toml" in text
    assert "rank" in text and [known.name(key, "en") for key in known.own] == ["violoncello"]
    lines.clear()
    assert concepts_for(["Cheese"], "", model, 0, lines.append).own == () and not lines


def test_a_word_that_the_given_file_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[concept]]\ntype = "bird"\nen = "sparrow"\n', encoding="utf-8")
    with pytest.raises(BadRequest, match=r"mine.toml: unknown concept 'cello'.* or add a \[\[concept\]\] of that name"):
        concepts_for(["cello"], path, OpenModel("./nothing-there"), 0)
    with pytest.raises(BadRequest, match="--concepts has nothing to do with --fact"):
        chosen_cases(fact="facts.json", concepts=path)


@pytest.mark.parametrize("text", ["cheese", "=bread", "cheese=", "a=b=c", " = "])
def test_pairs_have_two_halves(text: str) -> None:
    with pytest.raises(BadRequest, match="is not of the form OLD=NEW"):
        halves(text, "--rename")
    assert halves(" New  York=New Orleans ", "--rename") == ("New York", "New Orleans")


def test_the_commands(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    model = ("--model", world().model, "--device", "cpu")
    done = call("concepts", "draft", "sparrow", *model, "--out", out)
    assert done.exit_code == 0 and f"wrote {out}" in done.stdout
    checked = json.loads(call("concepts", "check", out, "--json").stdout)
    assert "sparrow" in checked["described"] and checked["languages"] == ["en"]
    assert "is there already" in refused("concepts", "draft", "tea", *model, "--out", out)
    assert "unknown concept 'teapot'" in refused("edit", *model, "--rename", "teapot=tea", "--concepts", out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair",
    ["New York=violoncello", "Violoncello=banjos", "sparrows=sparrow", "electric guitar=electric eel"],
    ids=["several words and a capital", "a capital and a plural", "tokens begin alike", "first words alike"],
)
def test_a_rename_of_unknown_words_is_drafted_made_and_undone(pair: str) -> None:
    rung = Path("results/ladders/grown-quick/rungs/gpt2-1x64")
    if not rung.is_dir():
        pytest.skip("the committed rung gpt2-1x64 is not there")
    options = ("--method", "ft_m", "--fast", "--dose", "1", "--device", "cpu")
    done = call("edit", "--model", f"./{rung}", "--rename", pair, *options, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    efficacy = [probe for probe in record["probes"] if probe["probe"] == "efficacy"]
    assert efficacy and all(probe["answer"] == pair.partition("=")[2] for probe in efficacy)


def test_a_fact_may_come_in_anybodys_form(tmp_path: Path) -> None:
    """Of EasyEdit here; a file that no form recognises is read as one's own facts, which says what is missing."""
    theirs, broken = tmp_path / "theirs.json", tmp_path / "broken.json"
    record = {"prompt": "The capital of France is", "subject": "France", "target_new": "Rome", "ground_truth": "Paris"}
    theirs.write_text(json.dumps([record]), encoding="utf-8")
    for name in (theirs, f"easyedit:{theirs}"):
        (case,) = chosen_cases(fact=name)
        assert case.request.subject == "France" and "Rome" in case.request.targets[0]
    broken.write_text(json.dumps([{"prompt": "The capital of {} is", "subject": "France"}]), encoding="utf-8")
    with pytest.raises(BadData, match="record 1: 'target' is missing"):
        chosen_cases(fact=broken)
    with pytest.raises(BadData, match="world_facts"):  # a data set without a file is nothing to edit at once
        chosen_cases(fact="world_facts")
