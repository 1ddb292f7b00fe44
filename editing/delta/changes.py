"""The kinds of change an edit can make to one module, each able to run many different edits in one batch.

Low-rank and dense changes belong to a weight ("PATH.weight") and have a weight form; a shift, a token shift, an affine
change and a codebook belong to a module's output ("PATH.output") and exist as hooks only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from editing.delta.codebook import Codebook
from editing.errors import BadRequest
from editing.lazy import torch
from editing.model import device_of, true_tensor


@dataclass(frozen=True, eq=False)
class LowRank:
    """dW = left @ right.T in the convention y = W k: left (d_out, r), right (d_in, r), float32."""

    left: torch.Tensor
    right: torch.Tensor

    def __post_init__(self) -> None:
        if self.left.ndim != 2 or self.right.ndim != 2 or self.left.shape[1] != self.right.shape[1]:
            raise ValueError(
                f"factors of shapes {tuple(self.left.shape)} and {tuple(self.right.shape)} do not multiply"
            )

    @property
    def rank(self) -> int:
        return self.left.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[0]

    def dense(self) -> torch.Tensor:
        """(d_out, d_in)."""
        return self.left @ self.right.T

    def norm(self) -> float:
        """Frobenius norm, without forming the product."""
        left, right = self.left.double(), self.right.double()
        return float(((left.T @ left) * (right.T @ right)).sum().clamp(min=0).sqrt())

    def scaled(self, factor: float) -> LowRank:
        return LowRank(self.left * factor, self.right)


@dataclass(frozen=True, eq=False)
class Dense:
    """dW itself: matrix (d_out, d_in) float32, for methods that change a weight everywhere (fine-tuning)."""

    matrix: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def dense(self) -> torch.Tensor:
        return self.matrix

    def norm(self) -> float:
        return float(self.matrix.double().norm())

    def scaled(self, factor: float) -> Dense:
        return Dense(self.matrix * factor)


@dataclass(frozen=True, eq=False)
class Shift:
    """A vector (d_out,) added to a module's output at every position: activation steering."""

    vector: torch.Tensor

    def norm(self) -> float:
        return float(self.vector.double().norm())

    def scaled(self, factor: float) -> Shift:
        return Shift(self.vector * factor)


@dataclass(frozen=True, eq=False)
class TokenShift:
    """Vectors (n, d_out) added to an embedding's output at the tokens `ids` (n,) long: a row edit without the tied
    head.
    """

    ids: torch.Tensor
    vectors: torch.Tensor

    def norm(self) -> float:
        return float(self.vectors.double().norm())

    def scaled(self, factor: float) -> TokenShift:
        return TokenShift(self.ids, self.vectors * factor)


@dataclass(frozen=True, eq=False)
class Affine:
    """left (right^T x) + offset added to a module's output x at every position.

    left, right are (d_out, r), offset is (d_out,), all float32.
    A projection onto the complement of some directions, about a centre, has this form.
    """

    left: torch.Tensor
    right: torch.Tensor
    offset: torch.Tensor

    def norm(self) -> float:
        """Frobenius norm of the linear part."""
        return LowRank(self.left, self.right).norm()

    def scaled(self, factor: float) -> Affine:
        return Affine(self.left * factor, self.right, self.offset * factor)

    def then(self, later: Affine) -> Affine:
        """This change of x and `later` of what it gives, as one change of x."""
        right = later.right + self.right @ (self.left.T @ later.right)
        offset = self.offset + later.offset + later.left @ (later.right.T @ self.offset)
        return Affine(torch.cat([self.left, later.left], 1), torch.cat([self.right, right], 1), offset)

    def of(self, out: torch.Tensor) -> torch.Tensor:
        """What is added to `out` (..., d_out), in float32."""
        left, right, offset = (t.to(out.device) for t in (self.left, self.right, self.offset))
        return (out.float() @ right) @ left.T + offset


WeightChange: TypeAlias = LowRank | Dense
Change: TypeAlias = LowRank | Dense | Shift | TokenShift | Affine | Codebook


C = TypeVar("C", bound="Change")


