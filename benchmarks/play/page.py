"""The playground's page in Gradio: which widget calls what of the session, and what then changes on the page.

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
from benchmarks.play.choice import Choice, fact_record, record_of
from benchmarks.play.saving import save
from benchmarks.play.scripts import as_commands, as_python
from benchmarks.play.session import Session
from benchmarks.play.widgets import HEAD, OWN_LAYER, Widgets, input_widgets, result_widgets
from benchmarks.play.workshop import Workshop
from benchmarks.readings import MAP_TITLES, heat_map_chart
from editing.errors import UserError

MOST_FACTS = 40
PROGRESS = gr.Progress()  # Gradio puts a request's own in the place of this default
CHOICE = ("kind", "old", "new", "pick", "prompt", "subject", "target", "true", "method", "layer")
TYPED_FACT = ("prompt", "subject", "target", "true")
ANSWERS = {
    "bars": panels.bars,
    "kinds": panels.kinds,
    "questions": panels.questions,
    "siblings": panels.siblings,
    "languages": panels.languages,
}
CODE = ("python", "commands")
OF_STACK = (*ANSWERS, *CODE, "stack", "dose")  # what follows from the stack of edits
TRACED = ("traced", *MAP_TITLES)

Update = dict[str, Any]  # what changes: name of the widget -> its new value


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
        self.widgets: Widgets = {}

    def build(self) -> gr.Blocks:
        """The page with its events."""
        with gr.Blocks(title="Playground", analytics_enabled=False) as blocks:
            self.widgets = {"session": gr.State()}
            gr.HTML(HEAD)
            with gr.Row():
                with gr.Column(scale=1, min_width=300):
                    self.widgets |= input_widgets(self.models, self.facts)
                with gr.Column(scale=2, min_width=320):
                    self.widgets |= result_widgets()
            self._events(blocks)
        return blocks

    def _events(self, blocks: gr.Blocks) -> None:
        at = self.widgets
        opened = ("session", "layer", *OF_STACK, *TRACED)
        self._on(blocks.load, self._start, ("model",), opened)
        self._on(at["model"].change, self._open, ("session", "model"), opened)
        self._on(at["edit"].click, self._edit, ("session", *CHOICE), OF_STACK)
        self._on(at["undo"].click, self._undo, ("session",), OF_STACK)
        self._on(at["dose"].release, self._dose, ("session", "dose"), OF_STACK)
        self._on(at["trace"].click, self._trace, ("session", *CHOICE), TRACED)
        self._on(at["save"].click, self._save, ("session", "name"), ("file",))
        self._on(at["export"].click, self._export, ("session", "name"), ("file",))
        private: dict[str, Any] = {"api_visibility": "private"}
        texts = [at["notice"], at["before"], at["after"]]
        at["write"].click(_write, [at["session"], at["text"]], texts, concurrency_limit=8, **private)
        at["kind"].change(_show_kind, at["kind"], [at[name] for name in ("old", "new", "fact", "method")], **private)
        at["pick"].change(self._fill, at["pick"], [at[name] for name in TYPED_FACT], **private)
        for name in ("cancel", "halt", "halt_trace"):
            at[name].click(_stop, at["session"], None, queue=False, **private)

    def _on(self, event: Any, work: Callable[..., Update], given: tuple[str, ...], changed: tuple[str, ...]) -> None:
        """Call `work` with the values of the widgets `given` and a progress; a visitor's mistake becomes a notice."""

        def answer(progress: Any = PROGRESS, *values: Any) -> dict[Any, Any]:
            try:
                update = work(*values, _follow(progress))
            except UserError as error:
                update = {"notice": panels.notice(str(error), "error")}
            return {self.widgets[name]: value for name, value in update.items()}

        inputs, outputs = ([self.widgets[name] for name in names] for names in (given, ("notice", *changed)))
        notice = self.widgets["notice"]
        event(answer, inputs, outputs, concurrency_limit=8, show_progress_on=notice, api_visibility="private")

    def _start(self, model: str, progress: Callable) -> Update:
        session = Session(self.workshop)
        try:
            return {"session": session, **self._open(session, model, progress)}
        except UserError as error:  # the visitor chooses another model in this session
            return {"session": session, "notice": panels.notice(str(error), "error")}

    def _open(self, session: Session, model: str, progress: Callable) -> Update:
        session.open(model or "", progress)
        layers = gr.Dropdown([OWN_LAYER, *map(str, range(session.layers))], value=OWN_LAYER)
        about = panels.notice(f"{session.reference} is open: {session.layers} layers.")
        no_maps = {"traced": "", **{name: gr.Plot(None, visible=False) for name in MAP_TITLES}}
        return {**self._shown(session, progress), **no_maps, "notice": about, "layer": layers}

    def _edit(self, session: Session, *values: Any) -> Update:
        *stated, progress = values
        edit = session.make(self._choice(*stated), progress)
        return self._shown(session, progress, edit.dose.line())

    def _choice(
        self, kind: str, old: str, new: str, pick: str, prompt: str, subject: str, target: str, true: str, method: str,
        layer: str,
    ) -> Choice:  # fmt: skip
        words, record = (old or "", new or ""), ""
        if kind == "fact":
            typed = (prompt or "", subject or "", target or "", true or "")
            words, record = ("", ""), fact_record(*typed, self.facts.get(pick))
        return Choice(kind, words, record, method, None if layer in (None, OWN_LAYER) else int(layer))

    def _undo(self, session: Session, progress: Callable) -> Update:
        return self._shown(session, progress, f"undone: {session.undo().choice.title()}")

    def _dose(self, session: Session, dose: float, progress: Callable) -> Update:
        session.set_dose(dose)
        return self._shown(session, progress, session.stack[-1].choice.title())

    def _shown(self, session: Session, progress: Callable, text: str = "") -> Update:
        """Everything that follows from the stack as it is now."""
        edits = session.stack
        stack = {**dict(zip(CODE, self._code(session), strict=True)), "stack": panels.stack(edits)}
        if not edits:
            empty = {**dict.fromkeys(ANSWERS, ""), "dose": gr.Slider(value=1)}
            return {"notice": panels.notice(text or "Press “Edit”."), **empty, **stack}
        answers = session.answers(progress)
        dose = edits[-1].dose.value
        return {
            "notice": panels.notice("; ".join([text, *session.notes()])),
            **{name: panel(answers) for name, panel in ANSWERS.items()},
            "dose": gr.Slider(value=1 if dose is None else round(dose, 3)),
            **stack,
        }

    def _trace(self, session: Session, *values: Any) -> Update:
        *stated, progress = values
        heat = session.localise(self._choice(*stated), progress)
        maps = {name: gr.Plot(heat_map_chart(heat, name), visible=True) for name in heat.effects}
        return {"notice": panels.notice("traced"), "traced": panels.localiser(heat), **maps}

    def _code(self, session: Session) -> tuple[str, str]:
        device, layers = self.workshop.device, session.layers
        edits = [(edit.choice, edit.case.request) for edit in session.stack]
        commands = as_commands(self.program, session.reference, device, [choice for choice, _ in edits], layers)
        return as_python(session.reference, device, edits, layers), commands

    def _fill(self, pick: str) -> list[str]:
        record = self.facts.get(pick)
        if record is None:
            return [gr.skip()] * len(TYPED_FACT)  # type: ignore[list-item]
        return [record["prompt"], record["subject"], record["target"], record.get("old", "")]

    def _save(self, session: Session, name: str, progress: Callable) -> Update:
        paths = save(self.out, name or "", session.change(), *self._code(session))
        return {"notice": panels.notice(f"saved in {paths[0].parent}"), "file": gr.File(visible=False)}

    def _export(self, session: Session, name: str, progress: Callable) -> Update:
        archive = session.export(self.out, name or "")
        return {"notice": panels.notice(f"exported as {archive}"), "file": gr.File(str(archive), visible=True)}


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
    """Shows the stages of the work in Gradio's own progress bar; one of unknown length by its number and name."""
    stages: dict[str, int] = {}

    def show(label: str, done: int, total: int) -> None:
        number = stages.setdefault(label, len(stages) + 1)
        if total:
            progress((done, total), desc=label, unit="")
        else:
            progress((number, None), unit=f"· {label}")

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
