"""The playground in real headless Chromium: load, edit, trace, dose, undo, cancel, save, hostile strings, two visitors, a
wrong model.

Needs Gradio (extra `play`), playwright and a Chromium on the PATH; skipped, saying so, where one is missing.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from editing.delta import Delta
from tests.same import same_changes

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
RUNG = str(ROOT / "results/ladders/grown-quick/rungs/gpt2-2x128")
NAME = "Name: letters, digits, dot, dash, underscore"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The server with a note of every address outside this machine that it tries to reach.
GUARDED = """
import socket, sys
usual = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        open(sys.argv[1], "a").write(f"{address}\\n")
        raise OSError("no network in this test")
    return usual(self, address)
socket.socket.connect = connect
from benchmarks.commands import cli
cli(sys.argv[2:], prog_name="valley")
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address of a running playground and the folder that holds its `out` and its `reached`."""
    for package in ("gradio", "playwright"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    folder = tmp_path_factory.mktemp("play")
    words = ["play", "--model", RUNG, "--port", "0", "--out", str(folder / "out")]
    command = [sys.executable, "-c", GUARDED, str(folder / "reached"), *words]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ})
    try:
        said = ""
        while server.stdout and not said.startswith("the playground:"):
            said = server.stdout.readline()
            assert said, (folder / "log").read_text()
        yield said.split()[2], folder
    finally:
        server.terminate()
        server.wait(30)


class Visitor:
    """One browser page with what its console said and which hosts it reached."""

    def __init__(self, browser, address: str) -> None:
        self.page = browser.new_page(viewport={"width": 1280, "height": 900})
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda box: (self.errors.append("a dialog opened"), box.dismiss()))
        self.page.on("request", lambda one: self.hosts.add(re.sub(r"^\w+://([^/:]*).*", r"\1", one.url)))
        self.page.goto(address)
        self.says("is open")

    def says(self, text: str) -> None:
        self.page.locator("#notice").get_by_text(text).wait_for(timeout=120_000)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def fill(self, label: str, text: str) -> None:
        box = self.page.get_by_label(label, exact=True)
        box.fill(text)
        box.press("Tab")

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def edits(self) -> int:
        return self.page.locator(".play-stack li").count()

    def edit(self, text: str = "the smallest at which") -> None:
        before = self.edits()
        self.press("Edit")
        self.page.wait_for_function(
            "n => document.querySelectorAll('.play-stack li').length == n + 1", arg=before, timeout=120_000
        )
        self.says(text)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield made
        made.close()


def test_first_screen_edits_doses_and_undoes(served, browser) -> None:
    visitor = Visitor(browser, served[0])
    page = visitor.page
    visitor.edit()
    assert "fromage" in page.locator(".play-bars tr.new").first.inner_text()
    visitor.tab("Code")
    assert page.get_by_text("editing.load(").count() and page.get_by_text("--rename").count()
    visitor.tab("What moved")
    dose = page.get_by_role("spinbutton").first
    dose.fill("0")
    dose.press("Enter")
    page.get_by_role("slider").first.focus()
    page.get_by_role("slider").first.press("ArrowRight")
    page.wait_for_function(
        "() => /dose 0(\\.0\\d*)?\\)/.test(document.querySelector('.play-stack').innerText)", timeout=60_000
    )
    visitor.press("Undo")
    visitor.says("undone")
    assert visitor.edits() == 0
    visitor.press("Undo")
    visitor.says("no edit yet")
    assert not visitor.errors and visitor.hosts <= {"127.0.0.1", "data", ""}, (visitor.errors, visitor.hosts)


def test_text_is_written_saved_exported_and_repeated(served, browser, tmp_path: Path) -> None:
    address, folder = served
    visitor = Visitor(browser, address)
    visitor.edit()
    visitor.tab("Free text")
    visitor.press("Go on")
    visitor.says("written")
    before, after = (visitor.page.get_by_label(label, exact=True).input_value() for label in ("Before", "After"))
    assert before and after and before != after
    visitor.tab("Save")
    visitor.fill(NAME, "../../outside")
    visitor.press("Save the edit")
    visitor.says("saved in")
    visitor.press("Save the edit")
    visitor.says("there already")
    visitor.fill(NAME, "adapter")
    visitor.press("Export a PEFT adapter")
    visitor.says("exported as")
    assert {path.name for path in (folder / "out").iterdir()} - {".page"} == {"outside", "adapter", "adapter.zip"}
    assert {path.name for path in folder.iterdir()} <= {"out", "log", "reached"}
    assert not visitor.errors
    repeated(folder / "out" / "outside", tmp_path)


def repeated(saved: Path, folder: Path) -> None:
    """Run the saved script and the saved commands, each as a user would: either makes the saved change bit for bit."""
    program = folder / "bin" / "valley"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "cli.py"}" "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for command in ([sys.executable, saved / "edit.py"], ["sh", saved / "edit.sh"]):
        subprocess.run(list(map(str, command)), cwd=folder, env=env, check=True, capture_output=True)
    for name in ("my-edit", "edit-1"):
        same_changes(Delta.load(saved / "change"), Delta.load(folder / name))


def test_the_localiser_draws_the_typed_edit_and_makes_none(served, browser) -> None:
    visitor = Visitor(browser, served[0])
    visitor.tab("Localiser")
    visitor.press("Trace")
    visitor.says("traced")
    charts = visitor.page.locator(".vega-embed svg")
    charts.nth(1).wait_for()
    assert charts.count() == 2 and all(charts.nth(i).bounding_box()["width"] > 200 for i in (0, 1))
    assert "dairy*" in charts.first.text_content()
    assert visitor.edits() == 0 and not visitor.errors, visitor.errors


def test_cancel_ends_an_edit_and_the_next_one_works(served, browser) -> None:
    visitor = Visitor(browser, served[0])
    visitor.page.get_by_label("Method", exact=True).fill("lora")
    visitor.page.get_by_label("Method", exact=True).press("Enter")
    visitor.press("Edit")
    visitor.page.locator("#notice").get_by_text("editing").wait_for(timeout=60_000)
    visitor.press("Cancel")
    visitor.says("cancelled")
    assert visitor.edits() == 0
    visitor.page.get_by_label("Method", exact=True).fill("rome")
    visitor.page.get_by_label("Method", exact=True).press("Enter")
    visitor.edit()
    assert not visitor.errors


def test_hostile_strings_and_a_model_that_is_not_there_are_text(served, browser) -> None:
    visitor = Visitor(browser, served[0])
    page, hostile = visitor.page, "<img src=x onerror=alert(1)>\"'{{7*7}}"
    page.get_by_label("fact", exact=True).check()
    visitor.fill("Prompt, {} where the subject stands", "The food of {} is")
    visitor.fill("Subject", hostile)
    visitor.fill("New answer", "<script>alert(2)</script>")
    visitor.edit("dose")
    for name in ("Every question", "Languages", "Code", "What moved"):
        visitor.tab(name)
    assert hostile in page.locator(".play-stack").inner_text()
    assert page.locator(".play-stack img, .play-bars script, #notice img").count() == 0
    box = page.get_by_label("Model", exact=True)
    for name in ("no/such-model", "./no/such/folder", hostile):
        box.fill(name)
        box.press("Enter")
        page.locator("#notice .error").wait_for(timeout=60_000)
    assert visitor.edits() == 1 and page.locator("#notice img").count() == 0
    assert not visitor.errors, visitor.errors


def test_two_visitors_do_not_see_each_other(served, browser) -> None:
    one, other = Visitor(browser, served[0]), Visitor(browser, served[0])
    one.press("Edit")
    other.press("Edit")
    for visitor in (one, other):
        visitor.says("the smallest at which")
    other.press("Undo")
    other.says("undone")
    assert (one.edits(), other.edits()) == (1, 0)
    other.tab("Free text")
    other.press("Go on")
    other.says("written")
    texts = [other.page.get_by_label(label, exact=True).input_value() for label in ("Before", "After")]
    assert texts[0] == texts[1] != ""
    assert not (one.errors or other.errors)
    assert not (served[1] / "reached").exists(), (served[1] / "reached").read_text()