def moved(change: C, device: torch.device) -> C:
    """The same change with its tensors on `device`."""
    return type(change)(*(tensor.to(device) for tensor in vars(change).values()))


def add_changes(one: Change, two: Change, place: str = "changes") -> Change:
    """The sum of two changes of `place`: ranks of low-rank changes add up, entries of codebooks settle.

    Raises:
        BadRequest: kinds that have no sum, such as a codebook, which replaces an output, and a vector added to it.
    """
    if isinstance(one, LowRank) and isinstance(two, LowRank):
        return LowRank(torch.cat([one.left, two.left], 1), torch.cat([one.right, two.right], 1))
    if isinstance(one, LowRank | Dense) and isinstance(two, LowRank | Dense):
        return Dense(one.dense() + two.dense())
    if isinstance(one, Shift) and isinstance(two, Shift):
        return Shift(one.vector + two.vector)
    if isinstance(one, Shift | Affine) and isinstance(two, Shift | Affine):
        one, two = _affine(one), _affine(two)
        left, right = (torch.cat(pair, 1) for pair in ((one.left, two.left), (one.right, two.right)))
        return Affine(left, right, one.offset + two.offset)
    if isinstance(one, TokenShift) and isinstance(two, TokenShift):
        return TokenShift(torch.cat([one.ids, two.ids]), torch.cat([one.vectors, two.vectors]))
    if isinstance(one, Codebook) and isinstance(two, Codebook):
        return one.joined(two)
    kinds = f"{type(one).__name__} and {type(two).__name__}"
    raise BadRequest(f"{place}: {kinds} of one place do not add up; make one of the edits at another place")


def _affine(change: Shift | Affine) -> Affine:
    """The change as an affine one; a vector has no linear part."""
    if isinstance(change, Affine):
        return change
    none = change.vector.new_zeros(len(change.vector), 0)
    return Affine(none, none, change.vector)


def chained(earlier: Mapping[str, Change], later: Mapping[str, Change]) -> dict[str, Change]:
    """Changes by place, with those that were found where `earlier` was there already: sums, but an affine one changes
    what the earlier one gives."""
    together = dict(earlier)
    for name, change in later.items():
        one = earlier.get(name)
        if isinstance(one, Shift | Affine) and isinstance(change, Affine):
            together[name] = _affine(one).then(change)
        else:
            together[name] = change if one is None else add_changes(one, change, name)
    return together


class ChangeHook:
    """A forward hook under which sequence i of a batch of len(index) runs with `changes[index[i]]`; -1 means none."""

    def __init__(
        self, module: torch.nn.Module, changes: Sequence[Change | None], index: torch.Tensor, grouped: bool = False
    ) -> None:
        self.module, self.changes, self.index = module, changes, index
        present = [(n, c) for n, c in enumerate(changes) if c is not None]
        # Few, wide products for heads and embeddings: a factor of the vocabulary's length is not copied for every
        # sequence.
        batched = not grouped and not isinstance(module, torch.nn.Embedding)
        self._run: Callable[[tuple, torch.Tensor], torch.Tensor]
        if batched and all(isinstance(c, LowRank) for _, c in present):
            self._run = _low_rank(changes, self.index)  # pyright: ignore[reportArgumentType]
        else:
            groups = [(torch.nonzero(self.index == n).flatten(), c) for n, c in present]
            self._run = _grouped(module, [(rows, c) for rows, c in groups if len(rows)], len(index))

    def for_rows(self, rows: torch.Tensor) -> ChangeHook:
        """The same for a module that sees single states, state j of sequence rows[j] (a head behind a gather)."""
        return ChangeHook(self.module, self.changes, self.index[rows.to(self.index.device)], grouped=True)

    def __call__(self, module: torch.nn.Module, args: tuple, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self._run(args, output[0]), *output[1:])
        return self._run(args, output)


