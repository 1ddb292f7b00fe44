"""Tracing: at which layer and token a model looks up what it knows about a subject.

Causal tracing (Meng et al. 2022, section 2): noise on the embeddings of the subject's tokens spoils the answer; one
state of the clean run is put back, and *indirect effect* is how much of P(answer) that restores. Noise is in units of
the standard deviation of the embeddings of the prompts' subjects, 3 in the paper. `mlp_effect` puts back the outputs of
the edited maps of a window of layers. *Attribution patching* (Nanda 2023; Syed et al. 2024) is the first-order estimate
of the same effect on log P(answer) from one backward pass.

Tokens: `subject_first`, `subject_last`, `after` (the first behind the subject), `last` (where the answer is predicted);
where two of them are the same token, both have its value. The control `other_noise` puts back the state of a run under
other noise: what restoring no knowledge does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import Answers, Prepared, ReadingInput
from benchmarks.readings.prompts.prepared import BATCH_TOKENS
from editing.errors import NoSite
from editing.model import Hook, LanguageModel
from editing.run import Budget, capture, first, with_first
from editing.seeds import seed_for
from editing.solve import setting
from editing.text import Prompt, parts

TOKENS = ("subject_first", "subject_last", "after", "last")


@dataclass(frozen=True)
class Tracing(Reading):
    """Facts that the model answers right, in the wording in which most are."""

    name: ClassVar[str] = "tracing"
    summary: ClassVar[str] = "causal tracing and attribution patching, by layer and token"
    measures: ClassVar[dict[str, str]] = {
        "total_effect": "P(answer) of the clean run less that of the run with noise",
        "indirect_effect": "P(answer) with one clean state put back less that of the run with noise",
        "mlp_effect": "the same with the outputs of the edited maps of a window of layers put back",
        "attribution": "first-order estimate of the indirect effect on log P(answer), nats",
    }

    layers: int = 8
    facts: int = setting(8, "largest number of facts per relation and language", unit="facts")
    noise: float = setting(3.0, "noise on the subject's embeddings", unit="sd of embeddings")
    draws: int = setting(2, "draws of the noise per fact")
    window: float = setting(0.2, "layers put back together for mlp_effect, at least one", unit="of blocks")

    def rows(self, source: ReadingInput) -> list[Row]:
        out = []
        for relation in source.material.relations:
            for lang in source.material.langs:
                places = source.best_wording(relation, lang)
                random.Random(f"{self.seed}/tracing/{relation}/{lang}").shuffle(places)
                about: dict[str, Any] = {"lang": lang, "relation": relation}
                if len(places) < 2:
                    out.append(row("total_effect", np.nan, n=len(places), **about))
                    continue
                chosen = places[: self.facts]
                trace = self.trace(source, chosen)
                n = len(chosen)
                out.append(row("total_effect", trace.clean.mean() - trace.noisy.mean(), n=n, **about))
                out.append(
                    row("total_effect", trace.other.mean() - trace.noisy.mean(), n=n, control="other_noise", **about)
                )
                for (measure, control), table in trace.effects.items():
                    for at, layer in enumerate(trace.layers):
                        for token, value in zip(TOKENS, table[:, at].mean(0).tolist(), strict=True):
                            there = about | {"layer": layer, "position": token, "n": n, "control": control}
                            out.append(row(measure, value, **there))
        return out

    def trace(self, source: ReadingInput, places: list[int]) -> Trace:
        """The traces of some questions at TOKENS."""
        prompts = [source.prompts[i] for i in places]
        spans = [subject_span(source, i) for i in places]
        columns = [token_columns(prompt, span) for prompt, span in zip(prompts, spans, strict=True)]
        return self.trace_prompts(source.lm, prompts, spans, columns)

    def trace_prompts(
        self,
        lm: LanguageModel,
        prompts: Sequence[Prompt],
        spans: Sequence[tuple[int, int]],
        columns: Sequence[Sequence[int]],
        progress: Callable[[int, int], None] | None = None,
    ) -> Trace:
        """The traces of n prompts with their answers, mean over the draws of the noise.

        Args:
            spans: per prompt the first token of its subject, and the one behind the last.
            columns: per prompt the T tokens whose states are put back, counted from the first of the subject.
            progress: is given how many layers of how many are done, over draws, controls and measures.
        """
        prepared = Prepared.of(lm, prompts, [start for start, _ in spans])
        subjects = torch.cat([prepared.behind[0][r, : end - start] for r, (start, end) in enumerate(spans)])
        scale = self.noise * float(subjects.float().std())
        at = torch.tensor(columns)
        layers = self.chosen_layers(0, lm.n_layers - 1)
        steps, total = count(1), self.draws * 2 * len(layers) * (2 if self._paths(lm) else 1)

        def step() -> None:
            if progress is not None:
                progress(next(steps), total)

        runs = [self._one_draw(prepared, spans, at, scale, draw, step) for draw in range(self.draws)]

        def mean(values: list[torch.Tensor]) -> np.ndarray:
            return torch.stack(values).mean(0).numpy()

        return Trace(
            layers,
            mean([r.clean for r in runs]),
            mean([r.noisy for r in runs]),
            mean([r.other for r in runs]),
            {key: mean([r.effects[key] for r in runs]) for key in runs[0].effects},
        )

    def _one_draw(
        self,
        prepared: Prepared,
        spans: Sequence[tuple[int, int]],
        columns: torch.Tensor,
        scale: float,
        draw: int,
        step: Callable[[], None],
    ) -> _Draw:
        lm, n = prepared.lm, len(prepared.prompts)
        rows = list(range(n))
        noisy, other = (
            prepared.outputs(with_noise(prepared, spans, scale, seed_for(self.seed, f"tracing/{draw}/{which}")))
            for which in (0, 1)
        )
        clean_p = prepared.answers(-1, rows, prepared.behind[0]).logp.exp()
        noisy_p, other_p = (prepared.answers(-1, rows, states[0]).logp.exp() for states in (noisy, other))
        layers = self.chosen_layers(0, lm.n_layers - 1)
        effects: dict[tuple[str, str], torch.Tensor] = {}

        def by_layer(restored: Callable[[int], torch.Tensor]) -> torch.Tensor:
            table = []
            for layer in layers:
                table.append(restored(layer) - noisy_p[:, None])
                step()
            return torch.stack(table, 1)

        for control, put in (("none", prepared.behind), ("other_noise", other)):
            effects["indirect_effect", control] = by_layer(partial(_restored, prepared, noisy, put, columns))
            gradients = _attribution(prepared, noisy, put, columns)
            effects["attribution", control] = gradients[:, layers]
            if self._paths(lm):
                outputs = self._map_outputs(prepared, put[0])
                put_back = partial(self._maps_restored, prepared, noisy, outputs, columns)
                effects["mlp_effect", control] = by_layer(put_back)
        return _Draw(clean_p, noisy_p, other_p, effects)

    def _paths(self, lm: LanguageModel) -> list[str]:
        try:
            return [site.path for site in lm.sites("mlp")]
        except NoSite:
            return []

    def _map_outputs(self, prepared: Prepared, hidden: torch.Tensor) -> list[torch.Tensor]:
        """Outputs (n, S, d_model) of the edited map of every block, when `hidden` enters the first."""
        store: dict[tuple[str, str], torch.Tensor] = {}
        everything = torch.arange(len(prepared.prompts), device=prepared.lm.device)
        anywhere = torch.zeros(1, dtype=torch.long, device=prepared.lm.device)
        paths = self._paths(prepared.lm)
        hooks = [capture(path, "output", store, hidden.shape[1]) for path in paths]
        with torch.no_grad():
            prepared.run(-1, everything, hidden, (anywhere, anywhere), hooks)
        return [store[path, "output"] for path in paths]

    def _maps_restored(
        self, prepared: Prepared, noisy: tuple, outputs: list[torch.Tensor], columns: torch.Tensor, layer: int
    ) -> torch.Tensor:
        """(n, T) P(answer) with the outputs of a window of maps around `layer` put back at one token."""
        lm = prepared.lm
        half = (max(1, round(self.window * lm.n_layers)) - 1) / 2
        low, high = max(0, int(np.ceil(layer - half))), min(lm.n_layers - 1, int(np.floor(layer + half)))
        paths = self._paths(lm)

        def hook_of(path: str, value: torch.Tensor, at: torch.Tensor) -> Hook:
            def hook(module: torch.nn.Module, args: tuple, output: object) -> object:
                old = first(output)
                shaped = old.reshape(value.shape[0], -1, old.shape[-1]).clone()
                index = torch.arange(len(shaped))
                shaped[index, at] = value[index, at].to(shaped.dtype)
                return with_first(output, shaped.reshape(old.shape))

            return path, hook

        def read(rows: list[int], at: torch.Tensor) -> Answers:
            hooks = [hook_of(paths[n], outputs[n][rows], at) for n in range(low, high + 1)]
            return prepared.answers(low - 1, rows, noisy[low][rows], hooks)

        return _by_place(prepared, columns, read)


@dataclass(frozen=True)
class Trace:
    """Of n facts: P(answer) clean, under noise, under other noise, (n,) each; (measure, control) -> effects (n, layers,
    T) at the T tokens traced."""

    layers: list[int]
    clean: np.ndarray
    noisy: np.ndarray
    other: np.ndarray
    effects: dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class _Draw:
    clean: torch.Tensor
    noisy: torch.Tensor
    other: torch.Tensor
    effects: dict[tuple[str, str], torch.Tensor]


def subject_span(source: ReadingInput, place: int) -> tuple[int, int]:
    """First token of the subject, and the one behind its last."""
    question, prompt = source.question(place), source.prompts[place]
    return span_in(source.lm, question.template, question.subject, prompt)


def span_in(lm: LanguageModel, template: str, subject: str, prompt: Prompt) -> tuple[int, int]:
    """`subject_span` of a prompt that is `template` about `subject`, its lookup at the subject's last token."""
    before, _ = parts(template) or ("", "")
    text = before + subject
    offsets = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    first_token = next(i for i, (_, stop) in enumerate(offsets) if stop > len(before))
    return min(len(lm.prefix_ids) + first_token, prompt.lookup), prompt.lookup + 1


