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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, ClassVar

import numpy as np

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import Answers, Prepared, ReadingInput
from benchmarks.readings.prompts.prepared import BATCH_TOKENS
from editing.errors import NoSite
from editing.lazy import torch
from editing.model import Hook, LanguageModel
from editing.run import Budget, capture, first, with_first
from editing.seeds import seed_for
from editing.solve import setting
from editing.text import Prompt, character_spans, parts

TOKENS = ("subject_first", "subject_last", "after", "last")
Item = tuple[int, int, int]  # numbers of a run that something is put back from, of a question, and a column of it


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
    facts: int = setting(8, "largest number of facts per relation and language", unit="facts", least=1)
    noise: float = setting(3.0, "noise on the subject's embeddings", unit="sd of embeddings")
    draws: int = setting(2, "draws of the noise per fact", least=1)
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
        steps, total = count(1), self.draws * len(layers) * (2 if self._paths(lm) else 1)

        def step() -> None:
            if progress is not None:
                progress(next(steps), total)

        last, rows = lm.n_layers - 1, list(range(len(prompts)))
        clean = prepared.answers(last, rows, prepared.behind[-1]).logp.exp()
        outputs = self._map_outputs(prepared, prepared.behind[0])
        runs = [self._one_draw(prepared, spans, at, scale, draw, outputs, step) for draw in range(self.draws)]

        def mean(values: list[torch.Tensor]) -> np.ndarray:
            return torch.stack(values).mean(0).numpy()

        return Trace(
            layers,
            clean.numpy(),
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
        outputs: list[torch.Tensor],
        step: Callable[[], None],
    ) -> _Draw:
        """The effects under one draw of the noise; `outputs` of the maps in the clean run."""
        lm, n = prepared.lm, len(prepared.prompts)
        rows = list(range(n))
        spoilt, elsewhere = (
            with_noise(prepared, spans, scale, seed_for(self.seed, f"tracing/{draw}/{which}")) for which in (0, 1)
        )
        noisy, other = prepared.outputs(spoilt), prepared.outputs(elsewhere)
        noisy_p, other_p = (prepared.answers(lm.n_layers - 1, rows, states[-1]).logp.exp() for states in (noisy, other))
        puts = {"none": prepared.behind, "other_noise": other}
        layers = self.chosen_layers(0, lm.n_layers - 1)
        effects: dict[tuple[str, str], torch.Tensor] = {}

        def by_layer(measure: str, restored: Callable[[int], torch.Tensor]) -> None:
            table = []
            for layer in layers:
                table.append(restored(layer) - noisy_p[None, :, None])
                step()
            effects.update(
                {(measure, control): torch.stack([t[k] for t in table], 1) for k, control in enumerate(puts)}
            )

        by_layer("indirect_effect", partial(_restored, prepared, noisy, list(puts.values()), columns))
        for control, gradients in zip(puts, _attribution(prepared, noisy, puts.values(), columns), strict=True):
            effects["attribution", control] = gradients[:, layers]
        if self._paths(lm):
            maps = [outputs, self._map_outputs(prepared, elsewhere)]
            by_layer("mlp_effect", partial(self._maps_restored, prepared, noisy, maps, columns))
        return _Draw(noisy_p, other_p, effects)

    def _paths(self, lm: LanguageModel) -> list[str]:
        try:
            return [site.path for site in lm.sites("mlp")]
        except NoSite:
            return []

    def _map_outputs(self, prepared: Prepared, hidden: torch.Tensor) -> list[torch.Tensor]:
        """Outputs (n, S, d_model) of the edited map of every block, when `hidden` enters the first; empty for a model
        without such maps."""
        paths = self._paths(prepared.lm)
        if not paths:
            return []
        store: dict[tuple[str, str], torch.Tensor] = {}
        everything = torch.arange(len(prepared.prompts), device=prepared.lm.device)
        anywhere = torch.zeros(1, dtype=torch.long, device=prepared.lm.device)
        hooks = [capture(path, "output", store, hidden.shape[1]) for path in paths]
        with torch.no_grad():
            prepared.run(-1, everything, hidden, (anywhere, anywhere), hooks)
        return [store[path, "output"] for path in paths]

    def _maps_restored(
        self,
        prepared: Prepared,
        noisy: tuple,
        maps: Sequence[list[torch.Tensor]],
        columns: torch.Tensor,
        layer: int,
    ) -> torch.Tensor:
        """(K, n, T) P(answer) with the outputs of a window of maps around `layer` put back at one token, from each of
        K runs."""
        lm = prepared.lm
        half = (max(1, round(self.window * lm.n_layers)) - 1) / 2
        low, high = max(0, int(np.ceil(layer - half))), min(lm.n_layers - 1, int(np.floor(layer + half)))
        paths = self._paths(lm)

        def hook_of(path: str, put: torch.Tensor, at: torch.Tensor) -> Hook:
            def hook(module: torch.nn.Module, args: tuple, output: object) -> object:
                old = first(output)
                shaped = old.reshape(len(put), -1, old.shape[-1]).clone()
                shaped[torch.arange(len(shaped)), at] = put.to(shaped.dtype)
                return with_first(output, shaped.reshape(old.shape))

            return path, hook

        def read(items: list[Item]) -> Answers:
            rows, at = [r for _, r, _ in items], torch.tensor([c for _, _, c in items])
            puts = {i: torch.stack([maps[k][i][r, c] for k, r, c in items]) for i in range(low, high + 1)}
            hooks = [hook_of(paths[i], put, at) for i, put in puts.items()]
            return prepared.answers(low - 1, rows, noisy[low][rows], hooks)

        return _by_place(prepared, columns, len(maps), read)


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
    offsets = character_spans(lm, text)
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


