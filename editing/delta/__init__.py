"""The change that an edit makes: applied, reverted, saved, composed, exported."""

from editing.delta.changes import Change, ChangeHook, Codebook, Dense, LowRank, Shift, TokenShift, embedding_scale
from editing.delta.delta import RECORD, Delta, compose, delta_hooks, oriented
from editing.delta.peft_export import export_peft

__all__ = [
    "RECORD",
    "Change",
    "ChangeHook",
    "Codebook",
    "Delta",
    "Dense",
    "LowRank",
    "Shift",
    "TokenShift",
    "compose",
    "delta_hooks",
    "embedding_scale",
    "export_peft",
    "oriented",
]