def token_columns(prompt: Prompt, span: tuple[int, int]) -> list[int]:
    """Columns of TOKENS, counted from the first token of the subject."""
    start, end = span
    last = prompt.start - 1
    return [0, end - 1 - start, min(end, last) - start, last - start]


def with_noise(prepared: Prepared, spans: Sequence[tuple[int, int]], scale: float, seed: int) -> torch.Tensor:
    """(n, S, d_model) embeddings with Gaussian noise of this standard deviation on the subjects' tokens."""
    hidden = prepared.behind[0].clone()
    generator = torch.Generator().manual_seed(seed)
    for row_number, (start, end) in enumerate(spans):
        noise = torch.randn(end - start, hidden.shape[-1], generator=generator)
        hidden[row_number, : end - start] += scale * noise.to(hidden.device, hidden.dtype)
    return hidden


def _restored(prepared: Prepared, noisy: tuple, put: tuple, columns: torch.Tensor, layer: int) -> torch.Tensor:
    """(n, T) P(answer) of the noisy run with the state behind `layer` at one token replaced by that of `put`."""

    def read(rows: list[int], at: torch.Tensor) -> Answers:
        hidden = noisy[layer + 1][rows].clone()
        index = torch.arange(len(rows))
        hidden[index, at] = put[layer + 1][rows][index, at].to(hidden.dtype)
        return prepared.answers(layer, rows, hidden)

    return _by_place(prepared, columns, read)


