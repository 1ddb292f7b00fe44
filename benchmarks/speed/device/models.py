"""Models that need no download: random weights of the shapes of published models, and a rung grown on the device.

All of them read text with the tokenizer of a committed rung (3,000 tokens), so that nothing has to be fetched. The
requests are facts of invented places, as many as are needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen3Config

from benchmarks.grown import RungSpec, Trainer, build
from benchmarks.provenance import ROOT
from benchmarks.speed.stopwatch import timed
from editing.methods import Method, make_method, taken_by
from editing.model import LanguageModel, free_memory, largest_scale
from editing.stats import ModelStatistics
from editing.text import EditRequest

TOKENIZER = ROOT / "results" / "ladders" / "grown-quick" / "rungs" / "gpt2-4x192" / "tokenizer.json"
TEXTS = ROOT / "benchmarks" / "texts"
SEPARATOR = "<|endoftext|>"
AMPLE = 2**33  # bytes, for the covariances of a small model
SENTENCES = ("The capital of {} is the city of {}.", "The people of {} are ruled from {}.")
PROMPT, PARAPHRASE = (text.partition(" {}.")[0] for text in SENTENCES)
SYLLABLES = ("ba", "do", "fen", "gi", "ka", "lu", "mer", "no", "pi", "ra", "sol", "tu", "ver", "wi", "yan", "zor")


class ClippedTokenizer(PreTrainedTokenizerFast):
    """A tokenizer that reads a token beyond its vocabulary as a known one.

    The models have more tokens than it; text drawn from random weights would otherwise be empty.
    """

    def decode(self, token_ids: Any, *args: Any, **kwargs: Any) -> Any:
        ids = torch.as_tensor(token_ids).flatten().tolist()
        return super().decode([i % len(self) for i in ids], *args, **kwargs)


@dataclass(frozen=True)
class Shape:
    """The sizes of a model, and the number format that it is loaded in.

    Attributes:
        config: of transformers. dtype: of the weights.
        slow: requests that the literal way carries out in one round.
    """

    name: str
    config: Any
    dtype: torch.dtype
    slow: int


@dataclass(frozen=True)
class Bench:
    """A model on the device and what its edits need.

    Attributes:
        requests: facts about different subjects.
        settings: what every method of this model is given, where it has such a setting.
        slow: requests that the literal way carries out in one round.
    """

    lm: LanguageModel
    statistics: ModelStatistics
    requests: tuple[EditRequest, ...]
    settings: Mapping[str, Any]
    slow: int

    def method(self, name: str, **more: Any) -> Method:
        """The method called `name` under the settings of this bench and `more`."""
        return make_method(name, **taken_by(name, {**self.settings, **more}))

    @cached_property
    def spectrum_seconds(self) -> float:
        """Seconds of the decomposition of one covariance of AlphaEdit; measured once, since the result is kept."""
        site = self.method("alphaedit").edited_sites(self.lm, self.requests[0])[-1]
        self.statistics.prepare([site])
        return timed(self.lm.device, lambda: self.statistics.spectrum(site))[0]


def shapes_of(tiny: bool) -> list[Shape]:
    """SmolLM2-135M, Qwen3-0.6B and Llama-3-8B; with `tiny`, one small model that stands for each of the last two."""
    if tiny:
        small: dict[str, Any] = {
            "vocab_size": 3200, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
        }  # fmt: skip
        return [
            Shape("tiny-qwen3", Qwen3Config(**small), torch.float32, 1),
            Shape("tiny-llama", LlamaConfig(**small), torch.bfloat16, 1),
        ]
    smollm2 = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    qwen3 = Qwen3Config(
        vocab_size=151936, hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    llama3 = LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=2048, tie_word_embeddings=False,
    )  # fmt: skip
    return [
        Shape("SmolLM2-135M", smollm2, torch.float32, 4),
        Shape("Qwen3-0.6B", qwen3, torch.bfloat16, 4),
        Shape("Llama-3-8B", llama3, torch.bfloat16, 1),
    ]


def tokenizer() -> ClippedTokenizer:
    """The tokenizer of the committed rung gpt2-4x192."""
    return ClippedTokenizer(tokenizer_file=str(TOKENIZER), bos_token=SEPARATOR, eos_token=SEPARATOR)


def random_lm(shape: Shape, device: torch.device) -> LanguageModel:
    """A model of `shape` with random weights, made on the device itself: there is no copy in main memory."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.device(device):
        torch.manual_seed(0)
        module = AutoModelForCausalLM.from_config(shape.config, dtype=shape.dtype)
    return _known_by_name(LanguageModel.wrap(module, tokenizer(), name=f"random {shape.name}"), device)


def grown_lm(device: torch.device, tiny: bool) -> LanguageModel:
    """A GPT-2 trained on the device on the facts of `places`, for edits of something that a model has learned."""
    name, tokens, number = ("gpt2-2x32", 40_000, 20) if tiny else ("gpt2-4x192", 3_000_000, 400)
    reader = tokenizer()
    spec = RungSpec.parse(name)
    end = reader.get_vocab()[SEPARATOR]
    module = build(spec, len(reader), end).to(device)
    texts = [text.format(place, capital) for place, capital in places(number) for text in SENTENCES]
    sentences = [reader(text, add_special_tokens=False)["input_ids"] for text in texts]
    recipe = replace(spec.recipe, tokens=tokens, batch=spec.recipe.batch if tiny else 8192)
    Trainer(module, sentences, end, recipe, seed=0).run()
    return _known_by_name(LanguageModel.wrap(module, reader, name=f"grown {name}"), device)


def _known_by_name(lm: LanguageModel, device: torch.device) -> LanguageModel:
    """`lm` with a hash made of its name: reading 16 GB back from the device only to name files would take a minute."""
    vars(lm)["weight_hash"] = f"{lm.name} {device}".replace(" ", "-")
    return lm if device.type == "cpu" else lm.with_batches(largest_scale(lm, free_memory(device)))


def bench_of(lm: LanguageModel, slow: int, requests: int, settings: Mapping[str, Any], work: Path) -> Bench:
    """The bench of a model; covariances and prefixes are kept in the folder `work`."""
    # Main memory, which only small models use, is not measured: that needs a package that a lent machine may lack.
    memory = (lambda: free_memory(lm.device)) if lm.device.type == "cuda" else (lambda: AMPLE)
    statistics = ModelStatistics(lm, work, f"text:{TEXTS}", memory=memory)
    return Bench(lm, statistics, tuple(facts(requests)), settings, slow)


def names() -> Iterator[str]:
    """Invented names, all different."""
    for length in itertools.count(2):
        for parts in itertools.product(SYLLABLES, repeat=length):
            yield "".join(parts).capitalize()


def places(number: int) -> list[tuple[str, str]]:
    """Invented countries and their capitals; 20 capitals serve them all."""
    drawn = list(itertools.islice(names(), number + 20))
    return [(name, drawn[i % 20]) for i, name in enumerate(drawn[20:])]


def facts(number: int) -> list[EditRequest]:
    """One request for each of `places`: its capital is the next one in their order."""
    known = places(number)
    capitals: Sequence[str] = list(dict.fromkeys(capital for _, capital in places(20)))
    following = dict(zip(capitals, [*capitals[1:], capitals[0]], strict=True))
    return [EditRequest(f"capital {i}", (PROMPT,), name, (following[old],)) for i, (name, old) in enumerate(known)]


def old_answers(requests: Sequence[EditRequest]) -> list[str]:
    """What each of `facts` says before its edit."""
    return [capital for _, capital in places(len(requests))]
