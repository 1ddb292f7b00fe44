"""Model references: one string -> a folder that plain transformers loads.

| written | is |
|---|---|
| `gpt2`, `EleutherAI/pythia-70m`, `EleutherAI/pythia-70m@step1000` | a hub id, with a revision |
| `./folder`, `../folder`, `/folder`, `~/folder` | a local folder |
| `gguf:PATH` | a GGUF file |
| `package:NAME` | weights inside an installed package |
| `REF#bfloat16`, `REF#float16`, `REF#float32` | any of these, loaded in that number format |
| `grown:NAME`, `grown:gpt2-2x128@people250-step64` | a rung trained by this project; only `benchmarks/models.py`
resolves it |

Code that came with a model is never run and pickled weights are never read.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from editing.cache import cache_root
from editing.errors import BadModel
from editing.references.folder import check_card, check_folder, sha256_of

Kind = Literal["hub", "folder", "gguf", "package", "grown"]
DTYPES = ("float32", "bfloat16", "float16")
FORMS = "a hub id (owner/name), ./FOLDER, gguf:PATH, package:NAME or grown:NAME"
_HUB = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?")


@dataclass(frozen=True)
class Parsed:
    """A reference by its form alone: nothing has been looked up."""

    kind: Kind
    name: str
    dtype: str = ""


@dataclass(frozen=True)
class Resolved:
    """A reference that has been resolved.

    Attributes:
        reference: as written.
        kind: its form.
        folder: a folder plain transformers loads (config.json, safetensors, tokenizer), checked.
        source: what it resolved to, for people and for result rows; no path of this machine but as written.
        licence: of the weights, where it is known.
        dtype: the number format to load the weights in; empty where the reference does not name one.
    """

    reference: str
    kind: Kind
    folder: Path
    source: str
    licence: str = ""
    dtype: str = ""


def with_dtype(reference: str, dtype: str) -> str:
    """`reference` with a number format; as it is where `dtype` is empty or the reference is.

    Raises:
        BadModel: an unknown format, or the reference names another one.
    """
    if not dtype or not reference:
        return reference
    _, sign, there = reference.strip().rpartition("#")
    if dtype not in DTYPES or (sign and there in DTYPES and there != dtype):
        raise BadModel(f"model {reference!r:.120}: cannot be loaded as {dtype!r}; use one of {', '.join(DTYPES)}, once")
    return reference if sign and there in DTYPES else f"{reference}#{dtype}"


def parse(reference: str | os.PathLike[str]) -> Parsed:
    """The form of a reference; a path object is a folder.

    Raises:
        BadModel: none of the known forms.
    """
    if isinstance(reference, os.PathLike):
        return Parsed("folder", os.fspath(reference))
    if not isinstance(reference, str):
        raise BadModel(f"model {reference!r:.80}: not a model reference; write {FORMS}")
    text = reference.strip()
    if not text or any(ord(char) < 32 for char in text):
        raise BadModel(f"model {reference!r:.80}: not a model reference; write {FORMS}")
    bare, sign, dtype = text.rpartition("#")
    if sign and dtype in DTYPES:
        return replace(parse(bare), dtype=dtype)
    scheme, colon, rest = text.partition(":")
    if colon and not text.startswith(("/", ".", "~")):
        if scheme not in ("gguf", "package", "grown") or not rest.strip():
            raise BadModel(f"model {text!r:.120}: not a model reference; write {FORMS}")
        return Parsed(scheme, rest.strip())
    if text.startswith(("/", "~")) or text in (".", "..") or text.startswith(("./", "../")):
        return Parsed("folder", text)
    if text.endswith(".gguf"):
        raise BadModel(f"model {text!r:.120}: to read a GGUF file write gguf:{text:.120}")
    if text.count("/") > 1 and os.path.isdir(text):
        raise BadModel(f"model {text!r:.120}: to read a folder write ./{text:.120}")
    if not _HUB.fullmatch(text) or ".." in text or "--" in text.partition("@")[0]:
        raise BadModel(f"model {text!r:.120}: not a model reference; write {FORMS}")
    return Parsed("hub", text)


def resolve(
    reference: str | os.PathLike[str],
    *,
    cache: Path | None = None,
    progress: Callable[..., None] | bool | None = None,
) -> Resolved:
    """Finds, fetches or converts the model of a reference, and checks its files.

    Args:
        reference: one of the forms above.
        cache: cache root instead of `cache_root()`.
        progress: False for none; otherwise long steps show themselves on stderr.

    Raises:
        BadModel: anything wrong with the reference or its files; one line with the fix.
    """
    parsed, root = parse(reference), cache or cache_root()
    show = progress is not False
    if parsed.dtype:
        plain = resolve(str(reference).strip().removesuffix(f"#{parsed.dtype}"), cache=cache, progress=progress)
        return replace(plain, reference=f"{plain.reference}#{parsed.dtype}", dtype=parsed.dtype)
    if parsed.kind == "hub":
        return _hub(parsed.name)
    if parsed.kind == "folder":
        folder = Path(parsed.name).expanduser()
        plain_folder, sign, dtype = parsed.name.rpartition("#")
        if sign and not folder.exists() and Path(plain_folder).expanduser().is_dir():
            raise BadModel(f"model {parsed.name}: cannot be loaded as {dtype!r:.40}; use one of {', '.join(DTYPES)}")
        check_folder(f"model {parsed.name}", folder)
        check_card(f"model {parsed.name}", folder)
        return Resolved(parsed.name, "folder", folder, f"folder {parsed.name}")
    if parsed.kind == "gguf":
        return _gguf(parsed.name, root, show)
    if parsed.kind == "package":
        return _package(parsed.name, root, show)
    raise BadModel(f"model {reference}: rungs are trained by `benchmarks`; load it with benchmarks.load_model")


def absent(reference: str) -> str | None:
    """Why an optional rung cannot be used right now, in one line; None when it can. Downloads and converts nothing."""
    parsed = parse(reference)
    try:
        if parsed.kind == "package":
            from editing.references.package import locate

            locate(parsed.name)
        elif parsed.kind == "hub":
            from editing.references.hub import is_cached

            model, _, revision = parsed.name.partition("@")
            if not is_cached(model, revision or None):
                return (
                    f"model {parsed.name}: not in the local hub cache; `python cli.py models {parsed.name}` fetches it"
                )
        elif parsed.kind == "folder":
            check_folder(f"model {parsed.name}", Path(parsed.name).expanduser())
        elif parsed.kind == "gguf" and not Path(parsed.name).expanduser().is_file():
            return f"gguf:{parsed.name}: no such file"
    except BadModel as error:
        return str(error)
    return None


def _hub(name: str) -> Resolved:
    model, _, revision = name.partition("@")
    if Path(model).is_dir():
        raise BadModel(
            f"model {name}: ambiguous, a hub id and a folder here; write ./{model} for the folder, "
            "or run elsewhere for the hub id"
        )
    from editing.references.hub import hub_folder

    folder, commit = hub_folder(f"model {name}", model, revision or None)
    return Resolved(name, "hub", folder, f"hub {model}@{commit}")


def _gguf(name: str, cache: Path, show: bool) -> Resolved:
    from editing.references.gguf import converted, read_header

    path, label = Path(name).expanduser(), f"gguf:{name}"
    read_header(path)
    digest = sha256_of(path)
    folder = converted(label, path.stem, digest, cache, lambda _: path, show)
    return Resolved(label, "gguf", folder, f"gguf {path.name} sha256 {digest[:16]}")


def _package(name: str, cache: Path, show: bool) -> Resolved:
    from editing.references.gguf import converted
    from editing.references.package import locate

    weights = locate(name)
    folder = converted(
        f"package:{name}",
        name,
        weights.sha256,
        cache,
        lambda folder: _whole(weights.paths, folder / weights.file),
        show,
    )
    return Resolved(f"package:{name}", "package", folder, weights.source, weights.licence)


def _whole(paths: Sequence[Path], file: Path) -> Path:
    """The GGUF whose chunks are `paths`, put together in `file` where there are several."""
    if len(paths) == 1:
        return paths[0]
    with file.open("wb") as out:
        for path in paths:
            with path.open("rb") as chunk:
                shutil.copyfileobj(chunk, out, 1 << 22)
    return file


def gguf_file(reference: str, folder: Path) -> Path:
    """The GGUF file behind a `gguf:` or `package:` reference; one that comes in chunks is put together in `folder`.

    Raises:
        BadModel: another form of reference, no such file, no such package.
    """
    parsed = parse(reference)
    if parsed.kind == "package":
        from editing.references.package import locate

        weights = locate(parsed.name)
        return _whole(weights.paths, folder / weights.file)
    if parsed.kind != "gguf":
        raise BadModel(f"{reference}: no GGUF; write gguf:PATH or package:NAME")
    from editing.references.gguf import read_header

    path = Path(parsed.name).expanduser()
    read_header(path)
    return path
