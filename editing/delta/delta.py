"""What an edit does to a model: changes of named places, applied, reverted bit for bit, batched, composed and saved."""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from editing.delta.changes import Affine, Change, ChangeHook, Dense, LowRank, Shift, TokenShift, add_changes, moved
from editing.delta.codebook import Codebook
from editing.delta.rounding import Lost, stochastic
from editing.errors import BadData, BadModel, BadRequest
from editing.files import atomic_file
from editing.lazy import tensor_files, torch
from editing.model import Hook, LanguageModel, attached, check_model, expert_at, linear_shape, paths_of_weight
from editing.seeds import seed_for

FORMAT = 1
TENSORS, RECORD = "delta.safetensors", "delta.json"
# The tensors of each kind of change, in the order of its fields.
PARTS: dict[type, tuple[str, ...]] = {
    LowRank: ("left", "right"),
    Dense: ("matrix",),
    Shift: ("vector",),
    TokenShift: ("ids", "vectors"),
    Affine: ("left", "right", "offset"),
    Codebook: ("keys", "values", "radius", "labels"),
}


@dataclass(frozen=True, eq=False, repr=False)
class Delta:
    """A change of a model.

    Attributes:
        factors: "PATH.weight" -> LowRank or Dense, "PATH.output" -> Shift, TokenShift, Affine or Codebook.
        provenance: what made it, JSON-serialisable.
        context: a text put before every prompt (in-context editing); empty for edits of the model itself.
    """

    factors: Mapping[str, Change]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    context: str = ""

    def __repr__(self) -> str:
        method, requests = self.provenance.get("method"), self.provenance.get("requests")
        parts = [str(method)] if method else []
        if requests:
            parts.append(f"{len(requests)} request{'' if len(requests) == 1 else 's'}")
        kinds = Counter(type(change).__name__ for change in self.factors.values())
        parts += [f"{count} {kind}" for kind, count in kinds.items()]
        if self.factors:
            first, *_, last = *self.weights, self.weights[-1]
            parts.append(f"at {first}" if first == last else f"at {first} ... {last}")
        if self.factors and Dense not in map(type, self.factors.values()):
            parts.append(f"norm {sum(change.norm() ** 2 for change in self.factors.values()) ** 0.5:.3g}")
        if self.context:
            parts.append(f"context {textwrap.shorten(self.context, 60)!r}")
        if choice := self.provenance.get("dose_choice"):
            parts.append(choice["line"])
        return f"Delta({', '.join(parts) or 'no change'})"

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the changed places."""
        return tuple(self.factors)

    def check_fits(self, lm: LanguageModel) -> None:
        """Check that this change was computed on `lm`, by the hash of the weights where its provenance has one.

        Raises:
            BadModel: it was computed on other weights, or the model has none of its places.
        """
        check_model(lm)
        weights = self.provenance.get("model_hash")
        if weights is not None and weights != lm.weight_hash:
            raise BadModel(
                f"{lm.name}: this delta was computed on another model (weights {weights[:12]}, "
                f"here {lm.weight_hash[:12]}); load that model, or use `Delta(delta.factors)` to apply it here anyway"
            )
        for name in self.factors:
            try:
                lm.submodule(name.rpartition(".")[0])
            except (AttributeError, IndexError):
                raise BadModel(
                    f"{lm.name}: has no {name}, so this delta was computed on another model; load that one"
                ) from None

    @contextmanager
    def applied(self, lm: LanguageModel, seed: int | None = None) -> Iterator[LanguageModel]:
        """The model with this change in its weights (shifts and codebooks as hooks), for the length of a `with` block.

        With a `seed`, 16-bit weights are rounded stochastically (editing/delta/rounding.py), else to the nearest.

        On the way out, also by an exception or an interrupt, every touched weight has its old bits again.

        Raises:
            BadModel: the change belongs to another model, or changes weights that are offloaded.
            UserError: a change applied inside this one is not left yet.
        """
        self.check_fits(lm)
        changes = {n: c for n, c in self.factors.items() if isinstance(c, LowRank | Dense)}
        if changes:
            lm.refuse_offloaded()
        outputs = [(n, c) for n, c in self.factors.items() if n not in changes]
        with lm.writing() as weights:
            for name, change in changes.items():
                weight = lm.weight(name)
                values = weight.float() + oriented(lm, name, moved(change, weight.device))
                rounds = seed is not None and weight.dtype in (torch.bfloat16, torch.float16)
                weights.write(name, stochastic(values, weight.dtype, seed_for(seed or 0, name)) if rounds else values)
            with attached(lm, [_single_hook(lm, n, c) for n, c in outputs]):
                yield lm

    def lost(self, lm: LanguageModel, seed: int | None = None) -> Lost | None:
        """What rounding to the format of the weights takes from this change; None where no 16-bit weight is changed.

        Args:
            seed: of stochastic rounding; None rounds to the nearest.
        """
        missing = whole = 0.0
        same = changed = 0
        for name, change in self.factors.items():
            if not isinstance(change, LowRank | Dense) or lm.values(name).dtype not in (torch.bfloat16, torch.float16):
                continue
            weight = lm.values(name)
            step = oriented(lm, name, moved(change, weight.device))
            values = weight.float() + step
            rounded = (
                values.to(weight.dtype) if seed is None else stochastic(values, weight.dtype, seed_for(seed, name))
            )
            made = rounded.float() - weight.float()
            missing += float((made - step).double().square().sum())
            whole += float(step.double().square().sum())
            same += int(((made == 0) & (step != 0)).sum())
            changed += int((step != 0).sum())
        return Lost(same / changed, (missing / whole) ** 0.5) if changed else None

    def relative_norm(self, lm: LanguageModel) -> float:
        """Frobenius norm of the weight changes over that of the weights they change; 0 without weight changes."""
        inside = {n: c for n, c in self.factors.items() if isinstance(c, LowRank | Dense)}
        change = sum(c.norm() ** 2 for c in inside.values())
        weight = sum(float(lm.values(n).float().norm()) ** 2 for n in inside)
        return (change / weight) ** 0.5 if weight else 0.0

    @property
    def has_dose(self) -> bool:
        """Whether a multiple of this change means something: not of a text, a codebook, or no change."""
        return bool(self.factors) and not self.context and Codebook not in map(type, self.factors.values())

    def scaled(self, dose: float) -> Delta:
        """`dose` times this change, the same edit weaker or stronger; composing with the -1-fold undoes it.

        Raises:
            BadRequest: an edit without a dose: in context, by a codebook, or none at all; a dose that is no number.
        """
        if not self.has_dose:
            raise BadRequest(f"{self!r} has no dose: only weight changes and shifts have multiples; use it as it is")
        if not math.isfinite(dose):
            raise BadRequest(f"dose {dose}: not a finite number; give one such as 0.5")
        factors = {n: c.scaled(dose) for n, c in self.factors.items()}
        kept = {k: v for k, v in self.provenance.items() if k != "dose_choice" or dose == 1}  # of another dose then
        return Delta(factors, {**kept, "dose": dose * self.provenance.get("dose", 1.0)})

    def __rmul__(self, dose: float) -> Delta:
        """`0.5 * delta` is `delta.scaled(0.5)`."""
        return self.scaled(dose)

    def save(self, folder: str | Path) -> Path:
        """Write `delta.safetensors` into `folder`, then `delta.json` with its hash.

        Raises:
            BadRequest: not the name of a folder.
            BadData: the folder holds other files, or cannot be written.
        """
        if not isinstance(folder, (str, Path)) or not str(folder):
            raise BadRequest(f"folder {folder!r:.80}: not the name of a folder; write a text or a path")
        folder = Path(folder)
        refuse_foreign_folder(folder)
        tensors = {
            f"{name}.{part}": getattr(change, part).contiguous().cpu()
            for name, change in self.factors.items()
            for part in PARTS[type(change)]
        }
        kinds = {name: type(change).__name__ for name, change in self.factors.items()}
        with atomic_file(folder / TENSORS) as path:
            tensor_files.save_file(own_memory(tensors), path)
        digest = hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest()
        record = {
            "format": FORMAT,
            "changes": kinds,
            "context": self.context,
            "sha256": digest,
            "provenance": dict(self.provenance),
        }
        with atomic_file(folder / RECORD) as path:
            path.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Delta:
        """Read what `save` wrote.

        Raises:
            BadData: missing, damaged or of a newer format.
        """
        folder = Path(folder)
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if record["format"] > FORMAT:
                raise BadData(f"{folder}: delta of a newer format ({record['format']}); update this program")
            if hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest() != record["sha256"]:
                raise BadData(f"{folder / TENSORS}: does not fit its record (damaged or half-written); save it again")
            tensors = tensor_files.load_file(folder / TENSORS)
            types = {kind.__name__: kind for kind in PARTS}
            for name, kind in record["changes"].items():
                if kind == Codebook.__name__ and f"{name}.labels" not in tensors:  # as older versions saved it
                    tensors[f"{name}.labels"] = torch.arange(len(tensors[f"{name}.keys"]))
            factors = {
                name: types[kind](*(tensors[f"{name}.{part}"] for part in PARTS[types[kind]]))
                for name, kind in record["changes"].items()
            }
            provenance, context = record.get("provenance", {}), record.get("context", "")
            if not isinstance(provenance, dict) or not isinstance(context, str):
                raise TypeError(f"provenance {provenance!r:.40} or context {context!r:.40} of another type")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise BadData(f"{folder}: no readable delta in it ({error}); name a folder written by --save") from error
        return cls(factors, provenance, context)


def refuse_foreign_folder(folder: Path) -> None:
    """Raises BadData where `Delta.save` would write among other files."""
    if folder.exists() and not folder.is_dir():
        raise BadData(f"{folder}: is a file; name a folder for the delta")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file():
        raise BadData(f"{folder}: holds other files than a delta; name an empty or new folder")


def check_delta(value: object) -> None:
    """Raises BadRequest for what is no Delta."""
    if not isinstance(value, Delta):
        raise BadRequest(f"delta {value!r:.80}: not a Delta; give what `edit` returned, or Delta.load(FOLDER)")


def own_memory(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, copies of those that lie in the memory of an earlier one, which safetensors refuses to write."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return out


def single_edits(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of the single edits of a change, oldest first, also where a composed one was composed again. A dose
    of a composed change is one of each of its parts."""
    if "composed" not in provenance:
        return [dict(provenance)]
    parts = [part for one in provenance["composed"] for part in single_edits(one)]
    if "dose" not in provenance:
        return parts
    dose = float(provenance["dose"])
    return [part | {"dose": dose * float(part.get("dose", 1.0))} for part in parts]


