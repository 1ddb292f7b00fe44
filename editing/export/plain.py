"""A change as plain numbers: tensors in safetensors, and a JSON page that says in words what to do with each of them.

For programs that nobody has written yet: nothing of this project is needed to read it.
"""

from __future__ import annotations

import json
from pathlib import Path

from editing.delta import Affine, Codebook, Delta, Dense, LowRank, Shift, TokenShift, own_memory
from editing.errors import BadData
from editing.files import atomic_file, write_whole
from editing.lazy import tensor_files, torch
from editing.model import LanguageModel, expert_at, linear_shape

TENSORS, PAGE = "change.safetensors", "change.json"
# Kind of change -> what to do with its tensors; y and k are the module's output and input, one position each.
RULES = {
    LowRank: ("weight: W += left @ right.T, where y = W k", ("left", "right")),
    Dense: ("weight: W += matrix, where y = W k", ("matrix",)),
    Shift: ("output: y += vector, at every position", ("vector",)),
    TokenShift: ("output of the embedding: y += vectors[i] at the positions of token ids[i]", ("ids", "vectors")),
    Affine: ("output: y += left @ right.T @ y + offset, at every position", ("left", "right", "offset")),
    Codebook: (
        "output: y = values[i] where keys[i] is the key nearest to k and |k - keys[i]| <= radius[i]",
        ("keys", "values", "radius"),
    ),
}


def export_plain(delta: Delta, lm: LanguageModel, folder: Path) -> Path:
    """Write `change.safetensors` and `change.json` into a new or empty folder.

    Raises:
        BadData: the folder holds other files, or cannot be written.
        BadModel: the delta was computed on another model.
    """
    if folder.exists() and (not folder.is_dir() or {p.name for p in folder.iterdir()} - {TENSORS, PAGE}):
        raise BadData(f"{folder}: holds other files; name an empty or new folder")
    delta.check_fits(lm)
    tensors: dict[str, torch.Tensor] = {}
    changes = []
    paths = [name.rpartition(".")[0] for name in delta.factors]
    for name, change in delta.factors.items():
        path = name.rpartition(".")[0]
        rule, parts = RULES[type(change)]
        key = path if paths.count(path) == 1 else name  # of a weight and of an output of one module
        for part in parts:
            tensors[f"{key}.{part}"] = getattr(change, part).contiguous().cpu()
        shape = linear_shape(lm.submodule(path))
        changes.append(
            {
                "module": path,
                "do": rule,
                "tensors": {part: f"{key}.{part}" for part in parts},
                "stored_transposed": bool(shape and shape[2]),
            }
            | _slice(lm, path)
        )
    with atomic_file(folder / TENSORS) as file:
        tensor_files.save_file(own_memory(tensors), file, metadata={"format": "pt"})
    page = {
        "model": lm.source,
        "model_hash": lm.weight_hash,
        "model_type": lm.module.config.model_type,
        "text_before_every_prompt": delta.context,
        "changes": changes,
        "made_by": dict(delta.provenance),
    }
    write_whole(folder / PAGE, json.dumps(page, indent=2, ensure_ascii=False) + "\n")
    return folder


def _slice(lm: LanguageModel, path: str) -> dict[str, object]:
    """Where the weight of a routed expert is found: an index into the first dimension of a parameter."""
    expert = expert_at(lm.module, path)
    if expert is None:
        return {}
    return {"slice_of": path.replace(f".{expert.index}.down_proj", ".down_proj"), "index": expert.index}
