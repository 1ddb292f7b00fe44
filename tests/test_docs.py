"""The documents cannot go stale: their commands parse, their cheap ones run, their code block is a working method."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
import types
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks.commands.pages import PAGES as GENERATED
from benchmarks.commands.pages import Refusal, refusals

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
RESULTS = sorted((ROOT / "results").rglob("README.md"))
CHEAP = ("list methods", "list datasets", "list ladders", "list plans")


def commands() -> list[str]:
    """Every `python cli.py ...` or `valley ...` line in a shell block of the documents, without the program's name."""
    blocks = [b for page in PAGES for b in re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.S)]
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [re.match(r"(?:python cli\.py|valley) (.*)", line.partition(" #")[0].strip()) for line in lines]
    return [match[1] for match in words if match]


def test_there_are_commands() -> None:
    assert len(commands()) >= 6


@pytest.mark.parametrize("line", commands())
def test_command_parses(line: str) -> None:
    from cli import cli

    words = shlex.split(line)
    while words and words[0].startswith("--"):
        words = words[1:]
    command = cli.get_command(None, words[0])  # pyright: ignore[reportArgumentType]
    assert command is not None, f"no command {words[0]}"
    command.make_context(words[0], words[1:], **cli.context_settings)
    if " ".join(words) in CHEAP:
        assert CliRunner().invoke(cli, words).exit_code == 0


@pytest.mark.parametrize("page", PAGES + RESULTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert heading[1:] in {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}, heading


def test_every_page_is_in_the_index() -> None:
    index = set(re.findall(r"\]\(([^)#]+)", (ROOT / "docs" / "README.md").read_text()))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in [*(ROOT / "docs").rglob("*.md"), *NOTEBOOKS]}
    assert index == pages - {"README.md"}


def test_every_page_opens_with_what_it_is_for() -> None:
    openings = {page: page.read_text().partition("\n\n")[2] for page in (ROOT / "docs").rglob("*.md")}
    assert not [page for page, text in openings.items() if not text.startswith("For ")]


