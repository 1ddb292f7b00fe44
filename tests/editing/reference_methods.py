"""R-ROME, MEMIT-Merge, EMMET, PMET, AlphaEdit and UltraEdit done slowly and literally; the fast path must equal this.

Like tests/editing/reference.py: one request at a time, full forward passes of every context, weights really changed
between layers, and each formula as it stands in the paper, with explicit inverses and projectors and in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from editing.model.language_model import LanguageModel
from editing.model.sites import Site
from editing.stats.sampling import sample_tokens
from editing.text.requests import EditRequest
from tests.editing import reference
from tests.editing.reference import Text

Solve = Callable[[Site, torch.Tensor, torch.Tensor], torch.Tensor]  # site, R (d_out, n), K (d_in, n) -> dW


def r_rome(
    lm: LanguageModel, request: EditRequest, method: Any, c: torch.Tensor, prefixes: Sequence[str]
) -> torch.Tensor:
    """(v* - W k_e) (C^-1 k_e)^T / (k_e^T C^-1 k_e), k_e and W k_e means over all contexts."""
    place = method.placement(lm, request)
    site = lm.sites(place.site)[place.layers[0]]
    rows = list(range(site.d_out)) if site.rows is None else list(site.rows)
    texts = reference.texts_of(lm, request, prefixes, place.lookup)
    key = reference.read(lm, texts, site.path, "input").double().mean(0)
    now = reference.read(lm, texts, site.path, "output").double().mean(0)[rows]
    result = reference.optimise(
        lm, request, texts, place.lookup, site.path, None if site.rows is None else rows, method
    )
    direction = torch.inverse(c.to(lm.device)) @ key
    change = torch.zeros(site.d_out, site.d_in, dtype=torch.float64, device=lm.device)
    change[rows] = torch.outer(result.v0 + result.delta - now, direction) / (key @ direction)
    return change.float()


def type_mean(values: torch.Tensor, texts: Sequence[Text]) -> torch.Tensor:
    kinds = [[i for i, t in enumerate(texts) if t.bare is kind] for kind in (True, False)]
    return torch.stack([values[k].mean(0) for k in kinds if k]).mean(0)


def spread(
    lm: LanguageModel,
    sites: Sequence[Site],
    goal: str,
    contexts: Sequence[Sequence[Text]],
    targets: Sequence[torch.Tensor],
    share: Callable[[int], float],
    solve: Solve,
    method: Any,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The layer loop with weights really changed: dW by weight name, and the keys of the edited model by site path."""
    saved = {s.weight: lm.weight(s.weight).detach().clone() for s in sites}
    changes = {}
    try:
        for i, site in enumerate(sites):
            k = torch.stack([type_mean(reference.read(lm, t, site.path, "input"), t) for t in contexts], 1).double()
            now = [reference.read(lm, [t for t in ts if t.bare], goal, "output").mean(0) for ts in contexts]
            residual = (torch.stack(list(targets), 1) - torch.stack(now, 1)).double() / share(len(sites) - i)
            if goal in lm.layout.blocks:
                residual = reference.outputs_for(lm, site, contexts, residual, method)
            change = solve(site, residual, k).float()
            changes[site.weight] = change
            lm.weight(site.weight).copy_(saved[site.weight] + (change.T if site.transposed else change))
        keys = {
            s.path: torch.stack([type_mean(reference.read(lm, t, s.path, "input"), t) for t in contexts], 1).double()
            for s in sites
        }
    finally:
        for name, old in saved.items():
            lm.weight(name).copy_(old)
    return changes, keys


def block_targets(
    lm: LanguageModel, requests: Sequence[EditRequest], contexts: Sequence[Sequence[Text]], method: Any, layer: int
) -> list[torch.Tensor]:
    """z of every request, at the output of block `layer`."""
    return [
        reference.block_target(lm, r, t, method.placement(lm, r).lookup, lm.sites(method.site)[layer], method)
        for r, t in zip(requests, contexts, strict=True)
    ]


def contexts_of(
    lm: LanguageModel, requests: Sequence[EditRequest], method: Any, prefixes: Sequence[str]
) -> list[list[Text]]:
    return [reference.texts_of(lm, r, prefixes, method.placement(lm, r).lookup) for r in requests]


