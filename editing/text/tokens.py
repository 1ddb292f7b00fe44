"""From texts to token sequences: where the subject ends, where the answer begins.

Positions come from character offsets, never from counting tokens of parts, so byte-level, SentencePiece and word-level
tokenizers all work, with or without leading-blank tokens.

Prompt and answer are tokenised as ONE text, and split before the token that holds the answer's first character. The
blank between them belongs to the answer, also where the prompt ends in it: behind "The capital is " the model is read
at " is", for " Paris", as it reads that text everywhere else. A token that straddles the border, as may happen in
scripts without blanks, belongs to the answer with all its characters.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from editing.errors import BadRequest
from editing.model import LanguageModel
from editing.text.borders import border
from editing.text.slots import fill, parts


@dataclass(frozen=True)
class Prompt:
    """A tokenised prompt, with or without the target behind it.

    Attributes:
        ids: prefix, prompt and target tokens except the target's last (nothing is predicted after it).
        lookup: position of the key in `ids`.
        start: length of prefix and prompt; `ids[start - 1]` predicts the first target token.
        target: the target's tokens, empty when there is none.
        head: tokens at the beginning that the prompt shares with others: the model's prefix and the text put before it.
    """

    ids: tuple[int, ...]
    lookup: int
    start: int
    target: tuple[int, ...] = ()
    head: int = 0


@dataclass(frozen=True)
class PromptAnswers:
    """A prompt with several answers, as tokens.

    Attributes:
        ids: the model's prefix and the prompt, up to where the first of the answers begins.
        answers: the tokens of each answer behind `ids`; all begin at the same place.
        rest: the end of the prompt that is not in `ids`, since an answer's token holds it: it begins what the model
            writes freely. Nearly always empty.
    """

    ids: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    rest: str = ""


def tokenise(lm: LanguageModel, template: str, subject: str, lookup: str, target: str = "", before: str = "") -> Prompt:
    """`before` + `template` with `subject` in its slot + `target`, and the lookup position.

    Raises:
        BadRequest: the subject is not in the prompt, or no token of it or of the target is left.
    """
    around = parts(template)
    text = before + fill(template, subject)
    head, answer = divided(text, target)
    whole = head + answer if target else head
    encoding = lm.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = list(encoding["input_ids"]), encoding["offset_mapping"]
    start = _answer_start(offsets, len(head)) if target else len(ids)
    if target and start == len(ids):
        raise BadRequest(f"target {target!r:.80} has no tokens for this model; write a text that its tokenizer keeps")
    if lookup == "last":
        position = start - 1
    else:
        begin = len(before) + len(around[0] if around else "")
        end = begin + len(subject.rstrip())
        inside = [i for i, (a, b) in enumerate(offsets[:start]) if a < end and b > begin]
        if not around or not inside:
            raise BadRequest(f"subject {subject!r} is not in the prompt {template!r}; write {{}} where it stands")
        position = inside[-1]
    if position < 0:
        raise BadRequest(f"prompt {template!r} has no tokens; write some text")
    extra = len(lm.prefix_ids)
    full = (*lm.prefix_ids, *(ids[:-1] if target else ids))
    edge = len(before.rstrip())
    shared = next((i for i, (_, stop) in enumerate(offsets) if stop > edge), 0) if edge else 0
    return Prompt(full, position + extra, start + extra, tuple(ids[start:]), min(shared, position) + extra)


def divided(prompt: str, answer: str) -> tuple[str, str]:
    """The text of prompt and answer in two: the blank between them, also the prompt's own, begins the second part."""
    if prompt.endswith(" ") and prompt.strip():
        return prompt[:-1], " " + answer
    return prompt, border(prompt, answer) + answer


