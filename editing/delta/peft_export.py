"""A Delta as a PEFT adapter: the edit for plain transformers + peft and what is built on them (lm-evaluation-harness).

A low-rank change of a linear map is exactly a LoRA: dW = B A with B = left, A = right^T, r = lora_alpha. A change of
embedding rows becomes trainable tokens, which hold the new rows themselves. A change of a tied head alone is a LoRA of
the head, whose weight stays shared: exact while it is an adapter, but merged by peft it would reach the embedding.
Changes made by hooks, and contexts, have no such form.

    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(MODEL), FOLDER)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from editing.delta.changes import Change, Dense, LowRank, TokenShift, embedding_scale
from editing.delta.delta import Delta, check_delta, own_memory
from editing.errors import BadData, BadModel, BadRequest
from editing.files import atomic_file
from editing.lazy import nn, tensor_files, torch
from editing.model import LanguageModel, embedding_path, expert_at, linear_shape, path_of, paths_of_weight, tied_head

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
HEAD = "base_model.model."
# Trainable tokens put whole rows into a file; with more than this the change is no row edit.
MOST_ROWS = 4096
SAME = 1e-5  # relative size of what is left of a change that is taken back


@dataclass(frozen=True)
class Exported:
    """The files written.

    Attributes:
        folder: holds the two files of an adapter.
        ranks: rank of every changed linear map.
        errors: ||dW - B A|| / ||dW|| of the maps whose dense change was truncated; the others are exact.
        rows: changed rows of every embedding.
        dose: of the edit, as a line, which is also in the metadata of the tensors; empty where it is unknown.
    """

    folder: Path
    ranks: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dose: str = ""


def export_peft(
    delta: Delta, lm: LanguageModel, folder: str | Path, *, tolerance: float = 1e-3, max_rank: int | None = None
) -> Exported:
    """Write `delta`, an edit of the unedited `lm`, as a PEFT adapter.

    Args:
        tolerance: largest relative Frobenius error of a dense change's truncated SVD; 0 keeps every singular value.
        max_rank: largest rank for a dense change; None means the one that the tolerance needs.

    Raises:
        BadRequest: no Delta; one with a part without an adapter form, or a dense one that needs a higher rank.
        BadModel: the delta was computed on another model, or does not fit this one.
        BadData: the folder holds other files, or cannot be written.
    """
    check_delta(delta)
    folder = _checked_folder(Path(folder))
    delta.check_fits(lm)
    if delta.context:
        raise BadRequest("this edit is a text before the prompt, not a change of weights; no adapter can hold it")
    loras: dict[str, LowRank] = {}
    rows: dict[str, dict[int, torch.Tensor]] = {}
    errors: dict[str, float] = {}
    head = _head_alone(delta, lm)
    for name, change in delta.factors.items():
        if name in head:
            if isinstance(change, LowRank):
                loras[path_of(lm.module, lm.module.get_output_embeddings())] = change
            continue
        path = name.rpartition(".")[0]
        if expert_at(lm.module, path):
            raise BadRequest(f"{name}: one of a block's routed experts, a slice of a parameter; use `export merged`")
        module = lm.module.get_submodule(name.rpartition(".")[0])
        if isinstance(module, nn.Embedding):
            if path in rows:
                raise BadRequest(f"{name}: two kinds of change of one embedding; write both with `export merged`")
            if changed := _rows(lm, name, module, change):  # none at dose 0
                rows[path] = changed
            continue
        change = _weight_change(lm, name, module, change)
        if isinstance(change, Dense):
            change, errors[name] = truncated(name, change, tolerance, max_rank)
        loras[path] = change
    if not loras and not rows:
        raise BadRequest("this edit changes nothing; there is no adapter to write")
    _refuse_other_embeddings(lm, loras, rows)
    _write(folder, _tensors(lm, loras, rows), _config(lm, loras, rows), dose_of(delta))
    ids = {path: tuple(sorted(table)) for path, table in rows.items()}
    return Exported(folder, {path: c.rank for path, c in loras.items()}, errors, ids, dose_of(delta))


def _head_alone(delta: Delta, lm: LanguageModel) -> tuple[str, ...]:
    """The names of two changes that are together one of the tied head alone: of rows of the shared weight, and of what
    is read of them, back to what it was. Empty where there are none."""
    if not tied_head(lm.module):
        return ()
    table, path = lm.module.get_input_embeddings(), embedding_path(lm.module)
    names = f"{path}.weight", f"{path}.output"
    rows, shift = (delta.factors.get(name) for name in names)
    if not isinstance(rows, LowRank) or not isinstance(shift, TokenShift):
        return ()
    read = rows.dense().index_add(0, shift.ids, shift.vectors / embedding_scale(table))
    return names if float(read.norm()) <= SAME * rows.norm() else ()


def _checked_folder(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise BadData(f"{folder}: is a file; name a folder for the adapter")
    if folder.is_dir() and {p.name for p in folder.iterdir()} - {CONFIG, TENSORS, "README.md"}:
        raise BadData(f"{folder}: holds other files than an adapter; name an empty or new folder")
    return folder


def _weight_change(lm: LanguageModel, name: str, module: nn.Module, change: Change) -> LowRank | Dense:
    """`change`, if LoRA factors of this linear map can hold it.

    Raises:
        BadRequest, BadModel: they cannot.
    """
    shape = linear_shape(module)
    if shape is None or not isinstance(change, LowRank | Dense):
        raise BadRequest(f"{name}: {type(change).__name__} is not a change of weights; no adapter can hold it")
    if change.shape != (shape[1], shape[0]):
        raise BadModel(f"{name}: a change of shape {change.shape} does not fit; this delta is for another model")
    if len(_sharing(lm, module)) > 1:
        raise BadRequest(f"{name}: shares its weight with another module, which PEFT's LoRA would leave unchanged")
    return change


def _refuse_other_embeddings(
    lm: LanguageModel, loras: dict[str, LowRank], rows: dict[str, dict[int, torch.Tensor]]
) -> None:
    """PEFT takes rows of one embedding; without LoRA factors beside them it must be the input embedding."""
    inputs = lm.module.get_input_embeddings()
    other = not loras and any(lm.module.get_submodule(path) is not inputs for path in rows)
    if len(rows) > 1 or other:
        raise BadRequest(f"{', '.join(rows)}: PEFT's trainable tokens take the rows of one input embedding only")


def dose_of(delta: Delta) -> str:
    """The dose of a change and how it was chosen, as its provenance has them; empty where it has none."""
    choice = delta.provenance.get("dose_choice")
    if choice:
        return str(choice["line"])
    return f"dose {delta.provenance['dose']:g}" if "dose" in delta.provenance else ""


def _write(folder: Path, tensors: dict[str, torch.Tensor], config: dict, dose: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / TENSORS) as file:
        tensor_files.save_file(own_memory(tensors), file, metadata={"format": "pt"} | ({"dose": dose} if dose else {}))
    with atomic_file(folder / CONFIG) as file:
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def truncated(name: str, change: Dense, tolerance: float, max_rank: int | None) -> tuple[LowRank, float]:
    """The best change of lowest rank within `tolerance` of a dense one, and its relative Frobenius error.

    Raises:
        BadRequest: that rank is above `max_rank`, or the change holds what is no number.
    """
    if not bool(torch.isfinite(change.matrix).all()):
        raise BadRequest(f"{name}: this change holds infinite numbers or NaN; make the edit again with a lower rate")
    left, values, right = torch.linalg.svd(change.matrix.double(), full_matrices=False)
    # left_out[r]: norm of what rank r leaves out
    left_out = torch.cat([values.square().flip(0).cumsum(0).flip(0).sqrt(), values.new_zeros(1)])
    whole = float(left_out[0])
    rank = max(1, int(torch.nonzero(left_out <= tolerance * whole)[0])) if whole else 1
    if max_rank is not None and rank > max_rank:
        error = float(left_out[max_rank]) / whole
        raise BadRequest(
            f"{name}: rank {max_rank} misses {error:.1%} of this dense change, {tolerance:.1%} takes rank {rank};"
            " raise max_rank or tolerance"
        )
    factors = LowRank((left[:, :rank] * values[:rank]).float().contiguous(), right[:rank].T.float().contiguous())
    return factors, float(left_out[rank]) / whole if whole else 0.0


def _sharing(lm: LanguageModel, module: nn.Module) -> list[str]:
    """Paths of the modules with this module's weight."""
    return paths_of_weight(lm.module, f"{path_of(lm.module, module)}.weight")


