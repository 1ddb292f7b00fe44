"""The command line as a stranger meets it: help at once, one line per mistake, exit codes, JSON, nothing
half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import cli
from editing.delta.delta import Delta
from tests.benchmarks.forks import fork
from tests.benchmarks.tiny import World, world
from tests.editing.references.model_files import lay_out
from valley.rows.plan_record import PLAN_FILE, store_plan
from valley.rows.schema import read_run

pytestmark = pytest.mark.usefixtures("own_cache")
ROOT = Path(__file__).resolve().parents[3]
COMMANDS = (
    "bench", "chat", "compact", "compare", "curve", "datasets", "edit", "editability", "export", "hypotheses", "judge", "ladder", "ladders", "merge", "methods",
    "models", "pack", "planted", "power", "report", "retarget", "rows", "schema", "sequence", "shape", "slurm", "status", "transfer",
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> World:
    return world()


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    """The one line of a mistake."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    assert result.stdout == ""
    return lines[0]


@pytest.fixture(scope="module")
def run(tiny: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    arguments = ("bench", "--ladder", tiny.ladder, "--methods", "rome", "--kinds", "fact", "--sites", "mlp", "--json")
    data = ("--corpus", "samples:500", "--datasets", f"fact_file:{tiny.facts}")
    result = call(*arguments, *data, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert (outcome["cells"], outcome["ran"], outcome["failed"]) == (4, 4, [])
    return out


def test_help_names_every_command_and_each_has_its_own() -> None:
    shown = call("--help").stdout
    assert all(command in shown for command in COMMANDS)
    for command in COMMANDS:
        assert call(command, "--help").exit_code == 0


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys, cli; print([m for m in ('torch', 'pandas', 'transformers', 'altair', 'pydantic') if m "
        "in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_lists(tiny: World) -> None:
    assert "rome" in call("methods").stdout and "memit" in call("methods").stdout
    assert "demo" in call("ladders").stdout
    assert "concept_suite" in call("datasets").stdout
    about = json.loads(call("models", tiny.model, "--json", "--device", "cpu").stdout)
    assert about["n_layers"] == 2 and len(about["weights_sha256"]) == 64 and about["bits_per_byte_en"] > 0
    assert (about["sites"][0]["kind"], about["sites"][0]["count"], about["sites"][0]["d_in"]) == ("mlp", 2, 192)


def test_datasets_check(tmp_path: Path) -> None:
    records = [{"subject": f"S{i}", "src": f"Where is S{i}?", "alt": f"a{i}", "answers": [f"b{i}"]} for i in range(4)]
    path = tmp_path / "zsre.json"
    path.write_text(json.dumps([*records, {**records[0], "alt": "b0"}]), encoding="utf-8")
    done = call("datasets", "check", path)
    assert (
        done.exit_code == 0 and "zsre" in done.stdout and "record 5: the target 'b0' is the old answer" in done.stdout
    )
    about = json.loads(call("datasets", "check", path, "--form", "zsre", "--json").stdout)
    assert (about["form"], about["records"], about["cases"], about["left_out"]) == ("zsre", 5, 4, 1)
    assert about["probes"] == {"efficacy en": 4} and about["bad"][0]["record"] == 5
    assert "use zsre" in refused("datasets", "check", path, "--form", "zsr")
    path.write_text('[{"colour": "red"}]', encoding="utf-8")
    line = refused("datasets", "check", path)
    assert "the first has colour" in line and "counterfact" in line
    assert "no such file" in refused("datasets", "check", tmp_path / "none.json")
    assert "write them behind it" in refused("datasets", "--json", "check", path)  # it was ignored


def test_ladder_list_and_show(tiny: World) -> None:
    assert call("ladder", "list").stdout == call("ladders").stdout
    listed = json.loads(call("ladder", "list", "--json").stdout)
    assert (listed[0]["name"], listed[0]["rungs"]) == ("demo", 5) and listed[0]["title"]
    shown = json.loads(call("ladder", "show", tiny.ladder, "--json").stdout)
    assert [rung["name"] for rung in shown["rungs"]] == ["one", "two"] and shown["rungs"][0]["absent"] == ""
    text = call("ladder", "show", "demo").stdout
    assert "smollm2-135m" in text and "134,515,008" in text and "Apache-2.0" in text
    assert "no such ladder" in refused("ladder", "show", "dem")
    assert "No such command" in refused("ladder", "grew")
    help_text = call("ladder")
    assert all(word in help_text.output for word in ("list", "show", "strength", "crispness"))


def test_ladder_strength(tiny: World, tmp_path: Path) -> None:
    own = tmp_path / "mine.txt"
    own.write_text("The capital of France is the city of Paris. " * 5, encoding="utf-8")
    (tmp_path / "marked.txt").write_text("\ufeff" + own.read_text(encoding="utf-8"), encoding="utf-8")
    marked = call("ladder", "strength", tiny.model, "--device", "cpu", "--text", tmp_path / "marked.txt", "--json")
    done = call("ladder", "strength", tiny.ladder, "--device", "cpu", "--text", own, "--json")
    assert done.exit_code == 0, done.output
    one, two = json.loads(done.stdout)["rungs"]
    assert (one["rung"], two["rung"]) == ("one", "two") and one["n_layers"] == 1
    assert json.loads(marked.stdout)["rungs"][0]["bits_per_byte_text"] == two["bits_per_byte_text"]
    assert two["bits_per_byte_text"] < one["bits_per_byte_en"] and one["training_tokens"] is None
    assert 0 <= one["known_rate_en"] <= 1 and one["parameters_without_embeddings"] < one["parameters"]
    text = call("ladder", "strength", tiny.ladder, "--rungs", "two", "--device", "cpu")
    assert "two" in text.stdout and "one" not in text.stdout and "n/a" in text.stdout
    assert "no rung 'three'" in refused("ladder", "strength", tiny.ladder, "--rungs", "three")
    (tmp_path / "empty.txt").write_text(" ")
    for bad in ("empty.txt", "gone.txt"):
        assert bad in refused("ladder", "strength", tiny.model, "--text", tmp_path / bad)
    ladder = tiny.write_ladder("half", two=tiny.model, gone=str(tmp_path / "gone"))
    half = call("ladder", "strength", ladder, "--device", "cpu")
    assert half.exit_code == 1 and "failed: rung gone" in half.stdout and "two" in half.stdout


def test_ladder_of_hub_models_offline(tiny: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rung whole in the hub cache, one cut short, one never fetched: each failure one line, at once."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lay_out(tmp_path / "hub", "nobody/whole", Path(tiny.model))
    (lay_out(tmp_path / "hub", "nobody/cut", Path(tiny.model)) / "model.safetensors").unlink()
    ladder = tiny.write_ladder("hub", whole="nobody/whole", cut="nobody/cut", gone="nobody/gone")
    began = time.perf_counter()
    done = call("ladder", "strength", ladder, "--device", "cpu", "--json")
    seconds = time.perf_counter() - began
    outcome = json.loads(done.stdout)
    assert done.exit_code == 1 and [rung["rung"] for rung in outcome["rungs"]] == ["whole"]
    assert "only partly in the local hub cache" in outcome["failed"][0] and "rung cut" in outcome["failed"][0]
    assert "not in the local hub cache" in outcome["failed"][1] and "\n" not in outcome["failed"][1]
    assert seconds < 15
    shown = json.loads(call("ladder", "show", ladder, "--json").stdout)["rungs"]
    assert [bool(rung["absent"]) for rung in shown] == [False, True, True]
    assert "not in the local hub cache" in refused("ladder", "crispness", "nobody/gone")


@pytest.mark.slow  # the fast tests have it with a file of concepts: test_own_concepts.py
def test_ladder_crispness(tiny: World, tmp_path: Path) -> None:
    options = ("--corpus", "samples:600", "--device", "cpu", "--out", tmp_path / "out", "--concepts", "cheese")
    done = call("ladder", "crispness", tiny.model, *options, "--json")
    assert done.exit_code == 0, done.output
    outcome = json.loads(done.stdout)
    assert {"C_key", "C_align", "C_patch"} <= {row["measure"] for row in outcome["summary"]}
    assert all(Path(file).is_file() for file in outcome["files"])
    assert {"none", "untrained", "random", "shuffled"} <= set(outcome["summary"][0])


def test_mistakes_of_ladder_crispness_are_one_line(tiny: World) -> None:
    assert "chese" in refused("ladder", "crispness", tiny.model, "--concepts", "chese")
    assert "samples:NUMBER" in refused("ladder", "crispness", tiny.model, "--corpus", "wiki", "--device", "cpu")


def test_bench_then_curve_then_report(run: Path) -> None:
    (run / PLAN_FILE).unlink()
    store_plan(run, {"min_known": 1, "draws": 50, "bootstrap": 50})  # before it is judged, and quickly
    rows = read_run(run)
    assert rows["error"].eq("").all()
    assert rows["known_rate_en"].between(0, 1).all() and rows["parameters_without_embeddings"].gt(0).all()
    assert rows["training_tokens"].isna().all()
    curve = call("curve", run, "--min-known", 1)
    assert curve.exit_code == 0, curve.output
    assert "one" in curve.stdout and "two" in curve.stdout
    assert "editability_strength.png" in curve.stdout and len(list(run.glob("*.png"))) >= 2
    nothing = call("curve", run, "--min-known", 9999)
    assert nothing.exit_code == 0 and "no chart: nothing was measured" in nothing.stdout
    table = call("curve", run, "--min-known", 1, "--json")
    assert {row["rung"] for row in json.loads(table.stdout)} == {"one", "two"}
    assert call("report", run, "--min-known", 1).exit_code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")


def test_bench_says_which_cells_failed_and_exits_1(tiny: World, tmp_path: Path) -> None:
    ladder = tiny.write_ladder("broken", two=tiny.model, gone=str(tmp_path / "gone"))
    arguments = ("bench", "--ladder", ladder, "--methods", "rome", "--kinds", "fact", "--sites", "mlp", "--limit", 1)
    data = ("--corpus", "samples:500", "--datasets", f"fact_file:{tiny.facts}")
    result = call(*arguments, *data, "--out", tmp_path / "run", "--device", "cpu")
    assert result.exit_code == 1
    assert "2 failed" in result.stdout and "gone rome fact" in result.stdout


def test_bench_mistakes_are_one_line_before_any_work(tiny: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    good = {"--ladder": tiny.ladder, "--methods": "rome", "--kinds": "rename", "--out": tmp_path / "out"}

    def bench(**changes: object) -> str:
        options = good | {f"--{key}": value for key, value in changes.items()}
        return refused("bench", *[part for pair in options.items() for part in pair])

    assert "no method 'romee'" in bench(methods="romee") or "romee" in bench(methods="romee")
    assert "renames" in bench(kinds="renames")
    assert "no such ladder" in bench(ladder="dem")
    assert "nowhere" in bench(sites="nowhere")
    assert "limit" in bench(limit=0)
    assert not (tmp_path / "out").exists()
    assert "cannot write" in bench(out=tmp_path / "file")
    assert "cannot write" in bench(out="/proc/run")
    assert "--out is empty" in bench(out="")  # an unset variable of a shell, not the current folder
    assert "--save is empty" in refused("edit", "--model", "x", "--rename", "a=b", "--save=")
    assert "an argument is empty" in refused("curve", "")
    assert (tmp_path / "file").read_text() == ""
    assert "--out" in refused("bench")


def test_run_folders_that_are_none(tmp_path: Path) -> None:
    for command in ("curve", "report"):
        assert "no such run folder" in refused(command, tmp_path / "none")
        assert "is no run folder" in refused(command, tmp_path)
    (tmp_path / "cells").mkdir()
    assert "no finished cell" in refused("report", tmp_path)
    (tmp_path / "cells" / "a.parquet").write_bytes(b"PAR1 not")
    assert "not a readable Parquet file" in refused("curve", tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_edit_changes_what_the_model_says_and_puts_it_back(tiny: World, tmp_path: Path) -> None:
    record = json.loads(Path(tiny.facts).read_text())[0]
    facts = tmp_path / "one.json"
    facts.write_text(json.dumps(record))
    save = tmp_path / "delta"
    common = ("edit", "--model", tiny.model, "--fact", facts, "--device", "cpu", "--set", "lookup=last")
    common += ("--corpus", "samples:500")
    result = call(*common, "--json", "--save", save)
    assert result.exit_code == 0, result.output
    edit = json.loads(result.stdout)
    probes = {row["probe"]: row for row in edit["probes"]}
    assert edit["restored"] is True and edit["known"] == [True]
    assert probes["efficacy"]["pick_before"] == "Paris" and probes["efficacy"]["pick_after"] == "Madrid"
    assert probes["efficacy"]["text_after"].strip().startswith("Madrid")
    assert edit["settings"]["lookup"] == "last" and edit["placement"]["lookup"] == "last"
    saved = Delta.load(save).provenance
    assert saved["model_hash"] == edit["model"]["hash"]
    assert 0 < edit["dose"]["value"] == saved["dose"] < 1 and saved["dose_choice"] == edit["dose"]
    whole = json.loads(call(*common, "--json", "--dose", "1").stdout)
    assert whole["dose"]["line"] == "dose 1: the change as the method makes it"
    assert whole["edit_norm"] * edit["dose"]["value"] == pytest.approx(edit["edit_norm"])
    assert "write auto, or a number" in refused(*common, "--dose", "much")
    text = call(*common)
    assert text.exit_code == 0 and f"\n{edit['dose']['line']}\n" in text.stdout
    assert "restored bit for bit" in text.stdout and "efficacy" in text.stdout and "drift" in text.stdout


def test_edit_with_a_file_of_easyedit(tiny: World, tmp_path: Path) -> None:
    record = json.loads(Path(tiny.facts).read_text())[0]
    facts, file = tmp_path / "one.json", tmp_path / "rome.yaml"
    facts.write_text(json.dumps(record))
    file.write_text(
        "alg_name: ROME\nmodel_name: x\nlayers: [1]\nfact_token: last\nv_num_grad_steps: 20\nv_lr: 5e-1\n"
        "v_weight_decay: 1e-3\nclamp_norm_factor: 4\nkl_factor: 0.0625\nmom2_adjustment: false\ncolour: red\n"
        "rewrite_module_tmp: transformer.h.{}.mlp.c_proj\n"
    )
    common = ("edit", "--model", tiny.model, "--fact", facts, "--device", "cpu", "--hparams", file, "--set", "steps=12")
    save = tmp_path / "delta"
    result = call(*common, "--json", "--save", save)
    assert result.exit_code == 0, result.output
    edit = json.loads(result.stdout)
    assert edit["method"] == "rome" and edit["placement"]["layers"] == [1] and edit["placement"]["lookup"] == "last"
    assert edit["settings"]["steps"] == 12 and edit["settings"]["weight_decay"] == 0.001
    assert Delta.load(save).provenance["statistics"]["corpus"] == "identity"
    assert any("identity" in note for note in edit["notes"]) and any("colour" in note for note in edit["notes"])
    assert "note: covariance: identity, as the file says (mom2_adjustment: false)" in call(*common).stdout
    assert "give one of them" in refused(*common, "--method", "rome")
    assert "no setting 'colour'" in refused(*common, "--set", "colour=1")
    file.write_text("alg_name: MEND\n")
    assert str(file) in refused(*common)


def test_edit_mistakes_are_one_line(tiny: World, tmp_path: Path) -> None:
    def edit(*arguments: object) -> str:
        return refused("edit", "--model", tiny.model, *arguments)

    unknown_word = ("edit", "--rename", "chese=fromage")  # drafted by the model, so the model is opened first
    assert "not in the local hub cache" in refused(*unknown_word, "--model", "nobody/gone")
    assert "OLD=NEW" in edit("--rename", "cheese")
    assert "nothing to do" in edit()
    assert "--rename and --retarget" in edit("--rename", "cheese=fromage", "--retarget", "cheese=bread")
    assert "no method" in edit("--rename", "cheese=fromage", "--method", "romee")
    assert "no setting" in edit("--rename", "cheese=fromage", "--set", "colour=red")
    assert "KEY=VALUE" in edit("--rename", "cheese=fromage", "--set", "depth")
    assert "depth" in edit("--rename", "cheese=fromage", "--set", "depth=deep")
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious.txt").write_text("keep")
    assert "other files" in edit("--rename", "cheese=fromage", "--save", full)
    assert [f.name for f in full.iterdir()] == ["precious.txt"]
    for name, text in {
        "bad": "{",
        "empty": "",
        "missing": '{"prompt": "{} is", "subject": "x"}',
        "no_target": '{"prompt": "{} is", "subject": "x", "target": " "}',
        "absent": '{"prompt": "It is", "subject": "x", "target": "y"}',
    }.items():
        file = tmp_path / f"{name}.json"
        file.write_text(text)
        assert str(file) in edit("--fact", file)
    assert "no such file" in edit("--fact", tmp_path / "none.json")
    for model in ("./none", "grown:none", "package:none", "gguf:none", "bad ref", "nobody/nothing"):
        refused("edit", "--model", model, "--rename", "cheese=fromage")


def test_verbose_shows_the_traceback_of_a_mistake() -> None:
    result = call("--verbose", "curve", "/none")
    assert result.exit_code != 0 and not isinstance(result.exception, SystemExit)


def test_ctrl_c_exits_130_and_says_what_is_kept(tiny: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["bench", "--ladder", tiny.ladder, "--methods", "rome", "--kinds", "fact", "--limit", "2"]
    options += ["--datasets", f"fact_file:{tiny.facts}", "--sites", "mlp", "--corpus", "samples:500", "--out", str(out)]

    def work() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children inherit it ignored
        cli(options)

    child = fork(work, tmp_path / "stderr")
    until = time.monotonic() + 120
    while not list(out.glob("cells/*.parquet")) and time.monotonic() < until:
        time.sleep(0.002)
    child.kill(signal.SIGINT)
    assert child.wait() == 130
    said = child.log.read_text()
    assert "run the same command to go on" in said.splitlines()[-1] and "Traceback" not in said
    assert len(read_run(out)) > 0


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} cli.py --help | true", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""


def test_a_saved_change_becomes_an_adapter_of_its_own_model_only(tmp_path: Path, monkeypatch) -> None:
    from editing.delta.changes import LowRank
    from editing.delta.delta import Delta
    from tests.benchmarks.tiny import tiny_model

    torch = pytest.importorskip("torch")
    lm = tiny_model(["The cat sat on the mat."])
    lm.module.save_pretrained(tmp_path / "model")
    lm.tokenizer.save_pretrained(tmp_path / "model")
    site = lm.sites("mlp")[0]
    for name, made_for in (("mine", lm.weight_hash), ("other", "0" * 64)):
        change = LowRank(torch.ones(site.d_out, 1), torch.ones(site.d_in, 1))
        Delta({site.weight: change}, {"model_hash": made_for}).save(tmp_path / name)
    words = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "adapter")]
    done = CliRunner().invoke(cli, ["adapter", str(tmp_path / "mine"), *words])
    assert done.exit_code == 0, done.output
    assert "rank 1" in done.output and (tmp_path / "adapter" / "adapter_config.json").is_file()
    refused = CliRunner().invoke(cli, ["adapter", str(tmp_path / "other"), *words])
    assert refused.exit_code == 2 and "made from a model of hash 000000000000" in refused.output


@pytest.mark.parametrize("words", [["bench", "--out", "x"], ["edit", "--model", "no/such", "--rename", "cheese=bread"]])
def test_a_corpus_of_no_known_form_is_refused_before_any_work(words: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, [*words, "--corpus", "samples:many"])
    assert done.exit_code == 2 and "corpus 'samples:many': write samples:NUMBER" in done.output
    assert list(tmp_path.iterdir()) == []
