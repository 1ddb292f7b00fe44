"""One model with its questions: what all readings share, each part computed once when it is first used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.readings.prompts.answers import answer_scores
from benchmarks.readings.prompts.material import Material, Question
from editing.model import LanguageModel
from editing.stats import ModelStatistics
from editing.text import Prompt, tokenise, with_beginnings


@dataclass(frozen=True, eq=False)
class ReadingInput:
    """What a reading reads. `statistics` are the key covariances of `lm`."""

    lm: LanguageModel
    material: Material
    statistics: ModelStatistics

    @cached_property
    def prompts(self) -> tuple[Prompt, ...]:
        """Every question as tokens, its lookup at the last token of the subject, its head what all questions of its
        template begin with.

        Raises:
            BadRequest: a template without its subject.
        """
        questions = self.material.questions
        prompts = [tokenise(self.lm, q.template, q.subject, "subject_last", q.target) for q in questions]
        return tuple(with_beginnings(prompts, [q.template for q in questions]))

    @cached_property
    def right(self) -> np.ndarray:
        """(questions,) bool: whether greedy decoding gives the answer, every token of it."""
        return answer_scores(self.lm, self.prompts).exact.numpy()

    def choose(self, relation: str = "", lang: str = "", wording: int | None = None, right: bool = False) -> list[int]:
        """Places of the questions of a relation, language and wording; with `right`, of those answered right."""
        return [
            i
            for i, q in enumerate(self.material.questions)
            if (not relation or q.relation == relation)
            and (not lang or q.lang == lang)
            and (wording is None or q.wording == wording)
            and (not right or self.right[i])
        ]

    def best_wording(self, relation: str, lang: str) -> list[int]:
        """Places of the rightly answered questions in the wording in which most are, one question per entity."""
        by_wording: dict[int, list[int]] = {}
        for i in self.choose(relation, lang, right=True):
            by_wording.setdefault(self.material.questions[i].wording, []).append(i)
        return max(by_wording.values(), key=len, default=[])

    def question(self, place: int) -> Question:
        return self.material.questions[place]

    def entities(self, places: Sequence[int]) -> list[str]:
        """Names of the entities that questions are about."""
        return [self.material.questions[i].entity for i in places]
