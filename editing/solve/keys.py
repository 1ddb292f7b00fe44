"""k*: what a site reads at the lookup position, for many requests and several sites in one pass."""

from __future__ import annotations

from collections.abc import Sequence

from editing.delta import Delta, delta_hooks
from editing.lazy import torch
from editing.model import LanguageModel, Site
from editing.run import Budget, Prefix, attempt, capture, forward, pad, read_beginnings
from editing.text import Contexts, Prompt, escaped, tokenise, with_beginnings

FORM = 4  # tokens by which texts of one form are recognised


def states(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    places: Sequence[tuple[str, str]],
    *,
    deltas: Sequence[Delta] = (),
    rows: Sequence[int] | None = None,
    batch_tokens: int = 4096,
) -> dict[tuple[str, str], torch.Tensor]:
    """(len(prompts), width) float32 state of each place (module path, "input" or "output") at every prompt's lookup.

    Tokens behind the lookup are cut off, they cannot matter. With `deltas`, prompt i is read under `deltas[rows[i]]`,
    all under the first without `rows`. The run ends behind the last place; the head's input may be one. Texts put
    before several prompts are read once.
    """
    head = lm.module.get_output_embeddings()
    at_head = next((p for p in places if p[1] == "input" and lm.submodule(p[0]) is head), None)
    hooked = [place for place in places if place != at_head]
    stop = lm.layout.blocks[-1] if at_head else _last(lm, [path for path, _ in places])
    # An edit may change the beginnings too, so only the unedited model's are shared.
    beginnings = None if deltas else _beginnings(lm, prompts, stop)
    heads = [0 if beginnings is None else p.head for p in prompts]
    texts = [p.ids[head : p.lookup + 1] for p, head in zip(prompts, heads, strict=True)]
    rows = rows or [0] * len(prompts)

    def read(members: list[int]) -> dict[tuple[str, str], torch.Tensor]:
        past = None
        if beginnings is not None:
            distinct, which = beginnings
            past = distinct.select(which[torch.tensor(members, device=which.device)])
        first = None if past is None else past.lengths()
        batch = pad([texts[i] for i in members], lm, side="right", first=first)
        store: dict[tuple[str, str], torch.Tensor] = {}
        hooks = delta_hooks(lm, deltas, [rows[i] for i in members]) if deltas else []
        hooks += [capture(path, side, store, batch.ids.shape[1]) for path, side in hooked]
        columns = torch.tensor([len(texts[i]) - 1 for i in members])
        gather = torch.arange(len(members), device=lm.device), columns.to(lm.device)
        with torch.no_grad():
            out = forward(lm, batch, past=past, hooks=hooks, gather=gather, stop=None if at_head else stop, head=False)
        at_lookup = {place: _at_columns(value, columns) for place, value in store.items()}
        if at_head is not None and out is not None:
            at_lookup[at_head] = out
        return {place: value.float().cpu() for place, value in at_lookup.items()}

    by_place = {place: [torch.empty(0)] * len(prompts) for place in places}
    for members, states_of in Budget(lm.batch_tokens(batch_tokens), "reading keys").run([len(t) for t in texts], read):
        for place, values in states_of.items():
            for i, value in zip(members, values, strict=True):
                by_place[place][i] = value
    return {place: torch.stack(values) for place, values in by_place.items()}


def _beginnings(lm: LanguageModel, prompts: Sequence[Prompt], stop: str) -> tuple[Prefix, torch.Tensor] | None:
    """See `read_beginnings`; None also where they do not fit into memory together, then every text is read whole."""
    texts, heads = [p.ids for p in prompts], [p.head for p in prompts]
    with torch.no_grad():
        result = attempt(lambda: read_beginnings(lm, texts, heads, stop))
    return None if result is None else result[0]


def _at_columns(value: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(B, width) of `value` (B, T, width): row i at columns[i]."""
    return value[torch.arange(len(columns), device=value.device), columns.to(value.device)]


def _last(lm: LanguageModel, paths: Sequence[str]) -> str:
    """The last block that holds one of `paths`; the first one where none does (an embedding)."""
    blocks = lm.layout.blocks
    layer = max(next((i for i, b in enumerate(blocks) if p == b or p.startswith(f"{b}.")), 0) for p in paths)
    return blocks[layer]


def kept_keys(lm: LanguageModel, site: Site, texts: Sequence[str]) -> torch.Tensor:
    """(len(texts), d_in) float32: what `site` reads at the last token of each text; a beginning that texts share is
    read once."""
    prompts = [tokenise(lm, escaped(text), "", "last") for text in texts]
    return states(lm, with_beginnings(prompts, [prompt.ids[:FORM] for prompt in prompts]), [(site.path, "input")])[
        site.path, "input"
    ]


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