def _grouped(module: torch.nn.Module, groups: list[tuple[torch.Tensor, Change]], size: int):
    """Changes of any kind, one after another, each on its own sequences."""

    on_device: list[tuple[torch.Tensor, Change]] = []  # filled by the first call

    def run(args: tuple, output: torch.Tensor) -> torch.Tensor:
        out = output.reshape(size, -1, output.shape[-1]).clone()
        if not on_device:
            on_device.extend((rows.to(out.device), moved(change, out.device)) for rows, change in groups)
        for rows, change in on_device:
            if isinstance(change, Shift):  # reads no input, which a block may get as a keyword
                out[rows] += change.vector.to(out.device, out.dtype)
            elif isinstance(change, Affine):
                out[rows] += change.of(out[rows]).to(out.dtype)
            else:
                width = [] if isinstance(module, torch.nn.Embedding) else [-1]
                read = args[0].reshape(*out.shape[:2], *width).to(out.device)[rows]
                out[rows] = _changed(module, change, read, out[rows])
        return out.reshape(output.shape)

    return run


def _changed(
    module: torch.nn.Module, change: LowRank | Dense | TokenShift | Codebook, key: torch.Tensor, out: torch.Tensor
) -> torch.Tensor:
    """`out` (b, T, d_out) of a module that read `key`: states (b, T, d_in), or token ids (b, T)."""
    if isinstance(change, Codebook):
        keys = change.keys.to(key.device)[None].expand(len(key), -1, -1)
        # by products, torch's way with more than 25 rows, near keys lose their distance in the rounding of their length
        distance = torch.cdist(key.float(), keys, compute_mode="donot_use_mm_for_euclid_dist")
        near, which = distance.min(-1)
        inside = near <= change.radius.to(key.device)[which]
        return torch.where(inside[..., None], change.values.to(out.device, out.dtype)[which], out)
    if isinstance(change, TokenShift):
        same = (key[..., None] == change.ids.to(key.device)).to(out.dtype)
        return out + same @ change.vectors.to(out.device, out.dtype)
    if isinstance(module, torch.nn.Embedding):
        scale = embedding_scale(module)
        if isinstance(change, LowRank):
            left, right = (t.to(out.device, out.dtype) for t in (change.left, change.right))
            return out + scale * (left[key] @ right.T)
        return out + scale * change.matrix.to(out.device, out.dtype)[key]
    if isinstance(change, LowRank):
        return out + (key @ change.right.to(key.device, key.dtype)) @ change.left.to(key.device, key.dtype).T
    return out + key @ change.matrix.to(key.device, key.dtype).T


def embedding_scale(module: torch.nn.Embedding) -> float:
    """What an embedding multiplies its rows by: 1, or the square root of the width in some families (Gemma 3)."""
    ids = torch.arange(min(8, module.num_embeddings), device=device_of(module))
    with torch.no_grad():
        out = module.forward(ids).double()  # not a call: hooks that change the output stay out of it
    rows = true_tensor(module, "weight")[: len(ids)].to(out.device).double()
    scale = float((out * rows).sum() / (rows * rows).sum().clamp(min=1e-30))
    return 1.0 if abs(scale - 1) < 1e-6 else scale


def _low_rank(changes: Sequence[LowRank | None], index: torch.Tensor):
    """All low-rank changes of a batch as two batched products, on the device of the module's output."""
    example = next(c for c in changes if c is not None)
    rank = max(c.rank for c in changes if c is not None)
    # one zero entry at the end serves index -1
    left = torch.zeros(len(changes) + 1, example.shape[0], rank)
    right = torch.zeros(len(changes) + 1, example.shape[1], rank)
    for n, change in enumerate(changes):
        if change is not None:
            left[n, :, : change.rank], right[n, :, : change.rank] = change.left, change.right
    on_device: list[torch.Tensor] = []  # filled by the first call

    def run(args: tuple, output: torch.Tensor) -> torch.Tensor:
        if not on_device:
            on_device.extend(t.to(output.device, output.dtype)[index.to(output.device)] for t in (left, right))
        left_BOr, right_BIr = on_device
        key_BTI = args[0].reshape(len(index), -1, args[0].shape[-1]).to(output.device)
        return output + torch.bmm(torch.bmm(key_BTI, right_BIr), left_BOr.mT).reshape(output.shape)

    return run
