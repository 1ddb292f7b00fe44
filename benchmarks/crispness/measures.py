"""The four measures as functions of matrices; nothing here knows a model.

n concepts; `partner` (n,) long gives for each concept which other-language name counts as its own: itself in the
measurement, another one in the controls.
"""

from __future__ import annotations

from editing.lazy import torch


def leak_matrix(keys_to: torch.Tensor, keys_at: torch.Tensor, solved_at: torch.Tensor) -> torch.Tensor:
    """(n_to, n_at): leak(k', k) = k'^T C^-1 k / (k^T C^-1 k), the share of a rank-one edit at key k that input k'
    receives.

    The edit is W + v u^T with u = C^-1 k / (k^T C^-1 k), as in Meng et al. 2022 (ROME), equation 2: an input k' is
    moved by v (u . k').

    Args:
        keys_to: (n_to, d). keys_at: (n_at, d). solved_at: (d, n_at) float64, C^-1 of `keys_at`.
    """
    solved = solved_at.double()
    return (keys_to.double() @ solved) / (keys_at.double() * solved.T).sum(1)


def key_contrast(
    leak: torch.Tensor, partner: torch.Tensor, siblings: list[tuple[int, ...]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) leak to the partner, and (n,) mean leak to the siblings' names; C_key is their difference.

    Args:
        leak: (n, n), leak[j, i] to name j in the other language from an edit at name i.
        siblings: per concept the others of its type; the partner itself is left out. NaN where none is left.
    """
    places = torch.arange(leak.shape[1])
    own = leak[partner, places]
    others = []
    for i, kin in enumerate(siblings):
        rest = [s for s in kin if s != int(partner[i])]
        others.append(leak[rest, i].mean() if rest else torch.tensor(float("nan"), dtype=leak.dtype))
    return own, torch.stack(others)


def centred_cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n_a, n_b) cosines after each side's mean is taken off (raw ones are near 1 for any two states of one layer)."""
    a, b = a.double() - a.double().mean(0), b.double() - b.double().mean(0)
    unit = torch.nn.functional.normalize
    return unit(a, dim=1) @ unit(b, dim=1).T


def mutual_neighbours(cosines: torch.Tensor, partner: torch.Tensor) -> torch.Tensor:
    """(n,) C_align: whether concept and partner are each other's nearest neighbour, chance-corrected.

    g = (hit - c) / (1 - c) with chance c = 1 / (2n - 1): among n x n exchangeable similarities an entry is the largest
    of its row and its column, 2n - 1 entries, with that probability. 1 is a hit; an average of 0 is chance. A tie for
    the first place is no hit, so that states which are all alike are not aligned.
    """
    n = len(cosines)
    places = torch.arange(n)
    own = cosines[places, partner]
    row, column = cosines[places], cosines[:, partner].T
    best = ((row >= own[:, None]).sum(1) == 1) & ((column >= own[:, None]).sum(1) == 1)
    chance = 1 / (2 * n - 1)
    return (best.double() - chance) / (1 - chance)


def rank_alignment(cosines: torch.Tensor, partner: torch.Tensor) -> torch.Tensor:
    """(n,) how near the partner ranks, the mean over both directions: 1 nearest, 0 chance, -1 farthest; ties share a
    rank."""
    n = len(cosines)
    places = torch.arange(n)
    own = cosines[places, partner][:, None]

    def score(all_of: torch.Tensor) -> torch.Tensor:
        above, alike = (all_of > own).sum(1), (all_of == own).sum(1) - 1
        return 1 - 2 * (above + alike / 2) / (n - 1)

    return (score(cosines) + score(cosines[:, partner].T)).double() / 2


def direction_cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """`centred_cosines`, NaN where a vector is zero: what nothing reads any more (the last block, before its token) has
    none."""
    cosines = centred_cosines(a, b)
    cosines[(a == 0).all(1)] = float("nan")
    cosines[:, (b == 0).all(1)] = float("nan")
    return cosines


def partner_cosines(cosines: torch.Tensor, partner: torch.Tensor) -> torch.Tensor:
    """(n,) C_dir: cosine of the concept's vector in one language and the partner's in the other, in [-1, 1]."""
    return cosines[torch.arange(len(cosines)), partner]
