"""A local folder in the layout of transformers (config.json, safetensors, tokenizer): checked before it is loaded.

A cut download, pickled weights and code that came with a model are refused here in milliseconds and in one line,
instead of deep inside a loader, after minutes, or silently (transformers fills missing weights with random numbers).
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from editing.errors import BadModel

CARD = "card.json"  # of a model trained by this project: its recipe and the hash of its weights
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_DTYPE_BITS = {"BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8} | {
    f"{kind}{bits}": bits for kind in ("F", "BF", "I", "U", "C") for bits in (4, 8, 16, 32, 64)
}


def check_folder(label: str, folder: Path, fix: str = "fetch it again") -> None:
    """Refuses what must not or cannot be loaded.

    Args:
        label: the reference, which begins every message.
        folder: to look at.
        fix: what to do about a missing or damaged file.

    Raises:
        BadModel: no config.json, code that would be run (`auto_map`), pickled weights only, a missing or cut file.
    """
    if not folder.is_dir():
        raise BadModel(f"{label}: no such folder; give the folder that holds config.json and *.safetensors")
    config = folder / "config.json"
    if not config.is_file():
        raise BadModel(f"{label}: no config.json in it; give the folder that holds config.json and *.safetensors")
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in _json(label, folder / name, fix):
            raise BadModel(
                f"{label}: {name} asks to run code that came with the model (auto_map), which is never done; "
                "choose a model whose architecture transformers has itself"
            )
    if "model_type" not in _json(label, config, fix):
        raise BadModel(f"{label}: config.json names no model_type; give a folder written by save_pretrained")
    for path in weight_files(label, folder, fix):
        check_safetensors(label, path, fix)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise BadModel(f"{label}: no tokenizer in it; save one beside the weights (tokenizer.save_pretrained)")


def weight_files(label: str, folder: Path, fix: str = "fetch it again") -> tuple[Path, ...]:
    """The safetensors files transformers would read: the single one, or the shards its index lists.

    Raises:
        BadModel: none, pickled ones only, a shard missing.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return (single,)
    if index.is_file():
        shards = _json(label, index, fix).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise BadModel(f"{label}: {index.name} has no weight_map; {fix}")
        names = sorted({str(name) for name in shards.values()})
        missing = [name for name in names if "/" in name or not (folder / name).is_file()]
        if missing:
            raise BadModel(f"{label}: {len(missing)} of {len(names)} weight files missing, {missing[0]} first; {fix}")
        return tuple(folder / name for name in names)
    if single.is_symlink() or index.is_symlink():
        raise BadModel(f"{label}: its weights are a link to a file that is gone; {fix}")
    if pickled := [path.name for pattern in _PICKLES for path in sorted(folder.glob(pattern))]:
        raise BadModel(
            f"{label}: only pickled weights ({pickled[0]}), which can run code and are never loaded; "
            "use a safetensors version of the model"
        )
    if ggufs := sorted(folder.glob("*.gguf")):
        raise BadModel(f"{label}: no safetensors in it, but a GGUF file; write gguf:{ggufs[0]}")
    raise BadModel(f"{label}: no model.safetensors in it; {fix}")


def check_safetensors(label: str, path: Path, fix: str = "fetch it again") -> None:
    """Holds the header of a safetensors file against its length: offsets without gaps, up to the last byte.

    Raises:
        BadModel: not a safetensors file, damaged header, or cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(size - 8, 100_000_000):
            raise BadModel(f"{label}: {path.name} is not a safetensors file, or cut short ({size} bytes); {fix}")
        raw = file.read(length)
    try:
        tensors = {k: v for k, v in json.loads(raw).items() if k != "__metadata__"}
        spans = sorted((*map(int, t["data_offsets"]), _bytes(t)) for t in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel(f"{label}: the header of {path.name} is damaged; {fix}") from error
    at = 0
    for begin, end, needed in spans:
        if begin != at or end - begin != needed:
            raise BadModel(f"{label}: the header of {path.name} is damaged; {fix}")
        at = end
    if size != 8 + length + at or not spans:
        raise BadModel(f"{label}: {path.name} has {size} bytes instead of {8 + length + at}; {fix}")


def _bytes(tensor: dict[str, Any]) -> int:
    count = 1
    for length in tensor["shape"]:
        count *= int(length)
    kind = str(tensor["dtype"])
    return count * (_DTYPE_BITS.get(kind) or _DTYPE_BITS[kind.split("_")[0]]) // 8


def _json(label: str, path: Path, fix: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(f"{label}: {path.name} is not readable JSON; {fix}") from error
    if not isinstance(value, dict):
        raise BadModel(f"{label}: {path.name} is not a JSON object; {fix}")
    return value


def check_card(label: str, folder: Path) -> None:
    """Compare the weights of a model trained by this project with the hash on its card: one flipped bit is another
    model.

    A folder without a card, or a card without a hash, passes.

    Raises:
        BadModel: the weights differ from the card, or the card is not JSON.
    """
    card = folder / CARD
    if not card.is_file():
        return
    try:
        stated = json.loads(card.read_text(encoding="utf-8")).get("weights")
    except (OSError, ValueError, AttributeError) as error:
        raise BadModel(
            f"{card}: not readable as JSON ({type(error).__name__}); delete {folder} and run again"
        ) from error
    if stated and sha256_of(folder / "model.safetensors") != stated:
        raise BadModel(
            f"{label}: model.safetensors is damaged (sha256 differs from its card); delete {folder} and run again"
        )


def sha256_of(*paths: Path) -> str:
    """Hex digest of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
