"""Control for leakage: the same kind of edit, by the same method, with the same target, on something unrelated.

What an edit of "The capital of France is the city of" -> Rome does to the probes of France is compared with what "The
capital of Borneo ..." -> Rome does to them: g = (A_edit - A_placebo) / (1 - A_placebo). The unrelated subject is drawn
from a fixed list by the request's id and `seed`, among those whose number of tokens is nearest to the subject's; never
one that occurs in the request. Prompts without a subject (renames) are replaced by unrelated ones of like length. The
request's documents, which say the edit itself, are left out: a method that reads documents makes them of the prompts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from editing.delta import Delta
from editing.errors import BadRequest
from editing.methods.base import Placement
from editing.methods.controls.wrapped import Wrapped
from editing.model import LanguageModel
from editing.seeds import seed_for
from editing.stats import ModelStatistics
from editing.text import EditRequest, slot_count

# Things in no data set, with names that English and French share, from one token to many.
SUBJECTS = (
    "Io", "Om", "Zen", "Troy", "Mars", "Saturn", "Pluto", "Neptune", "Jupiter", "Orion", "Atlantis", "Avalon",
    "Utopia", "Eldorado", "Sparta", "Carthage", "Babylon", "Byzantium", "Pompeii", "Borneo", "Sumatra", "Titan",
    "Callisto", "Ganymede", "Andromeda", "Cassiopeia", "Aldebaran", "Betelgeuse", "Polaris", "Kilimanjaro",
    "Popocatepetl", "Titicaca", "Zarathustra", "Gilgamesh", "Alpha Centauri", "Proxima Centauri", "Ursa Major",
    "Tabula Rasa", "Machu Picchu", "Nova Zembla", "Terra Incognita", "Rapa Nui", "Chichen Itza", "Angkor Wat",
    "Mauna Kea", "Omega Nebula",
)  # fmt: skip
PROMPTS = {
    "en": (
        "The sum of two and three is", "The opposite of left is", "After Monday comes",
        "The month before May is called", "A triangle has three", "The largest planet that orbits the sun is called",
        "The line that cuts a circle in half is called its",
        "The number that comes directly after ninety-nine is one", "When water gets very cold it turns into",
    ),
    "fr": (
        "La somme de deux et trois est", "Le contraire de gauche est", "Après lundi vient",
        "Le mois avant mai s'appelle", "Un triangle a trois", "La plus grande planète du système solaire s'appelle",
        "La droite qui coupe un cercle en deux s'appelle son",
        "Le nombre qui vient juste après quatre-vingt-dix-neuf est",
        "Quand l'eau devient très froide, elle se change en",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Placebo(Wrapped):
    """Settings are those of every control with an inner method."""

    name: ClassVar[str] = "placebo"
    summary: ClassVar[str] = "control: the same edit by the same method on an unrelated subject"

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        return self.method().placement(lm, request)

    def edited_sites(self, lm: LanguageModel, request: EditRequest):
        return self.method().edited_sites(lm, request)

    def prepare(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> None:
        self.method().prepare(lm, [self.unrelated(lm, r) for r in requests], statistics)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        others = [self.unrelated(lm, r) for r in requests]
        made = self.method().each(lm, others, statistics)
        return [
            self._placebo(lm, delta, [request], [other], statistics)
            for request, other, delta in zip(requests, others, made, strict=True)
        ]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        others = [self.unrelated(lm, r) for r in requests]
        return self._placebo(lm, self.method()(lm, others, statistics), requests, others, statistics)

    def step(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics, memory: Any = None
    ) -> tuple[Delta, Any]:
        """`memory`: of the inner method, whose earlier edits were about something else too."""
        others = [self.unrelated(lm, r) for r in requests]
        delta, memory = self.method().step(lm, others, statistics, memory)
        return self._placebo(lm, delta, requests, others, statistics), memory

    def unrelated(self, lm: LanguageModel, request: EditRequest) -> EditRequest:
        """`request` about something else: same id, targets, lookup and language, no documents.

        Raises:
            BadRequest: everything on the list occurs in the request.
        """
        own = (request.subject, *request.prompts, *request.targets, *request.contrast, *request.keep)
        taken = _words(" ".join(own))
        subject = request.subject
        if any(map(slot_count, request.prompts)):
            subject = self._pick(lm, request, SUBJECTS, request.subject, taken)
        prompts: list[str] = []
        for i, prompt in enumerate(request.prompts):
            if not slot_count(prompt):
                pool = PROMPTS.get(request.lang, PROMPTS["en"])
                free = [p for p in pool if p not in prompts] or pool
                prompt = self._pick(lm, request, free, prompt, taken, str(i))
            prompts.append(prompt)
        return replace(request, subject=subject, prompts=tuple(prompts), documents=())

    def _pick(
        self, lm: LanguageModel, request: EditRequest, pool: Sequence[str], like: str, taken: str, what: str = ""
    ) -> str:
        """One of `pool`, whose length in tokens is nearest to that of `like` and whose words are not in `taken`."""

        def length(text: str) -> int:
            return len(lm.tokenizer(f" {text}", add_special_tokens=False)["input_ids"])

        free = [p for p in pool if _words(p) not in taken]
        if not free:
            raise BadRequest(f"request {request.id!r}: every unrelated text of the placebo occurs in it; shorten it")
        tokens = length(like)
        gap = {p: abs(length(p) - tokens) for p in free}
        nearest = [p for p in free if gap[p] == min(gap.values())]
        return nearest[seed_for(self.seed, f"placebo {request.id} {what}") % len(nearest)]

    def _placebo(self, lm, delta: Delta, requests, others: Sequence[EditRequest], statistics) -> Delta:
        about = [{"subject": o.subject, "prompts": list(o.prompts)} for o in others]
        return self.signed(lm, delta, requests, statistics, placebo=about)


def _words(text: str) -> str:
    """Its words in lower case between blanks, so that `in` compares whole words ("Om" does not occur in "comes")."""
    return " ".join(["", *re.findall(r"\w+", text.casefold()), ""])