def compose(deltas: Sequence[Delta]) -> Delta:
    """The sum of several changes: ranks add up, contexts are put one after another.

    Raises:
        BadRequest: changes of different models, or of one place that have no sum, such as a codebook and a vector.
    """
    factors: dict[str, Change] = {}
    for delta in deltas:
        for name, change in delta.factors.items():
            factors[name] = add_changes(factors[name], change, name) if name in factors else change
    context = " ".join(d.context for d in deltas if d.context)
    models = {str(d.provenance["model_hash"]) for d in deltas if d.provenance.get("model_hash")}
    if len(models) > 1:
        raise BadRequest(
            f"changes of {len(models)} models have no sum; compose those that were made on the same weights"
        )
    model = {"model_hash": models.pop()} if models else {}
    return Delta(factors, {"composed": [dict(d.provenance) for d in deltas], **model}, context)


def oriented(lm: LanguageModel, name: str, change: LowRank | Dense) -> torch.Tensor:
    """The change in the shape the weight is stored in."""
    module = lm.submodule(name.rpartition(".")[0])
    stored = tuple(lm.weight(name).shape)
    shape = linear_shape(module)
    if shape is None and not isinstance(module, torch.nn.Embedding):
        raise BadModel(f"{name}: not the weight of a linear map; this delta does not belong to {lm.name}")
    transposed = shape is not None and shape[2]
    if change.shape != (stored[::-1] if transposed else stored):
        raise BadModel(
            f"{name}: a change of shape {change.shape} does not fit the weight; this delta is for another model"
        )
    dense = change.dense()
    return dense.T if transposed else dense


