"""Tiny random models of many transformers families, and what is known of their layout from reading their code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedTokenizerFast,
)

from editing.model.language_model import LanguageModel

SEPARATOR = "<|endoftext|>"
LAYERS, WIDTH, HEADS, HEAD = 4, 32, 4, 8

SENTENCES = (
    "The capital of France is the city of Paris and its language is French.",
    "The capital of Spain is the city of Madrid and its language is Spanish.",
    "The capital of Italy is the city of Rome and its language is Italian.",
    "The capital of New Zealand is the city of Wellington and its language is English.",
    "La capitale de l'Italie est la ville de Rome. Le fromage est fait de lait.",
    "The dairy food made from milk curds is called cheese. Cheese is sold by the cheesemonger.",
    "A loaf of bread is made from flour by the baker. The dog is an animal that barks.",
    "Therefore the river runs through the old town. Because you and I like tea, we are here.",
    "Brie comes from France and Gouda comes from the Netherlands. Zoe likes cafe au lait.",
)


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        mlp: path of the MLP down-projection within the model; `{}` stands for the block.
        value: path of the map whose outputs hold the values.
        rows: which rows of it: a name that `expected_rows` spells out, "all" for an own value map.
        config: settings beyond the shared ones.
    """

    mlp: str
    value: str
    rows: str = "all"
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hybrid:
    """A family with blocks that are no attention, every other one here; paths within a block.

    Attributes:
        mlp: "" where some blocks have only routed experts. mixer: the output projection of the first block.
        output: that of the second, an attention. values: the blocks with attention values, each by a map of its own.
    """

    mlp: str
    mixer: str
    config: dict[str, Any]
    output: str = "self_attn.o_proj"
    values: tuple[int, ...] = (1, 3)


LLAMA = Family("model.layers.{}.mlp.down_proj", "model.layers.{}.self_attn.v_proj")
SLIDING = Family(LLAMA.mlp, LLAMA.value, config={"sliding_window": 5})
GEMMA = Family(LLAMA.mlp, LLAMA.value, config={"sliding_window": 5, "query_pre_attn_scalar": HEAD})