def _rows(lm: LanguageModel, name: str, module: nn.Embedding, change: object) -> dict[int, torch.Tensor]:
    """Token id -> new row of the table."""
    if isinstance(change, TokenShift):
        if len(_sharing(lm, module)) > 1:
            raise BadRequest(
                f"{name}: this edit spares the tied head, which PEFT's trainable tokens cannot; use `export merged`"
            )
        ids, inverse = change.ids.unique(return_inverse=True)
        shifts = torch.zeros(len(ids), module.embedding_dim).index_add_(0, inverse, change.vectors)
        moves = dict(zip(ids.tolist(), shifts / embedding_scale(module), strict=True))
    elif isinstance(change, LowRank | Dense):
        if change.shape != tuple(module.weight.shape):
            raise BadModel(f"{name}: a change of shape {change.shape} does not fit; this delta is for another model")
        factor = change.left if isinstance(change, LowRank) else change.matrix
        ids = torch.nonzero(factor.abs().amax(1)).flatten()
        if len(ids) > MOST_ROWS:
            raise BadRequest(f"{name}: changes {len(ids)} rows of the embedding; an adapter takes {MOST_ROWS}")
        shifts = factor[ids] @ change.right.T if isinstance(change, LowRank) else change.matrix[ids]
        moves = dict(zip(ids.tolist(), shifts, strict=True))
    else:
        raise BadRequest(f"{name}: {type(change).__name__} is not a change of weights; no adapter can hold it")
    weight = lm.values(name.rpartition(".")[0] + ".weight")
    return {i: (weight[i].float().cpu() + move).to(weight.dtype) for i, move in moves.items()}


