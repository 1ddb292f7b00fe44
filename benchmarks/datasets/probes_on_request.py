"""Probes that a plan asks for by name (`more_probes`), made of a case's edited prompt; wordings in the TOML file.

negation, verification: two questions each, about the statement with the new and with the old answer, so that a model
    that always says yes scores one half; calibrated by the unedited model's mean over the two.
reversed: the statement with a gap for the subject, to be filled from subjects of the relation.
challenge: the statement, somebody calls it wrong and names the old answer, the prompt again.
long_form: the model goes on writing about the subject; the old and new answers in its text are counted.
drift: all of our prose, 2,000 tokens or more per language, besides the sentence that every case reads.
decay: the edited prompt itself, behind later training on unrelated text (`benchmarks/measure/later_training.py`).

All are evaluated in the language of the edit. A case of which one cannot be made goes without it, and is counted.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from benchmarks.cases import Case, Probe
from benchmarks.texts import long_texts
from benchmarks.world import draw_candidates
from editing.text import fill, join
from valley.rows import ON_REQUEST

SUBJECTS = 20  # candidates of `reversed`
FEWEST = 4  # with fewer there is nothing to choose
Wording = dict[str, str]


def with_requested(cases: Sequence[Case], kinds: Sequence[str]) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """`cases`, each with the probes of `kinds` behind its own, and lines about what could not be evaluated."""
    others: dict[str, dict[str, str]] = {}  # relation -> subject -> its new answer
    for case in cases:
        if case.request.subject:
            others.setdefault(case.relation, {})[case.request.subject] = case.request.targets[0]
    lacking: Counter[tuple[str, str]] = Counter()
    out = []
    for case in cases:
        more: list[Probe] = []
        for kind in kinds:
            made, reason = _probes(case, kind, others.get(case.relation, {}))
            more += made
            if reason:
                lacking[kind, reason] += 1
        out.append(replace(case, probes=(*case.probes, *more)))
    notes = [f"{kind}: left out of {count} of {len(cases)} cases: {why}" for (kind, why), count in lacking.items()]
    return tuple(out), tuple(notes)


def _probes(case: Case, kind: str, others: dict[str, str]) -> tuple[list[Probe], str]:
    """The probes of one kind, or why there are none."""
    assert kind in ON_REQUEST
    wording = wordings().get(case.request.lang)
    # Of several edited prompts one that is a single sentence: it is to be quoted.
    edited = min((p for p in case.probes if p.kind == "efficacy"), key=lambda p: p.prompt.count(". "))
    if kind == "drift":
        texts = long_texts()
        return [Probe("drift", text, lang=lang) for lang, some in texts.items() for text in some], ""
    if kind == "decay":
        return [replace(edited, kind="decay")], ""
    if wording is None:
        return [], f"no wording in {case.request.lang!r}"
    if kind == "reversed":
        return _reversed(case, edited, wording, others)
    if edited.old is None or edited.old == edited.answer:
        return [], "no old answer"
    if kind in ("negation", "verification"):
        return list(_judged(edited, kind, wording)), ""
    old, new = (edited.candidates[i] for i in (edited.old, edited.answer))
    subject, statement = case.request.subject or case.subject, join(edited.prompt, new)
    text = _worded(wording, kind, statement=statement, prompt=edited.prompt, old=old, subject=subject)
    return [replace(edited, kind=kind, prompt=text)], ""


def _judged(edited: Probe, kind: str, wording: Wording) -> Iterator[Probe]:
    """Whether the new answer is true, and whether the old one is: yes and no, for a negated statement no and yes."""
    assert edited.old is not None
    texts = [
        _worded(wording, kind, statement=join(edited.prompt, edited.candidates[i])) for i in (edited.answer, edited.old)
    ]
    for text, new in zip(texts, (True, False), strict=True):
        right = 0 if new == (kind == "verification") else 1
        yield Probe(
            kind, text, (wording["yes"], wording["no"]), right, 1 - right, lang=edited.lang, about=edited.about,
            relation=edited.relation, calibration=tuple(texts),
        )  # fmt: skip


def _reversed(case: Case, edited: Probe, wording: Wording, others: dict[str, str]) -> tuple[list[Probe], str]:
    subject, new = case.request.subject, edited.candidates[edited.answer]
    slotted = [prompt for prompt in case.request.prompts if subject and fill(prompt, subject) == edited.prompt]
    if not slotted:
        return [], "no subject in its prompt"
    neighbours = [p for p in case.probes if p.kind == "neighbour" and p.lang == edited.lang and p.about]
    near = [p.about for p in neighbours if p.candidates[p.answer] != new]
    # Whose answer another case edits to the same one would be right too, where edits are made together.
    pool = [name for name in dict.fromkeys([*near, *others]) if name != subject and others.get(name) != new]
    if len(pool) + 1 < FEWEST:
        return [], f"fewer than {FEWEST} subjects to choose from"
    names = draw_candidates(pool, (subject,), SUBJECTS, f"reversed/{case.id}")
    gap = fill(slotted[0], wording["gap"])
    text, prior = (_worded(wording, "reversed", gap=part) for part in (join(gap, new), gap))
    return [
        Probe(
            "reversed", text, names, names.index(subject), None, prior, edited.lang, about=subject,
            relation=edited.relation,
        )
    ], ""  # fmt: skip


def _worded(wording: Wording, kind: str, **parts: str) -> str:
    text = wording[kind]
    for name, part in parts.items():
        text = text.replace(f"<{name}>", part)
    return text


@cache
def wordings() -> dict[str, Wording]:
    """Language -> the wordings of its probes."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
