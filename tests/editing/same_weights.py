"""Models that read or compute otherwise with the same weights: another tokenizer, another configuration."""

from __future__ import annotations

import copy
from collections.abc import Callable

from tokenizers import normalizers

from editing.model.language_model import LanguageModel


def changed_copy(lm: LanguageModel, change: Callable[[LanguageModel], None]) -> LanguageModel:
    """A copy of `lm` after `change`, which leaves the weights as they are."""
    copied = LanguageModel.wrap(copy.deepcopy(lm.module), copy.deepcopy(lm.tokenizer), prefix_ids=lm.prefix_ids)
    change(copied)
    assert copied.weight_hash == lm.weight_hash
    return copied


def lowercase(lm: LanguageModel) -> None:
    """Let the tokenizer read every text in lower case."""
    lm.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def heads(count: int) -> Callable[[LanguageModel], None]:
    """A change of a GPT-2 to `count` attention heads of a block, as wide together as before."""

    def change(lm: LanguageModel) -> None:
        lm.module.config.n_head = count
        for block in lm.module.transformer.h:
            width = block.attn.num_heads * block.attn.head_dim
            block.attn.num_heads, block.attn.head_dim = count, width // count

    return change