def _by_place(
    prepared: Prepared, columns: torch.Tensor, read: Callable[[list[int], torch.Tensor], Answers]
) -> torch.Tensor:
    """(n, T) P(answer) at every question's columns (n, T); a token that stands in several of them is run once.

    Args:
        read: questions (m,) and the column of each (m,) -> their answers.
    """
    places = sorted({(r, c) for r, row in enumerate(columns.tolist()) for c in row})
    widths = [len(prepared.prompts[r].ids) - prepared.cuts[r] for r, _ in places]
    found: dict[tuple[int, int], float] = {}

    def run(members: list[int]) -> list[float]:
        rows, at = [places[m][0] for m in members], torch.tensor([places[m][1] for m in members])
        with torch.no_grad():
            return read(rows, at).logp.exp().tolist()

    for members, values in Budget(prepared.lm.batch_tokens(BATCH_TOKENS), "tracing").run(widths, run):
        found |= dict(zip([places[m] for m in members], values, strict=True))
    table = [[found[r, c] for c in row] for r, row in enumerate(columns.tolist())]
    return torch.tensor(table, dtype=torch.float64)


def _attribution(prepared: Prepared, noisy: tuple, put: tuple, columns: torch.Tensor) -> torch.Tensor:
    """(n, layers, T) (state put back - noisy state) . gradient of log P(answer) in the noisy run."""
    lm, n = prepared.lm, len(prepared.prompts)
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Hook:
        def hook(module: torch.nn.Module, args: tuple, output: object) -> None:
            kept[layer] = first(output)
            kept[layer].retain_grad()

        return lm.layout.blocks[layer], hook

    with torch.enable_grad():
        start = noisy[0].clone().requires_grad_(True)
        answers = prepared.answers(-1, list(range(n)), start, [keep(layer) for layer in range(lm.n_layers)])
        answers.logp.sum().backward()
    out = torch.empty(n, lm.n_layers, columns.shape[1])
    rows = torch.arange(n)
    for layer in range(lm.n_layers):
        gradient = kept[layer].grad
        assert gradient is not None
        estimate = ((put[layer + 1] - noisy[layer + 1]) * gradient).sum(-1)
        for token in range(columns.shape[1]):
            out[:, layer, token] = estimate[rows, columns[:, token]].cpu()
    return out
