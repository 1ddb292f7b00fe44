"""What an edited model answers: log-probabilities, greedy text, drift."""

from editing.eval.bits_per_byte import bits_per_byte
from editing.eval.continuations import Race
from editing.eval.replies import Reply, continuation_logprobs, greedy, replies
from editing.eval.text_drift import text_drift

__all__ = [
    "Race",
    "Reply",
    "bits_per_byte",
    "continuation_logprobs",
    "greedy",
    "replies",
    "text_drift",
]
