"""A byte-level BPE tokenizer trained on the text of the world: frequent words are single tokens.

A blank is put before the first word of a text, so a word is the same token at the start of a sentence and inside it.
The only special token, `<|endoftext|>`, separates documents; nothing is added by itself. The same text gives the same
tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"


def train_tokenizer(texts: Sequence[str], vocabulary: int = 3000, positions: int = 128) -> PreTrainedTokenizerFast:
    """The tokenizer of `texts` with at most `vocabulary` tokens, 256 of them bytes and one `<|endoftext|>` (id 0).

    `positions`: the longest text the model reads, kept for callers that truncate. With the default vocabulary 99% of
        the words
    in the world's names are single tokens.
    """
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        unk_token=END,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )
