"""From a resolved reference to a `LanguageModel`: weights, tokenizer, device, and what is put before every text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editing.cache import cache_root
from editing.errors import BadModel, BadRequest
from editing.lazy import torch, transformers
from editing.model.language_model import LanguageModel
from editing.model.memory import free_memory, largest_scale
from editing.model.offload import true_tensor
from editing.references import Resolved, quiet_transformers, resolve


def load_pair(
    resolved: Resolved,
    *,
    dtype: str | None = None,
    cache: Path | None = None,
    device_map: str | dict[str, str | int] | None = None,
) -> tuple[Any, Any]:
    """Module (evaluation mode) and tokenizer of a resolved reference.

    Args:
        dtype: float32, bfloat16 or float16, at load; None is what the reference names, else float32.
        cache: cache root instead of `cache_root()`; offloaded weights go there.
        device_map: None puts the module on the CPU; otherwise accelerate spreads it: "auto" over all GPUs, then memory,
            then disk, a dict by module path.

    Raises:
        BadModel: an unknown dtype, transformers cannot build it, weights are missing or not finite.
    """
    label = f"model {resolved.reference}"
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    dtype = str(dtype or resolved.dtype or "float32").removeprefix("torch.")
    if dtype not in kinds:
        raise BadModel(f"{label}: unknown dtype {dtype!r}; use one of {', '.join(kinds)}")
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    spread: dict[str, Any] = {}
    if device_map is not None:
        spread = {"device_map": device_map, "offload_folder": str((cache or cache_root()) / "offload")}
    with quiet_transformers():
        try:
            # dtype at load: a later .to() would cast the rotary buffers as well.
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                resolved.folder, dtype=kinds[dtype], use_safetensors=True, output_loading_info=True, **spread, **safe
            )
            module, report = loaded
        except Exception as error:
            raise BadModel(
                f"{label}: transformers cannot load it ({_first(error)}); choose a decoder-only model"
            ) from error
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(resolved.folder, **safe)
        except Exception as error:
            raise BadModel(
                f"{label}: transformers cannot read its tokenizer ({_first(error)}); save it anew beside the weights "
                "(tokenizer.save_pretrained)"
            ) from error
    if lost := sorted(report["missing_keys"]) + sorted(str(key[0]) for key in report["mismatched_keys"]):
        raise BadModel(f"{label}: {len(lost)} weights missing or misshapen, {lost[0]} first; fetch the model again")
    for name, _ in module.named_parameters():
        if not is_finite(true_tensor(module, name)):
            raise BadModel(f"{label}: weight {name} is not finite; the file is damaged, fetch the model again")
    return module.eval(), tokenizer


def _first(error: Exception) -> str:
    """The beginning of what transformers says, as one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def is_finite(values: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite, by the extremes: `isfinite` of an embedding takes as much memory again."""
    return not values.numel() or all(bool(extreme.isfinite()) for extreme in values.aminmax())


def load_resolved(
    resolved: Resolved, *, device: str | None = None, dtype: str | None = None, cache: Path | None = None
) -> LanguageModel:
    """The model of a resolved reference, ready to be edited.

    Args:
        device: a torch device, "cpu", "cuda", "cuda:1"...; None is a GPU where there is one, else the CPU; or "auto":
            spread by accelerate over all GPUs, what does not fit there kept in memory or on disk and brought in block
            by block (edits then live in hooks, see `LanguageModel.wrap`).
        dtype: float32, bfloat16 or float16, at load; None is what the reference names, else float32.

    Raises:
        BadModel: as `load_pair`; or no such device.
    """
    if device == "auto":
        module, tokenizer = load_pair(resolved, dtype=dtype, cache=cache, device_map="auto")
    else:
        target = find_device(device)
        module, tokenizer = load_pair(resolved, dtype=dtype, cache=cache)
        module = module.to(target)
    lm = LanguageModel.wrap(module, tokenizer, name=resolved.reference, source=resolved.source)
    return lm if lm.device.type == "cpu" else lm.with_batches(largest_scale(lm, free_memory(lm.device)))


def check_device(device: str | None) -> None:
    """Refuse a device that is not there, before any work. None and the CPU are always there: torch is not imported.

    Raises:
        BadModel: as `find_device`.
    """
    if device not in (None, "auto", "cpu"):
        find_device(device)


def find_device(device: str | None) -> torch.device:
    """The torch device called `device`; None is a GPU where there is one, else the CPU.

    Raises:
        BadModel: not a device, or one that this machine or this PyTorch does not have.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(name)
    except RuntimeError as error:
        raise BadModel(f"--device {name!r:.40}: not a torch device; write cpu, cuda or cuda:1") from error
    count = torch.cuda.device_count()
    if target.type == "cuda" and (target.index or 0) >= count:
        raise BadModel(f"--device {name}: PyTorch sees {count} CUDA GPUs; leave out --device or give cpu")
    if target.type == "mps" and not torch.backends.mps.is_available():
        raise BadModel(f"--device {name}: PyTorch sees no Apple GPU; leave out --device or give cpu")
    return target


def check_model(lm: object) -> None:
    """Refuse what is no `LanguageModel`, such as a module of transformers or a reference.

    Raises:
        BadRequest: it is something else.
    """
    if not isinstance(lm, LanguageModel):
        raise BadRequest(
            f"model: {type(lm).__name__} is not a LanguageModel; write editing.load(REF), "
            "or editing.LanguageModel.wrap(module, tokenizer) of a loaded one"
        )


def load(
    reference: str | Path, *, device: str | None = None, dtype: str | None = None, cache: Path | None = None
) -> LanguageModel:
    """The model of a reference: a hub id, a local folder, `gguf:PATH` or `package:NAME`; see
    `editing/references/reference.py`.

    Args:
        device, dtype: as `load_resolved`. A device that is not there is refused before anything is fetched.
        cache: cache root instead of `cache_root()`.

    Raises:
        BadModel: as `resolve` and `load_resolved`.
    """
    check_device(device)
    return load_resolved(resolve(reference, cache=cache), device=device, dtype=dtype, cache=cache)
