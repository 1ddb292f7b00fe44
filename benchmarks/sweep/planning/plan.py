"""What a sweep consists of: a `Plan` (as requested) unfolds into `Cell`s, each named by the hash of all it depends on.

A cell is one rung x method x setting x edit kind x data set x seed. Its *address* hashes everything that decides its
rows, weights and case contents included, so equal addresses mean equal results on one kind of machine (bfloat16 steps
depend on it); its *slot* names only its place in the sweep, so that a newer result replaces a stale one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import get_args

from benchmarks.cases import EditKind
from benchmarks.datasets import kinds_of
from benchmarks.world import content_hash
from editing.errors import BadRequest
from editing.files import canonical, digest
from editing.methods import is_easyedit, method_names, takers
from editing.seeds import check_seed
from editing.stats import CORPUS, check_corpus, corpus_hash
from editing.text import EditRequest
from valley.rows import ON_REQUEST

DEV_SHARE = 1 / 3

SITES = ("mlp", "value")

CONCEPTS, ERASURES = "concept_suite", "erasures"
DEFAULT_DATASETS = {"fact": "world_facts", "rename": CONCEPTS, "retarget": CONCEPTS, "erase": ERASURES}


# How settings are searched: all of them on all cases, or chosen on dev cases by halving and scored on test cases.
SEARCHES = ("grid", "halving")
HALF = "bfloat16"  # number format of an evaluation that is not in the model's own (`Plan.evaluation`)
ADAPTIVE = "adaptive"  # of one model within a time budget (`valley where`)
EVERY = "every"  # every place of one model, on test cases (`valley where --every`)

# Rules of a halving search (`benchmarks/sweep/search/races.py`). A run keeps the rule that it was begun with, so that a
# newer program goes on with it as it was; runs from before rules were recorded have the first.
FIRST_RULE, HALVING_RULE, SEARCH_RULE = RULES = 1, 2, 3

# The doses at which edits are measured by default (`Choices`).
DOSES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


LATER = ("doses", "search_rule", "more_probes", "chat", "evaluation")


@dataclass(frozen=True)
class Edits:
    """At most `limit` cases of one kind of edit from one data set."""

    kind: str
    dataset: str
    limit: int


@dataclass(frozen=True)
class Split:
    """Which cases choose settings (dev) and which score them (test).

    Attributes:
        seed: of the draw.
        dev: share of what is drawn that becomes dev.
        by: what is drawn, "subject" and/or "relation". With both, a case whose subject and relation fall on different
            sides belongs to neither, so that no test case shares subject or relation with a dev case.
    """

    seed: int = 0
    dev: float = DEV_SHARE
    by: tuple[str, ...] = ("subject",)

    def of(self, subject: str, relation: str) -> str:
        """`dev`, `test`, or nothing for a case between them."""
        value = {"subject": subject, "relation": relation}
        sides = {_side(value[key], self.seed, self.dev) for key in self.by}
        return sides.pop() if len(sides) == 1 else ""

    def is_dev(self, subject: str) -> bool:
        """Whether a subject is a development subject, whatever the question."""
        return "subject" in self.by and _side(subject, self.seed, self.dev) == "dev"


@dataclass(frozen=True)
class Choices:
    """What a plan leaves open, decided once for a run and recorded in its run.json.

    Attributes:
        rule: of the halving search.
        doses: at which edits are measured. Where the plan states none: DOSES in a halving search, whose test cells hold
            few settings; dose 1 alone in a grid search, where every setting would be evaluated six times.
    """

    rule: int = SEARCH_RULE
    doses: tuple[float, ...] = ()

    @property
    def more_doses(self) -> tuple[float, ...]:
        """Those beside 1, which is always measured."""
        return tuple(dose for dose in self.doses if dose != 1)


@dataclass(frozen=True)
class Plan:
    """A sweep as requested, by flags or by a file (`benchmarks/sweep/planning/plan_file.py`).

    Attributes:
        ladder: name of a ladder.
        methods, kinds, sites: what to cross with its rungs; a later run into the same folder may widen them.
        limit: at most so many cases per edit kind and data set.
        seed: of cases, split and statistics.
        datasets: names; each serves the kinds it offers. Empty takes DEFAULT_DATASETS.
        corpus: text of the models' statistics.
        probes: at most so many probes per kind and language of a case; 0 means all.
        more_probes: kinds of `valley.rows.ON_REQUEST` measured for every case besides; None measures none.
        chat: form of edits and probes: `auto` (the model's chat template), the text of a template; None is plain text.
        evaluation: "bfloat16" asks every question of a bfloat16 copy of the model, with the edits as hooks; None asks
            the model itself.
        concepts: file of one's own concepts, which stands for the data set `concept_suite` and, where no data sets are
            named, for the facts too. Fixed by its content.
        known: edit only the facts that the unedited model knows; the others are rows without a value, and counted.
        settings: (key, value) given to every method that has the key, instead of its default.

    A file can say more:
        title: one line.
        rungs: only these of the ladder; empty takes all.
        seeds: in place of `seed`, each with its own cases and statistics; the split is that of `split`.
        edits: in place of `kinds`, `datasets` and `limit`.
        axes: per method, per setting, the values to try.
        search: one of SEARCHES, ADAPTIVE or EVERY. budget: minutes of an adaptive search, 0 is no limit. Not fixed.
        tests: of a search of every place, how many test cases of each kind it meets. Not fixed.
        starts: kind of edit, method and settings that an adaptive search tries beside its grid. Not fixed.
        pareto: whether halving keeps, and scores, every setting on the Pareto front, besides the best one.
        split: None is by subject, a third dev, drawn with each cell's seed.
        doses: multiples of the edits that are measured too, 0 or more; None leaves it to `choices`.
        search_rule: rule of the halving search; None is that of the run folder, the newest for a new one.
        extend: whether a run folder of a smaller plan is to get what this plan has more. Not fixed.
        analysis: fields of the analysis plan, stored in the run folder before the first cell; empty leaves that to the
            first verdict. No part of what is fixed for the cells.
        overrides: option, the file's value, the value taken: what flags beside the file changed. Not fixed: the values
            are.

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
    title: str = ""
    rungs: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    edits: tuple[Edits, ...] = ()
    axes: tuple[tuple[str, tuple[tuple[str, tuple[object, ...]], ...]], ...] = ()
    search: str = "grid"
    budget: float = 0.0
    tests: int = 0
    starts: tuple[tuple[str, str, tuple[tuple[str, object], ...]], ...] = ()
    pareto: bool = False
    split: Split | None = None
    known: bool = False
    doses: tuple[float, ...] | None = None
    search_rule: int | None = None
    more_probes: tuple[str, ...] | None = None
    chat: str | None = None
    evaluation: str | None = None
    extend: bool = False
    concepts: str = ""
    overrides: tuple[tuple[str, str, str], ...] = ()
    analysis: tuple[tuple[str, object], ...] = ()

    def __post_init__(self) -> None:
        checks = (
            ("method", self.methods, (*method_names(), *filter(is_easyedit, self.methods))),
            ("edit kind", self.kinds, get_args(EditKind)),
            ("site", self.sites, (*SITES, "attn", "expert")),
        )
        for what, named, there in checks:
            if not named:
                raise BadRequest(f"no {what} requested; name at least one of {', '.join(there)}")
            for name in named:
                if name not in there:
                    raise BadRequest(f"unknown {what} {name!r}; use one or more of {', '.join(there)}")
        for key, _ in self.settings:
            takers(self.methods, key)  # refuses one that no method has
        if self.search not in (*SEARCHES, ADAPTIVE, EVERY):
            raise BadRequest(f"unknown search {self.search!r}; use one of {', '.join(SEARCHES)}")
        if self.search_rule not in (None, *RULES):
            raise BadRequest(f"no search rule {self.search_rule!r}; use one of {', '.join(map(str, RULES))}")
        doses = self.doses or ()
        for dose in doses:
            if not (isfinite(dose) and dose >= 0) or doses.count(dose) > 1:
                raise BadRequest(f"doses: {dose} is no new number from 0 on; write different ones such as 0.5,1,2")
        for name in self.more_probes or ():
            if name not in ON_REQUEST:
                raise BadRequest(f"unknown kind of probe {name!r}; use one or more of {', '.join(ON_REQUEST)}")
        check_corpus(self.corpus)
        for seed in self.all_seeds():
            check_seed(seed)
        if self.evaluation not in (None, HALF):
            raise BadRequest(f"unknown evaluation {self.evaluation!r}; use {HALF}, or leave it out for the model's own")
        if self.limit < 1:
            raise BadRequest(f"limit {self.limit} leaves no case; give at least 1")

    def work(self) -> tuple[Edits, ...]:
        """What to edit, from which data sets.

        Raises:
            BadRequest: an unknown data set, or a kind that none of them offers.
        """
        if self.edits:
            return tuple(replace(edit, dataset=self._dataset(edit.dataset)) for edit in self.edits)
        if not self.datasets:
            usual = DEFAULT_DATASETS
            names = {k: CONCEPTS if self.concepts and name != ERASURES else name for k, name in usual.items()}
            return tuple(Edits(kind, self._dataset(names[kind]), self.limit) for kind in self.kinds)
        offers = {name: kinds_of(name) for name in map(self._dataset, self.datasets)}
        for kind in self.kinds:
            if not any(kind in kinds for kinds in offers.values()):
                raise BadRequest(
                    f"no {kind} edits in {', '.join(self.datasets)}; leave out that kind or add a data set"
                )
        return tuple(
            Edits(kind, name, self.limit) for kind in self.kinds for name, kinds in offers.items() if kind in kinds
        )

    def _dataset(self, name: str) -> str:
        """The data set, with the file of concepts where it is the suite."""
        return f"{name}:{self.concepts}" if self.concepts and name in (CONCEPTS, ERASURES) else name

    def all_seeds(self) -> tuple[int, ...]:
        return self.seeds or (self.seed,)

    def choices(self, about: Mapping | None = None) -> Choices:
        """What the plan leaves open.

        Args:
            about: run.json of the folder that is gone on with; empty or None for a new run.

        Raises:
            BadRequest: another rule is stated than the run was begun by.
        """
        rule = self.search_rule or SEARCH_RULE
        if about:
            rule = about.get("search_rule", FIRST_RULE)
            if self.search_rule not in (None, rule):
                raise BadRequest(f"search_rule {self.search_rule}: the run was begun by rule {rule}; leave it out")
        usual = DOSES if self.search != "grid" and rule != FIRST_RULE else (1.0,)
        usual = tuple((about or {}).get("doses", usual))
        return Choices(rule, usual if self.doses is None else self.doses)

    def fixed(self) -> dict:
        """What all cells of one run folder must share, as JSON values, or their rows would not be one table.

        A plan from a file is fixed whole, apart from its title: what counts as test was agreed before it was looked at.
        """
        if self.split is None:
            keys = ("ladder", "limit", "seed", "corpus", "probes", *(("known",) if self.known else ()))
            stated = canonical({key: getattr(self, key) for key in (*keys, *self._stated())})
            # A sample and the head of one file are two tests; other data sets may be added later.
            heads = [name for name in self.datasets if "head" in name.partition("#")[2]]
            return json.loads(stated) | self._contents() | ({"heads": heads} if heads else {})
        whole = json.loads(canonical(asdict(self)))
        left_out = (
            "title",
            "sites",
            "kinds",
            "limit",
            "seed",
            "extend",
            "concepts",
            "overrides",
            "analysis",
            "budget",
            "starts",
            "tests",
        )
        open_still = {*LATER} - {*self._stated()}
        fixed = {key: value for key, value in whole.items() if key not in left_out and key not in open_still}
        return fixed | self._contents()

    def _stated(self) -> list[str]:
        """Of the keys that came later than the first runs, those that this plan states: the others stay out of its
        hash, and so does the rule that was the only one."""
        return [key for key in LATER if getattr(self, key) not in (None, FIRST_RULE)]

    def _contents(self) -> dict:
        """Hashes of the files that the plan names: they may change under one name."""
        hashes = {"concepts": content_hash(self.concepts) if self.concepts else "", "texts": corpus_hash(self.corpus)}
        return {key: value for key, value in hashes.items() if value}

    @property
    def hash(self) -> str:
        """sha256 of all that the plan fixes."""
        return digest(self.fixed())


def _side(value: str, seed: int, dev: float) -> str:
    first = hashlib.sha256(f"{seed}:{value}".encode("utf-8", "surrogatepass")).digest()[:8]
    return "dev" if int.from_bytes(first, "big") < dev * 2**64 else "test"


def lookups(requests: Sequence[EditRequest]) -> tuple[str, ...]:
    """The lookup positions that fit every one of `requests`."""
    return tuple(sorted({request.lookup for request in requests}))
