"""What a model writes about a word when it is shown a few worked examples: lists, clues, sentences. Nothing is judged
here; `checks.py` does."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from benchmarks.world import holds
from editing.errors import BadRequest
from editing.eval import continuation_logprobs, greedy
from editing.model import LanguageModel
from editing.stats import sample_tokens

DRAWS = 16  # texts drawn per question
TOP_K = 8  # each token from so many likeliest
LENGTHS = {"siblings": 24, "define": 20, "cloze": 22}
LONGEST = 4  # words of a sibling's name at most
NAME = re.compile(r"(?!(?:an?|the) )[^\W\d_][\w' .&-]*")


def prompts_of(lang: str) -> Mapping[str, Any]:
    """The prompts in a language.

    Raises:
        BadRequest: there are none; the message has the languages.
    """
    table = tomllib.loads(files("benchmarks.live.draft").joinpath("prompts.toml").read_text("utf-8"))
    if lang not in table:
        raise BadRequest(f"no draft in {lang!r}: there are prompts in {', '.join(table)}; write the file by hand")
    return table[lang]


@dataclass(frozen=True)
class Writer:
    """A model that is queried about words in one language, with a seed for what is drawn."""

    lm: LanguageModel
    lang: str
    seed: int

    def question(self, about: str, word: str, room: int) -> str:
        """The few-shot prompt; examples are dropped from the front until `room` tokens are left to the model."""
        prompts = prompts_of(self.lang)[about]
        examples = list(prompts["examples"])
        while True:
            text = "\n".join([prompts["heading"], *examples, prompts["last"].replace("{word}", word)])
            if not examples or len(self.lm.encode(text)) + room <= self.lm.max_length:
                return text
            examples.pop(0)

    def lines(self, about: str, word: str) -> list[str]:
        """DRAWS first lines that the model writes behind the question; one that did not end in time ends in "..."."""
        length = LENGTHS[about]
        question = self.question(about, word, length)
        drawn = sample_tokens(self.lm, DRAWS, length, seed=self.seed, top_k=TOP_K, opening=question, read_once=True)
        texts = [self.lm.tokenizer.decode(row, skip_special_tokens=True) for row in drawn]
        return [text.partition("\n")[0].strip() + ("" if "\n" in text else "...") for text in texts]

    def kind(self, word: str) -> str:
        """What the model says the word is a kind of: one or two words, "thing" where it says none."""
        (said,) = greedy(self.lm, [self.question("kind", word, 6)], 6)
        line = said.partition("\n")[0].strip(" .").lower()
        fits = NAME.fullmatch(line) and len(line.split()) <= 2 and not holds(word, line)
        return line if fits else "thing"

    def siblings(self, word: str, proper: bool) -> tuple[list[str], int]:
        """Names the model lists beside the word, the commonest first, and how many different ones it listed."""
        counts: Counter[str] = Counter()
        for line in self.lines("siblings", word):
            items = [item.strip(" .") for item in line.split(",")]
            if line.endswith("...") and len(items) > 1:  # the last one may be cut
                items.pop()
            counts.update({item for item in items if NAME.fullmatch(item)})
        names: list[str] = []
        for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            fits = name[:1].isupper() == proper and len(name.split()) <= LONGEST
            if fits and not holds(word, name) and not any(holds(name, other) or holds(other, name) for other in names):
                names.append(name)
        return names, len(counts)

    def definitions(self, word: str) -> list[str]:
        """Clues as drawn, "the thing that opens a lock"; one that did not end in time ends in "..."."""
        clues = []
        for line in self.lines("define", word):
            if line.endswith("..."):  # the last clause may be cut
                line = line.rpartition(",")[0] or line
            clues.append(f"the {line}" if line.endswith("...") else f"the {line.rstrip(' .;,')}")
        return clues

    def clozes(self, word: str) -> list[str]:
        """Beginnings of sentences up to the word, with the article in front of it; the whole of one without the word
        ends in "..."."""
        out = []
        for line in self.lines("cloze", word):
            match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", line)
            out.append(line[: match.start()].strip() if match else f"{line.rstrip('. ')}...")
        return out

    def count(self, word: str) -> bool:
        """Whether the word takes an article in the singular: "some violins" is likelier than "some violin"."""
        plural = f"{word[:-1]}ies" if word[-1] == "y" and word[-2:-1] not in "aeiou" else f"{word}s"
        plural = f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else plural
        (logp,) = continuation_logprobs(self.lm, [prompts_of(self.lang)["grammar"]["count"]], [(word, plural)])
        return bool(logp[1] > logp[0])

    def cased(self, word: str) -> str:
        """The word as given, or without its capital where the model rather writes it so.

        A name with a further capital, such as New York or NATO, stays as it is.
        """
        plain = word[:1].lower() + word[1:]
        if plain == word or plain != plain.lower():
            return word
        (logp,) = continuation_logprobs(self.lm, [prompts_of(self.lang)["grammar"]["proper"]], [(word, plain)])
        return word if logp[0] >= logp[1] else plain
