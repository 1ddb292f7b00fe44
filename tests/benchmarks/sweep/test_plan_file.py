"""Plan files: everything a plan can say is read, every slip is one line that names file and key, nothing explodes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.commands.pages.schemas import DOCUMENTS, json_schema
from benchmarks.plans.names import plan_names, plan_path
from benchmarks.sweep.executors.slurm import array_script
from benchmarks.sweep.planning.grids import settings_grid
from benchmarks.sweep.planning.plan import Edits, Split
from benchmarks.sweep.planning.plan_file import load_plan, run_name
from benchmarks.sweep.shards import Part, Shard, parse_shard, parts
from editing.errors import BadData, BadRequest
from editing.methods import make_method

ROOT = Path(__file__).resolve().parents[3]
WHOLE = """
title = "all of it"
name = "study/first"
ladder = "grown-quick"
rungs = ["gpt2-2x128"]
seeds = [3, 1]
limit = 60
probes = 2
corpus = "samples:500"
fast = true
search = "halving"
pareto = true
split = { dev = 0.4, by = ["subject", "relation"], seed = 7 }
[[edits]]
kind = "fact"
dataset = "world_facts"
limit = 100
[[edits]]
kind = "rename"
[methods.rome]
site = ["mlp", "value"]
lookup = ["subject_last", "last"]
depth = [0.25, 0.5]
clamp = 2.0
[methods.memit]
[methods.placebo]
"""
SHORT = 'ladder = "demo"\n[[edits]]\nkind = "fact"\n[methods.rome]\n'


def written(folder: Path, text: str, name: str = "plan.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_everything_a_plan_can_say(tmp_path: Path) -> None:
    plan = load_plan(written(tmp_path, WHOLE))
    assert plan.edits == (Edits("fact", "world_facts", 100), Edits("rename", "concept_suite", 60))
    assert (plan.seeds, plan.rungs, plan.probes, plan.search, plan.pareto) == (
        (3, 1),
        ("gpt2-2x128",),
        2,
        "halving",
        True,
    )
    assert plan.split == Split(7, 0.4, ("subject", "relation")) and plan.methods == ("rome", "memit", "placebo")
    grid = settings_grid(plan, "rome", ("subject_last",))
    assert len(grid) == 8 and len({str(one) for one in grid}) == 8
    assert all(one["clamp"] == 2.0 and one["contexts_per_step"] == 3 for one in grid)
    assert {one["lookup"] for one in settings_grid(plan, "rome", ("last",))} == {"last"}
    assert [one["site"] for one in settings_grid(plan, "memit", ("subject_last",))] == ["mlp", "mlp"]  # no value site
    assert run_name(tmp_path / "plan.toml").as_posix() == "study/first"


def test_doses_controls_and_a_split_by_relation(tmp_path: Path) -> None:
    text = 'doses = [0.5, 2]\ncontrols = ["placebo", "random_layer"]\nsplit = "relation"\nsearch_rule = 1\n' + SHORT
    plan = load_plan(written(tmp_path, text + 'depth = "all"\n'))
    assert (plan.doses, plan.search_rule) == ((0.5, 2.0), 1) and plan.choices().more_doses == (0.5, 2.0)
    assert plan.methods == ("rome", "placebo", "random_layer") and plan.split == Split(by=("subject", "relation"))
    assert {one["depth"] for one in settings_grid(plan, "rome", ("last",), 4)} == {0.125, 0.375, 0.625, 0.875}
    assert set(plan.fixed()) - set(load_plan(written(tmp_path, SHORT)).fixed()) == {"doses"}, (
        "rule 1 is what plans meant without a word"
    )


def test_the_placebo_makes_the_edits_of_its_inner_method(tmp_path: Path) -> None:
    plan = load_plan(written(tmp_path, SHORT))
    fast = replace(plan, settings=(("contexts_per_step", 3), ("clamp", 2.0)))
    (one, *_) = settings_grid(fast, "placebo", ("subject_last",))
    inner = make_method("placebo", **one).method().settings()
    (same, *_) = settings_grid(fast, "rome", ("subject_last",))
    assert inner == make_method("rome", **same).settings() and inner["contexts_per_step"] == 3
    assert settings_grid(plan, "placebo", ("subject_last",))[0]["options"] == "{}"
    several = replace(
        fast, axes=(("placebo", (("inner", ("rome", "ft_m")), ("site", ("mlp",)), ("lookup", ("last",)))),)
    )
    grid = settings_grid(several, "placebo", ("last",))
    assert [(one["inner"], json.loads(one["options"])) for one in grid] == [
        ("rome", {"clamp": 2.0, "contexts_per_step": 3}),
        ("ft_m", {}),
    ]


def test_a_short_plan_searches_the_default_placements_by_halving(tmp_path: Path) -> None:
    plan = load_plan(written(tmp_path, SHORT))
    assert (plan.search, plan.seeds, plan.edits[0].dataset) == ("halving", (0,), "world_facts")
    assert len(settings_grid(plan, "rome", ("subject_last",))) == 3
    assert run_name(tmp_path / "plan.toml").as_posix() == "plan"


def test_the_hash_hangs_on_what_is_said_not_on_how(tmp_path: Path) -> None:
    plan = load_plan(written(tmp_path, SHORT))
    again = load_plan(written(tmp_path, '# the same\ntitle = "a title"\nlimit = 50\n' + SHORT, "again.toml"))
    assert plan.hash == again.hash and len(plan.hash) == 64
    others = [replace(plan, split=Split(1)), load_plan(written(tmp_path, SHORT + "depth = [0.2]\n"))]
    assert len({plan.hash, *(other.hash for other in others)}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ladder = ", "not readable as TOML"),
        ("x = " + "[" * 5000, "not readable as TOML"),
        ("# " + "a" * 100_000, "larger than 100,000 bytes"),
        ('laddr = "demo"\n', "did you mean ladder?"),
        (SHORT.replace('ladder = "demo"\n', ""), "ladder: missing"),
        (SHORT.replace("demo", "dem"), "did you mean demo?"),
        ('rungs = ["gpt2-1x65"]\n' + SHORT, "did you mean gpt2-1x64?"),
        ("limit = 0\n" + SHORT, "limit: must be greater than or equal to 1, is int 0"),
        ('limit = "many"\n' + SHORT, "limit: must be a valid integer, is str"),
        ("limit = true\n" + SHORT, "limit: must be a valid integer, is bool"),
        ("seeds = []\n" + SHORT, "expected: list of different whole numbers"),
        ("seeds = [1, 1]\n" + SHORT, "seeds: must be different"),
        ('search = "halvin"\n' + SHORT, "search: must be 'grid' or 'halving', is str 'halvin'"),
        ('corpus = "samples:many"\n' + SHORT, "samples:NUMBER"),
        ("split = { dev = 1.5 }\n" + SHORT, "split.dev: must be less than 1, is float 1.5"),
        ('split = { by = ["subjekt"] }\n' + SHORT, "split.by 1: must be 'subject' or 'relation'"),
        ('ladder = "demo"\n[methods.rome]\n', "at least one [[edits]]"),
        ('ladder = "demo"\n[[edits]]\nkind = "fact"\n', "at least one table of settings such as [methods.rome]"),
        ('split = "relations"\n' + SHORT, "did you mean relation?"),
        ("doses = [0.5, 0.5]\n" + SHORT, "doses: must be different numbers"),
        ("doses = [-1.0]\n" + SHORT, "doses 1: must be greater than or equal to 0"),
        ("search_rule = 4\n" + SHORT, "search_rule: must be 1, 2 or 3"),
        ('controls = ["random_later"]\n' + SHORT, "did you mean random_layer?"),
        (SHORT.replace('"fact"', '"facts"'), "edits 1: kind: must be 'fact', 'rename', 'retarget' or 'erase'"),
        (SHORT.replace('"fact"', '"fact"\ndataset = "world_fact"'), "did you mean world_facts?"),
        (SHORT.replace('"fact"', '"rename"\ndataset = "world_facts"'), "has no rename edits"),
        (SHORT.replace('"fact"\n', '"fact"\n[[edits]]\nkind = "fact"\n'), "named twice"),
        (SHORT.replace("methods.rome", "methods.romee"), "did you mean rome?"),
        (SHORT + "dept = 0.5\n", "did you mean depth?"),
        (SHORT + "depth = [0.5, 1.5]\n", "methods: rome.depth: method rome: depth=1.5"),
        (SHORT + "depth = nan\n", "methods: rome.depth: nan is not a finite number"),
        (SHORT + "depth = []\n", "methods: rome.depth: must be a value"),
        (SHORT + f"depth = {[i / 2000 for i in range(1001)]}\n", "more than 1000 settings"),
        (SHORT + '[methods.memit]\nsite = "value"\n', "methods: memit.site"),
        (SHORT.replace("methods.rome", "methods.placebo"), "add another method"),
        (SHORT + "[methods.random_site]\ndepth = [0.2, 0.3]\n", "a control follows"),
    ],
)
def test_a_slip_is_one_line_that_names_file_and_key(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadData) as caught:
        load_plan(path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_several_slips_are_counted_and_the_misspelt_key_comes_first(tmp_path: Path) -> None:
    path = written(tmp_path, "limit = 0\nprobes = -1\n" + SHORT.replace("ladder", "laddr"))
    with pytest.raises(
        BadData, match=r"plan.toml: laddr: unknown key; did you mean ladder\? \(and 3 more to correct\)$"
    ):
        load_plan(path)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_json_schema_describes_every_key(kind: str) -> None:
    schema = json_schema(kind)
    assert json.loads(json.dumps(schema)) == schema
    tables = [schema, *schema.get("$defs", {}).values()]
    assert all(table["description"] and "\n" not in table["description"] for table in tables)
    assert all(key["description"] for table in tables for key in table["properties"].values())
    # Concepts have names and answers by language and relation; their form is stated, of everything else none is taken.
    assert all(table["additionalProperties"] is False for table in tables if kind != "concepts")
    assert all(table["additionalProperties"] is not True for table in tables)
    with pytest.raises(BadRequest, match="did you mean plan"):
        json_schema("plans")


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a//b", "", "a/..", ".", "a/.hidden", "temporary/x", "a\\\\b"])
def test_a_run_name_stays_below_results(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="name: "):
        run_name(written(tmp_path, f'name = "{name}"\n' + SHORT))


def test_a_split_by_both_shares_neither_subject_nor_relation() -> None:
    pairs = [(f"s{i}", f"r{i % 9}") for i in range(900)]
    both = Split(0, 0.4, ("subject", "relation"))
    sides: dict[str, list] = {"dev": [], "test": [], "": []}
    for subject, relation in pairs:
        sides[both.of(subject, relation)].append((subject, relation))
    assert min(map(len, sides.values())) > 0
    for place in (0, 1):
        assert not {pair[place] for pair in sides["dev"]} & {pair[place] for pair in sides["test"]}


def test_shards_cover_everything_once() -> None:
    for n_rungs in (1, 3, 5):
        for count in (1, 2, 3, 4, 7, 12):
            cut = [Shard(i + 1, count).part(n_rungs) for i in range(count)]
            owners = [
                [part for part in cut if rung in part.rungs and part.takes(u)]
                for rung in range(n_rungs)
                for u in range(20)
            ]
            assert all(len(owner) == 1 for owner in owners)
            assert {rung for part in parts(n_rungs, count) for rung in part.rungs} == set(range(n_rungs))
    assert parse_shard("2/8") == Shard(2, 8) and Shard(2, 8).part(8) == Part((1,))
    for bad in ("0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"):
        with pytest.raises(BadRequest, match="i/n"):
            parse_shard(bad)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "plans").glob("*.toml")), ids=lambda path: path.stem)
def test_the_plans_that_come_along_are_sound(path: Path) -> None:
    plan = load_plan(path)
    parts = run_name(path).parts
    assert plan.title and path.stem in (parts[0], "-".join(parts))


def test_a_plan_that_comes_along_is_named_without_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = ROOT / "benchmarks" / "plans" / "quick.toml"
    assert {"quick", "study"} <= set(plan_names()) and plan_path("quick") == path
    assert load_plan("quick") == load_plan(Path("quick")) == load_plan(path)
    assert run_name("quick") == run_name(path)
    assert f" bench {path} --out {tmp_path}/out" in array_script("quick", Path("out"), 2)


def test_a_name_that_is_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadData, match="plan 'quik': no such plan; did you mean quick"):
        load_plan("quik")
    with pytest.raises(BadData, match=r"plan 'zzz': no such plan; use one of .*quick, .*study.*\. Or give the path"):
        load_plan("zzz")
    (tmp_path / "quik").write_text(SHORT)  # a file, whatever its name
    assert load_plan("quik") == load_plan(written(tmp_path, SHORT))
    for path in ("gone.toml", "gone/quick", "x" * 5000, "a\0b"):
        with pytest.raises(BadData, match=r"cannot be read|not readable"):
            load_plan(path)
