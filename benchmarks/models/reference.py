"""Model references: one string -> a folder that plain transformers loads -> a `LanguageModel`.

| written | is |
|---|---|
| `gpt2`, `EleutherAI/pythia-70m`, `EleutherAI/pythia-70m@step1000` | a hub id, with a revision |
| `./folder`, `../folder`, `/folder`, `~/folder` | a local folder |
| `gguf:PATH` | a GGUF file |
| `package:NAME` | weights inside an installed package |
| `grown:NAME`, `grown:gpt2-2x128@people250-step64` | a rung trained here, with its options (`benchmarks/grown/spec.py`) |

Code that came with a model is never run and pickled weights are never read.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.models.folder import check_folder
from editing.cache import cache_root
from editing.errors import BadModel
from editing.quiet import quiet_transformers

if TYPE_CHECKING:
    from editing.model.language_model import LanguageModel

Kind = Literal["hub", "folder", "gguf", "package", "grown"]
FORMS = "a hub id (owner/name), ./FOLDER, gguf:PATH, package:NAME or grown:NAME"
_HUB = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?")
# The separator of documents in training: where it is in the vocabulary and the tokenizer itself adds nothing, it is
# what stood at position 0 in training (SmolLM2 declares another BOS, which it never saw there).
SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True)
class Parsed:
    """A reference by its form alone: nothing has been looked up."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Resolved:
    """A reference that has been found.

    Attributes:
        reference: as written.
        kind: its form.
        folder: a folder plain transformers loads (config.json, safetensors, tokenizer), checked.
        source: what it resolved to, for people and for result rows; no path of this machine but as written.
        licence: of the weights, where it is known.
    """

    reference: str
    kind: Kind
    folder: Path
    source: str
    licence: str = ""


def parse(reference: str) -> Parsed:
    """The form of a reference.

    Raises:
        BadModel: none of the known forms.
    """
    text = reference.strip()
    if not text or any(ord(char) < 32 for char in text):
        raise BadModel(f"model {reference!r:.80}: not a model reference; write {FORMS}")
    scheme, colon, rest = text.partition(":")
    if colon and not text.startswith(("/", ".", "~")):
        if scheme not in ("gguf", "package", "grown") or not rest.strip():
            raise BadModel(f"model {text!r:.120}: not a model reference; write {FORMS}")
        return Parsed(scheme, rest.strip())
    if text.startswith(("/", "~")) or text in (".", "..") or text.startswith(("./", "../")):
        return Parsed("folder", text)
    if text.endswith(".gguf"):
        raise BadModel(f"model {text!r:.120}: to read a GGUF file write gguf:{text:.120}")
    if not _HUB.fullmatch(text) or ".." in text or "--" in text.partition("@")[0]:
        raise BadModel(f"model {text!r:.120}: not a model reference; write {FORMS}")
    return Parsed("hub", text)


def resolve(
    reference: str, *, cache: Path | None = None, progress: Callable[..., None] | bool | None = None
) -> Resolved:
    """Finds, fetches, converts or grows the model of a reference, and checks its files.

    Args:
        reference: one of the forms above.
        cache: cache root instead of `cache_root()`.
        progress: False for none; otherwise long steps show themselves on stderr. Handed on to `grow`.

    Raises:
        BadModel: anything wrong with the reference or its files; one line with the mend.
    """
    parsed, root = parse(reference), cache or cache_root()
    show = progress is not False
    if parsed.kind == "hub":
        return _hub(parsed.name)
    if parsed.kind == "folder":
        folder = Path(parsed.name).expanduser()
        check_folder(f"model {parsed.name}", folder)
        _check_card(f"model {parsed.name}", folder)
        return Resolved(parsed.name, "folder", folder, f"folder {parsed.name}")
    if parsed.kind == "gguf":
        return _gguf(parsed.name, root, show)
    if parsed.kind == "package":
        return _package(parsed.name, root, show)
    from benchmarks.grown import grow

    folder = Path(grow(parsed.name, cache=cache, progress=progress))
    label = f"grown:{parsed.name}"
    check_folder(label, folder, f"delete {folder} and run again")
    _check_card(label, folder)
    return Resolved(label, "grown", folder, f"{label} {folder.name}", "made here")


def absent(reference: str) -> str | None:
    """Why an optional rung cannot be used right now, in one line; None when it can. Downloads and converts nothing."""
    parsed = parse(reference)
    try:
        if parsed.kind == "package":
            from benchmarks.models.package import locate

            locate(parsed.name)
        elif parsed.kind == "hub":
            from benchmarks.models.hub import is_cached

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


def at_hand(reference: str) -> bool:
    """Whether a model can be loaded here and now, without a download or a training."""
    parsed = parse(reference)
    if parsed.kind != "grown":
        return absent(reference) is None
    from benchmarks.grown import is_grown

    return is_grown(parsed.name)


def _check_card(label: str, folder: Path) -> None:
    """Hold the weights of a model trained here against the hash on its card: one flipped bit would be another model."""
    from benchmarks.grown.rungs import CARD, read_card
    from benchmarks.models.gguf import sha256_of

    stated = read_card(folder).get("weights") if (folder / CARD).is_file() else None
    if stated and sha256_of(folder / "model.safetensors") != stated:
        raise BadModel(
            f"{label}: model.safetensors is damaged (sha256 differs from its card); delete {folder} and run again"
        )