def _modules(lm: LanguageModel, name: str) -> list[str]:
    """Paths of the modules a change acts on: the one module, or all that share its weight (embedding and tied head)."""
    path, _, what = name.rpartition(".")
    if what == "output" or expert_at(lm.module, path):
        return [path]
    return paths_of_weight(lm.module, name)


def _single_hook(lm: LanguageModel, name: str, change: Change) -> Hook:
    """A hook for whatever batch comes: every sequence gets the same change."""
    (path,) = _modules(lm, name)
    module = lm.submodule(path)

    def hook(module_: torch.nn.Module, args: tuple, output: Any) -> object:
        return ChangeHook(module, [change], torch.zeros(1, dtype=torch.long))(module_, args, output)

    return path, hook


def delta_hooks(lm: LanguageModel, deltas: Sequence[Delta], rows: Sequence[int] | torch.Tensor) -> list[Hook]:
    """Forward hooks that run sequence i of a batch under `deltas[rows[i]]`; rows[i] = -1 leaves it unedited.

    The output of an edited map gets (k @ right) @ left.T added, each sequence with its own factors, so many single
    edits are evaluated in one forward pass. A delta's `context` is not a hook; editing/eval/replies.py puts it into
    the text.

    Raises:
        BadModel: a delta was computed on another model.
    """
    for delta in deltas:
        delta.check_fits(lm)
    index = torch.as_tensor(rows, dtype=torch.long, device=lm.device)
    hooks: list[Hook] = []
    for name in dict.fromkeys(n for d in deltas for n in d.factors):
        changes = [d.factors.get(name) for d in deltas]
        for path in _modules(lm, name):
            hooks.append((path, ChangeHook(lm.submodule(path), changes, index)))
    return hooks
