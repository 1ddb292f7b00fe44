"""How strong a model is, before any edit: bits per byte on fixed English and French text, and its size.

Bytes, not tokens, so that tokenizers do not matter. Cached by weight hash and text hash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.texts import LANGUAGES, drift_texts, strength_text
from editing.cache import cache_root
from editing.files import atomic_file
from editing.model import other_names

if TYPE_CHECKING:
    from benchmarks.grown import Corpus

if TYPE_CHECKING:
    from editing.model import LanguageModel

__all__ = ["Strength", "drift_texts", "strength", "text_bits_per_byte"]


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
    digest = hashlib.sha256(json.dumps([texts, lm.prefix_ids]).encode()).hexdigest()
    path = (cache or cache_root()) / "strength" / f"{lm.weight_hash[:24]}-{digest[:16]}.json"
    known = _read(path)
    if known is not None:
        return known
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
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(asdict(measured)), encoding="utf-8")
    return measured


def text_bits_per_byte(lm: LanguageModel, text: str, *, cache: Path | None = None) -> float:
    """Bits per byte on any text; cached by weight hash and text hash like `strength`.

    Raises:
        BadData: the cache cannot be written.
    """
    digest = hashlib.sha256(json.dumps([text, lm.prefix_ids]).encode()).hexdigest()
    path = (cache or cache_root()) / "strength" / f"text-{lm.weight_hash[:24]}-{digest[:16]}.json"
    try:
        return float(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        pass  # nothing readable there: measured (again)
    from editing.eval import bits_per_byte

    measured = float(bits_per_byte(lm, text))
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(measured), encoding="utf-8")
    return measured


def _read(path: Path) -> Strength | None:
    """What an earlier call wrote; None where there is nothing readable (it is then measured again)."""
    try:
        return Strength(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


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

    Fixed text of another kind: short statements of facts, which rungs grown on that world read well and prose tells
    nothing about.
    """
    held = _world().sentences("template", lang)
    return tuple(held[i * len(held) // SENTENCES].text for i in range(SENTENCES))


@cache
def _world() -> Corpus:
    from benchmarks.grown import make_corpus
    from benchmarks.world import knowledge

    return make_corpus(knowledge())
