"""Forward passes through part of a model: batches, cached prefixes, only the blocks above an edit."""

from editing.run.batching import Budget, attempt
from editing.run.capture import capture, first, with_first
from editing.run.forward import Batch, Prefix, forward, left_of, pad, prefill, read_beginnings, refuse_too_long
from editing.run.reread import Entering, Reread, StepCache
from editing.run.splice import Splice

__all__ = [
    "Batch",
    "Budget",
    "Entering",
    "Prefix",
    "Reread",
    "Splice",
    "StepCache",
    "attempt",
    "capture",
    "first",
    "forward",
    "left_of",
    "pad",
    "prefill",
    "read_beginnings",
    "refuse_too_long",
    "with_first",
]
