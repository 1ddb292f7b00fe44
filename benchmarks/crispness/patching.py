"""C_patch: one concept's state put into another concept's prompt, and how probable its name in that language becomes.

A text that makes the model say a concept's name in one language ("The dairy food made from milk curds is called") is
read up to its last token; the output of block l there replaces the one in a text of the other language that asks for
another concept. After Dumas et al. 2024, "Separating tongue from thought" (arXiv 2411.08745), with texts that define
the concept in place of a word to translate, so that models without few-shot translation can be measured too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.crispness.pairs import Pairs, fitting
from editing.lazy import torch
from editing.model import Hook, LanguageModel
from editing.run import Budget, Splice, capture, first, forward, with_first
from editing.text import Prompt


@dataclass(frozen=True)
class Patched:
    """Of P(name | source's state patched in), per layer and (source, name): means over the name's base prompts.

    Attributes:
        probability: of P itself. nats: of log P, which still distinguishes states where P is tiny.
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


@dataclass(frozen=True)
class Texts:
    """The first eliciting texts of some concepts in one language, read once, each with a name behind it.

    Attributes:
        prompts: r of them. rows: (name, concept requested) -> its prompt. of: concept -> a prompt that asks for it.
        splice: the prompts cut at the last tokens of the texts.
        behind: per block up to the last that is patched, (r, S, d_model) its output from there on.
    """

    prompts: tuple[Prompt, ...]
    rows: dict[tuple[int, int], int]
    of: dict[int, int]
    splice: Splice
    behind: tuple[torch.Tensor, ...]


def read_texts(
    lm: LanguageModel, pairs: Pairs, lang: str, layers: Sequence[int], jobs: Sequence[tuple[int, int]], seed: int = 0
) -> Texts:
    """The texts in `lang` that the (source, name) pairs of `jobs` need, as prompts of `lang` and as sources in it."""
    needed = [
        (name, base) for name in dict.fromkeys(name for _, name in jobs) for base in pairs.patch_bases(name, seed)
    ]
    of = {base: row for row, (_, base) in enumerate(needed)}
    for source in dict.fromkeys(source for source, _ in jobs):
        if source not in of:
            of[source] = len(needed)
            needed.append((source, source))
    texts = [(name, pairs.known.elicit(pairs.keys[base], lang)[0]) for name, base in needed]
    prompts = [fitting(lm, text, "", "last", pairs.name(name, lang)) for name, text in texts]
    lookups = [p.lookup for p in prompts]
    splice = Splice.prepare(lm, [p.ids for p in prompts], lookups, 0, lookups)
    store: dict[tuple[str, str], torch.Tensor] = {}
    blocks, last = lm.layout.blocks, max(layers)
    with torch.no_grad():
        hooks = [capture(block, "output", store, splice.batch.ids.shape[1]) for block in blocks[: last + 1]]
        anywhere = torch.zeros(1, dtype=torch.long, device=lm.device)
        splice.run((anywhere, anywhere), hooks, stop=blocks[last])
    rows = {pair: row for row, pair in enumerate(needed)}
    return Texts(tuple(prompts), rows, of, splice, tuple(store[b, "output"] for b in blocks[: last + 1]))


def patch(
    lm: LanguageModel,
    pairs: Pairs,
    into: Texts,
    sources: Texts,
    layers: Sequence[int],
    jobs: Sequence[tuple[int, int]],
    seed: int = 0,
    *,
    batch_tokens: int = 512,
) -> Patched:
    """Patch the states behind `layers` at the last tokens of the texts `sources` into the texts `into`.

    Args:
        jobs: (source, name) pairs of concepts, those that both were read for.
    """
    work = [(source, name, into.rows[name, base]) for source, name in jobs for base in pairs.patch_bases(name, seed)]
    tables, logs = [], []
    for layer in layers:
        logp = _at_layer(lm, into, sources, layer, work, batch_tokens)
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
    lm: LanguageModel, into: Texts, sources: Texts, layer: int, work: Sequence[tuple[int, int, int]], batch_tokens: int
) -> torch.Tensor:
    """(len(work),) float64 log P(name) with the state of (source, name, row) in place of column 0 behind one block."""
    prompts, block = into.prompts, lm.layout.blocks[layer]
    entering = into.splice.hidden if layer == 0 else into.behind[layer - 1]
    assert entering is not None

    def read(members: list[int]) -> torch.Tensor:
        chosen = [work[i] for i in members]
        rows = torch.tensor([row for _, _, row in chosen], device=lm.device)
        part = into.splice.select(rows)
        put = sources.behind[layer][[sources.of[source] for source, _, _ in chosen], 0]

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
