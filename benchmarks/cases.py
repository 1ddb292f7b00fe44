"""A case is an edit and the questions that judge it: the one currency between data sets, runner and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NoReturn, get_args

from editing.errors import BadData
from editing.files import digest
from editing.text import EditRequest
from valley.rows import PROBE_KINDS as KINDS
from valley.rows import SPECIFICITY, EditKind

FREE = ("drift", "fluency")  # kinds without candidates: a text to read, a text to go on with
WRITTEN = ("fluency", "long_form")  # kinds whose answer is a text that the model writes


@dataclass(frozen=True)
class Question:
    """Something the unedited model must know for a probe to count, such as the second hop of a chain.

    Attributes:
        prompt, candidates, answer, prior: as in `Probe`.
    """

    prompt: str
    candidates: tuple[str, ...]
    answer: int
    prior: str = ""

    def __post_init__(self) -> None:
        if reason := _no_choice(self.prompt, self.candidates, self.answer):
            raise BadData(f"question {self.prompt!r:.80}: {reason}")


@dataclass(frozen=True)
class Probe:
    """One question to a model, with the answers it may choose from.

    Attributes:
        kind: one of GENERALISATION or ROBUSTNESS (the answer is to change) or SPECIFICITY (it is not).
        prompt: the text up to the answer, subject filled in. For `drift` the whole text to read, for `fluency` the one
            to go on with.
        candidates: same-type answers, the same at every rung; empty for `drift` and `fluency`.
        answer: index of the candidate the edited model should give.
        old: index of the candidate the unedited model should give (equal to `answer` for specificity probes);
            None when no candidate was true before.
        prior: the subject-free prompt p0 of score(t|p) = log P(t|p) - log P(t|p0); empty means no correction.
        lang: ISO 639-1 code of the prompt and its candidates.
        aliases: further texts that count as the answer in free-running generation.
        about: the subject the probe asks about.
        relation: the relation it asks for.
        rival: index of the candidate that must not beat the answer: in a neighbour's probe the edit's target. None is
            `old` where that is another candidate than `answer`, else nothing. See `against`.
        needs: what the unedited model must answer rightly for the probe to count; otherwise it is not measurable.
        calibration: texts whose mean log P(t|text) of the unedited model is taken off in full, in place of the prior's
            half: a model that says yes to everything gains nothing by it.
        reference: of `fluency`, a text about the subject as the edit has it; empty means no reference score.
        away: of an erasure: any candidate but `old` is as good as `answer`. Counts where the unedited model gave `old`.

    Raises:
        BadData: an unknown kind, an empty prompt, too few candidates, an index that is none of them, a rival that is
            the answer, nothing to get away from.
    """

    kind: str
    prompt: str
    candidates: tuple[str, ...] = ()
    answer: int = 0
    old: int | None = None
    prior: str = ""
    lang: str = "en"
    aliases: tuple[str, ...] = ()
    about: str = ""
    relation: str = ""
    rival: int | None = None
    needs: tuple[Question, ...] = ()
    reference: str = ""
    calibration: tuple[str, ...] = ()
    away: bool = False

    def __init__(
        self, kind: str, prompt: str, candidates: tuple[str, ...] = (), answer: int = 0, old: int | None = None,
        prior: str = "", lang: str = "en", aliases: tuple[str, ...] = (), about: str = "", relation: str = "",
        rival: int | None = None, needs: tuple[Question, ...] = (), reference: str = "",
        calibration: tuple[str, ...] = (), away: bool = False,
    ) -> None:  # fmt: skip
        # Written out: a data set makes half a million probes, and the one of a frozen dataclass takes thrice as long.
        vars(self).update(
            kind=kind, prompt=prompt, candidates=candidates, answer=answer, old=old, prior=prior, lang=lang,
            aliases=aliases, about=about, relation=relation, rival=rival, needs=needs, reference=reference,
            calibration=calibration, away=away,
        )  # fmt: skip
        self._check()

    def _check(self) -> None:
        if self.kind not in KINDS:
            self._refuse(f"unknown probe kind; use one of {', '.join(KINDS)}")
        if self.kind in FREE:
            if not self.prompt.strip():
                self._refuse("empty prompt; write the text to read or to go on with")
            return
        if reason := _no_choice(self.prompt, self.candidates, self.answer):
            self._refuse(reason)
        count = len(self.candidates)
        if self.old is not None and not 0 <= self.old < count:
            self._refuse(f"old answer {self.old} is not one of {count} candidates")
        if self.rival is not None and not 0 <= self.rival < count:
            self._refuse(f"rival {self.rival} is not one of {count} candidates")
        if self.rival == self.answer:
            self._refuse(f"the rival {self.rival} is the answer itself; name another candidate or none")
        if self.away and self.old in (None, self.answer):
            self._refuse("no old answer to get away from; name one beside the answer")

    def _refuse(self, reason: str) -> NoReturn:
        raise BadData(f"probe {self.kind!r} about {self.about!r}: {reason}")

    @property
    def generalises(self) -> bool:
        return self.kind not in SPECIFICITY

    @property
    def has_free_text(self) -> bool:
        """Whether a model could come upon the answer by itself; questions of ability are choices, their wordings are
        ours, and so are yes and no."""
        return bool(self.candidates) and self.kind not in ("ability", "negation", "verification", "long_form")

    @property
    def against(self) -> int | None:
        """Index of the candidate that the answer is compared with in CounterFact's scores; None where there is none."""
        return self.rival if self.rival is not None or self.old == self.answer else self.old


