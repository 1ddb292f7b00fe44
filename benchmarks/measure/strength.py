"""How strong a model is, before any edit: bits per byte on fixed English and French text, and its size.

Bytes, not tokens, so that models with different tokenizers can be compared. Kept by weight hash and text hash: in the
cache, where tokenizer and configuration are in the name too, and for the rungs of the demo in strengths.toml beside
this file, measured once by `python -m benchmarks.ladders.strengths`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.texts import LANGUAGES, drift_texts, strength_text
from editing.cache import cache_root
from editing.files import atomic_file
from editing.model import other_names

if TYPE_CHECKING:
    from benchmarks.grown import Corpus
    from editing.model import LanguageModel

__all__ = ["STRENGTHS", "Strength", "drift_texts", "kept", "strength", "strengths", "text_bits_per_byte"]

T = TypeVar("T")
STRENGTHS = Path(__file__).with_name("strengths.toml")


@dataclass(frozen=True)
class Strength:
    """The strength axes of one model.

    Attributes:
        bits_per_byte_en, bits_per_byte_fr: -log2 P(text) / its UTF-8 bytes on prose; lower is stronger.
        bits_per_byte_world_en, bits_per_byte_world_fr: the same on short true sentences (`world_sentences`), which
            rungs grown on that world can read; prose is foreign to them.
        parameters: all of them, tied ones once.
        parameters_without_embeddings: less token and position embeddings and the unembedding.
        n_layers: number of blocks.
    """

    bits_per_byte_en: float
    bits_per_byte_fr: float
    bits_per_byte_world_en: float
    bits_per_byte_world_fr: float
    parameters: int
    parameters_without_embeddings: int
    n_layers: int


def strength(lm: LanguageModel, *, cache: Path | None = None) -> Strength:
    """Measures `lm` on the fixed texts, or reads what was measured before.

    Args:
        cache: cache root instead of `cache_root()`.

    Raises:
        BadData: the cache cannot be written.
    """
    texts = {lang: (strength_text(lang), world_sentences(lang)) for lang in LANGUAGES}

    def make() -> dict[str, float]:
        from editing.eval import bits_per_byte

        measured = Strength(
            bits_per_byte_en=float(bits_per_byte(lm, texts["en"][0])),
            bits_per_byte_fr=float(bits_per_byte(lm, texts["fr"][0])),
            bits_per_byte_world_en=float(bits_per_byte(lm, texts["en"][1])),
            bits_per_byte_world_fr=float(bits_per_byte(lm, texts["fr"][1])),
            parameters=lm.n_parameters,
            parameters_without_embeddings=lm.n_parameters - _embedding_parameters(lm),
            n_layers=lm.n_layers,
        )
        return asdict(measured)

    return kept("", lm, json.dumps([texts, lm.prefix_ids]), lambda found: Strength(**found), make, cache)


def text_bits_per_byte(lm: LanguageModel, text: str, *, cache: Path | None = None) -> float:
    """Bits per byte on any text; cached like `strength`.

    Raises:
        BadData: the cache cannot be written.
    """

    def make() -> float:
        from editing.eval import bits_per_byte

        return float(bits_per_byte(lm, text))

    return kept("text-", lm, json.dumps([text, lm.prefix_ids]), float, make, cache)


def kept(
    kind: str, lm: LanguageModel, content: str, read: Callable[[Any], T], make: Callable[[], Any], cache: Path | None
) -> T:
    """What was measured of this model with this content: from the cache, from `STRENGTHS`, or made now and cached.

    Args:
        kind: begins the name of the measurement.
        content: all that was requested; its hash is part of the name.
        read: the result from what JSON gives back; a file that it cannot read is measured again.
        make: measures, as something that JSON holds.
        cache: cache root instead of `cache_root()` and `STRENGTHS`.

    Raises:
        BadData: the cache cannot be written.
    """
    name = f"{kind}{lm.weight_hash[:24]}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    path = (cache or cache_root()) / "strength" / f"{name}.{lm.reading_hash[:16]}.json"
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass  # nothing readable there
    if cache is None and (known := strengths().get(name)) is not None:
        return read(known)
    measured = make()
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(measured), encoding="utf-8")
    return read(measured)


@cache
def strengths() -> dict[str, Any]:
    """`STRENGTHS`: name of the measurement -> what JSON would hold of it."""
    return tomllib.loads(STRENGTHS.read_text(encoding="utf-8"))


def _embedding_parameters(lm: LanguageModel) -> int:
    """Entries of all embedding tables and the unembedding; a tied table counts once."""
    from torch import nn

    head, second = lm.module.get_output_embeddings(), other_names(lm.module)
    names = {f"{p}.weight" for p, m in lm.module.named_modules() if isinstance(m, nn.Embedding) or m is head}
    tables = {id(w): w for w in (lm.weight(name) for name in names if name not in second)}
    return sum(table.numel() for table in tables.values())


SENTENCES = 200


@cache
def world_sentences(lang: str) -> tuple[str, ...]:
    """200 true sentences about concepts and countries in the wording that is held back from every grown rung.

    Fixed text of another kind: short statements of facts, which rungs grown on that world read well and prose shows
    nothing about.
    """
    held = _world().sentences("template", lang)
    return tuple(held[i * len(held) // SENTENCES].text for i in range(SENTENCES))


@cache
def _world() -> Corpus:
    from benchmarks.grown import make_corpus
    from benchmarks.world import knowledge

    return make_corpus(knowledge())
