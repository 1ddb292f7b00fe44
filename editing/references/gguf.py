"""GGUF files: checked before anything is loaded, converted once to float32 safetensors in the cache.

Reading a GGUF through transformers takes the better part of a minute, its safetensors copy a few seconds. The copy
lies in `CACHE/models/NAME-SHA/` (SHA: of the GGUF) and holds a manifest with size and sha256 of each file.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from editing.errors import BadData, BadModel
from editing.files import atomic_folder, locked
from editing.references.folder import sha256_of
from editing.references.quiet import quiet_transformers, ticking

MANIFEST = "manifest.json"
FORMAT = 1
# GGUF value types -> bytes; 8 is a string, 9 an array.
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@dataclass(frozen=True)
class Header:
    """What a GGUF says about itself before its weights: architecture, number of weights, bytes it must have."""

    architecture: str
    n_weights: int
    n_strings: int
    size: int


def read_header(path: Path) -> Header:
    """Walks the header of a GGUF (versions 2 and 3, little endian) and adds up the bytes its tensors need.

    Raises:
        BadModel: no such file, not a GGUF, cut short, or a header that is nonsense.
    """
    if not path.is_file():
        raise BadModel(f"{path}: no such file; give the path of a .gguf file")
    if path.stat().st_size < 24:
        raise BadModel(f"{path}: not a GGUF file, or cut short ({path.stat().st_size} bytes); fetch it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise BadModel(f"{path}: not a GGUF file (it does not begin with 'GGUF'); give the path of a .gguf file")
        try:
            header = _walk(data)
        except (struct.error, ValueError, KeyError, OverflowError, RecursionError) as error:
            raise BadModel(f"{path}: the GGUF header is cut or damaged; fetch the file again") from error
        if header.size > len(data):
            raise BadModel(f"{path}: this GGUF has {len(data)} bytes instead of {header.size}; fetch the file again")
        return header


def _walk(data: mmap.mmap) -> Header:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    version, n_tensors, n_fields = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ValueError(f"version {version}")
    at, strings = 24, 0

    def text(at: int) -> tuple[str, int]:
        (length,) = struct.unpack_from("<Q", data, at)
        if length > len(data):
            raise ValueError("string beyond the end")
        return data[at + 8 : at + 8 + length].decode("utf-8", "replace"), at + 8 + length

    def skip(kind: int, at: int) -> int:
        nonlocal strings
        if kind in _SCALARS:
            return at + _SCALARS[kind]
        if kind == 8:
            strings += 1
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        if kind != 9:
            raise ValueError(f"value type {kind}")
        item, length = struct.unpack_from("<IQ", data, at)
        at += 12
        if item in _SCALARS:
            return at + length * _SCALARS[item]
        for _ in range(length):
            at = skip(item, at)
        return at

    architecture, alignment = "", 32
    for _ in range(n_fields):
        key, at = text(at)
        (kind,) = struct.unpack_from("<I", data, at)
        if key == "general.architecture" and kind == 8:
            architecture, _ = text(at + 4)
        if key == "general.alignment" and kind == 4:
            (alignment,) = struct.unpack_from("<I", data, at + 4)
        at = skip(kind, at + 4)
    end, weights = 0, 0
    for _ in range(n_tensors):
        _, at = text(at)
        (dims,) = struct.unpack_from("<I", data, at)
        shape = struct.unpack_from(f"<{dims}Q", data, at + 4) if dims <= 8 else _refuse_dims(dims)
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dims)
        at += 16 + 8 * dims
        count = 1
        for length in shape:
            count *= length
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        end, weights = max(end, offset + count // block * size), weights + count
    if not architecture or not n_tensors or not alignment:
        raise ValueError("no architecture or no tensors")
    start = -(-at // alignment) * alignment
    return Header(architecture, weights, strings, start + end)


def _refuse_dims(dims: int) -> tuple[int, ...]:
    raise ValueError(f"{dims} dimensions")


def cached_folder(name: str, sha256: str, cache: Path) -> Path:
    """Where the converted copy of a GGUF with this digest belongs."""
    return cache / "models" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{sha256[:16]}"


def converted(
    label: str, name: str, sha256: str, cache: Path, assemble: Callable[[Path], Path], show: bool = True
) -> Path:
    """The converted copy as a folder that plain transformers loads; made when it is not there yet.

    Args:
        label: the reference, for messages.
        name, sha256: of the GGUF; the digest is what the bytes must have.
        cache: cache root.
        assemble: gives the path of the whole file; may write it into the given empty folder first.
        show: progress on stderr.

    Raises:
        BadModel: bytes that differ from `sha256`, a damaged copy, an architecture transformers cannot read.
        BadData: the cache cannot be written.
    """
    folder = cached_folder(name, sha256, cache)
    if not folder.is_dir():
        with locked(folder):
            if not folder.is_dir():
                for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a killed conversion
                    shutil.rmtree(leftover, ignore_errors=True)
                _convert(label, sha256, folder, assemble, show)
                return folder
    _verify(label, folder)
    return folder


def _convert(label: str, sha256: str, folder: Path, assemble: Callable[[Path], Path], show: bool) -> None:
    with atomic_folder(folder) as temporary:
        path = assemble(temporary)
        header = read_header(path)
        needed, free = int(header.n_weights * 4.3) + (64 << 20), shutil.disk_usage(folder.parent).free
        if free < needed:
            raise BadData(f"{folder.parent}: {needed >> 20} MB needed, {free >> 20} MB free; set VALLEY_CACHE")
        # Measured on one core: the vocabulary costs more than the weights.
        expected = 5 + header.n_strings / 12_000 + header.n_weights / 30e6
        with ticking(f"{label}: converting once to float32", expected, show):
            if sha256_of(path) != sha256:
                raise BadModel(f"{label}: {path.name} does not have the stated sha256 {sha256[:16]}; install it again")
            _read_and_save(label, path, header, temporary)
        if path.parent == temporary:
            path.unlink()
        for file in temporary.iterdir():
            file.chmod(0o644)
        files = {
            file.name: {"size": file.stat().st_size, "sha256": sha256_of(file)} for file in sorted(temporary.iterdir())
        }
        manifest = {"format": FORMAT, "gguf_sha256": sha256, "files": files}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _read_and_save(label: str, path: Path, header: Header, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    if header.architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        raise BadModel(
            f"{label}: transformers cannot read GGUF architecture {header.architecture!r}; use the model's safetensors"
        )
    with quiet_transformers(), _read_once():
        try:
            module = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                quantization_config=GgufConfig(dequantize=True),  # else weights may stay packed, and save fails
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
            )
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        except Exception as error:
            first = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise BadModel(f"{label}: transformers cannot read this GGUF ({first[0]:.160}); use safetensors") from error
        module.config._name_or_path = ""
        module.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _read_once() -> Iterator[None]:
    """transformers reads the header three times and builds the table of names once a module: half of a conversion."""
    import gguf

    names = "GGUFReader", "get_tensor_name_map"
    own = {name: getattr(gguf, name) for name in names}
    try:
        for name in names:
            setattr(gguf, name, lru_cache(own[name]))
        yield
    finally:
        for name in names:
            setattr(gguf, name, own[name])


def _verify(label: str, folder: Path) -> None:
    """Holds the converted copy against its manifest: sizes, then digests."""
    fix = f"delete {folder} and run again"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(f["size"]), str(f["sha256"])) for name, f in manifest["files"].items()}
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadModel(f"{label}: its converted copy has no readable manifest; {fix}") from error
    if version != FORMAT:
        raise BadModel(f"{label}: its converted copy has another format ({version}, not {FORMAT}); {fix}")
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size or sha256_of(path) != digest:
            raise BadModel(f"{label}: its converted copy is damaged ({name} is not what was written); {fix}")
