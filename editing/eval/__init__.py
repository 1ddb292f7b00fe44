"""What an edited model answers: log-probabilities, greedy text, drift."""

from editing.eval.evaluate import Race, ask, bits_per_byte, continuation_logprobs, greedy, replies, text_drift

__all__ = [
    "Race",
    "ask",
    "bits_per_byte",
    "continuation_logprobs",
    "greedy",
    "replies",
    "text_drift",
]
