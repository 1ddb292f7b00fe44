"""`ladder strength`: the strength axes of every rung of a ladder, or of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10, nan
from pathlib import Path

from benchmarks.ladders.ladder import Rung, choose_rungs
from benchmarks.measure import known_rates, open_model, strength, text_bits_per_byte
from benchmarks.models import training_tokens
from editing.errors import BadData, UserError
from editing.progress import announce


@dataclass(frozen=True)
class StrengthTable:
    """One record per measured rung; one line per optional rung left out, and per rung that failed."""

    records: tuple[dict[str, object], ...]
    skipped: tuple[str, ...]
    failed: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """With null for what is not known: JSON has no NaN."""
        rungs = [{key: None if value != value else value for key, value in r.items()} for r in self.records]
        return {"rungs": rungs, "skipped": list(self.skipped), "failed": list(self.failed)}


def ladder_strength(
    name: str,
    rungs: Sequence[str] = (),
    device: str | None = None,
    text: Path | None = None,
    say: Callable[[str], None] = announce,
) -> StrengthTable:
    """Measure (or read from the cache) the strength of every rung.

    Args:
        name: a ladder's name or file, or a model reference. rungs: only these of the ladder.
        text: a UTF-8 file whose bits per byte are measured as well.
        say: called with one line per rung.

    Raises:
        UserError: no such ladder, rung or file; a single model that cannot be loaded.
    """
    chosen, skipped = choose_rungs(name, rungs)
    own = None if text is None else _read(text)
    records, failed = [], []
    for i, rung in enumerate(chosen, 1):
        if len(chosen) > 1:
            say(f"rung {i} of {len(chosen)}: {rung.name}")
        try:
            records.append(rung_strength(rung, device, own))
        except UserError as error:
            if len(chosen) == 1:
                raise
            failed.append(f"failed: rung {rung.name}: {error}")
    return StrengthTable(tuple(records), skipped, tuple(failed))


def rung_strength(rung: Rung, device: str | None = None, text: str | None = None) -> dict[str, object]:
    """The strength of one rung; NaN where it is not known (training tokens)."""
    lm = open_model(rung.model, device)
    power, rates = strength(lm), known_rates(lm)
    record: dict[str, object] = {
        "rung": rung.name,
        "model": rung.model,
        "bits_per_byte_en": power.bits_per_byte_en,
        "bits_per_byte_fr": power.bits_per_byte_fr,
        "bits_per_byte_world_en": power.bits_per_byte_world_en,
        "bits_per_byte_world_fr": power.bits_per_byte_world_fr,
        "known_rate_en": rates.en,
        "known_rate_fr": rates.fr,
        "known_facts_asked": rates.facts,
        "parameters": power.parameters,
        "parameters_without_embeddings": power.parameters_without_embeddings,
        "log10_parameters": log10(power.parameters),
        "log10_parameters_without_embeddings": log10(power.parameters_without_embeddings)
        if power.parameters_without_embeddings > 0
        else nan,
        "n_layers": power.n_layers,
        "training_tokens": training_tokens(rung.model, rung.training_tokens),
    }
    return record if text is None else record | {"bits_per_byte_text": text_bits_per_byte(lm, text)}


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: cannot be read as UTF-8 text ({error!s:.120}); name a text file") from error
    if not text.strip():
        raise BadData(f"{path}: holds no text; name a file with text in it")
    return text


def format_strength(table: StrengthTable) -> str:
    """The table as text for a terminal."""
    head = (
        "rung",
        "bpb en",
        "bpb fr",
        "world en",
        "world fr",
        "known en",
        "known fr",
        "parameters",
        "log10",
        "less emb.",
        "log10",
        "layers",
        "tokens",
    )
    bits = [f"bits_per_byte_{text}{lang}" for text in ("", "world_") for lang in ("en", "fr")]
    keys = (*bits, "known_rate_en", "known_rate_fr")
    own = any("bits_per_byte_text" in record for record in table.records)
    lines: list[tuple[str, ...]] = [(*head, "bpb text") if own else head]
    for r in table.records:
        line = [str(r["rung"]), *(f"{r[k]:.3f}" for k in keys)]
        for key in ("parameters", "parameters_without_embeddings"):
            line += [f"{r[key]:,}", f"{r[f'log10_{key}']:.2f}"]
        tokens = r["training_tokens"]
        line += [str(r["n_layers"]), "n/a" if tokens != tokens else f"{tokens:.3g}"]
        lines.append((*line, f"{r['bits_per_byte_text']:.3f}") if own else tuple(line))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    return "\n".join([*(text if table.records else []), *table.skipped, *table.failed])
