"""From the facts of a file to cases: pools of same-type answers, candidates, priors, excluded records.

A loader turns each record into a `Draft`, an edit with its questions but without candidates. Those can be drawn only
once the whole file is known: from the answers of the same relation, topped up from the rest of the file in that
language.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, Protocol, TypeVar

from benchmarks.cases import FREE, Case, Probe
from benchmarks.datasets.reading.case_set import CaseSet, LeftOut, readings_of, unusable
from benchmarks.datasets.reading.fields import check_open, is_id, located, nameless, prior, repeated, slotted
from benchmarks.datasets.reading.frames import Frames
from benchmarks.datasets.reading.names import fold, mentions
from benchmarks.datasets.reading.records import Place, check_object
from benchmarks.datasets.reading.sources import DataFile
from editing.errors import UserError
from editing.text import EditRequest, escaped, fill, language_of_text

M = 20  # candidates per probe where the file has so many answers
ALL = "*"  # the pool of every answer in a language, for files that have little else
T = TypeVar("T")


class HasRecord(Protocol):
    """Something made of one record."""

    @property
    def record(self) -> int: ...


R = TypeVar("R", bound=HasRecord)


class Question(NamedTuple):
    """A probe before its candidates are drawn; a tuple, because a file makes hundreds of thousands of them.

    Attributes:
        kind, prompt, prior, lang, about: as in `Probe`.
        answer: what the edited model should say; empty for `fluency`.
        aliases: other texts that are as right; none of them becomes a candidate.
        old: what it should say before; empty where the file does not tell.
        rivals: answers that must be among the candidates; the first must not win (the edit's target, in a neighbour's
            probe).
        relation: the pool of its candidates; empty for that of the edit.
    """

    kind: str
    prompt: str
    answer: str = ""
    aliases: tuple[str, ...] = ()
    old: str = ""
    rivals: tuple[str, ...] = ()
    prior: str = ""
    lang: str = "en"
    about: str = ""
    relation: str = ""


class Draft(NamedTuple):
    """An edit as a record states it, with the questions that judge it. The efficacy question comes by itself.

    Attributes:
        record: number of the record, from 1.
        id: unique within its data set, if the file's ids are.
        prompt: with `{}` for the subject.
        aliases: texts that are as right as the target.
        relation: the file's own name of the relation, else the prompt.
        prior: the subject-free prompt where it is not the prompt about "it".
        unanswered: how many questions of the record lack their text or their answer and are not evaluated.
    """

    record: int
    id: str
    prompt: str
    subject: str
    target: str
    aliases: tuple[str, ...] = ()
    old: str = ""
    relation: str = ""
    lang: str = "en"
    prior: str = ""
    questions: tuple[Question, ...] = ()
    unanswered: int = 0
    named: bool = True
    mentions: int = 1


def draft(
    place: Place,
    key: str,
    prompt: str,
    subject: str,
    target: Sequence[str],
    old: Sequence[str] = (),
    relation: str = "",
    lang: str = "",
    name: str = "",
    literal: bool = False,
    strict: bool = True,
) -> Draft:
    """A checked edit without questions.

    Args:
        key: what the record calls the prompt, for messages.
        target, old: the answer after and before the edit, each with its aliases.
        lang: empty where the record names no language; then that of the prompt's script is taken, which is counted.
        name: the record's own id; its number when empty.
        literal: whether the prompt is a text that names the subject, and braces in it are braces; see `located`.
        strict: whether the subject must be in the prompt; if not, the draft may have no slot and can only be evaluated.

    Raises:
        BadData: the subject is not in the prompt, the answer is, no target, a target that is true already.
    """
    if is_id(subject.strip()):
        place.refuse(f"the subject is the id {subject!r:.40}, not a name", "write its label")
    if strict:
        template, spelled = slotted(place, prompt, subject, key, literal)
    else:
        template, spelled = located(prompt, subject, literal) or (escaped(prompt), subject)
    if not target:
        place.refuse("no target", "add what the edited model should answer")
    check_open(place, key, template, target[0], *old[:1])
    if fold(target[0]) in map(fold, old):
        place.refuse(f"the target {target[0]!r:.80} is the old answer", "an edit must change something")
    return Draft(
        record=place.record,
        id=name or str(place.record),
        prompt=template,
        subject=spelled,
        target=target[0],
        aliases=tuple(target[1:]),
        old=old[0] if old else "",
        relation=relation or template,
        lang=lang or language_of_text(fill(template, "")),
        named=bool(lang),
        mentions=len(mentions(prompt, subject)),
    )


def ask(edit: Draft, kind: str, prompt: str) -> Question:
    """A question about the edit's own subject with the edit's own answers.

    Where the subject is not found in it (an alias or a pronoun stands there), it stays as it is, without a prior.
    """
    template = located(prompt, edit.subject)
    return ask_template(edit, kind, *(template or (escaped(prompt), edit.subject)))


def ask_template(edit: Draft, kind: str, template: str, subject: str = "") -> Question:
    """A question with the edit's own answers about `subject`, by default the edit's, in a template's slot."""
    subject = subject or edit.subject
    return Question(
        kind=kind,
        prompt=fill(template, subject),
        answer=edit.target,
        aliases=edit.aliases,
        old=edit.old,
        prior=prior(template, edit.lang),
        lang=edit.lang,
        about=subject,
    )


