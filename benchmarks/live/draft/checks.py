"""Does the unedited model answer the word? Every drafted text is evaluated, among the word's siblings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import PRIOR_WEIGHT
from benchmarks.world import holds
from editing.eval import continuation_logprobs
from editing.model import LanguageModel

LONGEST = 200  # characters of a text


@dataclass(frozen=True)
class Checked:
    """A text that is to elicit a word, with what the model answers to it.

    Attributes:
        source: "model", "dictionary" or "siblings" (made of the siblings' names).
        logp: nats, log P(word | text).
        rank: place of the word among `of` candidates by log P(t|p) - 1/2 log P(t|p0); 1 is the answer.
    """

    text: str
    source: str
    logp: float
    rank: int
    of: int

    @property
    def answered(self) -> bool:
        """Whether the model answers the word, where it had something else to answer."""
        return self.rank == 1 and self.of > 1

    @property
    def comment(self) -> str:
        fault = "" if self.answered else ": the model does not answer the word; correct it"
        if self.of == 1:
            fault = ": no siblings to compare the word with; add some"
        return f"by {self.source}; log P {self.logp:.1f}, rank {self.rank} of {self.of}{fault}"


def usable(word: str, texts: Sequence[str], dropped: Counter[str]) -> list[str]:
    """The texts that say something and do not hold the word; why others were left out goes into `dropped`."""
    out: list[str] = []
    for text in texts:
        clean = " ".join(text.split())
        if clean.endswith("..."):
            dropped["no end, or without the word"] += 1
        elif holds(word, clean):
            dropped["holds the word"] += 1
        elif len(clean.split()) < 3 or len(clean) > LONGEST or any(sign in clean for sign in '<>{}[]|"\\'):
            dropped["no text of 3 words"] += 1
        elif clean.casefold() in (other.casefold() for other in out):
            dropped["repeated"] += 1
        else:
            out.append(clean)
    return out


def check(
    lm: LanguageModel,
    word: str,
    rivals: Sequence[str],
    texts: Sequence[tuple[str, str, str, str]],
) -> list[Checked]:
    """The texts, best first: by the rank of the word, then by its probability.

    Args:
        rivals: names of siblings, candidates beside the word.
        texts: (text, its source, the prompt it gives, that prompt's prior or nothing).
    """
    if not texts:
        return []
    candidates = tuple(dict.fromkeys((word, *rivals)))
    priors = list(dict.fromkeys(prior for *_, prior in texts if prior))
    prompts = [prompt for _, _, prompt, _ in texts] + priors
    logp = continuation_logprobs(lm, prompts, [candidates] * len(prompts))
    prior = dict(zip(priors, logp[len(texts) :], strict=True))
    out = []
    for (text, source, _, empty), said in zip(texts, logp, strict=False):
        score = said - PRIOR_WEIGHT * prior[empty] if empty else said
        rank = 1 + int((score > score[0]).sum())
        out.append(Checked(text, source, float(said[0]), rank, len(candidates)))
    return sorted(out, key=lambda one: (one.rank, -one.logp))


def unlike(texts: Sequence[Checked], count: int) -> list[Checked]:
    """The first `count` of which none is part of another; where there are not so many, the next ones after all."""
    chosen: list[Checked] = []
    for one in texts:
        if not any(one.text in other.text or other.text in one.text for other in chosen):
            chosen.append(one)
    return [*chosen, *(one for one in texts if one not in chosen)][:count]
