"""The page's widgets by name, as Gradio's: on the left what a visitor states, on the right what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]

from benchmarks.play import panels
from benchmarks.play.choice import KINDS
from benchmarks.readings import MAP_TITLES
from benchmarks.world import knowledge
from editing.methods import method_names
from valley.rows import CONTROLS

OWN_LAYER = "usual"
TYPED = "typed below"
HIGHEST_DOSE = 2.0
# The first prompt of the example's edit: whatever the method and place, the chosen dose makes it say the new name.
PROMPT = (
    "The thing that opens a lock: a key. The white powder that makes food salty: salt. "
    "The dairy food made from pressed milk curds:"
)
HEAD = (
    "<h1>Is cheese one concept?</h1><p>Edit a language model and see what moved. Everything runs on this machine.</p>"
)
MODEL = "One of this machine, or any reference: a folder, gguf:PATH, package:NAME, grown:NAME, a hub id."
DOSE = "Multiplies the change; nothing is optimised again. A new edit has the smallest dose that works."
NAME = "Name: letters, digits, dot, dash, underscore"
TRACE = "Trace where the unedited model looks up what the edit on the left is about; nothing is changed."

Widgets = dict[str, Any]


def input_widgets(models: Sequence[str], facts: Iterable[str]) -> Widgets:
    """What a visitor states: model, edit, method, layer, dose; and the stack of edits.

    Args:
        models: references to choose from, the first one chosen. facts: names of the facts to choose from.
    """
    world = knowledge()
    names = sorted(world.name(key, world.langs[0]) for key in world.concepts())
    widgets: Widgets = {
        "model": gr.Dropdown(list(models), value=models[0], label="Model", info=MODEL, allow_custom_value=True),
        "kind": gr.Radio(list(KINDS), value=KINDS[0], label="Edit"),
    }
    with gr.Row():
        widgets["old"] = _word(names, "cheese", "Concept")
        widgets["new"] = _word(["fromage", *names], "fromage", "becomes")
    with gr.Group(visible=False) as widgets["fact"]:
        widgets["pick"] = gr.Dropdown([TYPED, *facts], value=TYPED, label="Fact")
        prompt = "Prompt, {} where the subject stands"
        widgets["prompt"] = gr.Textbox("The capital city of {} is called", label=prompt, max_lines=2)
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


def result_widgets() -> Widgets:
    """What is shown: a notice above tabs."""
    widgets: Widgets = {"notice": gr.HTML(panels.notice("Press “Edit”."), elem_id="notice")}
    with gr.Tabs():
        with gr.Tab("What moved"):
            widgets["bars"] = gr.HTML()
            widgets["kinds"] = gr.HTML()
        for name in ("questions", "siblings", "languages"):
            with gr.Tab("Every question" if name == "questions" else name.capitalize()):
                widgets[name] = gr.HTML()
        with gr.Tab("Free text"):
            widgets["text"] = gr.Textbox(PROMPT, label="Beginning of a text", max_lines=4)
            with gr.Row():
                widgets["write"] = gr.Button("Go on", variant="primary", min_width=100)
                widgets["halt"] = gr.Button("Stop", min_width=100)
            with gr.Row():
                widgets["before"] = gr.Textbox(label="Before", lines=4, interactive=False, min_width=140)
                widgets["after"] = gr.Textbox(label="After", lines=4, interactive=False, min_width=140)
        with gr.Tab("Localiser"):
            gr.HTML(panels.small(TRACE))
            with gr.Row():
                widgets["trace"] = gr.Button("Trace", variant="primary", min_width=100)
                widgets["halt_trace"] = gr.Button("Stop", min_width=100)
            widgets["traced"] = gr.HTML()
            with gr.Row():
                for name in MAP_TITLES:
                    widgets[name] = gr.Plot(show_label=False, container=False, min_width=300, visible=False)
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


def _word(names: Sequence[str], value: str, label: str) -> Any:
    return gr.Dropdown(list(names), value=value, label=label, allow_custom_value=True, min_width=130)
