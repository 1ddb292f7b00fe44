"""ROME and MEMIT done slowly and literally, as the original code does it; the fast path must equal this.

Written from kmeng01/rome (compute_u.py, compute_v.py, rome_main.py) and kmeng01/memit (compute_z.py, compute_ks.py,
memit_main.py): a full forward pass of all contexts at every step, torch's own Adam, an explicit inverse of C or solve
of lambda C + K K^T, one request at a time, and weights really changed between MEMIT's layers. Positions come from
counting the tokens of the text up to the subject, not from offsets. Where a request has several prompts, which the
papers do not have, the definitions of editing/text/contexts.py and editing/solve/keys.py are followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from editing.model.language_model import LanguageModel
from editing.model.sites import Site
from editing.run.trace import Trace
from editing.text.requests import EditRequest


@dataclass(frozen=True)
class Text:
    """Token ids of a prompt (with the model's prefix), index of its lookup, ids of the target, whether it is bare."""

    ids: list[int]
    lookup: int
    target: list[int]
    bare: bool


def texts_of(lm: LanguageModel, request: EditRequest, prefixes: Sequence[str], lookup: str) -> list[Text]:
    """P bare prompts, then prefix j before prompt j mod P."""
    pairs = list(zip(request.prompts, request.targets, strict=True))
    contexts = [("", *pair, True) for pair in pairs]
    contexts += [(f"{prefix}. ", *pairs[j % len(pairs)], False) for j, prefix in enumerate(prefixes)]
    return [
        _text(lm, before + prompt, request.subject, lookup, target, bare) for before, prompt, target, bare in contexts
    ]


def _text(lm: LanguageModel, template: str, subject: str, lookup: str, target: str, bare: bool) -> Text:
    ids = lm.encode(template.replace("{}", subject))
    if lookup == "last":
        position = len(ids) - 1
    else:
        position = len(lm.encode(template[: template.index("{}")] + subject)) - 1
    target_ids = lm.tokenizer(" " + target, add_special_tokens=False)["input_ids"] if target else []
    return Text(ids, position, target_ids, bare)


def _batch(lm: LanguageModel, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """Right-padded, as the original tokenizers do."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[lm.pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids.to(lm.device), "attention_mask": mask.to(lm.device)}


def _shaped(output: Any, rows: int) -> torch.Tensor:
    """(rows, T, width) of what a module put out."""
    hidden = output[0] if isinstance(output, tuple) else output
    return hidden.reshape(rows, -1, hidden.shape[-1])


def read(lm: LanguageModel, texts: Sequence[Text], path: str, side: str) -> torch.Tensor:
    """(texts, width) a module's "input" or "output" at the lookups."""
    with torch.no_grad(), Trace(lm.module, path, retain_input=True) as trace:
        lm.module(**_batch(lm, [t.ids for t in texts]), use_cache=False)
    values = _shaped(trace.input if side == "input" else trace.output, len(texts))
    return torch.stack([values[i, t.lookup] for i, t in enumerate(texts)]).float()


@dataclass(frozen=True)
class Optimised:
    """delta (size,), v0 (size,), how many passes were made, and the last loss without KL and weight decay."""

    delta: torch.Tensor
    v0: torch.Tensor
    steps: int
    loss: float


def optimise(
    lm: LanguageModel,
    request: EditRequest,
    texts: Sequence[Text],
    lookup: str,
    path: str,
    rows: list[int] | None,
    method: Any,
    length: float | None = None,
) -> Optimised:
    """compute_v.py and compute_z.py: delta added to the output of `path` at every context's lookup; `length` in place
    of ||v0||."""
    essence = []
    if any("{}" in prompt for prompt in request.prompts):
        template = "{} est un" if request.lang == "fr" else "{} is a"
        essence = [_text(lm, template, request.subject, lookup, "", False)]
    everything = [*texts, *essence]
    batch = _batch(lm, [[*t.ids, *t.target[:-1]] for t in everything])
    bare = [i for i, t in enumerate(texts) if t.bare]
    clean = _shaped_output(lm, batch, path, len(everything), rows)
    target_init = torch.stack([clean[i, texts[i].lookup] for i in bare]).mean(0)
    delta = torch.zeros_like(target_init, requires_grad=True)
    kl_init: torch.Tensor | None = None

    def add_delta(output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        changed = _shaped(output, len(everything)).clone()
        where = range(changed.shape[-1]) if rows is None else rows
        for i, text in enumerate(everything):
            changed[i, text.lookup, list(where)] += delta
        changed = changed.reshape(hidden.shape)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    relative = method.preset == "scale_free"
    size = float(target_init.norm()) if length is None else length
    rms = size / len(target_init) ** 0.5
    optimiser = torch.optim.Adam([delta], lr=method.lr * rms if relative else method.lr)
    likelihood, step = torch.tensor(float("nan")), 0
    for step in range(method.steps):
        optimiser.zero_grad()
        with torch.enable_grad():
            with Trace(lm.module, path, edit_output=add_delta):
                logits = lm.module(**batch, use_cache=False).logits
            log_probs = torch.log_softmax(logits, dim=2)
            each = []
            for i, text in enumerate(texts):
                begin = len(text.ids) - 1
                picked = [log_probs[i, begin + t, token] for t, token in enumerate(text.target)]
                each.append(-torch.stack(picked).sum() / len(text.target))
            likelihood = loss = torch.stack(each).mean()
            if essence:
                kl_now = log_probs[len(texts) :, essence[0].lookup]
                if kl_init is None:
                    kl_init = kl_now.detach().clone()
                loss = loss + method.kl * torch.nn.functional.kl_div(
                    kl_init, kl_now, log_target=True, reduction="batchmean"
                )
            loss = loss + method.weight_decay * torch.norm(delta) / size ** (1 if relative else 2)
        if loss.item() < method.stop_loss or step == method.steps - 1:
            break
        loss.backward()
        optimiser.step()
        limit = method.clamp * size
        if delta.norm() > limit:
            with torch.no_grad():
                delta[...] = delta * limit / delta.norm()
    return Optimised(delta.detach(), target_init, step + 1, likelihood.item())


def _shaped_output(
    lm: LanguageModel, batch: dict[str, torch.Tensor], path: str, rows: int, picked: list[int] | None
) -> torch.Tensor:
    with torch.no_grad(), Trace(lm.module, path) as trace:
        lm.module(**batch, use_cache=False)
    values = _shaped(trace.output, rows).detach()
    return values if picked is None else values[..., picked]


def rome(
    lm: LanguageModel,
    request: EditRequest,
    method: Any,
    c: torch.Tensor,
    prefixes: Sequence[str],
    inverse: torch.Tensor | None = None,
) -> torch.Tensor:
    """(d_out, d_in) change of the site's weight; `c` (d_in, d_in) float64 is inverted as it is.

    `inverse` is that of `c`, kept from an earlier request as the ROME code keeps it.
    """
    place = method.placement(lm, request)
    site = lm.site(place.site, place.layers[0])
    rows = None if site.rows is None else list(site.rows)
    texts = texts_of(lm, request, prefixes, place.lookup)
    keys = read(lm, texts, site.path, "input")
    u = (torch.inverse(c.to(lm.device)) if inverse is None else inverse) @ keys.mean(0).double()
    u = (u / u.norm()).float()
    result = optimise(lm, request, texts, place.lookup, site.path, rows, method)
    bare = [t for t in texts if t.bare]
    cur_input = read(lm, bare, site.path, "input").mean(0)
    cur_output = read(lm, bare, site.path, "output").mean(0)
    if rows is not None:
        cur_output = cur_output[rows]
    right = (result.v0 + result.delta - cur_output) / torch.dot(cur_input, u)
    change = torch.zeros(site.d_out, site.d_in, device=lm.device)
    change[slice(None) if rows is None else rows] = torch.outer(right, u)
    return change


def memit(
    lm: LanguageModel,
    requests: Sequence[EditRequest],
    method: Any,
    c: dict[str, torch.Tensor],
    prefixes: Sequence[str],
    targets: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """(d_out, d_in) change per weight name, of all requests jointly; `c` by site path. The model is restored.

    `targets` keeps z by request from one call to the next: it does not depend on the other requests.
    """
    places = [method.placement(lm, r) for r in requests]
    sites = [lm.sites(places[0].site)[layer] for layer in places[0].layers]
    block = lm.layout.blocks[sites[-1].layer]
    contexts = [texts_of(lm, r, prefixes, p.lookup) for r, p in zip(requests, places, strict=True)]
    targets = {} if targets is None else targets
    for request, place, texts in zip(requests, places, contexts, strict=True):
        if request.id not in targets:
            targets[request.id] = block_target(lm, request, texts, place.lookup, sites[-1], method)
    z = [targets[request.id] for request in requests]
    saved = {s.weight: lm.weight(s.weight).detach().clone() for s in sites}
    changes: dict[str, torch.Tensor] = {}
    try:
        for i, site in enumerate(sites):
            k = torch.stack([_type_mean(lm, texts, site) for texts in contexts], 1).double()
            now = [read(lm, [t for t in texts if t.bare], block, "output").mean(0) for texts in contexts]
            residual = (torch.stack(z, 1) - torch.stack(now, 1)).double() / (len(sites) - i)
            residual = outputs_for(lm, site, contexts, residual, method)
            weight = weight_of_c(method, method.covariance_weight, site)
            adjusted = torch.linalg.solve(weight * c[site.path].to(lm.device) + k @ k.T, k)
            change = (residual @ adjusted.T).float()
            changes[site.weight] = change
            with torch.no_grad():
                lm.weight(site.weight).copy_(saved[site.weight] + (change.T if site.transposed else change))
    finally:
        with torch.no_grad():
            for name, old in saved.items():
                lm.weight(name).copy_(old)
    return changes


def length_of(lm: LanguageModel, texts: Sequence[Text], path: str, method: Any) -> float | None:
    """The length of what the module `path` puts out at the bare texts; None with absolute settings."""
    if method.preset == "published":
        return None
    return float(read(lm, [t for t in texts if t.bare], path, "output").mean(0).norm())


def block_target(
    lm: LanguageModel, request: EditRequest, texts: Sequence[Text], lookup: str, site: Site, method: Any
) -> torch.Tensor:
    """z: the state behind the block of the last edited `site` that makes the model say the target."""
    block, norm = lm.layout.blocks[site.layer], norm_behind(lm, site, method)
    if norm is None:
        result = optimise(lm, request, texts, lookup, block, None, method, length_of(lm, texts, site.path, method))
        return result.v0 + result.delta
    result = optimise(lm, request, texts, lookup, site.path, None, method)
    stream = read(lm, [t for t in texts if t.bare], block, "output").mean(0)
    return stream + norm(result.v0 + result.delta) - norm(result.v0)


def outputs_for(
    lm: LanguageModel, site: Site, contexts: Sequence[Sequence[Text]], residual: torch.Tensor, method: Any
) -> torch.Tensor:
    """(d, n) changes of a map's output that make the changes `residual` (d, n) of the stream."""
    norm = norm_behind(lm, site, method)
    if norm is None:
        return residual
    outputs = [read(lm, [t for t in texts if t.bare], site.path, "output").mean(0) for texts in contexts]
    return torch.stack([carried_back(norm, m, share) for m, share in zip(outputs, residual.T, strict=True)], 1)


def norm_behind(lm: LanguageModel, site: Site, method: Any) -> Any:
    """The norm between a map and the residual stream, by its name in the families that have one."""
    block = lm.module.get_submodule(lm.layout.blocks[site.layer])
    if method.preset == "published" or not hasattr(block, "post_feedforward_layernorm"):
        return None
    norm = block.post_feedforward_layernorm if site.kind == "mlp" else block.post_attention_layernorm
    return lambda x: norm(x[None, None].float()).detach()[0, 0]


def carried_back(norm: Any, m: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """m' - m: m' as long as m, with norm(m') nearest to norm(m) + share.

    norm(m') = g * m' / scale with one scale for all m' of a length, so it is the least squares problem min |g y - goal|
    under |y| = radius; solved by the root of |y(mu)| - radius, y(mu) = g goal / (g^2 + mu).
    """
    m, goal = m.double(), norm(m).double() + share
    scale = float((norm(torch.ones_like(m)).double() * m).norm() / norm(m).norm())
    gain = norm(torch.ones_like(m)).double()
    radius = float(m.norm()) / scale
    excess = lambda mu: float((gain * goal / (gain**2 + mu)).norm()) - radius  # noqa: E731
    mu = 0.0
    if excess(0.0) > 0:
        low, high = 0.0, float((gain * goal).norm()) / radius
        for _ in range(60):  # halvings; not scipy's brentq, as the GPU script runs this where scipy may be missing
            mu = (low + high) / 2
            low, high = (mu, high) if excess(mu) > 0 else (low, mu)
    y = gain * goal / (gain**2 + mu)
    return radius * y / y.norm() * scale - m


def weight_of_c(method: Any, weight: float, site: Site) -> float:
    """lambda: a multiple of the mean of k^T C^-1 k, or as published."""
    return weight * site.d_in if method.preset == "scale_free" else weight


def _type_mean(lm: LanguageModel, texts: Sequence[Text], site: Site) -> torch.Tensor:
    """compute_ks.py: mean over types of the mean over contexts of that type."""
    keys = read(lm, texts, site.path, "input")
    kinds = [[i for i, t in enumerate(texts) if t.bare], [i for i, t in enumerate(texts) if not t.bare]]
    return torch.stack([keys[kind].mean(0) for kind in kinds if kind]).mean(0)
