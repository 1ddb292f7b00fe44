"""k*: what a site reads at the lookup position, for many requests and several sites in one pass."""

from __future__ import annotations

from collections.abc import Sequence

from editing.delta import Delta
from editing.lazy import torch
from editing.model import LanguageModel, Site
from editing.solve.rising import Rising
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

    Texts put before several prompts are read once where there are no deltas; see `Rising.read`.
    """
    return Rising(lm, prompts, batch_tokens).read(places, deltas, rows)


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
