"""One seed for each named thing, so that what is drawn for it does not depend on what else is drawn."""

from __future__ import annotations

import hashlib

from editing.errors import BadRequest

GREATEST = 2**63 - 1  # that torch, numpy and a column of whole numbers take


def check_seed(seed: object) -> int:
    """`seed`, if it is one that every generator takes.

    Raises:
        BadRequest: it is no whole number, below 0 or above GREATEST.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= GREATEST:
        raise BadRequest(f"seed {seed!r:.80}: write a whole number from 0 to 2**63 - 1")
    return seed


def seed_for(seed: int, text: str) -> int:
    """A generator seed below 2**56 from `seed` and a name; the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode()).digest()[:7], "big")
