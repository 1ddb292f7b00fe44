"""Interference: how much the keys of different entities, and the unembeddings of different tokens, overlap.

In superposition more directions than dimensions are in use, so they cannot be orthogonal. For directions spread evenly
over d dimensions the mean squared cosine is 1/d, and no set of n unit vectors has less than (n/d - 1)/(n - 1) (Welch
1974). Liu et al. 2025, "Superposition yields robust neural scaling", find the mean squared overlap of unembeddings to
fall as 1/width. Tokens that training never says all end in nearly one direction, and would decide the mean where they
are many, so unembeddings are those of the tokens in the text that the model itself writes. An edit at key k moves every
input k' by the share leak(k', k) = k'^T C^-1 k / (k^T C^-1 k) (Meng et al. 2022, equation 2), so `leak` is the part of
this overlap that an edit sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchmarks.readings.base import Reading, Row, row
from benchmarks.readings.prompts import ReadingInput
from editing.lazy import torch
from editing.seeds import seed_for
from editing.solve import setting, states


@dataclass(frozen=True)
class Interference(Reading):
    """Keys are read at the last token of each name, averaged over its sentences, per language."""

    name: ClassVar[str] = "interference"
    summary: ClassVar[str] = "overlap of keys and of unembeddings, beside 1/width"
    measures: ClassVar[dict[str, str]] = {
        "key_overlap": "mean squared cosine of the keys of two entities, their mean taken off; from 0 to 1",
        "key_overlap_whitened": "mean squared cosine of the keys as they are in the metric of C^-1, as an edit sees it",
        "leak": "mean absolute share of a rank-one edit at one key that another key receives",
        "unembedding_overlap": "mean squared cosine of the unembeddings of two tokens of the text of the covariances",
    }
    version: ClassVar[int] = 3  # before, of every token of the vocabulary

    site: str = setting("mlp", "kind of map whose keys are read", choices=("mlp", "value", "attn"))
    draws: int = setting(5, "draws of the control with random directions", least=1)

    def rows(self, source: ReadingInput) -> list[Row]:
        out = self._unembeddings(source)
        for lang in source.material.langs:
            out += self._keys(source, lang)
        return out

    def _unembeddings(self, source: ReadingInput) -> list[Row]:
        weight = source.lm.module.get_output_embeddings().weight.detach().double()
        written = sorted({token for sequence in source.statistics.sequences() for token in sequence})
        n, (every, width) = len(written), weight.shape
        about = {"position": "unembedding", "n": n}
        return [
            row("unembedding_overlap", mean_squared_cosine(weight[written]), **about),
            row("unembedding_overlap", 1 / width, control="theory", **about),
            row("unembedding_overlap", self._random(n, width), control="random", **about),
            row("unembedding_overlap", mean_squared_cosine(weight), control="vocabulary", **about | {"n": every}),
        ]

    def _keys(self, source: ReadingInput, lang: str) -> list[Row]:
        lm, sites = source.lm, source.lm.sites(self.site)
        places = source.choose(lang=lang)
        entities = list(dict.fromkeys(source.entities(places)))
        if len(entities) < 2:
            return [row("key_overlap", float("nan"), lang=lang, n=len(entities))]
        member = torch.tensor([entities.index(name) for name in source.entities(places)])
        keys = states(lm, [source.prompts[i] for i in places], [(site.path, "input") for site in sites])
        chosen = [sites[layer] for layer in self.chosen_layers(0, len(sites) - 1)]
        source.statistics.prepare(chosen)
        out = []
        for site in chosen:
            means = torch.zeros(len(entities), site.d_in, dtype=torch.float64)
            means.index_add_(0, member, keys[site.path, "input"].double())
            means /= member.bincount(minlength=len(entities))[:, None]
            solved = source.statistics.solve(site, means.T.float()).double()
            inner = means @ solved
            size = inner.diagonal()
            about = {"layer": site.layer, "position": "subject_last", "lang": lang, "n": len(entities)}
            values = {
                "key_overlap": mean_squared_cosine(means - means.mean(0)),
                "key_overlap_whitened": off_diagonal_mean(inner**2 / (size[:, None] * size)),
                "leak": off_diagonal_mean((inner / size).abs()),
            }
            out += [row(measure, value, **about) for measure, value in values.items()]
            random = self._random(len(entities), site.d_in, site.layer)
            floor = max(0.0, (len(entities) / site.d_in - 1) / (len(entities) - 1))
            for measure in ("key_overlap", "key_overlap_whitened"):
                out.append(row(measure, 1 / site.d_in, control="theory", **about))
                out.append(row(measure, random, control="random", **about))
                out.append(row(measure, floor, control="welch", **about))
            out.append(row("leak", (2 / (torch.pi * site.d_in)) ** 0.5, control="theory", **about))
        return out

    def _random(self, n: int, width: int, layer: int = -1, most: int = 2000) -> float:
        """Mean squared cosine of directions drawn at random, as many (at most `most`) in as many dimensions."""
        values = []
        for draw in range(self.draws):
            generator = torch.Generator().manual_seed(seed_for(self.seed, f"interference/{layer}/{n}/{width}/{draw}"))
            drawn = torch.randn(min(n, most), width, generator=generator, dtype=torch.float64)
            values.append(mean_squared_cosine(drawn))
        return sum(values) / len(values) if values else float("nan")


def mean_squared_cosine(vectors: torch.Tensor) -> float:
    """Mean over ordered pairs of different rows of (n, d); rows of zeros count as orthogonal to all."""
    unit = torch.nn.functional.normalize(vectors, dim=1)
    n, width = unit.shape
    gram = unit.T @ unit if n > width else unit @ unit.T  # both have the same sum of squares
    return float(((gram**2).sum() - (unit**2).sum(1).pow(2).sum()) / (n * (n - 1)))


def off_diagonal_mean(matrix: torch.Tensor) -> float:
    """Mean of the entries of (n, n) off its diagonal."""
    n = len(matrix)
    return float((matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1)))
