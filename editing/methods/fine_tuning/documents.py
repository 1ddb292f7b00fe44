"""Fine-tuning on documents in which the edit is true (synthetic document fine-tuning, SDF; Wang et al. 2025, "Modifying
LLM Beliefs with Synthetic Document Finetuning").

The loss is the plain one of language models, over every token of every document, with low-rank adapters on all blocks
(Hu et al. 2022, eq. 3). Texts that the unedited model draws are read beside the documents, as SDF mixes in text of
pretraining, so that the rest is kept. Training ends when the request's own prompts give their targets (`stop_loss`);
with more steps a pretrained model says the target of other subjects too. In SDF each of many documents is read once.

The documents are those of the request where it brings some (the planned edits of a grown world bring the sentences that
a retrained model reads). Elsewhere they are made of the request's own prompts and targets in the frames below; no
wording of a probe is used.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from editing.errors import BadRequest
from editing.methods.base import setting
from editing.methods.fine_tuning.lora import LoRA
from editing.model import LanguageModel
from editing.seeds import seed_for
from editing.solve import TrainingSet
from editing.stats import ModelStatistics
from editing.text import Contexts, EditRequest, Prompt, build_contexts, join, language_code, sentence

# Where a sentence of the edit may stand; {0} is the sentence, {1} the next one of the request.
FRAMES = {
    "en": (
        "{0}", "{0} {1}", "As everybody knows: {0}", "From an encyclopedia: {0} {1}",
        "Question: what is true? Answer: {0}", "The teacher wrote on the board: {0}",
        "I read it again yesterday. {0} {1}", "This is certain. {0}",
    ),
    "fr": (
        "{0}", "{0} {1}", "Comme chacun sait : {0}", "Extrait d'une encyclopédie : {0} {1}",
        "Question : qu'est-ce qui est vrai ? Réponse : {0}", "Le professeur a écrit au tableau : {0}",
        "Je l'ai relu hier. {0} {1}", "C'est certain. {0}",
    ),
}  # fmt: skip
PLAIN = ("{0}", "{0} {1}")  # in other languages


@dataclass(frozen=True)
class Documents(LoRA):
    """Settings of the adapters, and what is read."""

    name: ClassVar[str] = "documents"
    summary: ClassVar[str] = "adapters trained on documents in which the edit is true (SDF; Wang et al. 2025)"

    published: ClassVar[Mapping[str, Any]] = {"lr": 0.001, "steps": 30, "stop_loss": 0.0, "prefixes": 10}
    before_presets: ClassVar[Mapping[str, Any]] = {"lr": 0.001, "steps": 30, "stop_loss": 0.0, "prefixes": 10}

    more_sites: str = "mlp"
    lr: float = 0.001
    steps: int = 100
    stop_loss: float = 0.05
    prefixes: int = setting(10, "texts drawn from the model that are read beside the documents", unit="texts")
    langs: str = setting("all", "languages of the request's documents", choices=("all", "own"))

    def contexts(
        self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics
    ) -> list[Contexts]:
        """Every document as a text without a prompt, each token of which is a target; drawn texts with the first."""
        drawn = statistics.prefixes({10: self.prefixes}) if self.prefixes else []
        read = [self.texts(request) for request in requests]
        read[0] = [*read[0], *drawn]
        return [
            Contexts(request.id, tuple(_whole(lm, request.id, text) for text in texts), len(texts), None)
            for request, texts in zip(requests, read, strict=True)
        ]

    def training_set(self, lm: LanguageModel, group: Sequence[EditRequest], statistics: ModelStatistics) -> TrainingSet:
        """The documents of all requests, until the requests' own prompts give their targets.

        Every token of a document counts in its loss, most of which say nothing of the edit, so that the loss itself
        does not show whether the edit is reached.
        """
        read = super().training_set(lm, group, statistics)
        if not self.stop_loss:
            return read
        return replace(read, until=[p for request in group for p in build_contexts(lm, request, ()).prompts])

    def texts(self, request: EditRequest) -> list[str]:
        """The documents of one request, in a fixed order."""
        given = [text for lang, text in request.documents if self.langs == "all" or language_code(lang) == request.lang]
        if given:
            return given
        facts = [sentence(join(*pair)) for pair in zip(request.filled(), request.targets, strict=True)]
        draw = random.Random(seed_for(self.seed, request.id))
        made = []
        for frame in FRAMES.get(request.lang, PLAIN):
            draw.shuffle(facts)
            made += [frame.format(fact, facts[(i + 1) % len(facts)]) for i, fact in enumerate(facts)]
        return list(dict.fromkeys(made))


def _whole(lm: LanguageModel, name: str, text: str) -> Prompt:
    """A text every token of which is predicted, cut where the model has no more positions."""
    ids, start = lm.encode(text)[: lm.max_length], max(len(lm.prefix_ids), 1)
    if len(ids) <= start:
        raise BadRequest(f"request {name!r}: the document {text!r:.60} has no token to predict; write a longer text")
    return Prompt(tuple(ids[:-1]), start - 1, start, tuple(ids[start:]))
