"""What the measures need of a model: keys, states, edit vectors. All prompts in few passes, all layers in the same
ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from editing.errors import BadModel
from editing.lazy import torch
from editing.model import Hook, LanguageModel, Site
from editing.run import Budget, Splice, first, with_first
from editing.seeds import seed_for
from editing.solve import Injection, ValueSettings, optimise_values, states
from editing.text import Contexts, Prompt


def untrained(lm: LanguageModel, seed: int = 0) -> LanguageModel:
    """A model of the same configuration with fresh random weights, float32; the same seed gives the same weights.

    Raises:
        BadModel: the model's class cannot be built from its configuration alone.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(seed, "untrained"))
        try:
            module = type(lm.module)(copy.deepcopy(lm.module.config))
        except Exception as error:
            raise BadModel(
                f"{lm.name}: no untrained twin can be built ({type(error).__name__}: {error!s:.120}); "
                "leave the untrained control out"
            ) from error
    return LanguageModel.wrap(
        module.float().to(lm.device),
        lm.tokenizer,
        name=f"{lm.name} untrained",
        source=f"random weights, seed {seed}",
        prefix_ids=lm.prefix_ids,
    )


def name_states(
    lm: LanguageModel, prompts: Sequence[Sequence[Prompt]], sites: Sequence[Site]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over each concept's prompts of (keys, block outputs) at the lookup: (n, layers, d_in) and (n, layers,
    d_model)."""
    flat = [p for several in prompts for p in several]
    blocks = [lm.layout.blocks[s.layer] for s in sites]
    read = states(lm, flat, [(s.path, "input") for s in sites] + [(b, "output") for b in blocks])
    count = len(prompts[0])

    def means(pairs: Sequence[tuple[str, str]]) -> torch.Tensor:
        return torch.stack([read[w].reshape(len(prompts), count, -1).mean(1) for w in pairs], 1)

    return means([(s.path, "input") for s in sites]), means([(b, "output") for b in blocks])


def gradient_vectors(
    lm: LanguageModel, prompts: Sequence[Prompt], sites: Sequence[Site], *, batch_tokens: int = 1024
) -> torch.Tensor:
    """(n, layers, size): minus the gradient of -log P(target) by each site's output at the lookup.

    The edit vector to first order: the direction in which the search for v* sets out, before the bare prompt alone. One
    forward and one backward pass give it for all layers.
    """

    def read(members: list[int]) -> list[torch.Tensor]:
        chosen = [prompts[i] for i in members]
        lookups = [p.lookup for p in chosen]
        splice = Splice.prepare(lm, [p.ids for p in chosen], lookups, -1)  # nothing left of the lookups is changed
        rows = torch.arange(len(chosen), device=lm.device)
        first_column = torch.zeros_like(rows)
        places = [
            (r, p.start - 1 + t - p.lookup, token) for r, p in enumerate(chosen) for t, token in enumerate(p.target)
        ]
        row, column, token = torch.tensor(places, device=lm.device).T
        leaves = [
            torch.zeros(len(chosen), s.d_out, device=lm.device, dtype=lm.dtype, requires_grad=True) for s in sites
        ]

        def add(site: Site, leaf: torch.Tensor) -> Hook:
            def hook(module: torch.nn.Module, args: tuple, output: object) -> object:
                value = first(output)
                shaped = value.reshape(len(chosen), -1, value.shape[-1])
                moved = shaped.index_put((rows, first_column), leaf.to(value.device), accumulate=True)
                return with_first(output, moved.reshape(value.shape))

            return site.path, hook

        with torch.enable_grad():
            hooks = [add(s, leaf) for s, leaf in zip(sites, leaves, strict=True)]
            logits = splice.run((row, column), hooks)
            assert logits is not None
            log_p = logits.float().log_softmax(-1)[torch.arange(len(row), device=lm.device), token]
            by_row = torch.autograd.grad(log_p.sum(), leaves)
        stacked = torch.stack([g[:, s.row_index(g.device)] for g, s in zip(by_row, sites, strict=True)], 1)
        return list(stacked.float().cpu())

    by_row: dict[int, torch.Tensor] = {}
    for members, vectors in Budget(batch_tokens, "finding edit vectors").run([len(p.ids) for p in prompts], read):
        by_row |= dict(zip(members, vectors, strict=True))
    return torch.stack([by_row[i] for i in range(len(prompts))])


def optimised_vectors(
    lm: LanguageModel, prompts: Sequence[Prompt], sites: Sequence[Site], steps: int, seed: int = 0
) -> torch.Tensor:
    """(n, layers, size): v* - v0 of every prompt at every site, by `steps` passes of the search (see
    editing/solve/value.py). Zero where no token of the target depends on the site: the search refuses it."""
    contexts = [Contexts(f"crispness:{i}", (p,), 1, None) for i, p in enumerate(prompts)]
    settings = ValueSettings.with_preset(preset="published", steps=steps)
    gradients = gradient_vectors(lm, prompts, sites)
    vectors = torch.zeros_like(gradients)
    for at, site in enumerate(sites):
        reached = (gradients[:, at] != 0).any(1).nonzero()[:, 0].tolist()
        if reached:
            chosen = [contexts[i] for i in reached]
            values = optimise_values(lm, chosen, Injection.at_site(site), settings, seed=seed)
            vectors[reached, at] = torch.stack([v.delta for v in values]).to(vectors)
    return vectors
