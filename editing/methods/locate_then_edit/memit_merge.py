"""MEMIT-Merge: MEMIT for batches with several facts of one subject (Dong, Shen & Xia 2025, "MEMIT-Merge: Addressing
MEMIT's Key-Value Conflicts in Same-Subject Batch Editing for LLMs", arXiv 2502.07322, section 4).

Facts of one subject have the same key but want different values, so in MEMIT's least squares they spoil each other.
Here the requests of a batch that look up the same subject become one key/value pair: one delta minimises the mean loss
over all their contexts, one key is the mean of type means over all of them. Single edits are those of MEMIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.methods.locate_then_edit.memit import MEMIT
from editing.text import Contexts, EditRequest


@dataclass(frozen=True)
class MEMITMerge(MEMIT):
    """Settings are MEMIT's."""

    name: ClassVar[str] = "memit_merge"
    summary: ClassVar[str] = "MEMIT with one key and value per subject of a batch (Dong et al. 2025)"

    def _units(self, requests: Sequence[EditRequest], contexts: Sequence[Contexts]) -> list[Contexts]:
        """Contexts of the same subject put together, in the order in which subjects first appear."""
        groups: dict[object, list[Contexts]] = {}
        for i, (request, context) in enumerate(zip(requests, contexts, strict=True)):
            # a key at the last token belongs to its prompt, not to a subject
            shared = (self.lookup or request.lookup) == "subject_last"
            groups.setdefault(request.subject.strip() if shared else i, []).append(context)
        return [_merged(group) for group in groups.values()]


def _merged(group: Sequence[Contexts]) -> Contexts:
    """The contexts of all members, bare prompts first; the KL term's prompt is the first member's."""
    if len(group) == 1:
        return group[0]
    bare = [p for c in group for p in c.prompts[: c.n_bare]]
    other = [p for c in group for p in c.prompts[c.n_bare :]]
    return Contexts(" + ".join(c.id for c in group), (*bare, *other), len(bare), group[0].essence)
