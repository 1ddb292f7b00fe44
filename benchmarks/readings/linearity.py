"""Linearity: how well one affine map per relation answers it (Hernandez et al. 2024, "Linearity of relation decoding
in transformer language models").

s is the state behind a layer at the subject's last token, o the output of the last block at the end of the prompt.
From a few facts i the map is LRE(s) = beta W s + b with W = E_i[do/ds at s_i] and b = E_i[o_i - W_i s_i] (their
equations 3 and 4). *Faithfulness*: the share of other facts for which the final norm and head read off LRE(s) the same
first token as the model says. W s is taken as a directional derivative (forward-mode differentiation), exact and far
cheaper than a Jacobian. beta is the best of BETAS on the other half of the held-out facts. No examples stand in the
prompts: grown models have never seen such prompts.

`en-fr` applies the map learned in English to the state of the same subject in a French sentence, and expects the
English answer. Merullo et al. 2025, "On linear representations and pretraining data frequency", find a threshold in how
often a fact was stated; rows of the measure `exposure` give that number where it is known (grown rungs).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import Prepared, ReadingInput, block_states, read_out
from editing.lazy import attention, forward_ad, torch
from editing.model import Hook, LanguageModel
from editing.run import first
from editing.solve import setting
from editing.text import Prompt

BETAS = (1.0, 1.5, 2.25, 3.5, 5.0)
LEAST = 4  # held-out facts


@dataclass(frozen=True)
class Linearity(Reading):
    """Only facts that the model answers right are used, in the wording in which most are."""

    name: ClassVar[str] = "linearity"
    summary: ClassVar[str] = "faithfulness of one affine map per relation, in each language and across (LRE)"
    measures: ClassVar[dict[str, str]] = {
        "faithfulness": "share of held-out facts whose answer the affine map gives",
        "faithful": "1 where the map gives the answer of this one fact, else 0",
        "exposure": "sentences stating this fact that training read, both languages; where it is known",
    }

    layers: int = 4
    examples: int = setting(4, "facts that a map is made of", unit="facts", least=1)
    facts: int = setting(24, "largest number of held-out facts per relation", unit="facts", least=LEAST)

    def rows(self, source: ReadingInput) -> list[Row]:
        lm, out = source.lm, []
        layers = self.chosen_layers(-1, lm.n_layers - 2)  # behind the last block nothing is read of the subject
        for relation in source.material.relations:
            for lang in source.material.langs:
                out += self._relation(source, relation, lang, layers)
            for (entity, fact_relation), count in source.material.exposure.items():
                if fact_relation == relation:
                    out.append(row("exposure", count, relation=relation, concept=entity, control="none"))
        return out

    def _relation(self, source: ReadingInput, relation: str, lang: str, layers: list[int]) -> list[Row]:
        places = source.best_wording(relation, lang)
        random.Random(f"{self.seed}/linearity/{relation}/{lang}").shuffle(places)
        made, held = places[: self.examples], places[self.examples : self.examples + self.facts]
        about: dict[str, Any] = {"position": "subject_last", "lang": lang, "relation": relation}
        if len(held) < LEAST:
            return [row("faithfulness", np.nan, n=len(held), **about)]
        lm = source.lm
        across = [self._elsewhere(source, place) for place in held] if lang == source.material.langs[0] else []
        prompts = [source.prompts[i] for i in held]
        examples = [source.prompts[i] for i in made]
        own, there = (block_states(lm, part, layers) if part else None for part in (
            prompts, [p for p in across if p is not None]))  # fmt: skip
        assert own is not None
        out = []
        for at, layer in enumerate(layers):
            inputs = own[:, at] if there is None else torch.cat([own[:, at], there[:, at]])
            maps = affine_maps(lm, examples, layer, inputs)
            said, constant = self._said(lm, maps, len(held), prompts)
            shuffled = torch.roll(said, 1, 0) if len(said) > 1 else said
            answers = torch.tensor([p.target[0] for p in prompts])
            here: dict[str, Any] = about | {"layer": layer, "n": len(held)}
            out.append(row("faithfulness", (said == answers).double().mean().item(), **here))
            out.append(row("faithfulness", (constant == answers).double().mean().item(), control="constant", **here))
            other = (shuffled == answers).double().mean().item()
            out.append(row("faithfulness", other, control="other_subject", **here))
            for place, hit, flat in zip(held, said == answers, constant == answers, strict=True):
                one: dict[str, Any] = about | {"layer": layer, "concept": source.question(place).entity}
                out.append(row("faithful", float(hit), **one))
                out.append(row("faithful", float(flat), control="constant", **one))
            if there is not None:
                kept = [i for i, p in enumerate(across) if p is not None]
                moved = AffineMaps(maps.outputs, maps.at_examples, maps.products[:, len(held) :])
                said, constant = self._said(lm, moved, len(kept), [prompts[i] for i in kept])
                right, here = answers[kept], here | {"lang": "-".join(source.material.langs[:2]), "n": len(kept)}
                out.append(row("faithfulness", (said == right).double().mean().item(), **here))
                out.append(row("faithfulness", (constant == right).double().mean().item(), control="constant", **here))
        return out

    def _elsewhere(self, source: ReadingInput, place: int) -> Prompt | None:
        """The prompt of the same fact in the second language, where the model answers it right."""
        fact = source.question(place)
        for other in source.material.langs[1:2]:
            for i in source.choose(fact.relation, other, right=True):
                if source.question(i).entity == fact.entity:
                    return source.prompts[i]
        return None

    def _said(
        self, lm: LanguageModel, maps: AffineMaps, n: int, prompts: list[Prompt]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(n,) first tokens that the map says, each half of the facts under the beta that is best on the other half;
        and what its constant part alone says."""
        answers = torch.tensor([p.target[0] for p in prompts])
        by_beta = torch.stack([read_out(lm, maps.at(beta)[:n]).argmax(1) for beta in BETAS])
        hits = (by_beta == answers).double()
        half = torch.arange(n) % 2
        said = torch.empty(n, dtype=torch.long)
        for part in (0, 1):
            rest = half != part
            best = int(hits[:, rest].mean(1).argmax()) if rest.any() else 0
            said[half == part] = by_beta[best][half == part]
        constant = read_out(lm, maps.outputs.mean(0)[None]).argmax(1).expand(n)
        return said, constant


