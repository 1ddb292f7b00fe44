"""What a sweep consists of: a `Plan` (as asked) unfolds into `Cell`s, each named by the hash of all it depends on.

A cell is one rung x method x setting x edit kind x data set x seed. Its *address* hashes everything that decides its
rows, weights and case contents included, so equal addresses mean equal results on one kind of machine (bfloat16 steps depend on it); its *slot* names only
its place in the sweep, so that a newer result can be told from a stale one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import get_args

from benchmarks.cases import Case, EditKind
from benchmarks.datasets import kinds_of
from editing.errors import BadRequest
from editing.methods import make_method, method_names
from editing.requests import EditRequest
from editing.statistics import check_corpus
from valley.rows import SCHEMA_VERSION

# Raise it when the same cell would give other rows than before: scoring, probes, engine.
CODE_SCHEMA = 3
DEV_SHARE = 1 / 3

# The default grid, the same at every rung. A one-layer transformer never reads the subject's MLP at later positions, so
# the classic site alone would make the weakest rungs look uneditable; site and lookup are part of the search.
SITES = ("mlp", "value")
PLACEMENTS = (("mlp", "subject_last"), ("value", "subject_last"), ("mlp", "last"))


DEFAULT_DATASETS = {"fact": "world_facts", "rename": "concept_suite", "retarget": "concept_suite"}

# What --fast sets: v* from three prefixed contexts a step, bfloat16 steps where they are faster; scores stay equal (LOG.md).
FAST = {"contexts_per_step": 3, "precision": "auto"}

# Text of the models' covariances: 20,000 tokens drawn from each model itself, so that no rung needs outside data.
CORPUS = "samples:20000"


@dataclass(frozen=True)
class Plan:
    """A sweep as asked for.

    Attributes:
        ladder: name of a ladder.
        methods, kinds, sites: what to cross with its rungs; a later run into the same folder may widen them.
        limit: at most so many cases per edit kind and data set.
        seed: of cases, split and statistics.
        datasets: names; each serves the kinds it offers. Empty takes DEFAULT_DATASETS.
        corpus: text of the models' statistics.
        probes: at most so many probes per kind and language of a case; 0 means all.
        settings: (key, value) given to every method that has the key, instead of its default.

    Raises:
        BadRequest: an unknown method, kind, site or setting; nothing to do.
    """

    ladder: str
    methods: tuple[str, ...]
    kinds: tuple[str, ...]
    limit: int
    seed: int
    datasets: tuple[str, ...] = ()
    sites: tuple[str, ...] = SITES
    corpus: str = CORPUS
    settings: tuple[tuple[str, object], ...] = ()
    probes: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("method", self.methods, method_names()),
            ("edit kind", self.kinds, get_args(EditKind)),
            ("site", self.sites, (*SITES, "attn")),
        )
        for what, asked, there in checks:
            if not asked:
                raise BadRequest(f"no {what} asked for; name at least one of {', '.join(there)}")
            for name in asked:
                if name not in there:
                    raise BadRequest(f"unknown {what} {name!r}; use one or more of {', '.join(there)}")
        for key, _ in self.settings:
            if not any(key in make_method(name).settings() for name in self.methods):
                raise BadRequest(
                    f"none of {', '.join(self.methods)} has a setting {key!r}; see `python cli.py methods`"
                )
        check_corpus(self.corpus)
        if self.limit < 1:
            raise BadRequest(f"limit {self.limit} leaves no case; give at least 1")

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The (edit kind, data set) pairs to run.

        Raises:
            BadRequest: an unknown data set, or a kind that none of them offers.
        """
        if not self.datasets:
            return tuple((kind, DEFAULT_DATASETS[kind]) for kind in self.kinds)
        offers = {name: kinds_of(name) for name in self.datasets}
        for kind in self.kinds:
            if not any(kind in kinds for kinds in offers.values()):
                raise BadRequest(
                    f"no {kind} edits in {', '.join(self.datasets)}; leave out that kind or add a data set"
                )
        return tuple((kind, name) for kind in self.kinds for name, kinds in offers.items() if kind in kinds)

    def fixed(self) -> dict:
        """What all cells of one run folder must share, or their rows would not be one table."""
        return {
            "ladder": self.ladder,
            "limit": self.limit,
            "seed": self.seed,
            "corpus": self.corpus,
            "probes": self.probes,
        }

    def settings_grid(self, method: str, lookups: Sequence[str]) -> tuple[dict, ...]:
        """Settings of `method` to try on requests that look up at `lookups`, duplicates left out.

        Placements that the method itself refuses (MEMIT at the value projection) are no settings of it.

        Raises:
            BadRequest: the method refuses them all.
        """
        takes = make_method(method).settings()
        given = taken_by(method, dict(self.settings))
        if not {"site", "lookup"} <= set(takes):
            return (given,)
        placements = [*PLACEMENTS, *(("attn", lookup) for lookup in ("subject_last", "last"))]
        if "subject_last" not in lookups:  # no subject in the prompt to look up
            placements = [(site, "last") for site, _ in placements]
        grid, refusal = [], BadRequest(f"method {method} edits at none of {', '.join(self.sites)}; add a site")
        for site, where in dict.fromkeys(placements):
            if site in self.sites:
                settings = {"site": site, "lookup": where} | given
                try:
                    make_method(method, **settings)
                    if settings not in grid:
                        grid.append(settings)
                except BadRequest as error:  # a site this method is not defined for, at any rung
                    refusal = error
        if not grid:
            raise refusal
        return tuple(grid)


def taken_by(method: str, settings: Mapping[str, object]) -> dict:
    """Those of `settings` that the method has."""
    has = make_method(method).settings()
    return {key: value for key, value in settings.items() if key in has}


@dataclass(frozen=True)
class Cell:
    """One unit of work and of storage; `settings` is the full settings of the method as canonical JSON."""

    ladder: str
    rung: str
    rung_index: int
    model: str
    method: str
    settings: str
    edit_kind: str
    dataset: str
    seed: int
    corpus: str
    cases: str

    def address(self, model_hash: str) -> str:
        """Content hash; `model_hash` is empty for a model that could not be loaded."""
        return digest([asdict(self), model_hash, CODE_SCHEMA, SCHEMA_VERSION])

    def slot(self) -> str:
        """Hash of the place in the sweep, whatever the weights, the cases or the code."""
        return digest([self.rung, self.method, self.settings, self.edit_kind, self.dataset])

    def label(self) -> str:
        settings = json.loads(self.settings)
        where = "/".join(str(settings[key]) for key in ("site", "lookup") if settings.get(key))
        return f"{self.rung} {self.method} {self.edit_kind} {where}".strip()


def canonical(value: object) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(value: object) -> str:
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def cases_digest(cases: Sequence[Case]) -> str:
    """Hash of the cases' ids and contents, in their order."""
    return digest([asdict(case) for case in cases])


def split_of(subject: str, seed: int) -> str:
    """`dev` for about a third of all subjects, else `test`; by subject and seed alone, so the same at every rung."""
    first = hashlib.sha256(f"{seed}:{subject}".encode("utf-8", "surrogatepass")).digest()[:8]
    return "dev" if int.from_bytes(first, "big") < DEV_SHARE * 2**64 else "test"


def lookups(requests: Sequence[EditRequest]) -> tuple[str, ...]:
    """The lookup positions that fit every one of `requests`."""
    return tuple(sorted({request.lookup for request in requests}))
