"""Crispness: how far the English and the French name of a thing are one concept inside a model, without any edit.

| measure | at every layer, for a pair such as cheese/fromage |
|---|---|
| `C_key` | leak to the translation minus the mean leak to its siblings (bread, butter...) |
| `C_align` | the two names' states are mutual nearest neighbours, language means removed, chance-corrected |
| `C_patch` | P(name) with the concept's state patched into another prompt, minus a random concept's state |
| `C_dir` | cosine of the English and French edit vectors of one fact, language means removed |

The parts are rows too: `leak_translation` and `leak_siblings` (C_key is their difference), `patch_own` and
`patch_other` (of C_patch), `align_rank` (a graded C_align) and `patch_nats` (C_patch in mean log-probabilities, for
models that hardly say it). leak(k', k) = k'^T C^-1 k / (k^T C^-1 k), see measures.py; keys are read at the last token
of the name, averaged over one sentence per relation.

Controls: `none` is the measurement; `untrained` is a model of the same configuration with fresh random weights that
reads the same text for its covariance; `random` puts a concept of another type in the partner's place; `shuffled`
breaks all pairs by one permutation. The last two are means over draws. A crisp pair is far above all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

from benchmarks.crispness.measures import (
    centred_cosines,
    direction_cosines,
    key_contrast,
    leak_matrix,
    mutual_neighbours,
    partner_cosines,
    rank_alignment,
)
from benchmarks.crispness.pairs import Pairs, concept_pairs, facts, frames
from benchmarks.crispness.patching import patch, read_texts
from benchmarks.crispness.reading import gradient_vectors, name_states, optimised_vectors, untrained
from editing.errors import BadRequest
from editing.lazy import pandas as pd
from editing.lazy import torch
from editing.model import LanguageModel
from editing.stats import ModelStatistics

MEASURES = ("C_key", "C_align", "C_patch", "C_dir")
PARTS = ("leak_translation", "leak_siblings", "align_rank", "patch_own", "patch_other", "patch_nats")
CONTROLS = ("none", "untrained", "random", "shuffled")
DIRECTIONS = ("both", "en-fr", "fr-en")
COLUMNS = (
    "rung",
    "model",
    "model_hash",
    "concept",
    "en",
    "fr",
    "group",
    "site",
    "layer",
    "depth",
    "measure",
    "direction",
    "control",
    "value",
)


def columns(langs: tuple[str, str]) -> tuple[str, ...]:
    """COLUMNS for names in other languages than English and French."""
    names: dict[str, str] = dict(zip(("en", "fr"), langs, strict=True))
    return tuple(names.get(column, column) for column in COLUMNS)


DRAWS = 5  # of the random and the shuffled control; patching, the dear one, takes the first only


@dataclass(frozen=True)
class Setup:
    """How crispness is measured.

    Attributes:
        site: kind of the edited map whose keys and outputs are read.
        corpus: of the covariance, see `ModelStatistics`.
        steps: passes of the search for each edit vector of C_dir; 0 takes the gradient, the direction it sets out in.
        controls: which of CONTROLS; "none" is always measured.
        seed: of partners, base prompts, random weights and the statistics.
        layers: which are read; all when empty.
    """

    site: str = "mlp"
    corpus: str = "samples:20000"
    steps: int = 0
    controls: tuple[str, ...] = CONTROLS
    seed: int = 0
    layers: tuple[int, ...] = ()


def crispness(
    lm: LanguageModel,
    concepts: Sequence[str] = (),
    setup: Setup | None = None,
    *,
    statistics: ModelStatistics | None = None,
    pairs: Pairs | None = None,
) -> pd.DataFrame:
    """One row per concept, layer, measure, direction and control (COLUMNS; `direction` says which name is edited or
    patched from).

    Args:
        concepts: names to report; empty means all. The background (means, neighbours) is always all pairs.
        statistics: of `lm`; made by `setup` when missing.

    Raises:
        BadRequest: an unknown concept; a layer without such a site. NoSite: the model has no sites of that kind.
    """
    setup, pairs = setup or Setup(), pairs or concept_pairs()
    chosen = pairs.chosen(concepts)
    statistics = statistics or ModelStatistics(lm, corpus=setup.corpus, seed=setup.seed)
    partners = {"none": [tuple(range(pairs.n))]}
    if "random" in setup.controls:
        partners["random"] = [pairs.random_partners(draw, setup.seed) for draw in range(DRAWS)]
    if "shuffled" in setup.controls:
        partners["shuffled"] = [pairs.shuffled_partners(draw, setup.seed) for draw in range(DRAWS)]
    records = _measure(lm, statistics, pairs, chosen, partners, setup)
    if "untrained" in setup.controls:
        twin = untrained(lm, setup.seed)
        # the same text for both: the control differs in the weights alone (and nothing has to be drawn again)
        own = ModelStatistics(twin, corpus=setup.corpus, seed=setup.seed, sampler=lm)
        values = _measure(twin, own, pairs, chosen, {"none": partners["none"]}, setup)
        records += [record | {"control": "untrained"} for record in values]
    about = {"rung": lm.name, "model": lm.name, "model_hash": lm.weight_hash, "site": setup.site}
    return pd.DataFrame([about | record for record in records], columns=list(columns(pairs.langs)))


def _measure(
    lm: LanguageModel,
    statistics: ModelStatistics,
    pairs: Pairs,
    chosen: Sequence[int],
    partners: dict[str, list[tuple[int, ...]]],
    setup: Setup,
) -> list[dict]:
    one, two = pairs.langs
    there, back = f"{one}-{two}", f"{two}-{one}"
    sites = [site for site in lm.sites(setup.site) if not setup.layers or site.layer in setup.layers]
    layers = [site.layer for site in sites]
    if lacking := sorted(set(setup.layers) - set(layers)):
        places = ", ".join(map(str, lacking))
        raise BadRequest(f"{lm.name}: no site {setup.site} in layer {places}; leave it out of the layers")
    statistics.prepare(sites)
    both = {lang: frames(lm, pairs, lang) for lang in pairs.langs}
    keys, outputs = name_states(lm, both[one] + both[two], sites)
    fact_prompts = [p for lang in pairs.langs for p in facts(lm, pairs, lang, setup.seed)]
    if setup.steps:
        vectors = optimised_vectors(lm, fact_prompts, sites, setup.steps, setup.seed)
    else:
        vectors = gradient_vectors(lm, fact_prompts, sites)
    patched = _patch_tables(lm, pairs, chosen, partners, layers, setup.seed)
    kin = [pairs.siblings(i) for i in range(pairs.n)]
    n, records = pairs.n, []
    for at, site in enumerate(sites):
        k_en, k_fr = keys[:n, at], keys[n:, at]
        solved = statistics.solve(site, keys[:, at].T)
        leaks = {
            there: leak_matrix(k_fr, k_en, solved[:, :n]),
            back: leak_matrix(k_en, k_fr, solved[:, n:]),
        }
        near = centred_cosines(outputs[:n, at], outputs[n:, at])
        turn = direction_cosines(vectors[:n, at], vectors[n:, at])
        for control, draws in partners.items():
            by_measure: dict[tuple[str, str], list[torch.Tensor]] = {}
            for draw in draws:
                partner = torch.tensor(draw)
                for direction, leak in leaks.items():
                    own, rest = key_contrast(leak, partner, kin)
                    by_measure.setdefault(("leak_translation", direction), []).append(own)
                    by_measure.setdefault(("leak_siblings", direction), []).append(rest)
                    by_measure.setdefault(("C_key", direction), []).append(own - rest)
                by_measure.setdefault(("C_align", "both"), []).append(mutual_neighbours(near, partner))
                by_measure.setdefault(("align_rank", "both"), []).append(rank_alignment(near, partner))
                by_measure.setdefault(("C_dir", "both"), []).append(partner_cosines(turn, partner))
            values = {key: torch.stack(v).mean(0) for key, v in by_measure.items()}
            for measure in ("leak_translation", "leak_siblings", "C_key"):
                values[measure, "both"] = (values[measure, there] + values[measure, back]) / 2
            for i in chosen:
                place = {
                    "concept": pairs.keys[i].partition(":")[2],
                    one: pairs.name(i, one),
                    two: pairs.name(i, two),
                    "group": pairs.groups[i],
                    "layer": site.layer,
                    "depth": (site.layer + 1) / lm.n_layers,
                    "control": control,
                }
                own_values = {key: float(value[i]) for key, value in values.items()}
                own_values |= _patch_values(patched, pairs, at, i, draws[0][i], setup.seed)
                records += [place | {"measure": m, "direction": d, "value": v} for (m, d), v in own_values.items()]
    return records


def _patch_tables(lm, pairs: Pairs, chosen, partners, layers, seed: int) -> dict:
    """Direction -> what patching gave for every (source, name) the chosen concepts and their controls need."""
    names = {(i, draws[0][i]) for draws in partners.values() for i in chosen}
    jobs = sorted(names | {(other, j) for _, j in names for other in pairs.patch_others(j, seed)})
    texts = {lang: read_texts(lm, pairs, lang, layers, jobs, seed) for lang in pairs.langs}
    return {
        f"{source}-{into}": patch(lm, pairs, texts[into], texts[source], layers, jobs, seed)
        for source, into in (pairs.langs, pairs.langs[::-1])
    }


def _patch_values(patched: dict, pairs: Pairs, at: int, i: int, j: int, seed: int) -> dict[tuple[str, str], float]:
    shares: dict[tuple[str, str], float] = {}
    for direction, tables in patched.items():
        own, other = tables.contrast(at, i, j, pairs.patch_others(j, seed))
        shares |= {
            ("patch_own", direction): own,
            ("patch_other", direction): other,
            ("C_patch", direction): own - other,
        }
        own, other = tables.contrast(at, i, j, pairs.patch_others(j, seed), nats=True)
        shares["patch_nats", direction] = own - other
    for measure in ("patch_own", "patch_other", "C_patch", "patch_nats"):
        two = [shares[measure, direction] for direction in patched]
        shares[measure, "both"] = sum(two) / len(two) if two else nan
    return shares
