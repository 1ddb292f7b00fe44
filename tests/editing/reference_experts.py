"""The experts of a mixture written out as a loop of dense maps, and what the literal methods read of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from editing.model.language_model import LanguageModel
from editing.text.requests import EditRequest
from tests.editing import reference
from tests.editing.reference import Text

LAYER = 2


class Loop(nn.Module):
    """The experts of a block, written out: each with a down-projection of its own, which reads every token."""

    def __init__(self, experts: Any, family: str) -> None:
        super().__init__()
        turned = family == "gpt_oss"
        self.family, self.up, self.down = family, nn.ModuleList(), nn.ModuleList()
        for i in range(len(experts.down_proj)):
            for maps, name in ((self.up, "gate_up_proj"), (self.down, "down_proj")):
                weight = getattr(experts, name)[i].T if turned else getattr(experts, name)[i]
                linear = nn.Linear(*weight.shape[::-1], bias=turned)
                linear.weight.data.copy_(weight)
                if turned:
                    linear.bias.data.copy_(getattr(experts, f"{name}_bias")[i])
                maps.append(linear)

    def forward(self, hidden: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        self.share = torch.stack([((index == i) * weights).sum(-1) for i in range(len(self.down))], -1)
        total = torch.zeros_like(hidden)
        for i, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            both = up(hidden)
            if self.family == "gpt_oss":
                gate, other = both[:, ::2].clamp(max=7.0), both[:, 1::2].clamp(-7.0, 7.0)
                key = (other + 1) * gate * torch.sigmoid(1.702 * gate)
            else:
                gate, other = both.chunk(2, -1)
                key = nn.functional.silu(gate) * other
            total = total + self.share[:, i : i + 1] * down(key)
        return total


def written_out(lm: LanguageModel, family: str) -> LanguageModel:
    module = copy.deepcopy(lm.module)
    for block in module.model.layers:
        block.mlp.experts = Loop(block.mlp.experts, family)
    return LanguageModel.wrap(module, lm.tokenizer, name="written out", prefix_ids=lm.prefix_ids)


def shares(loop: LanguageModel, ids: list[int], layer: int = LAYER) -> torch.Tensor:
    """(tokens, experts) of the router of a block."""
    with torch.no_grad():
        loop.module(input_ids=torch.tensor([ids]))
    return loop.module.get_submodule(f"model.layers.{layer}.mlp.experts").share


def covariance(
    loop: LanguageModel, sequences: list[list[int]], expert: int, layer: int = LAYER
) -> tuple[torch.Tensor, int]:
    """C over the tokens that are sent to one expert, one at a time, and their number."""
    calls: list[torch.Tensor] = []
    down = loop.module.get_submodule(f"model.layers.{layer}.mlp.experts.down.{expert}")
    handle = down.register_forward_hook(lambda m, a, o: calls.append(a[0].detach().double()))
    total, count = torch.zeros(down.in_features, down.in_features, dtype=torch.float64), 0
    for sequence in sequences:
        calls.clear()
        share = shares(loop, sequence, layer)[:, expert]
        for key, weight in zip(calls[0].clone(), share, strict=True):
            if weight > 0:
                total += torch.outer(key, key)
                count += 1
    handle.remove()
    return total / count, count


def length(loop: LanguageModel, texts: Sequence[Text], expert: int, layer: int = LAYER) -> float:
    """||v0|| of a routed expert: of what all experts put out at the bare prompts, by the router's mean weight."""
    bare = [t for t in texts if t.bare]
    together = reference.read(loop, bare, f"model.layers.{layer}.mlp.experts", "output").mean(0)
    weight = torch.stack([shares(loop, t.ids, layer)[t.lookup, expert] for t in bare]).mean()
    return float(together.norm() / weight)


def chosen(loop: LanguageModel, texts: Sequence[Text], layer: int) -> tuple[int, torch.Tensor]:
    """The expert of one request: the greatest mean weight among those a bare prompt is sent to; (texts, experts)
    weights."""
    weights = torch.stack([shares(loop, t.ids, layer)[t.lookup] for t in texts])
    reached = {i for t, w in zip(texts, weights, strict=True) if t.bare for i in torch.nonzero(w).flatten().tolist()}
    return max(reached, key=lambda i: float(weights[:, i].mean())), weights


def sent_to(texts: Sequence[Text], weights: torch.Tensor, expert: int) -> list[Text]:
    return [t for t, w in zip(texts, weights, strict=True) if w[expert] > 0]


Solve = Callable[[int, int, torch.Tensor, torch.Tensor], torch.Tensor]  # layer, expert, R (d, n), K (d_in, n) -> dW


def reaching(
    loop: LanguageModel, requests: Sequence[EditRequest], prefixes: Sequence[str], layer: int
) -> list[list[Text]]:
    """Of each request the texts that are sent to its expert of the last edited block."""
    read = [reference.texts_of(loop, r, prefixes, r.lookup) for r in requests]
    routes = [chosen(loop, texts, layer) for texts in read]
    return [sent_to(texts, weights, expert) for texts, (expert, weights) in zip(read, routes, strict=True)]


def spread(
    loop: LanguageModel,
    contexts: Sequence[Sequence[Text]],
    targets: Sequence[torch.Tensor],
    goal: str,
    layers: Sequence[int],
    share: Callable[[int], float],
    solve: Solve,
) -> dict[tuple[int, int], torch.Tensor]:
    """The change of every (block, expert) by MEMIT's loop over blocks, the weights of the loop really changed between
    them; they are restored. An expert's least squares has the keys of all requests of which a bare text is sent to it:
    with the residual by the router's weight for those that it carries, with 0 for the others."""
    changes: dict[tuple[int, int], torch.Tensor] = {}
    kept: dict[tuple[int, int], torch.Tensor] = {}
    try:
        for step, layer in enumerate(layers):
            routes = [chosen(loop, texts, layer) for texts in contexts]
            now = [reference.read(loop, [t for t in ts if t.bare], goal, "output").mean(0) for ts in contexts]
            residual = [(z - x).double() / share(len(layers) - step) for z, x in zip(targets, now, strict=True)]
            made = {}
            for expert in {e for e, _ in routes}:
                keys, needed = [], []
                for texts, (own, weights), change in zip(contexts, routes, residual, strict=True):
                    sent = sent_to(texts, weights, expert)
                    if not any(t.bare for t in sent):
                        continue
                    k = reference.read(loop, sent, f"model.layers.{layer}.mlp.experts.down.{expert}", "input")
                    kinds = [k[[t.bare is kind for t in sent]] for kind in (True, False)]
                    keys.append(torch.stack([kind.mean(0) for kind in kinds if len(kind)]).mean(0).double())
                    bare = [w[expert] for t, w in zip(texts, weights, strict=True) if t.bare and w[expert] > 0]
                    needed.append(change / torch.stack(bare).mean() if own == expert else 0 * change)
                made[expert] = solve(layer, expert, torch.stack(needed, 1), torch.stack(keys, 1)).float()
            for expert, change in made.items():
                down = loop.module.get_submodule(f"model.layers.{layer}.mlp.experts.down.{expert}")
                changes[layer, expert], kept[layer, expert] = change, down.weight.detach().clone()
                down.weight.data += change
    finally:
        for (layer, expert), old in kept.items():
            down = loop.module.get_submodule(f"model.layers.{layer}.mlp.experts.down.{expert}")
            down.weight.data.copy_(old)
    return changes
