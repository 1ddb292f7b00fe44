"""The playground's page in Gradio: widgets, and which of them calls what of the session. No logic of edits here.

valley play                     # http://127.0.0.1:7860, the example ready to run
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]

from benchmarks.datasets import build_cases
from benchmarks.live import USUAL
from benchmarks.play import panels
from benchmarks.play.choice import KINDS, Choice, fact_record, record_of
from benchmarks.play.saving import save
from benchmarks.play.scripts import as_commands, as_python
from benchmarks.play.session import Session
from benchmarks.play.workshop import Workshop
from benchmarks.world import knowledge
from editing.errors import UserError
from editing.methods import method_names
from valley.rows import CONTROLS

OWN_LAYER = "the method's own"
TYPED = "typed below"
MOST_FACTS = 40
HIGHEST_DOSE = 2.0
PROMPT = "The food made from milk curds is called"
PROGRESS = gr.Progress()  # Gradio puts a request's own in the place of this default
HEAD = (
    "<h1>Is cheese one concept?</h1><p>Edit a language model and see what moved. Everything runs on this machine.</p>"
)
MODEL = "One of this machine, or any reference: a folder, gguf:PATH, package:NAME, grown:NAME, a hub id."
DOSE = "Multiplies the change; nothing is optimised again. A new edit has the smallest dose that works."
NAME = "Name: letters, digits, dot, dash, underscore"


class Page:
    """The page of one server.

    Args:
        workshop: shared by all visitors.
        models: references to choose from, the first one chosen.
        out: the folder that edits are saved in.
        program: how the shown commands call this program.
    """

    def __init__(self, workshop: Workshop, models: list[str], out: Path, program: str) -> None:
        self.workshop, self.models, self.out, self.program = workshop, models, out, program
        self.facts = {case.request.id: record_of(case) for case in build_cases("world_facts", "fact", MOST_FACTS)}

    def build(self) -> gr.Blocks:
        """The page with its events."""
        with gr.Blocks(title="Playground", analytics_enabled=False) as blocks:
            session = gr.State()
            gr.HTML(HEAD)
            with gr.Row():
                with gr.Column(scale=1, min_width=300):
                    inputs = self._inputs()
                with gr.Column(scale=2, min_width=320):
                    results = self._results()
            self._events(blocks, session, inputs, results)
        return blocks

    def _inputs(self) -> dict[str, Any]:
        world = knowledge()
        names = sorted(world.name(key, world.langs[0]) for key in world.concepts())
        widgets: dict[str, Any] = {}
        widgets["model"] = gr.Dropdown(
            self.models, value=self.models[0], label="Model", info=MODEL, allow_custom_value=True
        )
        widgets["kind"] = gr.Radio(list(KINDS), value=KINDS[0], label="Edit")
        with gr.Row():
            widgets["old"] = gr.Dropdown(names, value="cheese", label="Concept", allow_custom_value=True, min_width=130)
            widgets["new"] = gr.Dropdown(["fromage", *names], value="fromage", label="becomes", allow_custom_value=True,
                min_width=130)  # fmt: skip
        with gr.Group(visible=False) as widgets["fact"]:
            widgets["pick"] = gr.Dropdown([TYPED, *self.facts], value=TYPED, label="Fact")
            widgets["prompt"] = gr.Textbox(
                "The capital of {} is", label="Prompt, {} where the subject stands", max_lines=2
            )
            widgets["subject"] = gr.Textbox("France", label="Subject", max_lines=1)
            widgets["target"] = gr.Textbox("Rome", label="New answer", max_lines=1)
            widgets["true"] = gr.Textbox("Paris", label="Answer before", max_lines=1)
        with gr.Row():
            methods = [name for name in method_names() if name not in CONTROLS]
            widgets["method"] = gr.Dropdown(methods, value="rome", label="Method", min_width=130)
            widgets["layer"] = gr.Dropdown([OWN_LAYER], value=OWN_LAYER, label="Layer", min_width=130)
        with gr.Row():
            widgets["edit"] = gr.Button("Edit", variant="primary", min_width=100)
            widgets["cancel"] = gr.Button("Cancel", min_width=100)
            widgets["undo"] = gr.Button("Undo", min_width=100)
        widgets["dose"] = gr.Slider(0, HIGHEST_DOSE, value=1, step=0.01, label="Dose of the newest edit", info=DOSE)
        widgets["stack"] = gr.HTML(panels.stack(()))
        return widgets

    def _results(self) -> dict[str, Any]:
        widgets: dict[str, Any] = {"notice": gr.HTML(panels.notice("Press “Edit”."), elem_id="notice")}
        with gr.Tabs():
            with gr.Tab("What moved"):
                widgets["bars"] = gr.HTML()
                widgets["kinds"] = gr.HTML()
            with gr.Tab("Every question"):
                widgets["questions"] = gr.HTML()
            with gr.Tab("Siblings"):
                widgets["siblings"] = gr.HTML()
            with gr.Tab("Languages"):
                widgets["languages"] = gr.HTML()
            with gr.Tab("Free text"):
                widgets["text"] = gr.Textbox(PROMPT, label="Beginning of a text", max_lines=4)
                with gr.Row():
                    widgets["write"] = gr.Button("Go on", variant="primary", min_width=100)
                    widgets["halt"] = gr.Button("Stop", min_width=100)
                with gr.Row():
                    widgets["before"] = gr.Textbox(label="Before", lines=4, interactive=False, min_width=140)
                    widgets["after"] = gr.Textbox(label="After", lines=4, interactive=False, min_width=140)
            with gr.Tab("Code"):
                widgets["python"] = gr.Code(language="python", label="Python", interactive=False)
                widgets["commands"] = gr.Code(language="shell", label="Commands", interactive=False)
            with gr.Tab("Save"):
                widgets["name"] = gr.Textbox("my-edit", label=NAME, max_lines=1)
                with gr.Row():
                    widgets["save"] = gr.Button("Save the edit", min_width=140)
                    widgets["export"] = gr.Button("Export a PEFT adapter", min_width=140)
                widgets["file"] = gr.File(label="Download", interactive=False, visible=False)
        return widgets

    def _events(self, blocks: gr.Blocks, session: gr.State, inputs: dict, results: dict) -> None:
        shown = [results[name] for name in ("notice", "bars", "kinds", "questions", "siblings", "languages", "python")]
        shown += [results["commands"], inputs["stack"], inputs["dose"]]
        opened = [results["notice"], inputs["layer"], *shown[1:]]
        fields = ("kind", "old", "new", "pick", "prompt", "subject", "target", "true", "method", "layer")
        private: dict[str, Any] = {"api_visibility": "private"}
        alone: dict[str, Any] = {**private, "concurrency_limit": 8, "show_progress_on": results["notice"]}

        blocks.load(self._start, [inputs["model"]], [session, *opened], **alone)
        inputs["model"].change(self._open, [session, inputs["model"]], opened, **alone)
        inputs["kind"].change(
            _show_kind, inputs["kind"], [inputs[n] for n in ("old", "new", "fact", "method")], **private
        )
        inputs["pick"].change(self._fill, inputs["pick"], [inputs[n] for n in fields[4:8]], **private)
        inputs["edit"].click(self._edit, [session, *(inputs[name] for name in fields)], shown, **alone)
        inputs["undo"].click(self._undo, session, shown, **alone)
        inputs["dose"].release(self._dose, [session, inputs["dose"]], shown, **alone)
        for button in (inputs["cancel"], results["halt"]):
            button.click(_stop, session, None, queue=False, **private)
        texts = [results["notice"], results["before"], results["after"]]
        results["write"].click(_write, [session, results["text"]], texts, concurrency_limit=8, **private)
        saved = [results["notice"], results["file"]]
        results["save"].click(self._save, [session, results["name"]], saved, **alone)
        results["export"].click(self._export, [session, results["name"]], saved, **alone)

    # The first value of what each of these returns is the notice; a mistake of the visitor is one, and changes nothing.

    def _start(self, model: str, progress: Any = PROGRESS) -> list[Any]:
        session = Session(self.workshop)
        return [session, *self._open(session, model, progress)]

    def _open(self, session: Session, model: str, progress: Any = PROGRESS) -> list[Any]:
        return _answered(11, lambda: self._opened(session, model, progress))

    def _opened(self, session: Session, model: str, progress: Any) -> list[Any]:
        session.open(model or "", _follow(progress))
        layers = gr.Dropdown([OWN_LAYER, *map(str, range(session.layers))], value=OWN_LAYER)
        about = panels.notice(f"{session.reference} is open: {session.layers} layers.")
        return [about, layers, *self._shown(session, progress)[1:]]

    def _edit(
        self, session: Session, kind: str, old: str, new: str, pick: str, prompt: str, subject: str, target: str,
        true: str, method: str, layer: str, progress: Any = PROGRESS,
    ) -> list[Any]:  # fmt: skip
        def work() -> list[Any]:
            choice = self._choice(kind, (old or "", new or ""), pick, (prompt, subject, target, true), method, layer)
            edit = session.make(choice, _follow(progress))
            return self._shown(session, progress, edit.dose.line())

        return _answered(10, work)

    def _choice(
        self, kind: str, words: tuple[str, str], pick: str, fact: tuple[str, ...], method: str, layer: str
    ) -> Choice:
        record = ""
        if kind == "fact":
            typed = ("prompt", "subject", "target", "old")
            more = {key: value for key, value in self.facts.get(pick, {}).items() if key not in typed}
            words, record = ("", ""), fact_record(*(text or "" for text in fact), more=more)
        return Choice(kind, words, record, method, None if layer in (None, OWN_LAYER) else int(layer))

    def _undo(self, session: Session, progress: Any = PROGRESS) -> list[Any]:
        return _answered(10, lambda: self._shown(session, progress, f"undone: {session.undo().choice.title()}"))

    def _dose(self, session: Session, dose: float, progress: Any = PROGRESS) -> list[Any]:
        def work() -> list[Any]:
            session.set_dose(dose)
            return self._shown(session, progress, session.stack[-1].choice.title())

        return _answered(10, work)

    def _shown(self, session: Session, progress: Any, text: str = "") -> list[Any]:
        """All panels for the stack as it is now."""
        edits = session.stack
        about = panels.notice("; ".join([text, *session.notes()])) if edits else panels.notice(text or "Press “Edit”.")
        if not edits:
            return [about, "", "", "", "", "", *self._code(session), panels.stack(()), gr.Slider(value=1)]
        answers = session.answers(_follow(progress))
        parts = [panels.bars, panels.kinds, panels.questions, panels.siblings, panels.languages]
        dose = gr.Slider(value=edits[-1].dose.value if edits[-1].dose.value is not None else 1)
        return [about, *(part(answers) for part in parts), *self._code(session), panels.stack(edits), dose]

    def _code(self, session: Session) -> tuple[str, str]:
        device, layers = self.workshop.device, session.layers
        edits = [(edit.choice, edit.case.request) for edit in session.stack]
        commands = as_commands(self.program, session.reference, device, [choice for choice, _ in edits], layers)
        return as_python(session.reference, device, edits, layers), commands

    def _fill(self, pick: str) -> list[str]:
        record = self.facts.get(pick)
        if record is None:
            return [gr.skip()] * 4  # type: ignore[list-item]
        return [record["prompt"], record["subject"], record["target"], record.get("old", "")]

    def _save(self, session: Session, name: str) -> list[Any]:
        def work() -> list[Any]:
            paths = save(self.out, name or "", session.change(), *self._code(session))
            return [panels.notice(f"saved in {paths[0].parent}"), gr.File(visible=False)]

        return _answered(2, work)

    def _export(self, session: Session, name: str) -> list[Any]:
        def work() -> list[Any]:
            archive = session.export(self.out, name or "")
            return [panels.notice(f"exported as {archive}"), gr.File(str(archive), visible=True)]

        return _answered(2, work)


def _answered(count: int, work: Callable[[], list[Any]]) -> list[Any]:
    """What `work` returns; a mistake of the visitor as a notice, with the other `count - 1` values as they were."""
    try:
        return work()
    except UserError as error:
        return [panels.notice(str(error), "error"), *([gr.skip()] * (count - 1))]


def _write(session: Session, prompt: str) -> Iterator[list[Any]]:
    try:
        for before, after in session.write(prompt or ""):
            yield [panels.notice("writing"), before, after]
        yield [panels.notice("written"), gr.skip(), gr.skip()]
    except UserError as error:
        yield [panels.notice(str(error), "error"), gr.skip(), gr.skip()]


def _stop(session: Session) -> None:
    if session is not None:
        session.stop.set()


def _show_kind(kind: str) -> list[Any]:
    method = gr.Dropdown(value=USUAL[kind][0])
    two = kind in ("rename", "retarget")
    return [gr.Dropdown(visible=kind != "fact"), gr.Dropdown(visible=two), gr.Group(visible=kind == "fact"), method]


def _follow(progress: Any) -> Callable[[str, int, int], None]:
    """Shows the stages of the work in Gradio's own progress bar."""

    def show(label: str, done: int, total: int) -> None:
        progress((done, total) if total else None, desc=label, unit="tokens")

    return show


def build(workshop: Workshop, models: list[str], out: Path, program: str) -> gr.Blocks:
    """The page, not served yet; see `Page`."""
    return Page(workshop, models, out, program).build()


def launch(blocks: gr.Blocks, host: str, port: int, out: Path) -> None:
    """Serve the page until it is interrupted: no share link, no telemetry, no font or script from elsewhere."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    blocks.queue(api_open=False)
    _, url, _ = blocks.launch(
        prevent_thread_lock=True,
        quiet=True,
        server_name=host,
        server_port=port or None,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        allowed_paths=[str(out)],
        theme=gr.themes.Base(**fonts),
        css_paths=Path(__file__).with_name("page.css"),
        max_file_size="1kb",
    )
    print(f"the playground: {url} (Ctrl-C ends it; edits are saved in {out})", flush=True)
    blocks.block_thread()
