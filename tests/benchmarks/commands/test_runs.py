"""`bench PLAN`, `rows`, `status`, `merge`, `slurm` as a stranger meets them."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.commands.bench import run_folder
from tests.benchmarks.commands.test_cli import call, refused
from tests.benchmarks.tiny import World, world
from valley.report.provenance import commands
from valley.rows.schema import COLUMNS, read_run

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


@pytest.fixture(scope="module")
def plan(tiny: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plans") / "small.toml"
    path.write_text(
        f"""
        title = "small"
        ladder = "{tiny.ladder}"
        corpus = "samples:500"
        split = {{ dev = 0.5 }}
        search_rule = 1
        [[edits]]
        kind = "fact"
        dataset = "fact_file:{tiny.facts}"
        limit = 6
        [methods.rome]
        site = "mlp"
        lookup = ["subject_last", "last"]
        steps = 6
        """
    )
    return path


@pytest.fixture(scope="module")
def run(plan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    dry = json.loads(call("bench", plan, "--dry-run", "--out", out, "--device", "cpu", "--json").stdout)
    assert [rung["timed"] for rung in dry["rungs"]] == [0, 0] and not out.exists()
    done = call("bench", plan, "--out", out, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert outcome["ran"] == outcome["cells"] == sum(rung["cells"] for rung in dry["rungs"]) == 6
    return out


def test_a_plan_is_fixed_in_the_folder_and_goes_on_there(plan: Path, run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    first = min(file.stat().st_mtime for file in (run / "cells").iterdir())
    assert datetime.fromisoformat(about["fixed_at"]).timestamp() <= first
    assert about["plan_hash"] == json.loads(call("bench", plan, "--out", run, "--dry-run", "--json").stdout)["hash"]
    again = call("bench", plan, "--out", run, "--device", "cpu", "--limit", 6)
    assert again.exit_code == 0 and "0 run, 6 were there" in again.stdout
    shard = call("bench", plan, "--out", run, "--device", "cpu", "--shard", "1/2")
    assert "3 cells: 0 run, 3 were there" in shard.stdout


def test_a_dry_run_says_where_its_figures_come_from(plan: Path, run: Path, tmp_path: Path) -> None:
    text = call("bench", plan, "--dry-run", "--out", tmp_path / "none", "--device", "cpu").stdout
    assert "split: 50% dev by subject" in text and "lookup=subject_last,last" in text
    assert text.count("memory: weights ") == 2 and "by earlier runs" in text and "in all 6 cells" in text
    assert not (tmp_path / "none").exists()
    changed = tmp_path / "changed.toml"
    changed.write_text(plan.read_text().replace("steps = 6", "steps = 7"))
    assert "by a rule, roughly" in call("bench", changed, "--dry-run", "--out", tmp_path, "--device", "cpu").stdout


def test_a_dry_run_says_that_a_corpus_of_the_hub_was_not_checked(tmp_path: Path) -> None:
    about = ("--kinds", "fact", "--methods", "rome", "--limit", "1", "--corpus", "hub:nobody/nothing")
    text = call("bench", "--model", "grown:gpt2-1x64", *about, "--dry-run", "--out", tmp_path / "none").stdout
    assert "corpus hub:nobody/nothing: not checked" in text


@pytest.mark.parametrize("dry", [["--dry-run"], [], ["--workers", "2"]])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--corpus", "text:nowhere.txt"], "corpus nowhere.txt: cannot be read"),
        (["--device", "cuda:99"], "--device cuda:99: PyTorch sees"),
    ],
)
def test_what_is_not_here_is_refused_before_any_work(
    plan: Path, tmp_path: Path, dry: list[str], flags: list[str], message: str
) -> None:
    done = call("bench", plan, "--out", tmp_path / "run", *flags, *dry)
    assert done.exit_code == 2 and message in done.stderr
    assert not (tmp_path / "run" / "cells").exists()


def test_a_dry_run_trains_nothing(plan: Path, tiny: World, tmp_path: Path) -> None:
    ladder = tiny.write_ladder("grown", small="grown:gpt2-1x64", gone="nobody/nothing")
    small = tmp_path / "small.toml"
    small.write_text(plan.read_text().replace(tiny.ladder, ladder))
    one, gone = json.loads(call("bench", small, "--dry-run", "--json", "--out", tmp_path, "--device", "cpu").stdout)[
        "rungs"
    ]
    assert "the model is not trained yet" in one["reason"] and "not in the local hub cache" in gone["reason"]
    assert one["memory"] is None
    assert one["seconds"] is None and one["cells"] == 3


def test_flags_override_a_plan_and_say_so(plan: Path, run: Path, tmp_path: Path) -> None:
    def dry(*flags: object) -> tuple[dict, list[str]]:
        done = call("bench", plan, "--dry-run", "--json", "--out", tmp_path / "none", "--device", "cpu", *flags)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout), done.stderr.splitlines()

    whole, lines = dry("--limit", 6)  # as the plan has it: no override
    assert not lines
    for flags, line in (
        (("--limit", 4), "--limit 4 instead of the plan's 6"),
        (("--seed", 1), "--seed 1 instead of the plan's 0"),
        (("--known",), "--known true instead of the plan's false"),
        (("--fast",), "--fast true instead of the plan's false"),
        (("--set", "steps=3"), "--set steps 3 for rome instead of the plan's 6 for rome"),
        (("--sites", "value"), "--sites value for rome instead of the plan's mlp for rome"),
        (("--methods", "memit"), "--methods memit instead of the plan's rome"),
    ):
        changed, lines = dry(*flags)
        assert lines == [line] and changed["hash"] != whole["hash"], flags
    changed, lines = dry("--limit", 4, "--seed", 1)
    assert len(lines) == 2 and changed["plan"]["seeds"] == [1] and changed["plan"]["edits"][0]["limit"] == 4
    written = tmp_path / "written.toml"
    written.write_text(plan.read_text().replace("limit = 6", "limit = 4"))
    same = call("bench", written, "--dry-run", "--json", "--out", tmp_path / "none", "--device", "cpu")
    assert json.loads(same.stdout)["hash"] == dry("--limit", 4)[0]["hash"]
    assert not (tmp_path / "none").exists()


def test_an_overridden_plan_is_recorded_and_stays_apart_from_the_plan(plan: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "smaller"
    done = call("bench", plan, "--out", out, "--device", "cpu", "--limit", 4, "--json")
    assert done.exit_code == 0 and "--limit 4 instead of the plan's 6" in done.stderr
    about, whole = (json.loads((folder / "run.json").read_text()) for folder in (out, run))
    assert about["overrides"] == {"--limit": {"plan": "6", "taken": "4"}} and "overrides" not in whole
    assert about["plan_hash"] != whole["plan_hash"] and set(about["plan"]) == set(whole["plan"])
    assert set(about["asked"][0]) == set(whole["asked"][0])
    options = {"min_known": 2, "which": "known", "metric": "harmonic_mean"}
    (line, _) = commands(about, str(out), options)  # as the report prints it
    again = call(*shlex.split(line)[2:], "--device", "cpu", "--json")
    assert json.loads(again.stdout)["ran"] == 0, again.output
    refusal = call("bench", plan, "--out", run, "--device", "cpu", "--seed", 1)
    assert refusal.exit_code == 2 and "holds another run (seeds [0], not [1])" in refusal.stderr


def test_flags_that_do_not_fit_a_plan_are_refused(plan: Path, tmp_path: Path) -> None:
    out = tmp_path / "none"
    for flags, words in (
        (("--limit", 0), "'--limit': 0"),
        (("--methods", "placebo"), "only follow what is searched"),
        (("--kinds", "rename", "--datasets", "world_facts"), "no rename edits in world_facts"),
        (("--set", "stepz=3"), "none of rome has a setting 'stepz'"),
        (("--set", "depth=2"), "depth=2"),
        (("--ladder", "dem"), "did you mean demo?"),
        (("--shard", "1/2", "--lm-eval", "arc_easy"), "run `bench` once more with it, without --shard"),
    ):
        assert words in refused("bench", plan, "--out", out, *flags)
    assert "i/n" in refused("bench", plan, "--out", out, "--shard", "3/2")
    assert "executor" in refused("bench", plan, "--out", out, "--executor", "dask")
    assert "cannot be read" in refused("bench", tmp_path / "gone.toml")
    assert not out.exists()


def test_changed_code_writes_to_temporary(plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_folder(plan, dirty=False) == Path("results/small") and not capsys.readouterr().err
    assert run_folder(plan, dirty=True) == Path("results/temporary/small")
    assert "results/temporary/small" in capsys.readouterr().err


def test_rows_as_text_csv_json_and_by_sql(run: Path) -> None:
    rows = read_run(run)
    table = list(csv.DictReader(io.StringIO(call("rows", run, "--csv").stdout)))
    assert len(table) == len(rows) and list(table[0]) == list(COLUMNS)
    assert "--csv or --json prints all" in call("rows", run).stdout
    sql = "SELECT rung, split, count(*) AS n FROM rows GROUP BY ALL ORDER BY ALL"
    questions = json.loads(call("rows", run, "--sql", sql, "--json").stdout)
    counted = rows.groupby(["rung", "split"]).size()
    assert {(one["rung"], one["split"]): one["n"] for one in questions} == counted.to_dict()
    assert "give one of them" in refused("rows", run, "--csv", "--json")


def test_sql_reads_the_rows_and_nothing_else(run: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    assert "syntax error" in refused("rows", run, "--sql", "SELEC 1")
    assert "nope" in refused("rows", run, "--sql", "SELECT nope FROM rows")
    for sql in (
        f"SELECT * FROM read_csv('{secret}')",
        f"SELECT * FROM '{secret}'",
        "SELECT * FROM frame",
        f"COPY rows TO '{tmp_path / 'out.csv'}'",
        "DROP VIEW rows",
        "SELECT 1; SELECT 2",
        "SET enable_external_access = true",
        f"ATTACH '{tmp_path / 'x.db'}'",
        "",
    ):
        refused("rows", run, "--sql", sql)
    assert [file.name for file in tmp_path.iterdir()] == ["secret.csv"]
    assert "no such run folder" in refused("rows", tmp_path / "none")


def test_status_merge_and_slurm(plan: Path, run: Path, tmp_path: Path) -> None:
    about = json.loads(call("status", run, "--json").stdout)
    assert (about["expected"], about["done"], about["left"]) == (6, 6, 0)
    assert "6 of 6 cells done, 0 failed, 0 running" in call("status", run).stdout
    done = call("merge", run, run, "--out", tmp_path / "both")
    assert "6 cells, 0 of them failed; 6 were there twice" in done.stdout
    assert json.loads(call("status", tmp_path / "both", "--json").stdout)["plan_hash"] == about["plan_hash"]
    assert "#SBATCH --array=1-4" in call("slurm", plan, "--jobs", 4, "--out", tmp_path / "run").stdout
    assert call("slurm", plan, "--out", tmp_path / "run", "--write", tmp_path / "job.sh").stdout.startswith("wrote ")
    assert "--shard ${SLURM_ARRAY_TASK_ID}/8" in (tmp_path / "job.sh").read_text()
    assert "no run there" in refused("status", tmp_path)
    assert "memory" in refused("slurm", plan, "--memory", "much", "--out", tmp_path)


def test_the_status_of_a_packed_run_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    call("pack", run, "--out", tmp_path / "packed")
    text = call("status", tmp_path / "packed").stdout
    assert "6 of 6 cells done, 0 failed" in text and "unreadable" not in text


def test_a_plan_changed_by_hand_is_neither_gone_on_with_nor_judged(plan: Path, run: Path, tmp_path: Path) -> None:
    """Whoever changes run.json and the plan alike would put cells of another plan beside the old hash."""
    shutil.copytree(run, tmp_path / "run")
    text = (run / "run.json").read_text()
    (tmp_path / "run" / "run.json").write_text(text.replace('"corpus": "samples:500"', '"corpus": "samples:600"'))
    (tmp_path / "new.toml").write_text(plan.read_text().replace("samples:500", "samples:600"))
    message = refused("bench", tmp_path / "new.toml", "--out", tmp_path / "run", "--device", "cpu")
    assert "changed by hand" in message
    for command in ("curve", "scores", "rows", "report", "status", "hypotheses"):
        assert "changed by hand" in refused(command, tmp_path / "run"), command


@pytest.mark.parametrize("options", [(), ("--extend",), ("--dry-run",)], ids=str)
def test_a_plan_file_and_flags_alone_make_different_runs(
    options: tuple[str, ...], tiny: World, plan: Path, run: Path, tmp_path: Path
) -> None:
    flags = ("--ladder", tiny.ladder, "--corpus", "samples:500", "--limit", 1, "--device", "cpu", *options)
    expected = "one of the two is of a plan file, the other of flags alone"
    assert expected in refused("bench", *flags, "--out", run)
    by_flags = {"plan": {"corpus": "samples:500", "ladder": tiny.ladder, "limit": 1, "probes": 0, "seed": 0}}
    (tmp_path / "run.json").write_text(json.dumps(by_flags))
    assert expected in refused("bench", plan, "--device", "cpu", *options, "--out", tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 99},
        {"schema": "1"},
        {"asked": None},
        {"asked": ["rome"]},
        {"commit": 3},
        {"doses": {"1": 1}},
        {"expected": "x"},
    ],
    ids=str,
)
def test_a_run_of_a_newer_version_or_with_a_spoilt_entry_is_refused_by_all(
    wrong: dict, plan: Path, run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | wrong))
    before = {file.name: file.read_bytes() for file in (copy / "cells").iterdir()}
    (key,) = wrong
    expected = "newer version (schema 99" if wrong == {"schema": 99} else f"run.json ({key} "
    for command in (
        ("bench", plan, "--out", copy, "--device", "cpu"),
        ("compact", copy),
        ("pack", copy, "--out", tmp_path / "packed"),
        ("merge", copy, run, "--out", tmp_path / "merged"),
        ("status", copy),
        ("compare", copy, run),
    ):
        assert expected in refused(*command), command
    assert {file.name: file.read_bytes() for file in (copy / "cells").iterdir()} == before