def _restored(
    prepared: Prepared, noisy: tuple, puts: Sequence[tuple], columns: torch.Tensor, layer: int
) -> torch.Tensor:
    """(K, n, T) P(answer) of the noisy run with the state behind `layer` at one token replaced by that of each of K
    runs."""

    def read(items: list[Item]) -> Answers:
        rows, at = [r for _, r, _ in items], torch.tensor([c for _, _, c in items])
        hidden = noisy[layer + 1][rows].clone()
        put = torch.stack([puts[k][layer + 1][r, c] for k, r, c in items])
        hidden[torch.arange(len(rows)), at] = put.to(hidden.dtype)
        return prepared.answers(layer, rows, hidden)

    return _by_place(prepared, columns, len(puts), read)


def _by_place(
    prepared: Prepared, columns: torch.Tensor, count: int, read: Callable[[list[Item]], Answers]
) -> torch.Tensor:
    """(count, n, T) P(answer) at every question's columns (n, T), once for each of `count` runs that something is put
    back from; a token that stands in several columns is run once."""
    items = sorted({(k, r, c) for r, row in enumerate(columns.tolist()) for c in row for k in range(count)})
    widths = [len(prepared.prompts[r].ids) - prepared.cuts[r] for _, r, _ in items]
    found: dict[Item, float] = {}

    def run(members: list[int]) -> list[float]:
        with torch.no_grad():
            return read([items[m] for m in members]).logp.exp().tolist()

    for members, values in Budget(prepared.lm.batch_tokens(BATCH_TOKENS), "tracing").run(widths, run):
        found |= dict(zip([items[m] for m in members], values, strict=True))
    values = [[[found[k, r, c] for c in row] for r, row in enumerate(columns.tolist())] for k in range(count)]
    return torch.tensor(values, dtype=torch.float64)


def _attribution(prepared: Prepared, noisy: tuple, puts: Iterable[tuple], columns: torch.Tensor) -> list[torch.Tensor]:
    """For each of `puts` (n, layers, T): (state put back - noisy state) . gradient of the noisy run's log P(answer)."""
    lm, n = prepared.lm, len(prepared.prompts)
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Hook:
        def hook(module: torch.nn.Module, args: tuple, output: object) -> object:
            kept[layer] = first(output)
            kept[layer].retain_grad()
            return with_first(output, kept[layer])  # where a text is reread, `output` is a slice made for this hook

        return lm.layout.blocks[layer], hook

    with torch.enable_grad():
        start = noisy[0].clone().requires_grad_(True)
        answers = prepared.answers(-1, list(range(n)), start, [keep(layer) for layer in range(lm.n_layers)])
        answers.logp.sum().backward()
    rows = torch.arange(n)[:, None]
    tables = []
    for put in puts:
        out = torch.empty(n, lm.n_layers, columns.shape[1])
        for layer in range(lm.n_layers):
            gradient = kept[layer].grad
            assert gradient is not None
            estimate = ((put[layer + 1] - noisy[layer + 1]) * gradient).sum(-1)
            out[:, layer] = estimate[rows, columns].cpu()
        tables.append(out)
    return tables