def training_tokens(reference: str, stated: int = 0) -> float:
    """How many tokens a model was trained on: as `stated` by its ladder, else by its card (grown here); NaN where unknown."""
    if stated:
        return float(stated)
    parsed = parse(reference)
    if parsed.kind not in ("grown", "folder"):
        return nan
    from benchmarks.grown.rungs import CARD, read_card

    folder = resolve(reference).folder
    if not (folder / CARD).is_file():
        return nan
    tokens = read_card(folder).get("tokens")
    return float(tokens) if isinstance(tokens, int | float) else nan


def load_pair(
    reference: str,
    *,
    dtype: str = "float32",
    cache: Path | None = None,
    progress: Any = None,
    device_map: str | dict[str, str | int] | None = None,
) -> tuple[Any, Any, Resolved]:
    """Module (evaluation mode), tokenizer and what the reference resolved to.

    Args:
        device_map: None puts the module on the CPU; otherwise accelerate spreads it: "auto" over all GPUs, then memory, then
            disk, a dict by module path.

    Raises:
        BadModel: as `resolve`; or transformers cannot build it, weights are missing or not finite.
    """
    import torch

    from editing.model.offload import true_tensor

    resolved = resolve(reference, cache=cache, progress=progress)
    label = f"model {reference}"
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in kinds:
        raise BadModel(f"{label}: unknown dtype {dtype!r}; use one of {', '.join(kinds)}")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    spread: dict[str, Any] = {}
    if device_map is not None:
        spread = {"device_map": device_map, "offload_folder": str((cache or cache_root()) / "offload")}
    with quiet_transformers():
        try:
            # dtype at load: a later .to() would cast the rotary buffers as well.
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                resolved.folder, dtype=kinds[dtype], use_safetensors=True, output_loading_info=True, **spread, **safe
            )
            module, report = loaded
            tokenizer = AutoTokenizer.from_pretrained(resolved.folder, **safe)
        except Exception as error:
            first = " ".join(str(error).split()) or type(error).__name__
            raise BadModel(
                f"{label}: transformers cannot load it ({first:.200}); choose a decoder-only model"
            ) from error
    if lost := sorted(report["missing_keys"]) + sorted(str(key[0]) for key in report["mismatched_keys"]):
        raise BadModel(f"{label}: {len(lost)} weights missing or misshapen, {lost[0]} first; fetch the model again")
    for name, _ in module.named_parameters():
        if not torch.isfinite(true_tensor(module, name)).all():
            raise BadModel(f"{label}: weight {name} is not finite; the file is damaged, fetch the model again")
    return module.eval(), tokenizer, resolved


def load_model(
    reference: str, *, device: str = "cpu", dtype: str = "float32", cache: Path | None = None, progress: Any = None
) -> LanguageModel:
    """The model of a reference, ready to be edited.

    Args:
        device: a torch device, "cpu", "cuda", "cuda:1"...; or "auto": spread by accelerate over all GPUs, what does not fit
            there kept in memory or on disk and brought in block by block (edits then live in hooks, see `LanguageModel.wrap`).
        dtype: float32, bfloat16 or float16, at load.

    Raises:
        BadModel: as `load_pair`; or no such device.
    """
    import torch

    from editing.model.language_model import LanguageModel

    if device == "auto":
        module, tokenizer, resolved = load_pair(
            reference, dtype=dtype, cache=cache, progress=progress, device_map="auto"
        )
        return LanguageModel.wrap(
            module, tokenizer, name=reference, source=resolved.source, prefix_ids=prefix_of(tokenizer)
        )
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except Exception as error:
        raise BadModel(f"model {reference}: no device {device!r} here; use --device cpu") from error
    module, tokenizer, resolved = load_pair(reference, dtype=dtype, cache=cache, progress=progress)
    return LanguageModel.wrap(
        module.to(target), tokenizer, name=reference, source=resolved.source, prefix_ids=prefix_of(tokenizer)
    )


def prefix_of(tokenizer: Any) -> tuple[int, ...] | None:
    """The document separator's id where the tokenizer adds nothing by itself and knows one; else None (its own way)."""
    if tokenizer("a").input_ids != tokenizer("a", add_special_tokens=False).input_ids:
        return None
    separator = tokenizer.get_vocab().get(SEPARATOR)
    return None if separator is None else (separator,)


def _hub(name: str) -> Resolved:
    model, _, revision = name.partition("@")
    if Path(model).is_dir():
        raise BadModel(
            f"model {name}: ambiguous, a hub id and a folder here; write ./{model} for the folder, "
            "or run elsewhere for the hub id"
        )
    from benchmarks.models.hub import hub_folder

    folder, commit = hub_folder(f"model {name}", model, revision or None)
    return Resolved(name, "hub", folder, f"hub {model}@{commit}")


def _gguf(name: str, cache: Path, show: bool) -> Resolved:
    from benchmarks.models.gguf import converted, read_header, sha256_of

    path, label = Path(name).expanduser(), f"gguf:{name}"
    read_header(path)
    digest = sha256_of(path)
    folder = converted(label, path.stem, digest, cache, lambda _: path, show)
    return Resolved(label, "gguf", folder, f"gguf {path.name} sha256 {digest[:16]}")


def _package(name: str, cache: Path, show: bool) -> Resolved:
    from benchmarks.models.gguf import converted
    from benchmarks.models.package import locate

    weights = locate(name)

    def assemble(folder: Path) -> Path:
        if len(weights.paths) == 1:
            return weights.paths[0]
        whole = folder / weights.file
        with whole.open("wb") as out:
            for path in weights.paths:
                with path.open("rb") as chunk:
                    shutil.copyfileobj(chunk, out, 1 << 22)
        return whole

    folder = converted(f"package:{name}", name, weights.sha256, cache, assemble, show)
    return Resolved(f"package:{name}", "package", folder, weights.source, weights.licence)