@dataclass(frozen=True)
class AffineMaps:
    """Of m examples, and n states that the map is applied to: outputs (m, d) o_i; at_examples (m, d) W_i s_i;
    products (m, n, d) W_i s_j."""

    outputs: torch.Tensor
    at_examples: torch.Tensor
    products: torch.Tensor

    def at(self, beta: float) -> torch.Tensor:
        """(n, d) beta W s + b, with W and b the means over the examples."""
        return beta * self.products.mean(0) + (self.outputs - self.at_examples).mean(0)


def affine_maps(
    lm: LanguageModel, examples: list[Prompt], layer: int, inputs: torch.Tensor, *, batch: int = 32
) -> AffineMaps:
    """The linear approximation of the model between the state behind `layer` at each example's lookup and the output
    of the last block at the end of its prompt.

    Args:
        inputs: (n, d_model) states to which the Jacobians are applied, besides the examples' own.
    """
    prepared = Prepared.of(lm, examples)
    outputs, products, own = [], [], []
    for i, prompt in enumerate(examples):
        hidden = prepared.behind[layer + 1][i : i + 1]
        tangents = torch.cat([hidden[:, 0].float().cpu(), inputs]).to(lm.device, hidden.dtype)
        column = prompt.start - 1 - prepared.cuts[i]
        moved = []
        for part in tangents.split(batch):
            value, change = _derivative(lm, prepared, layer, i, hidden, part, column)
            moved.append(change)
        outputs.append(value)
        rows = torch.cat(moved)
        own.append(rows[0])
        products.append(rows[1:])
    return AffineMaps(torch.stack(outputs), torch.stack(own), torch.stack(products))


def _derivative(
    lm: LanguageModel,
    prepared: Prepared,
    layer: int,
    i: int,
    hidden: torch.Tensor,
    tangents: torch.Tensor,
    column: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(d,) output of the last block at `column` of prompt i, and (m, d) its derivatives along `tangents` (m, d) of the
    state at the cut."""
    outputs: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, args: tuple, output: object) -> None:
        outputs.append(first(output)[:, column])

    m = len(tangents)
    rows = torch.full((m,), i, device=lm.device)
    direction = torch.zeros(m, *hidden.shape[1:], device=hidden.device, dtype=hidden.dtype)
    direction[:, 0] = tangents
    anywhere = torch.zeros(1, dtype=torch.long, device=lm.device)
    hook: Hook = (lm.layout.blocks[-1], keep)
    with torch.no_grad(), attention.sdpa_kernel(attention.SDPBackend.MATH), forward_ad.dual_level():
        dual = forward_ad.make_dual(hidden.expand(m, -1, -1).contiguous(), direction)
        prepared.run(layer, rows, dual, (anywhere, anywhere), [hook])
        primal, tangent = forward_ad.unpack_dual(outputs[0])
    change = torch.zeros_like(primal) if tangent is None else tangent
    return primal[0].float().cpu(), change.float().cpu()