def prompt_answers(lm: LanguageModel, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> list[PromptAnswers]:
    """Every prompt with its answers, each tokenised as the one text they are.

    The answers of a prompt share their beginning: where one of them melts with the prompt's end into other tokens, the
    others are scored from that place as well, so that their log-probabilities can be compared.

    Raises:
        BadRequest: nothing of a prompt is left before its answers, for a model that puts no token before a text.
    """
    divisions = [[divided(prompt, answer) for answer in row] for prompt, row in zip(prompts, answers, strict=True)]
    heads = [divided(prompt, "")[0] for prompt in prompts]
    wholes = list(dict.fromkeys([*heads, *(head + tail for row in divisions for head, tail in row)]))
    encoded = lm.tokenizer(wholes, add_special_tokens=False, verbose=False)["input_ids"] if wholes else []
    ids = dict(zip(wholes, encoded, strict=True))
    pairs = []
    for prompt, head, row in zip(prompts, heads, divisions, strict=True):
        texts = [ids[one + tail] for one, tail in row]
        start = min(
            [len(ids[head]), *(_start(lm, ids[head], one + tail, ids[one + tail], len(one)) for one, tail in row)]
        )
        if start == 0 and not lm.prefix_ids:
            raise BadRequest(f"prompt {prompt!r:.80} has no token before its answers; write more text")
        rest = "" if start == len(ids[head]) else head[_characters(lm, head, start) :]
        said = tuple(tuple(text[start:]) for text in texts)
        pairs.append(PromptAnswers((*lm.prefix_ids, *ids[head][:start]), said, rest))
    return pairs


def continuation_ids(lm: LanguageModel, prompt: str, continuation: str) -> tuple[int, ...]:
    """The tokens of `continuation` behind `prompt`, from the token that holds its first character."""
    ((ids, start),) = whole_ids(lm.tokenizer, [(prompt, continuation)])
    return tuple(ids[start:])


def whole_ids(tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """The tokens of each prompt and answer as one text, and which of them is the answer's first."""
    divisions = [divided(prompt, answer) for prompt, answer in pairs]
    texts = [head + tail for head, tail in divisions]
    whole = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    read = zip(whole["input_ids"], whole["offset_mapping"], divisions, strict=True)
    return [(ids, _answer_start(offsets, len(head))) for ids, offsets, (head, _) in read]


def _start(lm: LanguageModel, prompt: Sequence[int], text: str, ids: Sequence[int], edge: int) -> int:
    """How many tokens of `text` are the prompt's, which ends at character `edge`."""
    # No token over the border: the usual case, without offsets. One unknown token may stand for more than the prompt.
    known = prompt[-1:] != [lm.tokenizer.unk_token_id]
    if known and len(ids) > len(prompt) and list(ids[: len(prompt)]) == list(prompt):
        return len(prompt)
    offsets = character_spans(lm, text)
    shared = next((i for i, (a, b) in enumerate(zip(ids, prompt, strict=False)) if a != b), min(len(ids), len(prompt)))
    return min(shared, _answer_start(offsets, edge))


def character_spans(lm: LanguageModel, text: str) -> list[tuple[int, int]]:
    """Of each token of `text`, without the model's prefix: the characters it stands for, as begin and end."""
    read = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return read["offset_mapping"]


def _answer_start(offsets: Sequence[tuple[int, int]], edge: int) -> int:
    """The first token that ends behind character `edge`: it holds the first character from there on."""
    return next((i for i, (_, stop) in enumerate(offsets) if stop > edge), len(offsets))


def _characters(lm: LanguageModel, text: str, tokens: int) -> int:
    """How many characters the first tokens of `text` hold."""
    return character_spans(lm, text)[tokens - 1][1] if tokens else 0


def shared_length(one: Sequence[int], two: Sequence[int]) -> int:
    """The number of first tokens that two texts share."""
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def with_beginnings(prompts: Sequence[Prompt], groups: Sequence[Hashable]) -> list[Prompt]:
    """The prompts with `head` set to the first tokens that all prompts of a group share, those from the lookup on not
    counted."""
    shared: dict[Hashable, tuple[int, ...]] = {}
    for prompt, group in zip(prompts, groups, strict=True):
        begun = shared.get(group, prompt.ids)
        shared[group] = tuple(begun[: shared_length(begun, prompt.ids[: prompt.lookup])])
    return [replace(prompt, head=len(shared[group])) for prompt, group in zip(prompts, groups, strict=True)]