def _tensors(
    lm: LanguageModel, loras: dict[str, LowRank], rows: dict[str, dict[int, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path, change in loras.items():
        tensors[f"{HEAD}{path}.lora_A.weight"] = change.right.T.contiguous().cpu()
        tensors[f"{HEAD}{path}.lora_B.weight"] = change.left.contiguous().cpu()
    for path, new_rows in rows.items():
        table = torch.stack([new_rows[i] for i in sorted(new_rows)])
        if loras:
            tensors[f"{HEAD}{path}.token_adapter.trainable_tokens_delta"] = table
        else:  # a tied head is named beside its embedding
            for shared in _sharing(lm, lm.module.get_submodule(path)):
                tensors[f"{HEAD}{shared}.trainable_tokens_delta"] = table.clone()
    return tensors


def _config(lm: LanguageModel, loras: dict[str, LowRank], rows: dict[str, dict[int, torch.Tensor]]) -> dict:
    shared = {"task_type": "CAUSAL_LM", "base_model_name_or_path": lm.source or lm.name, "inference_mode": True}
    tokens = {path: sorted(new_rows) for path, new_rows in rows.items()}
    if not loras:
        ((path, ids),) = tokens.items()
        return shared | {"peft_type": "TRAINABLE_TOKENS", "target_modules": [path], "token_indices": ids}
    ranks = {path: change.rank for path, change in loras.items()}
    highest = max(ranks.values())
    transposed = {bool(shape[2]) for p in loras if (shape := linear_shape(lm.module.get_submodule(p)))}
    return shared | {
        "peft_type": "LORA",
        "r": highest,
        "lora_alpha": highest,
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": sorted(loras),
        "fan_in_fan_out": True in transposed,
        "trainable_token_indices": tokens or None,
        "lora_dropout": 0.0,
        "bias": "none",
    }