@dataclass(frozen=True)
class Case:
    """One edit request with its probes and where it comes from.

    Attributes:
        id: unique within its data set; also the pairing key across rungs.
        kind: fact, rename, retarget or erase.
        request: what to change.
        probes: what to ask before and after. At least one `efficacy` probe.
        subject, relation: clusters of the bootstrap (facts within relations).
        dataset: name of the data set.
        seed: seed of the draw that chose targets and probes.
    """

    id: str
    kind: EditKind
    request: EditRequest
    probes: tuple[Probe, ...]
    subject: str
    relation: str
    dataset: str
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(EditKind):
            raise BadData(
                f"case {self.id!r}: unknown edit kind {self.kind!r}; use one of {', '.join(get_args(EditKind))}"
            )
        if not any(p.kind == "efficacy" for p in self.probes):
            raise BadData(f"case {self.id!r}: no efficacy probe; ask at least the edited prompt itself")


def first_probes(probes: Sequence[Probe], most: Callable[[Probe], float]) -> tuple[Probe, ...]:
    """The first `most(probe)` probes of each kind and language, in their order; `most` goes by these two alone."""
    counts: Counter[tuple[str, str]] = Counter()
    chosen = []
    for probe in probes:
        counts[probe.kind, probe.lang] += 1
        if counts[probe.kind, probe.lang] <= most(probe):
            chosen.append(probe)
    return tuple(chosen)


def _no_choice(prompt: str, candidates: tuple[str, ...], answer: int) -> str:
    """Why there is nothing to choose; empty where there is."""
    if not prompt.strip():
        return "empty prompt; write the text before the answer"
    if not _can_choose(candidates):
        return f"needs at least two different candidates, has {list(candidates)!r:.120}"
    return "" if 0 <= answer < len(candidates) else f"answer {answer} is not one of {len(candidates)} candidates"


@lru_cache(1024)  # the probes of a case share theirs
def _can_choose(candidates: tuple[str, ...]) -> bool:
    return 2 <= len(candidates) == len(set(candidates))


# Fields that an address holds only where they say something: cells of before they came keep theirs.
LATER = {"away": False, "contrast": (), "calibration": ()}


def cases_digest(cases: Sequence[Case]) -> str:
    """Hash of the cases' ids and contents, in their order."""
    return digest([case_record(case) for case in cases])


def case_record(case: Case) -> dict[str, Any]:
    """A case as plain values, so that cells and answers of before keep their addresses.

    Documents and texts to keep are left out: they follow from the world that a case is made of. Fields of LATER are
    left out where they say nothing.
    """
    record = asdict(case)
    del record["request"]["documents"], record["request"]["keep"]
    for part in (record["request"], *record["probes"]):
        for key in [key for key, usual in LATER.items() if key in part and part[key] == usual]:
            del part[key]
    return record
