"""The localiser's heat map of one question: every layer against every token, and its chart.

It is the reading `tracing` at all tokens from the first of the subject on; tokens before it are read without noise and
have no effect. Two maps: the state behind a layer put back, and the outputs of the edited maps of a window of layers.
Each has its control, the same put back from a run under other noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.readings.base import NONE
from benchmarks.readings.tracing import Tracing, span_in
from editing.errors import BadRequest
from editing.lazy import altair as alt
from editing.lazy import pandas as pd
from editing.model import LanguageModel
from editing.text import escaped, tokenise

CONTROL = "other_noise"
MAP_TITLES = {"indirect_effect": "State behind a layer put back", "mlp_effect": "Edited maps around a layer put back"}
INK = "currentColor"  # of the page that shows the chart, light or dark
SVG = {"embedOptions": {"renderer": "svg", "actions": False}}  # a canvas does not know the page's colour
SMALLEST_TOTAL = 0.01  # of the colours: what is restored of less would look like a finding
MOST_LAYERS = 16  # of a deep model, evenly spaced


@dataclass(frozen=True)
class HeatMap:
    """What was traced and found; effects are differences of P(answer).

    Attributes:
        prompt, answer: the question, and the answer whose probability is followed.
        tokens: T texts from the first token of the subject on; the first `noised` of them are the subject's.
        layers: L numbers of layers.
        clean, noisy: P(answer) as it is, and with noise on the subject; mean over the draws of the noise.
        effects: (L, T) per name of MAP_TITLES; a model without such maps lacks `mlp_effect`.
        controls: the same of the control.
    """

    prompt: str
    answer: str
    tokens: tuple[str, ...]
    noised: int
    layers: tuple[int, ...]
    clean: float
    noisy: float
    effects: dict[str, np.ndarray]
    controls: dict[str, np.ndarray]

    def peak(self, name: str) -> tuple[int, str, float]:
        """Layer, token and size of the largest effect of a map."""
        at, token = np.unravel_index(int(self.effects[name].argmax()), self.effects[name].shape)
        return self.layers[at], self.tokens[token], float(self.effects[name][at, token])


def heat_map_of(
    lm: LanguageModel,
    prompt: str,
    subject: tuple[int, int],
    answer: str,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> HeatMap:
    """Trace where `lm` looks up the answer to a prompt; no weight changes.

    Args:
        subject: the characters of `prompt` (start, end) that get noise.
        progress: as in `Tracing.trace_prompts`.

    Raises:
        BadRequest: an empty subject.
    """
    start, end = subject
    if not prompt[start:end].strip():
        raise BadRequest(f"{prompt!r:.80}: no subject between characters {start} and {end}; name what it is about")
    template = f"{escaped(prompt[:start])}{{}}{escaped(prompt[end:])}"
    tokenised = tokenise(lm, template, prompt[start:end], "subject_last", answer)
    first, behind = span_in(lm, template, prompt[start:end], tokenised)
    columns = list(range(tokenised.start - first))
    tracing = Tracing(layers=MOST_LAYERS, seed=seed)
    trace = tracing.trace_prompts(lm, [tokenised], [(first, behind)], [columns], progress)
    tokens = tuple(lm.tokenizer.decode([tokenised.ids[first + column]]) for column in columns)
    names = [name for name in MAP_TITLES if (name, NONE) in trace.effects]
    return HeatMap(
        prompt,
        answer,
        tokens,
        behind - first,
        tuple(trace.layers),
        float(trace.clean[0]),
        float(trace.noisy[0]),
        {name: trace.effects[name, NONE][0] for name in names},
        {name: trace.effects[name, CONTROL][0] for name in names},
    )


def heat_map_chart(heat: HeatMap, name: str) -> alt.Chart:
    """One map of MAP_TITLES: layers from left to right, tokens from top to bottom, those of the subject with a star."""
    labels = [f"{i + 1} {text.strip() or repr(text)}{'*' * (i < heat.noised)}" for i, text in enumerate(heat.tokens)]
    values, controls = heat.effects[name], heat.controls[name]
    table = pd.DataFrame(
        {"layer": layer, "token": label, "effect": values[at, column], "control": controls[at, column]}
        for column, label in enumerate(labels)
        for at, layer in enumerate(heat.layers)
    )
    total = max(heat.clean - heat.noisy, SMALLEST_TOTAL)
    colour = alt.Scale(scheme="viridis", domain=[0, total], clamp=True)
    ink = {"labelColor": INK, "titleColor": INK}
    tips = ["token", "layer", alt.Tooltip("effect", format=".3f"), alt.Tooltip("control", format=".3f")]
    chart = alt.Chart(table, title=alt.TitleParams(MAP_TITLES[name], anchor="start", fontSize=13))
    return (
        chart.mark_rect()
        .encode(
            x=alt.X("layer:O", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("token:N", sort=labels, title=None, axis=alt.Axis(labelLimit=110)),
            color=alt.Color("effect:Q", title="P(answer) restored", scale=colour,
                            legend=alt.Legend(orient="bottom", gradientLength=180, format=".2f")),
            tooltip=tips,
        )
        .properties(width="container", height=alt.Step(18), background="transparent", usermeta=SVG)
        .configure(axis={**ink, "domainColor": INK, "tickColor": INK}, legend=ink, title={"color": INK})
        .configure_view(stroke=None)
    )  # fmt: skip
