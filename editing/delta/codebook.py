"""A memory beside a module, and the rule by which newer entries settle among older ones.

The rule is algorithm 1 of GRACE (Hartvigsen et al. 2023): an entry far from all others (d > epsilon_i + epsilon_j) is
added; one near an entry with the same target widens that entry to reach it (epsilon_i = d); one near an entry with
another target splits the ground between them: both get d / 2. Two cases the paper leaves open are decided here: the
border between two entries belongs to the newer one, and a newer entry at the key of an older one replaces it, since
nothing is left to split. The rule is that of `compose` as well, so edits made in one call and edits made one after
another settle alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from editing.lazy import torch

SAME_KEY = 1e-3  # share of a key's length: far below the distance of any two prompts, far above rounding
BORDER = 1 - 1e-5


@dataclass(frozen=True, eq=False)
class Codebook:
    """A memory beside a module: where its input is within `radius` of a key, its output at that position is replaced.

    keys (n, d_in), values (n, d_out), radius (n,), float32; labels (n,) int64, equal for entries with the same target
    (see `label_of`). The nearest key wins (GRACE, Hartvigsen et al. 2023).
    """

    keys: torch.Tensor
    values: torch.Tensor
    radius: torch.Tensor
    labels: torch.Tensor

    def norm(self) -> float:
        return float(self.values.double().norm())

    def scaled(self, factor: float) -> Codebook:
        raise ValueError("a codebook replaces outputs and cannot be scaled")

    def joined(self, newer: Codebook) -> Codebook:
        """This book after each entry of `newer` was added, in their order, by the rule above."""
        entries = list(zip(self.keys, self.values, self.radius.tolist(), self.labels.tolist(), strict=True))
        for key, value, radius, label in zip(
            newer.keys, newer.values, newer.radius.tolist(), newer.labels.tolist(), strict=True
        ):
            distances = [float((key - entry[0]).norm()) for entry in entries]
            near = min(range(len(entries)), key=distances.__getitem__, default=None)
            if near is None or distances[near] > radius + entries[near][2]:
                entries.append((key, value, radius, label))
                continue
            old_key, old_value, old_radius, old_label = entries[near]
            if old_label == label:
                entries[near] = (old_key, old_value, max(old_radius, distances[near]), label)
            elif distances[near] <= SAME_KEY * float(key.norm()):
                entries[near] = (key, value, radius, label)
            else:
                half = distances[near] / 2
                entries[near] = (old_key, old_value, half * BORDER, old_label)
                entries.append((key, value, half, label))
        keys, values, radii, labels = zip(*entries, strict=True)
        return Codebook(torch.stack(keys), torch.stack(values), torch.tensor(radii), torch.tensor(labels))


def settled(newer: Codebook) -> Codebook:
    """A book of these entries, added one after another."""
    none = slice(0, 0)
    return Codebook(newer.keys[none], newer.values[none], newer.radius[none], newer.labels[none]).joined(newer)


def label_of(targets: Sequence[str]) -> int:
    """A number that two edits share when their targets are equal."""
    text = "\0".join(targets)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7], "big")