def sites_of(lm: LanguageModel, method: Any, request: EditRequest) -> list[Site]:
    place = method.placement(lm, request)
    return [lm.sites(place.site)[layer] for layer in place.layers]


def emmet(
    lm: LanguageModel, requests: Sequence[EditRequest], method: Any, c: dict[str, torch.Tensor], prefixes: Sequence[str]
) -> dict[str, torch.Tensor]:
    def solve(site: Site, r: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        inverse = torch.inverse(c[site.path].to(lm.device))
        slack = reference.weight_of_c(method, method.slack, site) * torch.eye(k.shape[1], device=lm.device)
        return r @ torch.inverse(k.T @ inverse @ k + slack) @ k.T @ inverse

    contexts, sites = contexts_of(lm, requests, method, prefixes), sites_of(lm, method, requests[0])
    targets = block_targets(lm, requests, contexts, method, sites[-1].layer)
    return spread(lm, sites, lm.layout.blocks[sites[-1].layer], contexts, targets, float, solve, method)[0]


def memit_merge(
    lm: LanguageModel, requests: Sequence[EditRequest], method: Any, c: dict[str, torch.Tensor], prefixes: Sequence[str]
) -> dict[str, torch.Tensor]:
    """MEMIT over subjects: all contexts of a subject's requests together, each context with its own target."""
    contexts, sites = contexts_of(lm, requests, method, prefixes), sites_of(lm, method, requests[0])
    merged: dict[str, list[Text]] = {}
    for request, texts in zip(requests, contexts, strict=True):
        merged.setdefault(request.subject, []).extend(texts)
    firsts = [next(r for r in requests if r.subject == s) for s in merged]
    targets = block_targets(lm, firsts, list(merged.values()), method, sites[-1].layer)

    def solve(site: Site, r: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        weight = reference.weight_of_c(method, method.covariance_weight, site)
        return r @ k.T @ torch.inverse(weight * c[site.path].to(lm.device) + k @ k.T)

    return spread(lm, sites, lm.layout.blocks[sites[-1].layer], list(merged.values()), targets, float, solve, method)[0]


def pmet(
    lm: LanguageModel, requests: Sequence[EditRequest], method: Any, c: dict[str, torch.Tensor], prefixes: Sequence[str]
) -> dict[str, torch.Tensor]:
    contexts, sites = contexts_of(lm, requests, method, prefixes), sites_of(lm, method, requests[0])
    layer = sites[-1].layer
    goal, attention = lm.sites("mlp")[layer].path, lm.sites("attn")[layer].path
    targets = [_joint(lm, r, t, method, goal, attention) for r, t in zip(requests, contexts, strict=True)]

    def solve(site: Site, r: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        weight = reference.weight_of_c(method, method.covariance_weight, site)
        return r @ k.T @ torch.inverse(weight * c[site.path].to(lm.device) + k @ k.T)

    return spread(lm, sites, goal, contexts, targets, pmet_share(method, len(sites)), solve, method)[0]


def pmet_share(method: Any, layers: int) -> Callable[[int], float]:
    """The paper's divisor of the residual by the layers left, or one by which the shares of all layers add up to one."""
    whole = 1.0 if method.preset == "published" else sum(1 / n**0.5 for n in range(1, layers + 1))
    return lambda left: whole * left**0.5


def _joint(
    lm: LanguageModel, request: EditRequest, texts: Sequence[Text], method: Any, mlp: str, attention: str
) -> torch.Tensor:
    """compute_zs of the PMET code, without its schedule of the likelihood's weight: the MLP's target state."""
    lookup = method.placement(lm, request).lookup
    essence = []
    if any("{}" in prompt for prompt in request.prompts):
        template = "{} est un" if request.lang == "fr" else "{} is a"
        essence = [reference._text(lm, template, request.subject, lookup, "", False)]
    everything = [*texts, *essence]
    batch = reference._batch(lm, [[*t.ids, *t.target[:-1]] for t in everything])
    bare = [t for t in texts if t.bare]
    init = {p: reference.read(lm, bare, p, "output").mean(0) for p in (mlp, attention)}
    delta = {p: torch.zeros_like(v, requires_grad=True) for p, v in init.items()}
    relative = method.preset == "scale_free"
    rms = {p: float(v.square().mean().sqrt()) if relative else 1.0 for p, v in init.items()}
    optimiser = torch.optim.Adam([{"params": [delta[p]], "lr": method.lr * rms[p]} for p in delta])

    def adder(path: str):
        def hook(module: torch.nn.Module, args: tuple, output: Any) -> Any:
            shaped = reference._shaped(output, len(everything)).clone()
            for i, text in enumerate(everything):
                shaped[i, text.lookup] = shaped[i, text.lookup] + delta[path]
            return shaped.reshape(output.shape)

        return lm.module.get_submodule(path).register_forward_hook(hook)

    base = None
    for step in range(method.steps):
        optimiser.zero_grad()
        handles = [adder(path) for path in delta]
        with torch.enable_grad():
            log_p = torch.log_softmax(lm.module(**batch, use_cache=False).logits, 2)
            each = []
            for i, text in enumerate(texts):
                begin = len(text.ids) - 1
                each.append(-sum(log_p[i, begin + t, token] for t, token in enumerate(text.target)) / len(text.target))
            loss = torch.stack(each).mean()
            if essence:
                now = log_p[len(texts) :, essence[0].lookup]
                base = now.detach().clone() if base is None else base
                divergence = torch.nn.functional.kl_div(base, now, log_target=True, reduction="batchmean")
                loss = loss + method.kl * divergence
            decay = sum(torch.norm(delta[p]) / torch.norm(init[p]) ** (1 if relative else 2) for p in delta)
            loss = loss + method.weight_decay * decay
        for handle in handles:
            handle.remove()
        if loss.item() < method.stop_loss or step == method.steps - 1:
            break
        loss.backward()
        optimiser.step()
        for path, value in delta.items():
            limit = method.clamp * init[path].norm()
            if value.norm() > limit:
                with torch.no_grad():
                    value.mul_(limit / value.norm())
    return init[mlp] + delta[mlp].detach()


def alphaedit(
    lm: LanguageModel,
    requests: Sequence[EditRequest],
    method: Any,
    c: dict[str, torch.Tensor],
    prefixes: Sequence[str],
    earlier: dict[str, torch.Tensor] | None = None,
    projectors: dict[str, torch.Tensor] | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """`c` without ridge; `earlier`: Kp Kp^T by site path. Returns dW and Kp Kp^T with these requests counted in.

    `projectors`: P by site path, kept from an earlier call as the authors keep it.
    """
    contexts, sites = contexts_of(lm, requests, method, prefixes), sites_of(lm, method, requests[0])
    targets = block_targets(lm, requests, contexts, method, sites[-1].layer)
    empty = {s.path: torch.zeros(s.d_in, s.d_in, dtype=torch.float64, device=lm.device) for s in sites}
    past = empty if earlier is None else earlier

    def solve(site: Site, r: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        matrix = c[site.path].to(lm.device)
        p = projector(matrix, method) if projectors is None else projectors[site.path]
        unit = (matrix @ p).trace() if method.units == "null_space" else matrix.trace()
        l2 = method.l2 * unit * torch.eye(site.d_in, dtype=torch.float64, device=lm.device)
        return r @ k.T @ p @ torch.inverse(k @ k.T @ p + past[site.path] @ p + l2)

    changes, keys = spread(lm, sites, lm.layout.blocks[sites[-1].layer], contexts, targets, float, solve, method)
    return changes, {path: past[path] + k @ k.T for path, k in keys.items()}


def projector(matrix: torch.Tensor, method: Any) -> torch.Tensor:
    """P of a covariance (d_in, d_in) float64, on its singular vectors of small singular value."""
    u, size, _ = torch.linalg.svd(matrix)
    small = u[:, size < method.null_threshold * size.mean()]
    return small @ small.T


Shape = tuple[int, int]


def ultraedit(
    lm: LanguageModel, requests: Sequence[EditRequest], method: Any, values: dict[Shape, torch.Tensor] | None = None
) -> tuple[dict[str, torch.Tensor], dict[Shape, torch.Tensor]]:
    """dW by weight name, and all features [h, g] so far by shape of the map (the running statistics are taken from them
    anew).

    `values` holds the features of the earlier turns, warm-up included.
    """
    sites = sites_of(lm, method, requests[0])
    drawn = sample_tokens(lm, method.warmup, 16, seed=method.seed).tolist()
    head = list(lm.prefix_ids)
    warm = [_features(lm, sites, [([*head, row[0]], row[1:])], len(row) - 1) for row in drawn]
    everything = dict(values or {})
    if values is None:
        for s in sites:
            _keep(everything, s, [torch.cat(w[s.path][:2], 1) for w in warm])
    own = []
    for request in requests:
        filled = zip(request.filled(), request.targets, strict=True)
        pairs = [(lm.encode(p), lm.tokenizer(" " + t, add_special_tokens=False)["input_ids"]) for p, t in filled]
        own.append(_features(lm, sites, pairs))
    changes = {}
    for s in sites:
        _keep(everything, s, [torch.cat(m[s.path][:2], 1) for m in own])
    for site in sites:
        h = torch.cat([m[site.path][0] for m in own])
        z = torch.cat([torch.cat(m[site.path][:2], 1) for m in own])
        kept = everything[site.d_in, site.size]
        hat = (z - kept.mean(0)) / (kept.std(0) + torch.finfo(torch.float32).eps)
        h_hat, g_hat = hat[:, : site.d_in], hat[:, site.d_in :]
        rms = torch.cat([w[site.path][2] for w in warm]).square().mean().sqrt()
        square = torch.cat([w[site.path][0] for w in warm]).square().sum(1).mean()
        v = -method.rate / len(sites) * rms / site.d_in * (h_hat * h_hat).sum(1, keepdim=True) * g_hat
        inner = h.T @ h + method.ridge * square * torch.eye(site.d_in, dtype=torch.float64, device=lm.device)
        changes[site.weight] = torch.linalg.solve(inner, h.T @ v).T.float()
    return changes, everything


def _keep(everything: dict[Shape, torch.Tensor], site: Site, rows: Sequence[torch.Tensor]) -> None:
    shape = (site.d_in, site.size)
    everything[shape] = torch.cat([*([everything[shape]] if shape in everything else []), *rows])


def _features(
    lm: LanguageModel, sites: Sequence[Site], pairs: Sequence[tuple[list[int], list[int]]], factor: float = 1.0
) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """h, g and outputs (rows, .) float64 of one request: prompts (token ids) with their targets, one forward each."""
    collected: dict[str, list[tuple[torch.Tensor, ...]]] = {s.path: [] for s in sites}
    for prompt, target in pairs:
        ids = torch.tensor([[*prompt, *target[:-1]]], device=lm.device)
        inputs: dict[str, torch.Tensor] = {}
        outputs: dict[str, torch.Tensor] = {}

        def keep(path: str, inputs: dict = inputs, outputs: dict = outputs):
            def hook(module: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
                inputs[path] = args[0].detach().reshape(-1, args[0].shape[-1])
                outputs[path] = output if output.requires_grad else output.detach().requires_grad_()
                return outputs[path].clone()

            return lm.module.get_submodule(path).register_forward_hook(hook)

        handles = [keep(s.path) for s in sites]
        with torch.enable_grad():
            logits = lm.module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0]
            begin = len(prompt) - 1
            loss = torch.nn.functional.cross_entropy(logits[begin : begin + len(target)], ids.new_tensor(target))
            gradients = torch.autograd.grad(factor * loss / len(pairs), [outputs[s.path] for s in sites])
        for handle in handles:
            handle.remove()
        span = slice(begin, begin + len(target))
        for site, gradient in zip(sites, gradients, strict=True):
            flat = gradient.reshape(-1, gradient.shape[-1])[span].double()
            out = outputs[site.path].detach().reshape(-1, flat.shape[1])[span].double()
            collected[site.path].append((inputs[site.path][span].double(), flat, out))
    return {path: tuple(torch.cat(parts) for parts in zip(*result, strict=True)) for path, result in collected.items()}  # type: ignore[misc]
