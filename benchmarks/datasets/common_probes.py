"""Probes added to every case: drift, fluency, neighbours after the sentence of the edit, general ability.

Each costs a fixed few sequences per case, so that none of them outweighs the case's own questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from benchmarks.cases import Case, Probe, first_probes
from benchmarks.datasets.asking import turns
from benchmarks.texts import ability_items, drift_texts
from editing.text import join, sentence

# Questions of general ability a case asks: about 40 cases ask the whole set.
ABILITY = {"en": 2, "fr": 1}


def with_common_probes(cases: Sequence[Case], most: int = 0) -> tuple[Case, ...]:
    """`cases`, each with the probes of this file; a case that brings its own probes of a kind gets none of that kind.

    With `most`, only the first `most` of a case's own probes of each kind and language are kept; the efficacy probes
    stay, they are the edit.
    """
    drift = _drift()
    out = []

    def kept(probe: Probe) -> float:
        return most if most and probe.kind != "efficacy" else inf

    for number, case in enumerate(cases):
        first = first_probes(case.probes, kept)
        own = {p.kind for p in first}
        derived = (*_neighbours_plus(case, first), *drift, _fluency(case), *_ability(number))
        out.append(replace(case, probes=(*first, *(p for p in derived if p.kind not in own))))
    return tuple(out)


def _drift() -> tuple[Probe, ...]:
    """One sentence a language: reading all of the texts would cost more than all other probes of a case together."""
    return tuple(Probe("drift", texts[0].partition(". ")[0] + ".", lang=lang) for lang, texts in drift_texts().items())


def _fluency(case: Case) -> Probe:
    """What is written behind the subject alone: a beginning that fits any subject in any language."""
    prompt = case.subject[:1].upper() + case.subject[1:]
    return Probe("fluency", prompt, lang=case.request.lang, about=case.subject)


def _neighbours_plus(case: Case, probes: Sequence[Probe]) -> list[Probe]:
    """The first neighbour probe of each language with the sentence of the edit before it.

    CounterFact+ (Hoelscher-Obermaier et al. 2023, "Detecting Edit Failures In Large Language Models", section 3). The
    unedited model is queried behind the same sentence, so what the sentence alone does is not held against the edit.
    """
    first = {p.lang: p for p in reversed(probes) if p.kind == "neighbour"}
    return [
        replace(p, kind="neighbour_plus", prompt=join(_statement(probes, p), p.prompt))
        for _, p in sorted(first.items())
    ]


def _statement(probes: Sequence[Probe], neighbour: Probe) -> str:
    """The edit as a sentence: in the neighbour's language and about its relation where the case has such a probe."""
    said = [p for p in probes if p.kind in ("efficacy", "paraphrase", "cross_lingual")]
    best = min(said, key=lambda p: (p.lang != neighbour.lang, p.relation != neighbour.relation, p.kind != "efficacy"))
    return sentence(join(best.prompt, best.candidates[best.answer]))


def _ability(number: int) -> list[Probe]:
    """The questions whose turn it is: case `number` goes on where the case before it stopped, topics take turns."""
    probes = []
    for lang, count in ABILITY.items():
        items = turns([(topic, item) for item in some] for topic, some in ability_items()[lang].items())
        for i in range(number * count, (number + 1) * count):
            topic, (prompt, *options) = items[i % len(items)]
            probes.append(Probe("ability", prompt, tuple(options), 0, 0, lang=lang, relation=topic))
    return probes
