"""The likeliest continuation of prompts that were read, token by token, until all have ended."""

from __future__ import annotations

from editing.eval.versions import Versions, hooks_of
from editing.lazy import cache_utils, torch
from editing.run import Batch, Reread, StepCache, forward


def free_text(read: Versions, new_tokens: int) -> list[str]:
    """The likeliest continuation of every prompt, cut at end-of-text and where the model has no more positions."""
    if not new_tokens:
        return [""] * len(read.rows)
    lm = read.lm
    ends = {lm.tokenizer.eos_token_id, *lm.prefix_ids} - {None}
    lines = _likeliest(read, new_tokens, ends).tolist()
    if read.past is not None and new_tokens > 1:  # the last token needs no position
        room = (lm.max_length + 1 - read.past.lengths()).tolist()
        lines = [line[:most] for line, most in zip(lines, room, strict=True)]
    stops = [next((i for i, token in enumerate(line) if token in ends), len(line)) for line in lines]
    return [lm.tokenizer.decode(line[:stop]) for line, stop in zip(lines, stops, strict=True)]


def _likeliest(read: Versions, count: int, ends: set[int]) -> torch.Tensor:
    """(B, n) tokens, each the likeliest behind those before it; n is `count`, or fewer where every row has an end.

    One token without a prompt to go on from.
    """
    lm, past = read.lm, read.whole_past()
    token = read.logits.argmax(-1)[:, None]
    if past is None or count == 1:
        return token
    tokens, mask, position = [token], past.mask, past.lengths()
    hooks = hooks_of(lm, read.deltas, read.rows)
    if isinstance(past, Reread):
        cache = StepCache()
        forward(lm, Batch(past.ids, past.mask, past.positions), record=cache, hooks=hooks)
    else:
        cache = cache_utils.DynamicCache()
        for layer, (key, value) in enumerate(zip(past.keys, past.values, strict=True)):
            cache.update(key, value, layer)  # pyright: ignore[reportArgumentType]
    last = torch.tensor(sorted(ends), device=token.device)
    ended = torch.isin(token, last)
    for _ in range(count - 1):
        if bool(ended.all()):
            break
        mask = torch.cat([mask, torch.ones_like(token)], 1)
        column = position.clamp(max=lm.max_length - 1)  # tokens of a row without positions are cut off later
        logits = forward(lm, Batch(token, mask, column[:, None]), record=cache, hooks=hooks)
        assert logits is not None
        token, position = logits.argmax(-1)[:, None], position + 1
        tokens.append(token)
        ended |= torch.isin(token, last)
    return torch.cat(tokens, 1)