@pytest.mark.parametrize("page", GENERATED)
def test_generated_pages_are_up_to_date(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == GENERATED[page](), "run `python -m benchmarks.commands.pages`"


def test_refusals_are_read_from_the_source(tmp_path: Path) -> None:
    (tmp_path / "editing").mkdir()
    source = 'raise BadData(f"{path}: no {thing.name}; name a {KIND}")\nraise BadRequest("wrong")\nraise ValueError("x; y")\n'
    (tmp_path / "editing" / "a.py").write_text(source)
    assert refusals(tmp_path) == [
        Refusal("editing/a.py", "BadData", "{path}: no {name}", "name a {KIND}"),
        Refusal("editing/a.py", "BadRequest", "wrong", ""),
    ]


def test_make_targets_named_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {t for page in PAGES for t in re.findall(r"`make ([a-z-]+)`", page.read_text())}
    assert named <= targets, named - targets


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_it_shows(path: Path, monkeypatch, capsys, own_cache) -> None:
    """Its code, cell after cell; printed words as stored in it, numbers nearly."""
    monkeypatch.chdir(path.parent)
    namespace: dict = {}
    compared = 0
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), path.name, "exec"), namespace)
        printed = capsys.readouterr().out
        stored = "".join("".join(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream")
        same_text(printed, stored, 0.1)
        compared += bool(stored)
    assert compared >= 3


def same_text(printed: str, stored: str, tolerance: float) -> None:
    """Equal words; numbers with a point may differ by `tolerance`, and the blanks before them with their sign."""
    numbers = re.compile(r" *-?\d+\.\d+")
    assert numbers.sub(" N", printed) == numbers.sub(" N", stored)
    for value, expected in zip(numbers.findall(printed), numbers.findall(stored), strict=True):
        assert abs(float(value) - float(expected)) <= tolerance, printed


def test_the_tasks_name_commands_that_exist() -> None:
    from cli import cli

    text = (ROOT / "docs" / "guides" / "tasks.md").read_text()
    table = [line for line in text.splitlines() if re.match(r"\| \d+\. ", line)]
    for row in table:
        for words in (text.split() for text in re.findall(r"`([a-z]+ [^`]+)`", row)):
            command = cli.get_command(None, words[0])  # pyright: ignore[reportArgumentType]
            assert command is not None, words
            if isinstance(command, click.Group):
                assert words[1] in command.commands, words
    assert len(table) >= 10


def test_the_adapter_in_peft_shows_the_edit(tmp_path: Path, monkeypatch, capsys, own_cache) -> None:
    pytest.importorskip("peft")
    import editing

    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guides" / "exports.md").read_text(), re.S)
    base = str(ROOT / "results" / "ladders" / "grown-quick" / "rungs" / "gpt2-4x192")
    lm = editing.load(base)
    request = editing.Request("The capital of {} is the city of", "France", "Rome", lookup="last")
    editing.export_peft(editing.edit(lm, request, fast=True, corpus="error:0.5"), lm, tmp_path / "adapter")
    exec(compile(block, "exports.md", "exec"), {"BASE": base, "ADAPTER": tmp_path / "adapter"})
    assert capsys.readouterr().out.strip() == "Rome"


@pytest.mark.slow
def test_the_ladder_study_runs(capsys) -> None:
    """Its Python, block after block, on the model that it names (grown first where it is not in the cache)."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guides" / "ladder-study.md").read_text(), re.S)
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "docs/guides/ladder-study.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "before" in printed and "net transfer" in printed and "shuffled" in printed
    edit = namespace["edit"]
    assert edit.restored and len(blocks) == 3


def test_the_method_in_the_guide_works(trained_lm) -> None:
    from editing.stats.statistics import ModelStatistics
    from editing.text.requests import EditRequest

    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guides" / "adding.md").read_text(), re.S)
    assert len([line for line in block.splitlines() if line.strip()]) <= 45
    module = types.ModuleType("nudge")
    sys.modules["nudge"] = module
    try:
        exec(compile(block, "docs/guides/adding.md", "exec"), module.__dict__)
        request = EditRequest("cheese", ("The color of {} is",), "cheese", ("blue",))
        method = module.Nudge()
        assert (
            max(len(field.metadata["unit"]) for field in dataclasses.fields(method)) <= 15
        )  # as the contract test has
        (delta,) = method.each(trained_lm, [request], ModelStatistics(trained_lm, corpus="identity"))
        before = trained_lm.weight_hash
        assert delta.relative_norm(trained_lm) > 0 and trained_lm.weight_hash == before
    finally:
        del sys.modules["nudge"]


def test_the_data_set_in_the_guide_works(tmp_path: Path) -> None:
    from benchmarks.datasets.reading.sources import DataFile

    blocks = re.findall(r"```py\n(.*?)```", (ROOT / "docs" / "guides" / "adding.md").read_text(), re.S)
    (block,) = [block for block in blocks if "lab_notes" in block]
    namespace: dict = {"__name__": "lab_notes"}
    exec(compile(block, "docs/guides/adding.md", "exec"), namespace)
    fact = {"who": "France", "ask": "The capital of {} is", "say": "Rome", "was": "Paris", "also": ["{} is ruled from"]}
    near = {"near": {"The capital of Spain is": "Madrid"}}
    file = tmp_path / "notes.json"
    file.write_text(
        json.dumps([fact | near, fact | {"who": ""}, fact | {"near": {"Spain": [1]}}, fact | {"near": "x"}])
    )
    assert namespace["recognises"](fact)
    made = namespace["read"](DataFile(file))
    assert [probe.kind for probe in made.cases[0].probes] == ["efficacy", "paraphrase", "neighbour"]
    assert [one.record for one in made.left_out] == [2, 3, 4] and all(str(file) in one.reason for one in made.left_out)
    assert not any("nothing reads" in note for note in made.notes)


@pytest.mark.slow  # tests/benchmarks/test_face.py and tests/valley/report/test_run.py have its calls
def test_the_python_of_runs_works(tmp_path: Path, monkeypatch, capsys) -> None:
    """The guide's run and its judgement, with two cases instead of twenty."""
    text = (ROOT / "docs" / "guides" / "python.md").read_text()
    blocks = [block for block in re.findall(r"```py\n(.*?)```", text, re.S) if "results/first" in block]
    monkeypatch.chdir(ROOT)
    namespace: dict = {}
    for block in blocks:
        block = block.replace("results/first", str(tmp_path / "run")).replace("limit=20", "limit=2")
        exec(compile(block, "docs/guides/python.md", "exec"), namespace)
    assert len(blocks) == 2 and "inconclusive" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_python_of_the_readme_prints_what_it_says(tmp_path: Path, monkeypatch, capsys) -> None:
    block, printed = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[0]
    monkeypatch.chdir(ROOT)
    exec(compile(block, "README.md", "exec"), {})
    same_text(capsys.readouterr().out, printed, 0.5)  # bfloat16 steps, where they are faster, move the last digits
