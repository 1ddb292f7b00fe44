"""k*: what a site reads at the lookup position, for many requests and all wanted sites in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from editing.delta.delta import Delta, delta_hooks
from editing.model.language_model import LanguageModel
from editing.run.batching import Budget, attempt
from editing.run.forward import Hook, capture, forward, pad, read_beginnings
from editing.text.contexts import Contexts
from editing.text.tokens import Prompt


def states(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    wanted: Sequence[tuple[str, str]],
    *,
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
    batch_tokens: int = 4096,
) -> dict[tuple[str, str], torch.Tensor]:
    """(len(prompts), width) float32 state of each wanted (module path, "input" or "output") at every prompt's lookup.

    Tokens behind the lookup are cut off, they cannot matter. With `deltas`, prompt i is read under `deltas[rows[i]]`.
    The run ends behind the last wanted module. Texts put before several prompts are read once.
    """
    last = _last(lm, [path for path, _ in wanted])
    found = {w: [torch.empty(0)] * len(prompts) for w in wanted}
    with torch.no_grad():
        # an edit may change the beginnings too, so only the unedited model's are shared
        texts, starts = [p.ids for p in prompts], [p.head for p in prompts]
        # where they do not fit into memory together, every text is read whole
        read_once = None if deltas else attempt(lambda: read_beginnings(lm, texts, starts, last))
        shared = read_once[0] if read_once else None
    heads = [p.head if shared else 0 for p in prompts]
    widths = [p.lookup + 1 - h for p, h in zip(prompts, heads, strict=True)]

    def read(members: list[int]) -> dict[tuple[str, str], torch.Tensor]:
        past = None if shared is None else shared[0].select(shared[1][torch.tensor(members, device=shared[1].device)])
        batch = pad(
            [prompts[i].ids[heads[i] : prompts[i].lookup + 1] for i in members],
            lm,
            side="right",
            first=None if past is None else past.lengths(),
        )
        columns = torch.tensor([widths[i] - 1 for i in members])
        store: dict[tuple[str, str], torch.Tensor] = {}
        hooks: list[Hook] = (
            [] if not deltas else delta_hooks(lm, deltas, [rows[i] for i in members] if rows else [0] * len(members))
        )
        hooks += [capture(path, side, store, batch.ids.shape[1]) for path, side in wanted]
        with torch.no_grad():
            forward(lm, batch, past=past, hooks=hooks, stop=last)
        pick = lambda v: v[torch.arange(len(members), device=v.device), columns.to(v.device)]  # noqa: E731
        return {key: pick(value).float().cpu() for key, value in store.items()}

    for members, picked in Budget(lm.batch_tokens(batch_tokens), "reading keys").run(widths, read):
        for key, value in picked.items():
            for j, i in enumerate(members):
                found[key][i] = value[j]
    return {key: torch.stack(value) for key, value in found.items()}


def _last(lm: LanguageModel, paths: Sequence[str]) -> str:
    """The block behind which nothing in `paths` is left to see."""
    blocks = lm.layout.blocks
    layer = max(next(i for i, b in enumerate(blocks) if p == b or p.startswith(f"{b}.")) for p in paths)
    return blocks[layer]


def group_mean(values: torch.Tensor, requests: Sequence[Contexts], weights: Sequence[Sequence[float]]) -> torch.Tensor:
    """(n_requests, d): weighted sum of each request's contexts; `values` (all contexts, d) in request order."""
    means, start = [], 0
    for request, weight in zip(requests, weights, strict=True):
        block = values[start : start + len(request.prompts)]
        means.append((block * torch.tensor(weight)[:, None]).sum(0))
        start += len(request.prompts)
    return torch.stack(means)


def mean_weights(request: Contexts) -> list[float]:
    """Every context counts the same (ROME)."""
    return [1.0 / len(request.prompts)] * len(request.prompts)


def type_weights(request: Contexts) -> list[float]:
    """Mean of type means: the bare prompts together weigh one half, the prefixed ones the other (MEMIT)."""
    bare, other = request.n_bare, len(request.prompts) - request.n_bare
    if not other:
        return mean_weights(request)
    return [0.5 / bare] * bare + [0.5 / other] * other


def bare_weights(request: Contexts) -> list[float]:
    """The bare prompts only."""
    return [1.0 / request.n_bare] * request.n_bare + [0.0] * (len(request.prompts) - request.n_bare)
