"""The change that an edit makes: applied, reverted, saved, composed, exported."""

from editing.delta.changes import (
    Affine,
    Change,
    ChangeHook,
    Dense,
    LowRank,
    Shift,
    TokenShift,
    WeightChange,
    add_changes,
    chained,
    embedding_scale,
    moved,
)
from editing.delta.codebook import Codebook, label_of, settled
from editing.delta.delta import (
    Delta,
    check_delta,
    compose,
    delta_hooks,
    oriented,
    own_memory,
    refuse_foreign_folder,
    single_edits,
)
from editing.delta.peft_export import export_peft
from editing.delta.rounding import Lost

__all__ = [
    "Affine",
    "Change",
    "ChangeHook",
    "Codebook",
    "Delta",
    "Dense",
    "Lost",
    "LowRank",
    "Shift",
    "TokenShift",
    "WeightChange",
    "add_changes",
    "chained",
    "check_delta",
    "compose",
    "delta_hooks",
    "embedding_scale",
    "export_peft",
    "label_of",
    "moved",
    "oriented",
    "own_memory",
    "refuse_foreign_folder",
    "settled",
    "single_edits",
]
