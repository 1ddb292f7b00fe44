"""From texts to token sequences: where the subject ends, where the target begins.

Positions come from character offsets, never from counting tokens of parts, so byte-level, SentencePiece and word-level
tokenizers all work, with or without leading-blank tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from editing.errors import BadRequest
from editing.model import LanguageModel
from editing.text.requests import SLOT, join


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


def tokenise(lm: LanguageModel, template: str, subject: str, lookup: str, target: str = "", before: str = "") -> Prompt:
    """`before` + `template` with `subject` in its slot + `target`, and the lookup position.

    Raises:
        BadRequest: the subject is not in the prompt, or no token of it is left.
    """
    head, slot, tail = template.partition(SLOT)
    text = before + head + (subject + tail if slot else "")
    encoding = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoding["input_ids"]), encoding["offset_mapping"]
    if lookup == "last":
        position = len(ids) - 1
    else:
        begin = len(before) + len(head)
        end = begin + len(subject.rstrip())
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > begin]
        if not slot or not inside:
            raise BadRequest(f"subject {subject!r} is not in the prompt {template!r}; write {{}} where it stands")
        position = inside[-1]
    if position < 0:
        raise BadRequest(f"prompt {template!r} has no tokens; write some text")
    extra = len(lm.prefix_ids)
    tokens = continuation_ids(lm, text, target) if target else ()
    full = (*lm.prefix_ids, *ids, *tokens[:-1])
    border = len(before.rstrip())
    head = next((i for i, (_, end) in enumerate(offsets) if end > border), 0) if border else 0
    return Prompt(full, position + extra, len(ids) + extra, tuple(tokens), min(head, position) + extra)


def continuation_ids(lm: LanguageModel, prompt: str, continuation: str) -> tuple[int, ...]:
    """The tokens `continuation` adds behind `prompt` (joined by the rule of `join`).

    Taken from the tokens of the whole text; where a token straddles the border the continuation is tokenised alone.
    """
    whole = lm.tokenizer(join(prompt, continuation), add_special_tokens=False, return_offsets_mapping=True)
    border = len(prompt)
    index = next((i for i, (_, end) in enumerate(whole["offset_mapping"]) if end > border), None)
    if index is not None and whole["offset_mapping"][index][0] >= border:
        return tuple(whole["input_ids"][index:])
    glue = join(prompt, continuation)[border:]
    return tuple(lm.tokenizer(glue, add_special_tokens=False)["input_ids"])