def keep(edit: Draft, kind: str, prompt: str, said: Sequence[str], relation: str = "") -> Question:
    """A specificity question: `said` (the answer and its aliases) is right before the edit and after it."""
    template, about = located(prompt, edit.subject) or (escaped(prompt), "")
    return Question(
        kind=kind,
        prompt=fill(template, about),
        answer=said[0],
        aliases=tuple(said[1:]),
        old=said[0],
        rivals=(edit.target,),
        prior=prior(template, edit.lang),
        lang=edit.lang,
        about=about,
        relation=relation,
    )


def collect(file: str, rows: Sequence[Any], parse: Callable[[Place, Any], T]) -> tuple[list[T], list[LeftOut]]:
    """`parse` of every row that it accepts, and why it refused the others."""
    good, bad = [], []
    for number, row in enumerate(rows, 1):
        place = Place(file, number)
        try:
            check_object(place, row)
            good.append(parse(place, row))
        except UserError as error:
            bad.append(left_out(number, error))
    return good, bad


def assemble(
    dataset: str,
    file: DataFile,
    drafts: Sequence[Draft],
    left: Sequence[LeftOut],
    records: int,
    seed: int,
    limit: int | None = None,
    notes: Sequence[str] = (),
) -> CaseSet:
    """At most `limit` cases of the drafts, in their order, with candidates from all of them.

    The limit takes a sample drawn with `seed` (a larger one holds the smaller one), or the first ones of `file.head`.

    Raises:
        BadData: no record can be used.
    """
    pools, match = _pools(drafts), cache(Frames({d.prompt for d in drafts if d.lang == "en"}).match)
    counts: Counter[str] = Counter()

    def case(one: Draft) -> Case:
        builder = _Builder(dataset, str(file.path), one, pools, match, seed)
        made = builder.case()
        counts.update(builder.unasked)
        return made

    case_set = choose(file, _with_own_ids(drafts), case, left, records, seed, limit, notes, counts)
    return replace(case_set, readings=tuple(readings_of(drafts)))


def choose(
    file: DataFile,
    items: Sequence[R],
    make: Callable[[R], Case],
    left: Sequence[LeftOut],
    records: int,
    seed: int,
    limit: int | None,
    notes: Sequence[str],
    unasked: Counter[str],
) -> CaseSet:
    """The cases that `make` gives of at most `limit` items, in their order, and the account of the others.

    Args:
        items: what the records say; each has `record`, its number.
        left: the records that were refused before.
        unasked: why questions are not evaluated -> how many; `make` adds to it.

    Raises:
        BadData: no record can be used.
    """
    bad, cases = list(left), {}
    order = list(range(len(items)))
    if limit is not None and limit < len(items) and not file.head:
        random.Random(f"{seed}/limit").shuffle(order)
    for i in order:
        if len(cases) == limit:
            break
        try:
            cases[i] = make(items[i])
        except UserError as error:
            bad.append(left_out(items[i].record, error))
    bad.sort(key=lambda one: one.record)
    if bad and not cases:
        raise unusable(file.path, bad, records)
    lines = [f"{count} questions {why} are not evaluated" for why, count in unasked.items() if count]
    return CaseSet(tuple(cases[i] for i in sorted(cases)), tuple(bad), records, (*notes, *lines, *file.notes()))


def left_out(record: int, error: UserError) -> LeftOut:
    """The account of a record that was refused."""
    return LeftOut(record, " ".join(str(error).split()))


