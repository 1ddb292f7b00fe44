"""What an edited model answers: log-probabilities, greedy text, drift; the dose that an edit needs."""

from editing.eval.bits_per_byte import bits_per_byte
from editing.eval.continuations import Race
from editing.eval.dose import AUTO, FIRST, MARGIN, Dose, at_dose, check_dose, smallest_dose, target_margins
from editing.eval.replies import Reply, continuation_logprobs, greedy, replies
from editing.eval.text_drift import text_drift

__all__ = [
    "AUTO",
    "FIRST",
    "MARGIN",
    "Dose",
    "Race",
    "Reply",
    "at_dose",
    "bits_per_byte",
    "check_dose",
    "continuation_logprobs",
    "greedy",
    "replies",
    "smallest_dose",
    "target_margins",
    "text_drift",
]