FAMILIES: dict[str, Family] = {
    "gpt2": Family("transformer.h.{}.mlp.c_proj", "transformer.h.{}.attn.c_attn", "last third"),
    "gpt_neox": Family(
        "gpt_neox.layers.{}.mlp.dense_4h_to_h", "gpt_neox.layers.{}.attention.query_key_value", "interleaved"
    ),
    "gptj": Family("transformer.h.{}.mlp.fc_out", "transformer.h.{}.attn.v_proj"),
    "gpt_neo": Family(
        "transformer.h.{}.mlp.c_proj",
        "transformer.h.{}.attn.attention.v_proj",
        config={"attention_types": [[["global", "local"], 2]], "window_size": 5},
    ),
    "opt": Family("model.decoder.layers.{}.fc2", "model.decoder.layers.{}.self_attn.v_proj"),
    "llama": LLAMA,
    "mistral": SLIDING,
    "qwen2": Family(
        LLAMA.mlp, LLAMA.value, config={"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 2}
    ),
    "qwen3": LLAMA,
    "gemma": LLAMA,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "phi": Family("model.layers.{}.mlp.fc2", LLAMA.value),
    "phi3": Family(LLAMA.mlp, "model.layers.{}.self_attn.qkv_proj", "behind q and k", config={"rope_scaling": None}),
    "bloom": Family(
        "transformer.h.{}.mlp.dense_4h_to_h", "transformer.h.{}.self_attention.query_key_value", "interleaved"
    ),
    "falcon": Family(
        "transformer.h.{}.mlp.dense_4h_to_h",
        "transformer.h.{}.self_attention.query_key_value",
        "last head",
        config={"multi_query": True, "new_decoder_architecture": False},
    ),
    "stablelm": LLAMA,
    "olmo": LLAMA,
    "olmo2": LLAMA,
    "cohere": LLAMA,
    "starcoder2": Family("model.layers.{}.mlp.c_proj", LLAMA.value, config={"sliding_window": 5}),
    "mpt": Family("transformer.blocks.{}.ffn.down_proj", "transformer.blocks.{}.attn.Wqkv", "last third"),
    "codegen": Family("transformer.h.{}.mlp.fc_out", "transformer.h.{}.attn.qkv_proj", "four parts"),
    "gpt_bigcode": Family("transformer.h.{}.mlp.c_proj", "transformer.h.{}.attn.c_attn", "last head"),
    "granite": LLAMA,
    "smollm3": LLAMA,
}

# Mixtures of experts: every block's attention can be edited, and the MLP that runs for every token where there is one.
# `mlp` is "" where routed experts are all there is.
FOUR = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "num_experts": 4}
ROUTED = Family("", LLAMA.value, config=FOUR)
LOCAL = Family("", LLAMA.value, config={"num_local_experts": 4, "num_experts_per_tok": 2})
EXPERTS: dict[str, Family] = {
    "mixtral": LOCAL,
    "gpt_oss": LOCAL,
    "phimoe": LOCAL,
    "granitemoe": LOCAL,
    "olmoe": ROUTED,
    "qwen3_moe": Family("", LLAMA.value, config=FOUR | {"decoder_sparse_step": 1, "mlp_only_layers": []}),
    "qwen2_moe": Family(
        "model.layers.{}.mlp.shared_expert.down_proj",
        LLAMA.value,
        config=FOUR | {"shared_expert_intermediate_size": 24, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
    "granitemoeshared": Family(
        "model.layers.{}.shared_mlp.output_linear", LLAMA.value, config=LOCAL.config | {"shared_intermediate_size": 24}
    ),
    "hunyuan_v1_moe": Family("model.layers.{}.mlp.shared_mlp.down_proj", LLAMA.value, config=FOUR | {"moe_topk": 2}),
    "llama4_text": Family(
        "model.layers.{}.feed_forward.shared_expert.down_proj",
        LLAMA.value,
        config=LOCAL.config | {"interleave_moe_layer_step": 1},
    ),
    "glm4_moe": Family(
        "model.layers.{}.mlp.shared_experts.down_proj",  # the first block is dense
        LLAMA.value,
        config=FOUR | {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1},
    ),
}

# An embedding of each layer joins the stream behind its MLP.
LAYERED = {
    "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 420, "global_head_dim": HEAD, "sliding_window": 5,
    "layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 0,
}  # fmt: skip

# Dense families that are built like others above: their sites are checked, the engine is tested on those.
ALIKE: dict[str, Family] = {
    name: LLAMA
    for name in (
        "olmo3",
        "cohere2",
        "exaone4",
        "ernie4_5",
        "glm4",
        "seed_oss",
        "helium",
        "arcee",
        "ministral",
    )
} | {
    "xglm": Family("model.layers.{}.fc2", LLAMA.value),
    "gemma4_text": Family(LLAMA.mlp, LLAMA.value, config=LAYERED),
    "biogpt": Family("biogpt.layers.{}.fc2", "biogpt.layers.{}.self_attn.v_proj"),
}

# Hybrids: some blocks are no attention.
LINEAR = {
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"] * 2,
}  # fmt: skip
STATE_SPACE = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_d_head": 16, "mamba_expand": 2}
HYBRIDS: dict[str, Hybrid] = {
    "qwen3_next": Hybrid(
        "mlp.shared_expert.down_proj", "linear_attn.out_proj", FOUR | {"shared_expert_intermediate_size": 24} | LINEAR
    ),
    "qwen3_5_text": Hybrid("mlp.down_proj", "linear_attn.out_proj", LINEAR),
    "lfm2": Hybrid(
        "feed_forward.w2",
        "conv.out_proj",
        {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False},
        output="self_attn.out_proj",
    ),
    "granitemoehybrid": Hybrid(
        "shared_mlp.output_linear",
        "mamba.out_proj",
        STATE_SPACE
        | {"layer_types": ["mamba", "attention"] * 2, "shared_intermediate_size": 24}
        | {"num_local_experts": 0},
    ),
    "bamba": Hybrid("feed_forward.down_proj", "mamba.out_proj", STATE_SPACE | {"attn_layer_indices": [1, 3]}),
    "falcon_h1": Hybrid(
        "feed_forward.down_proj", "self_attn.o_proj", STATE_SPACE | {"mamba_d_ssm": 64}, values=(0, 1, 2, 3)
    ),
    "jamba": Hybrid("", "mamba.out_proj", {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1}),
    "minimax": Hybrid("", "self_attn.o_proj", {}, output="self_attn.out_proj", values=(0, 2)),
    "olmo_hybrid": Hybrid(
        "mlp.down_proj", "linear_attn.o_proj", {"layer_types": ["linear_attention", "full_attention"] * 2}
    ),
}

# Families that between them have every trap: Conv1D, fused QKV, flattened input, grouped heads, sliding window, ALiBi,
# learned and rotary positions, norms behind the down-projection, parallel blocks, soft-capped logits.
SOME = ("gpt2", "gpt_neox", "opt", "llama", "gemma2", "gemma3_text", "bloom", "falcon", "mistral", "phi")

# Those of them that differ in what a token reads of the tokens before it: learned positions, with an offset, sliding
# windows, ALiBi, one head of keys and values for all.
BY_CACHE = ("gpt2", "opt", "gemma3_text", "bloom", "falcon")

# One hybrid of each kind: short convolutions, and slow, linear attention, a state space, one beside every attention.
SOME_HYBRIDS = ("lfm2", "qwen3_next", "granitemoehybrid", "falcon_h1")


@dataclass(frozen=True)
class Refused:
    """A family that the site finder refuses.

    Attributes:
        reason: pattern of the message.
        loader: class that makes a model from a configuration.
        config: settings beyond the shared ones.
    """

    reason: str
    loader: Any = AutoModelForCausalLM
    config: dict[str, Any] = field(default_factory=dict)


SPARSE = FOUR | {
    "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "num_key_value_heads": 4,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "index_n_heads": 2, "index_head_dim": 8, "index_topk": 4,
}  # fmt: skip
REFUSED: dict[str, Refused] = {
    "mamba": Refused("no block keeps keys and values", config={"state_size": 4}),
    "rwkv": Refused("no block keeps keys and values", config={"attention_hidden_size": 32, "context_length": 16}),
    "t5": Refused("encoder-decoder", AutoModelForSeq2SeqLM, {"d_kv": 8, "d_ff": 48}),
    "bart": Refused("encoder-decoder", AutoModelForSeq2SeqLM, {"encoder_layers": 2, "decoder_layers": 2}),
    "bert": Refused("looks ahead", AutoModelForMaskedLM),
    "openai-gpt": Refused("a block returns a list"),
    "nemotron_h": Refused("no attention output projection"),
    "recurrent_gemma": Refused("no cache"),
    "gemma4_text": Refused("values of others", config=LAYERED | {"num_hidden_layers": 4, "num_kv_shared_layers": 2}),
    "roberta": Refused("first token does not stand at position 0", config={"is_decoder": True}),
    "xlm-roberta": Refused("first token does not stand at position 0", config={"is_decoder": True}),
    "deepseek_v32": Refused("keeps keys of an indexer", config=SPARSE),
    "glm_moe_dsa": Refused("keeps keys of an indexer", config=SPARSE),
}


def expected_rows(family: Family) -> tuple[int, ...] | None:
    """Rows of the value outputs as read from the family's attention code; None for an own value map."""
    if family.rows == "last third":
        return tuple(range(2 * WIDTH, 3 * WIDTH))
    if family.rows == "interleaved":  # (heads, 3, d_head)
        return tuple(h * 3 * HEAD + 2 * HEAD + i for h in range(HEADS) for i in range(HEAD))
    if family.rows == "four parts":  # (4, query value key, width / 4)
        return tuple(part * 3 * WIDTH // 4 + WIDTH // 4 + i for part in range(4) for i in range(WIDTH // 4))
    if family.rows == "last head":  # multi-query: all query heads, one key head, one value head
        return tuple(range(WIDTH + HEAD, WIDTH + 2 * HEAD))
    if family.rows == "behind q and k":  # two key-value heads
        return tuple(range(WIDTH + 2 * HEAD, WIDTH + 4 * HEAD))
    return None


def _sizes(known: Any, vocabulary: int) -> dict[str, Any]:
    """The small sizes that the configuration `known` has names for."""
    shared: dict[str, Any] = {
        "hidden_size": WIDTH, "n_embd": WIDTH, "d_model": WIDTH, "word_embed_proj_dim": WIDTH,
        "num_hidden_layers": LAYERS, "n_layer": LAYERS, "n_layers": LAYERS, "num_layers": LAYERS,
        "num_attention_heads": HEADS, "n_head": HEADS, "n_heads": HEADS, "num_key_value_heads": 2,
        "intermediate_size": 48, "ffn_dim": 48, "head_dim": HEAD, "rotary_dim": 4,
        "vocab_size": vocabulary, "max_position_embeddings": 128, "n_positions": 128,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    return {k: v for k, v in shared.items() if _has(known, k)}


def _has(known: Any, name: str) -> bool:
    """Whether the configuration has this setting; one that may differ between layers is refused when it is read."""
    try:
        return hasattr(known, name)
    except RuntimeError:
        return True


def random_module(family: str, vocabulary: int = 99, seed: int = 0, spread: float = 0.2, **settings: Any) -> Any:
    """A random model of `family`: 4 blocks of width 32, 4 heads, 2 key-value heads where the family has such."""
    config = CONFIG_MAPPING[family]
    known = config()
    arguments = _sizes(known, vocabulary)
    if _has(known, "initializer_range"):
        arguments["initializer_range"] = spread
    if family == "falcon":
        arguments.pop("head_dim", None)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        row = (FAMILIES | EXPERTS | ALIKE | HYBRIDS).get(family)
        own = row.config if row else {}
        return AutoModelForCausalLM.from_config(config(**arguments | own | settings)).eval()


# Names of sizes that families of AutoModelForCausalLM have beside those of `random_module`.
SMALL: dict[str, Any] = {
    "num_experts": 4, "n_routed_experts": 4, "num_local_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "moe_topk": 2, "moe_k": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1, "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 24, "moe_shared_expert_intermediate_size": 24, "shared_intermediate_size": 24,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "index_n_heads": 2, "index_head_dim": 8, "index_topk": 4, "global_head_dim": HEAD,
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "mamba_n_heads": 4, "mamba_d_state": 8, "mamba_d_head": 16, "mamba_expand": 2, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 99, "decoder_layers": LAYERS, "decoder_attention_heads": HEADS, "decoder_ffn_dim": 48,
    "is_decoder": True,
}  # fmt: skip
MOST = 4_000_000  # parameters of a model that is made to look at


def any_module(family: str) -> Any:
    """A random model of any family of AutoModelForCausalLM, as small as the names of its settings allow.

    Raises:
        ValueError: it has more than MOST parameters, or its configuration does not accept these sizes.
    """
    try:
        known = CONFIG_MAPPING[family]()
        sizes = _sizes(known, 99) | {k: v for k, v in SMALL.items() if _has(known, k)}
        if "kv_lora_rank" in sizes:  # there the width of a head follows from its parts
            sizes.pop("head_dim", None)
        config = CONFIG_MAPPING[family](**sizes)
        with torch.device("meta"):
            size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
        if size > MOST:
            raise ValueError(f"{size / 1e6:.0f} million parameters with the sizes that are known here")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(config).eval()
    except Exception as error:  # whatever the code of this family raises
        raise ValueError(str(error).strip().split("\n")[0] or type(error).__name__) from error


def refused_module(family: str) -> Any:
    """A random model of a family of REFUSED: 2 blocks of width 32."""
    shared = {
        "hidden_size": 32, "d_model": 32, "num_hidden_layers": 2, "num_layers": 2, "num_attention_heads": 4,
        "num_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 99,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    row, config = REFUSED[family], CONFIG_MAPPING[family]
    known = config()
    arguments = {key: value for key, value in shared.items() if _has(known, key)}
    return row.loader.from_config(config(**arguments | row.config)).eval()


@cache
def tokenizer(size: int = 420) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `SENTENCES`."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[SEPARATOR], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=SEPARATOR, eos_token=SEPARATOR)


def tiny_lm(family: str = "gpt2", seed: int = 0, **settings: Any) -> LanguageModel:
    """A random model of `family` with the tokenizer above."""
    return LanguageModel.wrap(
        random_module(family, len(tokenizer()), seed, **settings), tokenizer(), name=f"tiny-{family}"
    )


def trained_lm(family: str = "gpt2", texts: Sequence[str] = SENTENCES, steps: int = 60, seed: int = 0) -> LanguageModel:
    """A model that knows `texts` by heart."""
    lm = tiny_lm(family, seed, spread=0.05)
    sequences = [[*lm.encode(t), 0] for t in texts]
    width = max(map(len, sequences))
    ids = torch.tensor([s + [0] * (width - len(s)) for s in sequences])
    labels = torch.tensor([s + [-100] * (width - len(s)) for s in sequences])
    lm.module.requires_grad_(True)
    optimiser = torch.optim.AdamW(lm.module.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(steps):
        lm.module(input_ids=ids, attention_mask=(labels >= 0).long(), labels=labels, use_cache=False).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return LanguageModel.wrap(lm.module, lm.tokenizer, name=f"trained-{family}")
