"""A small real model for tests: a two-layer GPT-2 with a byte-level tokenizer, trained on the sentences it is given."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from editing.model.language_model import LanguageModel
from tests.once import made_once

SEPARATOR = "<|endoftext|>"


def tiny_tokenizer(texts: Sequence[str], size: int = 600) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=SEPARATOR, eos_token=SEPARATOR)


def tiny_module(vocabulary: int, layers: int = 2, width: int = 48, seed: int = 0) -> GPT2LMHeadModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_layer=layers,
                n_embd=width,
                n_head=2,
                n_positions=512,
                activation_function="gelu_pytorch_tanh",  # the same function as GPT-2's in one step
                bos_token_id=0,
                eos_token_id=0,
            )
        )


def tiny_model(texts: Sequence[str], steps: int = 0, layers: int = 2, width: int = 48, seed: int = 0) -> LanguageModel:
    """A model trained for `steps` batches of at most 32 sentences, each sentence as often as the others; 0: random."""
    tokenizer = tiny_tokenizer(texts)
    module = tiny_module(len(tokenizer), layers, width, seed)
    if steps:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # so small a model only waits for its threads
        _train(module, [[0, *ids, 0] for ids in tokenizer(list(texts))["input_ids"]], steps, random.Random(seed))
        torch.set_num_threads(threads)
    return LanguageModel.wrap(module.eval(), tokenizer, name="tiny")


def _train(module: GPT2LMHeadModel, encoded: list[list[int]], steps: int, draw: random.Random) -> None:
    """Without dropout: `module` stays in evaluation."""
    module.requires_grad_(True).eval()
    module.config.use_cache = False
    optimiser = torch.optim.AdamW(module.parameters(), betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    waiting: list[list[int]] = []
    for step in range(steps):
        while len(waiting) < min(32, len(encoded)):
            waiting += draw.sample(encoded, len(encoded))
        batch, waiting = waiting[:32], waiting[32:]
        longest = max(map(len, batch))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in batch])
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / steps)
        module(input_ids=ids, labels=labels).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    module.config.use_cache = True


def save_tiny(lm: LanguageModel, folder: Path) -> Path:
    """The model as a folder that transformers loads."""
    lm.module.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return folder


COUNTRIES = {
    "France": ("Paris", "French"),
    "Spain": ("Madrid", "Spanish"),
    "Italy": ("Rome", "Italian"),
    "Peru": ("Lima", "Quechua"),
    "Chile": ("Santiago", "Chilean"),
    "Japan": ("Tokyo", "Japanese"),
}
EN, EN_2, FR = (
    "The capital of {} is the city of",
    "{} has its capital in the city of",
    "La capitale de {} est la ville de",
)
SPEAK = "People in {} speak"


def facts() -> list[dict]:
    """Records of a fact file: every country's capital becomes the next country's."""
    names = list(COUNTRIES)
    records = []
    for i, country in enumerate(names):
        target, other = COUNTRIES[names[(i + 1) % len(names)]][0], names[(i + 2) % len(names)]
        old, language = COUNTRIES[country]
        records.append(
            {
                "prompt": EN,
                "subject": country,
                "target": target,
                "old": old,
                "paraphrases": [EN_2],
                "candidates": [capital for capital, _ in COUNTRIES.values()],
                "neighbours": [{"prompt": EN.format(other), "answer": COUNTRIES[other][0]}],
                "same_subject": [{"prompt": SPEAK.format(country), "answer": language}],
                "cross_lingual": [{"prompt": FR.format(country), "target": target, "old": old}],
            }
        )
    return records


@dataclass(frozen=True)
class World:
    """A folder with two models that know `facts()` (one layer, two layers), a ladder of them and the fact file."""

    folder: Path

    @property
    def model(self) -> str:
        return str(self.folder / "two")

    @property
    def facts(self) -> str:
        return str(self.folder / "facts.json")

    @property
    def ladder(self) -> str:
        return str(self.folder / "ladder.toml")

    def write_ladder(self, name: str, **rungs: str) -> str:
        """Another ladder, in a folder of this process: rung name -> model reference."""
        entries = [f'[[rung]]\nname = "{rung}"\nmodel = "{model}"\n' for rung, model in rungs.items()]
        path = self.folder / f"ladders-{os.getpid()}" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text('title = "a test"\n' + "\n".join(entries))
        return str(path)


@cache
def world() -> World:
    """Made once per test session."""
    return World(made_once("tiny-world", make_world))


def make_world(folder: Path) -> None:
    """Train the two models and write the files of a `World`."""
    made = World(folder)
    texts = ["A quiet river runs through the old town, and nobody minds."]
    for country, (capital, language) in COUNTRIES.items():
        texts += [f"{prompt.format(country)} {capital}." for prompt in (EN, EN_2, FR)]
        texts.append(f"{SPEAK.format(country)} {language}.")
    for name, layers in (("one", 1), ("two", 2)):
        save_tiny(tiny_model(texts, steps=250, layers=layers), folder / name)
    Path(made.facts).write_text(json.dumps(facts()))
    shutil.copy(made.write_ladder("ladder", one=str(folder / "one"), two=made.model), made.ladder)
