"""C_patch: one concept's state put into another concept's prompt, and how probable its name in that language becomes.

A text that makes the model say a concept's name in one language ("The dairy food made from milk curds is called") is
read up to its last token; the output of block l there replaces the one in a text of the other language that asks for
another concept. After Dumas et al. 2024, "Separating tongue from thought" (arXiv 2411.08745), with texts that define
the concept in place of a word to translate, so that models without few-shot translation can be asked too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks.crispness.pairs import Pairs, fitting
from editing.model import Hook, LanguageModel
from editing.run import Budget, Splice, capture, first, forward, with_first
from editing.solve import states
from editing.text import Prompt


@dataclass(frozen=True)
class Patched:
    """Of P(name | source's state patched in), per layer and (source, name): means over the name's base prompts.

    Attributes:
        probability: of P itself. nats: of log P, which still tells states apart where P is tiny.
    """

    probability: tuple[dict[tuple[int, int], float], ...]
    nats: tuple[dict[tuple[int, int], float], ...]

    def contrast(
        self, layer: int, source: int, name: int, others: Sequence[int], nats: bool = False
    ) -> tuple[float, float]:
        """P(name | the source's state), and its mean over the states of random `others`; C_patch is the difference."""
        table = (self.nats if nats else self.probability)[layer]
        rest = [table[o, name] for o in others if o != source]
        return table[source, name], sum(rest) / len(rest)


def source_states(lm: LanguageModel, pairs: Pairs, lang: str, layers: Sequence[int]) -> torch.Tensor:
    """(n, layers, d_model): outputs of the blocks at the last token of each concept's first eliciting text."""
    prompts = [fitting(lm, pairs.known.elicit(key, lang)[0], "", "last") for key in pairs.keys]
    places = [(lm.layout.blocks[layer], "output") for layer in layers]
    outputs = states(lm, prompts, places)
    return torch.stack([outputs[w] for w in places], 1)


def patch(
    lm: LanguageModel,
    pairs: Pairs,
    lang: str,
    sources: torch.Tensor,
    layers: Sequence[int],
    jobs: Sequence[tuple[int, int]],
    seed: int = 0,
    *,
    batch_tokens: int = 512,
) -> Patched:
    """Patch states into prompts of the language `lang`.

    Args:
        sources: (n, layers, d_model), see `source_states` (of the other language).
        jobs: (source, name) pairs of concepts.
    """
    rows: dict[tuple[int, int], int] = {}
    prompts: list[Prompt] = []
    for name in dict.fromkeys(name for _, name in jobs):
        for base in pairs.patch_bases(name, seed):
            rows[name, base] = len(prompts)
            text = pairs.known.elicit(pairs.keys[base], lang)[0]
            prompts.append(fitting(lm, text, "", "last", pairs.name(name, lang)))
    work = [(source, name, rows[name, base]) for source, name in jobs for base in pairs.patch_bases(name, seed)]
    lookups = [p.lookup for p in prompts]
    splice = Splice.prepare(lm, [p.ids for p in prompts], lookups, 0, lookups)
    assert splice.hidden is not None
    width = splice.batch.ids.shape[1]
    read_states: dict[tuple[str, str], torch.Tensor] = {}
    blocks = lm.layout.blocks
    last = max(layers)
    with torch.no_grad():
        hooks = [capture(blocks[i], "output", read_states, width) for i in range(last)]
        anywhere = torch.zeros(1, dtype=torch.long, device=lm.device)
        splice.run((anywhere, anywhere), hooks, stop=blocks[last])
    tables, logs = [], []
    for at, layer in enumerate(layers):
        entering = splice.hidden if layer == 0 else read_states[blocks[layer - 1], "output"]
        logp = _at_layer(lm, splice, entering, blocks[layer], layer, sources[:, at], work, prompts, batch_tokens)
        tables.append(_means(work, logp.exp()))
        logs.append(_means(work, logp))
    return Patched(tuple(tables), tuple(logs))


def _means(work: Sequence[tuple[int, int, int]], values: torch.Tensor) -> dict[tuple[int, int], float]:
    """Mean per (source, name) over its rows."""
    by_pair: dict[tuple[int, int], list[float]] = {}
    for (source, name, _), value in zip(work, values.tolist(), strict=True):
        by_pair.setdefault((source, name), []).append(value)
    return {pair: sum(parts) / len(parts) for pair, parts in by_pair.items()}


def _at_layer(
    lm: LanguageModel,
    splice: Splice,
    entering: torch.Tensor,
    block: str,
    layer: int,
    sources: torch.Tensor,
    work: Sequence[tuple[int, int, int]],
    prompts: Sequence[Prompt],
    batch_tokens: int,
) -> torch.Tensor:
    """(len(work),) float64 log P(name) with the state of (source, name, row) in place of column 0 behind one block."""

    def read(members: list[int]) -> torch.Tensor:
        chosen = [work[i] for i in members]
        rows = torch.tensor([row for _, _, row in chosen], device=lm.device)
        part = splice.select(rows)
        put = sources[[source for source, _, _ in chosen]]

        def replace(module: torch.nn.Module, args: tuple, output: object) -> object:
            value = first(output).clone()
            value[:, 0] = put.to(value.device, value.dtype)
            return with_first(output, value)

        places = [(r, t, token) for r, (_, _, row) in enumerate(chosen) for t, token in enumerate(prompts[row].target)]
        row, column, token = torch.tensor(places, device=lm.device).T
        hook: Hook = (block, replace)
        with torch.no_grad():
            logits = forward(
                lm,
                part.batch,
                past=part.past,
                start=layer,
                hidden=entering.index_select(0, rows.to(entering.device)),
                gather=(row, column),
                hooks=[hook],
            )
        assert logits is not None
        picked = logits.gather(1, token[:, None])[:, 0].double() - logits.float().logsumexp(1).double()
        return torch.zeros(len(chosen), dtype=torch.float64, device=lm.device).index_add(0, row, picked).cpu()

    widths = [len(prompts[row].target) for _, _, row in work]
    out = torch.empty(len(work), dtype=torch.float64)
    for members, values in Budget(batch_tokens, "patching states").run(widths, read):
        out[members] = values
    return out