def _with_own_ids(drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts, `~2`, `~3`... behind an id that was there before."""
    counts: Counter[str] = Counter()
    made = []
    for one in drafts:
        counts[one.id] += 1
        made.append(one if counts[one.id] == 1 else one._replace(id=f"{one.id}~{counts[one.id]}"))
    return made


def read_file(
    dataset: str,
    file: DataFile,
    parse: Callable[[Place, dict[str, Any]], Sequence[Draft]],
    seed: int,
    limit: int | None = None,
) -> CaseSet:
    """The cases of one file whose records each make one draft or several.

    Raises:
        BadData: the file cannot be read, or more of its records are bad than good.
    """
    groups, bad = collect(str(file.path), file.records, parse)
    return assemble(dataset, file, [one for group in groups for one in group], bad, len(file.records), seed, limit)


# (language, relation) -> answers, folded and as written; relation "" holds those of all edits, ALL every one
Pools = dict[tuple[str, str], list[tuple[str, str]]]
Match = Callable[[str], tuple[str, str] | None]  # `Frames.match`
# candidates, and where each stands by its folded text
Drawn = tuple[tuple[str, ...], dict[str, int]]
Places = tuple[tuple[str, ...], int, int | None, int | None]  # candidates; answer, old answer and rival among them


def _pools(drafts: Sequence[Draft]) -> Pools:
    pools: dict[tuple[str, str], dict[str, str]] = {}
    added: set[tuple] = set()

    def add(*answers: Any) -> None:
        if answers in added:  # the questions of a record repeat its answers
            return
        added.add(answers)
        lang, relation, said, common = answers
        for one in filter(None, said):
            key = fold(one)
            for pool in (relation, ALL, "") if common else (relation, ALL):
                pools.setdefault((lang, pool), {}).setdefault(key, one)

    for one in drafts:
        add(one.lang, one.relation, (one.old, one.target), True)
        for q in one.questions:  # what other relations answer, often whole sentences, tops up no other pool
            add(q.lang, q.relation or one.relation, (q.old, q.answer), q.relation in ("", one.relation))
    return {key: list(names.items()) for key, names in pools.items()}


class _Builder:
    """One draft on its way to a case. Questions that need the same answers share their candidates."""

    def __init__(self, dataset: str, file: str, one: Draft, pools: Pools, match: Match, seed: int) -> None:
        self.dataset, self.draft, self.pools, self.match, self.seed = dataset, one, pools, match, seed
        self.place, self.edited = Place(file, one.record), fill(one.prompt, one.subject)
        self.unasked = Counter({"without their text or an answer": one.unanswered})
        self.drawn: dict[tuple[str, str, frozenset[str], frozenset[str]], Drawn] = {}
        self.by_question: dict[tuple, Places] = {}

    def case(self) -> Case:
        one = self.draft
        case_id = f"{self.dataset}:{one.id}"
        efficacy = ask_template(one, "efficacy", one.prompt)
        if nameless(efficacy.prompt):
            self.place.refuse(f"{efficacy.prompt!r:.120} holds what reads as an id of Wikidata", "write its label")
        first = self._probe(efficacy._replace(prior=one.prior or efficacy.prior))
        if first is None:
            self.place.refuse(f"nothing to choose from but {one.target!r:.80}", "give the old answer, or add records")
        probes = (first, *filter(None, map(self._probe, one.questions)))
        request = EditRequest(case_id, (one.prompt,), one.subject, (one.target,), "subject_last", one.lang)
        return Case(case_id, "fact", request, probes, one.subject, one.relation, self.dataset, self.seed)

    def _probe(self, q: Question) -> Probe | None:
        """The question with its candidates; None, which is counted, where it is not evaluated."""
        if q.kind in FREE:
            return Probe(q.kind, q.prompt, lang=q.lang, about=q.about)
        if reason := repeated(q.kind, q.prompt, self.edited) or nameless(q.prompt):
            self.unasked[reason] += 1
            return None
        relation, prior, about = q.relation or self.draft.relation, q.prior, q.about
        if not prior and not about and q.lang == "en" and (matched := self.match(q.prompt)):
            prior, about = matched
        spelled = (q.lang, relation, q.answer, q.aliases, q.old, q.rivals)
        if spelled not in self.by_question:
            candidates, places = self._candidates(q, relation)
            at = places[fold(q.answer)]
            rival = places.get(fold(q.rivals[0])) if q.rivals else None
            old = places[fold(q.old)] if q.old else None
            self.by_question[spelled] = candidates, at, old, None if rival == at else rival
        candidates, at, old, rival = self.by_question[spelled]
        if len(candidates) < 2:
            self.unasked["to which the file has no other answer to choose from"] += 1
            return None
        if old == at and q.kind not in ("neighbour", "same_subject", "neighbour_plus"):
            self.place.refuse(f"{q.prompt!r:.120} is answered {q.old!r:.80} before and after", "leave it out")
        return Probe(q.kind, q.prompt, candidates, at, old, prior, q.lang, q.aliases, about, relation, rival)

    def _candidates(self, q: Question, relation: str) -> Drawn:
        """Up to M different answers with the right one, the old one and the rivals, without other right answers."""
        right = frozenset(map(fold, q.aliases)) - {fold(q.answer), fold(q.old)}
        must = {fold(said): said for said in (q.answer, q.old, *q.rivals) if said and fold(said) not in right}
        key = (q.lang, relation, frozenset(must), right)
        if key not in self.drawn:
            rng = random.Random(f"{self.seed}/{self.draft.id}/{q.lang}/{relation}/{sorted(must)}")
            chosen = dict(must)
            for name in (relation, "", ALL):
                if name == ALL and len(chosen) > 1:
                    break
                pool = self.pools.get((q.lang, name), [])
                for folded, said in rng.sample(pool, min(len(pool), M + len(must) + len(right))):
                    if len(chosen) >= M:
                        break
                    if folded not in right:
                        chosen.setdefault(folded, said)
            drawn = list(chosen.items())
            rng.shuffle(drawn)
            self.drawn[key] = tuple(said for _, said in drawn), {folded: i for i, (folded, _) in enumerate(drawn)}
        return self.drawn[key]
