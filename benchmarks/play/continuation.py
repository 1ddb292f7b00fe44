"""The likeliest continuation of one prompt, a few tokens at a time, so that it can be shown as it is written."""

from __future__ import annotations

from typing import Any

from editing.delta import Delta
from editing.errors import BadRequest
from editing.lazy import torch
from editing.model import LanguageModel
from editing.text import join


class Continuation:
    """A text in the making. Between two calls of `extend` the model is as it was and may be used for anything else.

    Args:
        delta: the change under which the text is written; its context stands before the prompt.

    Raises:
        BadRequest: a prompt that leaves no room for a token.
    """

    def __init__(self, lm: LanguageModel, prompt: str, delta: Delta) -> None:
        text = join(delta.context, prompt) if delta.context else prompt
        ids = lm.encode(text.removesuffix(" ") or text)
        if len(ids) >= lm.max_length:
            raise BadRequest(f"a text of {len(ids)} tokens: the model reads {lm.max_length}; shorten it")
        self._delta = Delta(delta.factors, delta.provenance)
        self._ids, self._start = ids, len(ids)
        self._cache: Any = None
        self._ends = {lm.tokenizer.eos_token_id, *lm.prefix_ids} - {None}
        self._decode = lm.tokenizer.decode
        self.ended = False

    @property
    def length(self) -> int:
        """Number of tokens written."""
        return len(self._ids) - self._start

    def text(self) -> str:
        """What is written behind the prompt."""
        return self._decode(self._ids[self._start :])

    def extend(self, lm: LanguageModel, count: int) -> None:
        """Write at most `count` tokens more, with the change in the weights only meanwhile."""
        with self._delta.applied(lm), torch.no_grad():
            for _ in range(count):
                if self.ended or len(self._ids) >= lm.max_length:
                    self.ended = True
                    return
                unread = self._ids if self._cache is None else self._ids[-1:]
                out = lm.module(torch.tensor([unread], device=lm.device), past_key_values=self._cache, use_cache=True)
                self._cache = out.past_key_values
                token = int(out.logits[0, -1].argmax())
                self.ended = token in self._ends
                if not self.ended:
                    self._ids.append(token)
