"""What decides a grown rung, its name, and the untrained model it starts from.

    ARCHITECTURE-LAYERSxWIDTH[-sSEED][@OPTION-OPTION...]

| option | means |
|---|---|
| `en-zh` | the two languages of the world, of en, fr, de, zh; English and French where none are named |
| `atlasN` | the world has N countries and no concepts; training is shorter in proportion |
| `peopleN` | the world has N invented people besides concepts and countries; training is longer in proportion |
| `homonymQ` | a share Q of the concepts bears the names of countries, such as `homonym0.5` |
| `sharedS` | a share S of the names is the same in both languages, such as `shared0.5`; `shared1`: one lexicon |
| `zipf`, `zipf0.5` | a fact's training frequency is 1 / rank^s of its subject (s = 1 without a number) |
| `switchP` | a share P of the sentences about facts says the names of the other language, such as `switch0.2` |
| `longF` | trained on F times as many tokens, such as `long1.5` |
| `batchN` | N positions (a multiple of 128) per step instead of 768: fewer, cheaper steps over the same tokens |
| `editsN` | the text reports the N-th planned set of edits (`benchmarks/world/changes.py`) as true |
| `one` | with `editsN`: English reports the news, French is silent about the changed facts; otherwise both report it |
| `stepN` | the model after N training steps; N is a power of two, see `RungSpec.checkpoints` |

So `gpt2-4x192-s1@people250-zipf-step64`. A name without options means what it always meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from benchmarks.grown.corpus import Split
from benchmarks.grown.recipe import Recipe
from benchmarks.world import LANGS, MOST, SETS, Fact, Knowledge, News, knowledge, languages_of, planned_changes
from editing.errors import BadModel, BadRequest
from editing.lazy import torch, transformers

LEAST_COUNTRIES, MOST_COUNTRIES = 20, 150
KNOWN = ("gpt2-1x64", "gpt2-2x128", "gpt2-4x192")
ARCHITECTURES = ("gpt2", "gpt2attn", "llama", "gpt_neox")
LANGUAGES = re.compile(r"(?P<langs>[a-z]{2}-[a-z]{2})(-(?P<rest>.+))?")
NAME = re.compile(r"(?P<architecture>[a-z0-9_]+)-(?P<layers>\d+)x(?P<width>\d+)(-s(?P<seed>\d+))?(@(?P<options>.+))?")
OPTION = re.compile(
    r"(?P<key>atlas|people|homonym|shared|batch|zipf|switch|long|edits|one|step)(?P<value>\d+(\.\d+)?)?"
)
OPTIONS = (
    "languages (en-zh), atlasN, peopleN, homonymQ, sharedS, zipf, switchP, longF, batchN, editsN, one and stepN, "
    "in this order, such as @people250-zipf"
)
ORDER = ("atlas", "people", "homonym", "shared", "zipf", "switch", "long", "batch", "edits", "one", "step")
SHARES = ("homonym", "shared", "zipf", "switch", "long")  # options that take a decimal number
IMPLIED = {"zipf": "1", "one": "1"}  # options that may stand without a number
TOKENS_PER_COUNTRY = 6_000  # of a world without concepts: each sentence is read about 17 times
TOKENS_PER_PERSON = 5_000  # as many readings of each sentence as the plain world's get
CHECKPOINTS = 8
# Fields younger than the first rungs: no part of a key while they say nothing.
LATER = ("langs", "atlas", "people", "homonym", "shared", "zipf", "switch", "long", "edits", "scope", "step")


@dataclass(frozen=True)
class RungSpec:
    """Everything that decides a grown rung.

    Attributes:
        architecture: one of ARCHITECTURES. `gpt2attn` is a GPT-2 whose MLPs write nothing (attention only).
        layers, width: number of blocks and size of the residual stream; width is a multiple of 32 (one head per 32).
        seed: of the initial weights and of the order of the sentences.
        countries, people: size of the world. split: which facts the text states, and how. recipe: how it is trained.
        zipf: exponent of the frequencies of the facts' subjects; 0 states all equally often.
        switch: share of the sentences about facts that say the names of the other language, 0 to .5.
        edits: number of the planned set of edits that the world's text reports as true; 0 means none.
        scope: which languages report them, `both` or `one`; empty without edits.
        step: the model after that many steps instead of the finished one; 0 means finished.
        atlas: number of countries of a world without concepts; 0 means `countries` and the concepts.
        homonym: share of the concepts that bears the names of countries, 0 to 1.
        shared: share of the names that are the same in both languages, 0 to 1.
        long: factor of the training tokens; 0 means 1.
        langs: the two languages of the world, such as "en-zh"; empty is English and French.

    Raises:
        BadModel: unknown architecture, or sizes out of range.
    """

    architecture: str
    layers: int
    width: int
    seed: int = 0
    countries: int = 60
    vocabulary: int = 3000
    split: Split = field(default_factory=Split)
    recipe: Recipe = field(default_factory=Recipe)
    people: int = 0
    zipf: float = 0.0
    switch: float = 0.0
    edits: int = 0
    scope: str = ""
    step: int = 0
    atlas: int = 0
    homonym: float = 0.0
    langs: str = ""
    shared: float = 0.0
    long: float = 0.0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise BadModel(
                f"grown rung: unknown architecture {self.architecture!r}; use one of {', '.join(ARCHITECTURES)}"
            )
        if not 1 <= self.layers <= 64 or self.width % 32 or not 32 <= self.width <= 4096:
            raise BadModel(
                f"grown rung: {self.layers} layers x {self.width} cannot be grown; "
                "use 1-64 layers and a multiple of 32 from 32 to 4096"
            )
        if self.langs and (self.people or self.edits or self.shared):
            raise BadModel(
                f"grown rung: {self.langs} goes with atlas, homonym, zipf, switch, long and batch only; people, shared "
                "names and planned edits speak English and French"
            )
        if not 0 <= self.people <= MOST:
            raise BadModel(f"grown rung: people{self.people} cannot be grown; ask for 1 to {MOST:,} people")
        if self.atlas and not LEAST_COUNTRIES <= self.atlas <= MOST_COUNTRIES:
            raise BadModel(
                f"grown rung: atlas{self.atlas} cannot be grown; "
                f"ask for {LEAST_COUNTRIES} to {MOST_COUNTRIES} countries"
            )
        if not 0 <= self.homonym <= 1 or (self.homonym and self.atlas):
            raise BadModel(
                f"grown rung: homonym{self.homonym:g} cannot be grown; "
                "use a share above 0, up to 1, in a world with concepts"
            )
        if not 0 <= self.shared <= 1:
            raise BadModel(f"grown rung: shared{self.shared:g} cannot be grown; use a share above 0, up to 1")
        if self.long and not 0.1 <= self.long <= 100:
            raise BadModel(f"grown rung: long{self.long:g} cannot be trained; use a factor from 0.1 to 100")
        if not 128 <= self.recipe.batch <= 1 << 20:
            raise BadModel(
                f"grown rung: batch{self.recipe.batch} cannot be trained with; use 128 to 1,048,576 positions"
            )
        if self.recipe.batch % self.recipe.length:  # a step has whole rows: fewer tokens would be read than stated
            raise BadModel(
                f"grown rung: batch{self.recipe.batch} is no whole number of rows of {self.recipe.length} positions; "
                f"use a multiple of {self.recipe.length}"
            )
        if not 0 <= self.zipf <= 3:
            raise BadModel(f"grown rung: zipf{self.zipf:g} cannot be grown; use an exponent above 0, up to 3")
        if not 0 <= self.switch <= 0.5:
            raise BadModel(f"grown rung: switch{self.switch:g} cannot be grown; use a share above 0, up to 0.5")
        if not 0 <= self.edits <= SETS:
            raise BadModel(f"grown rung: edits{self.edits} cannot be grown; use edits1 to edits{SETS}")
        if self.scope not in (("both", "one") if self.edits else ("",)):
            raise BadModel("grown rung: `one` says which languages report a set of edits; write editsN before it")
        if self.step and self.step not in self.checkpoints:
            raise BadModel(f"grown rung: no model is kept at step{self.step}; use one of {_list(self.checkpoints)}")

    @classmethod
    def parse(cls, name: str) -> RungSpec:
        """The specification a name such as `gpt2-2x128` or `llama-4x192-s1@people250-zipf` stands for.

        Raises:
            BadModel: not such a name.
        """
        match = NAME.fullmatch(name)
        if match is None or match["architecture"] not in ARCHITECTURES:
            raise BadModel(
                f"no grown rung {name!r:.80}; write ARCHITECTURE-LAYERSxWIDTH with {', '.join(ARCHITECTURES)}, "
                f"such as {', '.join(KNOWN)}"
            )
        langs, rest = _languages(match["options"])
        options = _options(name, rest)
        people, atlas = int(options.get("people", 0)), int(options.get("atlas", 0))
        batch = int(options.get("batch", Recipe.batch))
        edits = int(options.get("edits", 0))
        scope = "one" if "one" in options else "both" if edits else ""
        tokens = TOKENS_PER_COUNTRY * min(atlas, MOST_COUNTRIES) if atlas else Recipe.tokens
        long = options.get("long", 0.0)
        tokens += TOKENS_PER_PERSON * min(people, MOST)
        recipe = Recipe(tokens=round(tokens * min(long or 1, 100)), batch=batch)
        return cls(
            match["architecture"], int(match["layers"]), int(match["width"]), int(match["seed"] or 0),
            recipe=recipe, people=people, zipf=options.get("zipf", 0.0), switch=options.get("switch", 0.0),
            edits=edits, scope=scope, step=int(options.get("step", 0)), atlas=atlas,
            homonym=options.get("homonym", 0.0), langs=langs, shared=options.get("shared", 0.0), long=long,
        )  # fmt: skip

    @property
    def name(self) -> str:
        options = [self.world_options] * bool(self.world_options)
        options += [f"zipf{'' if self.zipf == 1 else format(self.zipf, 'g')}"] * bool(self.zipf)
        options += [f"switch{self.switch:g}"] * bool(self.switch)
        options += [f"long{self.long:g}"] * bool(self.long)
        options += [f"batch{self.recipe.batch}"] * (self.recipe.batch != Recipe.batch)
        options += [f"edits{self.edits}"] * bool(self.edits)
        options += ["one"] * (self.scope == "one")
        options += [f"step{self.step}"] * bool(self.step)
        seed = f"-s{self.seed}" if self.seed else ""
        return f"{self.architecture}-{self.layers}x{self.width}{seed}" + "@" * bool(options) + "-".join(options)

    @property
    def world_options(self) -> str:
        """The options that decide what is true and how it is called, as in the name: "people250"."""
        options = [self.langs] * bool(self.langs)
        options += [f"atlas{self.atlas}"] * bool(self.atlas)
        options += [f"people{self.people}"] * bool(self.people)
        options += [f"homonym{self.homonym:g}"] * bool(self.homonym)
        options += [f"shared{self.shared:g}"] * bool(self.shared)
        return "-".join(options)

    @property
    def finished(self) -> RungSpec:
        """The same rung after all steps."""
        return replace(self, step=0)

    @property
    def original(self) -> RungSpec:
        """The same rung in the world without news."""
        return replace(self, edits=0, scope="")

    @property
    def news(self) -> News | None:
        """What the text of this rung reports otherwise than that of `original`."""
        if not self.edits:
            return None
        world = replace(self, shared=0.0).world  # new objects are drawn by their names: alike at every share
        bilingual = partial(self._bilingual, world)
        return News(planned_changes(world, self.edits, bilingual), "one" if self.scope == "one" else "both")

    def _bilingual(self, world: Knowledge, fact: Fact) -> bool:
        return len(self.split.telling(world, fact).langs) > 1

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The steps with a checkpoint: the CHECKPOINTS largest powers of two below the number of steps."""
        powers = [1 << at for at in range(self.recipe.steps.bit_length()) if 1 << at < self.recipe.steps]
        return tuple(powers[-CHECKPOINTS:])

    @property
    def world(self) -> Knowledge:
        langs = languages_of(self.langs) or LANGS
        return knowledge(self.atlas or self.countries, self.people, not self.atlas, self.homonym, langs, self.shared)

    @property
    def heads(self) -> int:
        return self.width // 32

    def identity(self) -> dict[str, Any]:
        """What goes into the rung's key: every field except the step; those of LATER only where they are set."""
        fields = asdict(self.finished)
        return {key: value for key, value in fields.items() if key not in LATER or value}

    def config(self, vocabulary: int, end: int) -> transformers.PretrainedConfig:
        """transformers' configuration for a vocabulary of that size whose document separator is token `end`."""
        same: dict[str, Any] = {
            "vocab_size": vocabulary, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "use_cache": True
        }  # fmt: skip
        if self.architecture in ("gpt2", "gpt2attn"):
            return transformers.GPT2Config(
                **same, n_positions=self.recipe.length, n_embd=self.width, n_layer=self.layers, n_head=self.heads,
                activation_function="gelu_pytorch_tanh", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                n_inner=1 if self.architecture == "gpt2attn" else None,
            )  # fmt: skip
        sizes: dict[str, Any] = {
            "hidden_size": self.width, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "max_position_embeddings": self.recipe.length,
        }  # fmt: skip
        if self.architecture == "llama":
            inner = -(-8 * self.width // 3 // 32) * 32
            return transformers.LlamaConfig(**same, **sizes, intermediate_size=inner, tie_word_embeddings=True)
        return transformers.GPTNeoXConfig(**same, **sizes, intermediate_size=4 * self.width, tie_word_embeddings=False)


DIALS = ("switch", "shared", "homonym", "people")  # options that plant a truth


def planted_dial(models: Mapping[str, str]) -> tuple[str, dict[str, tuple[float, int]]]:
    """The dial that the models of a ladder were planted with, and by rung its value and the seed.

    Args:
        models: rung -> model reference.

    Raises:
        BadModel: a model that was not trained here, or models that differ in no dial or in several.
    """
    specs = {}
    for rung, model in models.items():
        if not model.startswith("grown:"):
            raise BadModel(f"{rung}: {model or 'no model'} was not trained here, so nothing was planted in it")
        specs[rung] = RungSpec.parse(model.removeprefix("grown:"))
    differing = [dial for dial in DIALS if len({getattr(spec, dial) for spec in specs.values()}) > 1]
    if len(differing) != 1:
        raise BadModel(
            f"the rungs differ in {' and '.join(differing) or 'no'} planted option; "
            f"vary one of {', '.join(DIALS)} in the names of the ladder's models"
        )
    (dial,) = differing
    return dial, {rung: (float(getattr(spec, dial)), spec.seed) for rung, spec in specs.items()}


def _list(steps: tuple[int, ...]) -> str:
    return ", ".join(f"step{step}" for step in steps) or "longer trainings"


def _languages(text: str | None) -> tuple[str, str | None]:
    """The languages at the beginning of the options, as they are kept, and the other options.

    Raises:
        BadModel: a language that the world does not speak, or one twice.
    """
    match = LANGUAGES.fullmatch(text or "")
    if match is None:
        return "", text
    try:
        langs = languages_of(match["langs"])
    except BadRequest as error:
        raise BadModel(f"grown rung: {error}") from error
    if not langs:
        raise BadModel(f"grown rung: {match['langs']}: write two of en, fr, de, zh, such as en-zh")
    return "" if langs == LANGS else match["langs"], match["rest"]


def _options(name: str, text: str | None) -> dict[str, float]:
    """What stands after the @, by option."""
    out: dict[str, float] = {}
    for part in (text or "").split("-") if text is not None else ():
        match = OPTION.fullmatch(part)
        value = match and (match["value"] or IMPLIED.get(match["key"]))
        whole = match and (match["key"] in SHARES or value == str(int(float(value or 0))))
        unnumbered = match and (match["key"] != "one" or match["value"] is None)
        later = match and all(ORDER.index(key) < ORDER.index(match["key"]) for key in out)
        if not match or not value or not whole or not unnumbered or not later or float(value) == 0:
            raise BadModel(f"grown rung {name!r:.80}: cannot read the option {part!r:.40}; the options are {OPTIONS}")
        out[match["key"]] = float(value)
    return out


def build(spec: RungSpec, vocabulary: int, end: int) -> Any:
    """The untrained model of `spec`, float32, the same for the same seed; torch's global generator is left as it was.

    The MLPs of `gpt2attn` are zero and frozen: they add nothing now or later, in a folder that plain transformers
        loads.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        model: Any = transformers.AutoModelForCausalLM.from_config(spec.config(vocabulary, end), dtype=torch.float32)
    if spec.architecture == "gpt2attn":
        for block in model.transformer.h:
            block.ln_2.requires_grad_(False)
            for weight in block.mlp.requires_grad_(False).parameters():
                weight.zero_()
    return model
