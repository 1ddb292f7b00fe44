"""The edit that a linear relation embedding proposes (LRE; Hernandez et al. 2024, "Linearity of Relation Decoding in
Transformer Language Models", arXiv 2308.09124, section 4.2, eq. 7).

Near the subject, the state o that decides the answer is an affine map of the subject's state s: o = beta W s + b, with
W the mean Jacobian do/ds over examples. To make the model answer as it would for another object, s is moved by

    delta = W^+ (o' - o),

W^+ the pseudo-inverse of the best rank-r approximation of W. No loss is minimised. The paper injects s + delta; here s
is the output of one map, and delta gets into its weight as ROME's does (Meng et al. 2022, eq. 2), so that it is an edit
like the others. The preset "published" takes s at the subject's last token, as the paper does. From there the edit
reaches at most one target in eight (docs/reference/methods.md), so the default takes s at the prompt's last token, and
moves it twice as far (`beta`).

The paper reads o' off another subject with the intended object. A request names no such subject; o' is read where the
model has just read it: behind "{prompt} {target}. {prompt}". Examples are the request's prompts and, where it names
things of the subject's kind, the same prompts about these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from editing.delta import Delta, LowRank
from editing.errors import Unreachable
from editing.lazy import torch
from editing.methods.base import Prefixed, setting
from editing.model import LanguageModel, Site, in_rows
from editing.run import Splice, first, with_first
from editing.solve import bare_weights, group_mean, mean_weights, states
from editing.stats import ModelStatistics, cosine_warning
from editing.text import EditRequest, Lookup, Prompt, escaped, join, sentence, tokenise

ROWS = 64  # rows of a Jacobian that are computed in one pass


@dataclass(frozen=True)
class LRE(Prefixed):
    """Settings of the inverse; the last block reads nothing of the subject's state, so the depth is below it."""

    name: ClassVar[str] = "lre"
    summary: ClassVar[str] = "the inverse of a relation's affine map, written as ROME writes (Hernandez et al. 2024)"
    default_depth: ClassVar[dict[str, float]] = {"subject_last": 0.35, "last": 0.65}
    no_expert: ClassVar[str] = "its affine map leaves the router out"
    published: ClassVar[Mapping[str, Any]] = {"lookup": None, "rank": 0.2, "beta": 1.0}

    lookup: str | None = setting("last", "key's token; null: as requested", choices=get_args(Lookup))
    rank: float = setting(0.5, "rank of the inverse", unit="of the width")
    beta: float = setting(0.5, "factor by which the map is too small; delta is divided by it")
    examples: int = setting(4, "other things of the subject's kind, where the request names some", unit="things")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rank <= 1 or self.beta == 0:
            raise self.refuse("rank" if self.beta else "beta", "above 0, a rank at most 1")

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        return [self._edit(lm, request, statistics) for request in requests]

    def _edit(self, lm: LanguageModel, request: EditRequest, statistics: ModelStatistics) -> Delta:
        place = self.placement(lm, request)
        site = lm.site(place.site, place.layers[0])
        (context,) = self.contexts(lm, [request], statistics)
        inputs = (site.path, "input")
        read = states(lm, list(context.prompts), [inputs])[inputs]
        mean_key = group_mean(read, [context], [mean_weights(context)])[0]
        bare_key = group_mean(read, [context], [bare_weights(context)])[0]
        u = statistics.solve(site, mean_key[:, None])[:, 0]
        u = (u / u.norm()).float()
        scale = float(u @ bare_key)
        doubt = cosine_warning(request.id, scale, float(bare_key.norm()))
        change, note = self._change(lm, request, site, place.lookup)
        left = in_rows(change / scale, site.rows, site.d_out)
        made = self.provenance(lm, [request], statistics) | {"optimiser": note}
        made |= {"warnings": [doubt]} if doubt else {}
        return Delta({site.weight: LowRank(left[:, None], u[:, None])}, made)

    def _change(
        self, lm: LanguageModel, request: EditRequest, site: Site, lookup: str
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """delta (size of the site,): the mean over the request's prompts, and what it is made of."""
        own = [tokenise(lm, prompt, request.subject, lookup) for prompt in request.prompts]
        last = (lm.layout.blocks[-1], "output")
        stated = [
            tokenise(lm, escaped(f"{sentence(join(text, target))} {text}"), "", "last")
            for text, target in zip(request.filled(), request.targets, strict=True)
        ]
        ends = [tokenise(lm, escaped(text), "", "last") for text in request.filled()]
        goal = states(lm, stated, [last])[last] - states(lm, ends, [last])[last]
        others = request.contrast[: self.examples] if request.subject else ()
        deltas = []
        for i, prompt in enumerate(own):
            alike = [tokenise(lm, request.prompts[i], other, lookup) for other in others]
            w = torch.stack([jacobian(lm, one, site) for one in (prompt, *alike)]).mean(0)
            if not bool(w.any()):
                raise Unreachable(
                    f"request {request.id!r}: nothing reads {site.path} at the lookup position; take a lower depth"
                )
            deltas.append(inverse(w, self.rank) @ goal[i].double() / self.beta)
        delta = torch.stack(deltas).mean(0).float()
        return delta, {"delta_norm": float(delta.norm()), "examples": len(others) + 1}


def jacobian(lm: LanguageModel, prompt: Prompt, site: Site) -> torch.Tensor:
    """(d_model, size) of the last block's output at the prompt's end by the site's output at the lookup, float32."""
    splice = Splice.prepare(lm, [prompt.ids[: prompt.start]], [prompt.lookup], site.layer)
    rows = []
    for begin in range(0, lm.d_model, ROWS):
        count = min(ROWS, lm.d_model - begin)
        many = splice.select(torch.zeros(count, dtype=torch.long, device=lm.device))
        shift = torch.zeros(count, site.size, device=lm.device, requires_grad=True)
        kept: list[torch.Tensor] = []

        def add(module: torch.nn.Module, args: tuple, output: object, shift=shift, count=count) -> object:
            hidden = first(output)
            shaped = hidden.reshape(count, -1, hidden.shape[-1])
            moved = in_rows(shift.to(hidden.device, hidden.dtype), site.rows, hidden.shape[-1])
            changed = torch.cat([(shaped[:, 0] + moved)[:, None], shaped[:, 1:]], 1)
            return with_first(output, changed.reshape(hidden.shape))

        def keep(module: torch.nn.Module, args: tuple, output: object, kept=kept, count=count) -> None:
            kept.append(first(output).reshape(count, -1, lm.d_model)[:, -1])

        last = lm.layout.blocks[-1]
        with torch.enable_grad():
            nothing = torch.zeros(0, dtype=torch.long)
            many.run((nothing, nothing), [(site.path, add), (last, keep)], stop=last)
            index = torch.arange(count, device=kept[0].device)
            (slope,) = torch.autograd.grad(kept[0][index, begin + index].float().sum(), shift)
        rows.append(slope.detach().cpu())
    return torch.cat(rows)


def inverse(w: torch.Tensor, rank: float) -> torch.Tensor:
    """Pseudo-inverse (float64) of the best approximation of `w` of `rank` times its smaller side."""
    left, values, right = torch.linalg.svd(w.double(), full_matrices=False)
    kept = max(1, round(rank * len(values)))
    return right[:kept].T @ (left[:, :kept] / values[:kept].clamp(min=1e-12)).T
