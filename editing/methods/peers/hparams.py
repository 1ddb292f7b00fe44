"""EasyEdit's files of settings, fitted to a model: its names of modules, its number of layers, its place on the device.

A file in the checkout is for one large model. Of the one that is taken by default, the edited layers are moved to the
same depths; a file that the user names is taken as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from editing.errors import BadData, BadRequest
from editing.methods.base import block_at
from editing.model import LanguageModel

# Files of the checkout by preference, for maps stored as (d_in, d_out) and for others; and their models' layers.
TRANSPOSED = ("gpt2-xl", "gpt-j-6B")
USUAL = ("llama-7b", "llama3-8b", "llama3-8b-instruct", "mistral-7b", "qwen2.5-7b", "gpt-j-6B", "gpt2-xl")
LAYERS = {"gpt2-xl": 48, "gpt-j-6B": 28, "qwen2.5-7b": 28}
USUAL_LAYERS = 32
DOWN = ("mlp.fc_out", "mlp.c_proj", "mlp.down_proj")  # what the files call the down projection
NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


@cache
def read_hparams(path: Path) -> Mapping[str, Any]:
    """The keys of a file; numbers that YAML takes for text ("5e-1") are numbers.

    Raises:
        BadData: it cannot be read or is no mapping.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadData(
            f"{path}: cannot be read ({' '.join(str(error).split())}); name a YAML file of EasyEdit"
        ) from error
    if not isinstance(values, dict):
        raise BadData(f"{path}: not a mapping of keys to values; name a YAML file of EasyEdit")
    return {key: _number(value) for key, value in values.items()}


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            pass
    return value


def default_file(home: Path, editor: str, lm: LanguageModel) -> Path:
    """The file of `editor` in the checkout whose model is built most like `lm`.

    Raises:
        BadRequest: there is none.
    """
    folder = next((f for f in sorted((home / "hparams").iterdir()) if f.name.lower() == editor.lower()), None)
    files = {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder else {}
    order = [*(TRANSPOSED if lm.sites("mlp")[0].transposed else ()), *USUAL, *files]
    name = next((name for name in order if name in files), None)
    if name is None:
        raise BadRequest(f"easyedit:{editor}: no file of settings in {home}/hparams; name one with hparams=FILE")
    return files[name]


def fitted(path: Path, given: bool, lm: LanguageModel, depth: float | None, lookup: str) -> dict[str, Any]:
    """The settings in `path` for this model.

    Args:
        given: whether the user named the file; its layers are then taken as they stand.
        depth: of the last edited layer; None leaves it where the file has it.

    Raises:
        BadRequest: a layer or module that the model has not.
    """
    values, n = dict(read_hparams(path)), lm.n_layers
    total = n if given else LAYERS.get(path.stem, USUAL_LAYERS)
    if values.get("layers"):
        layers = sorted({min(n - 1, int((layer + 0.5) * n / total)) for layer in values["layers"]})
        if given:
            layers = [int(layer) for layer in values["layers"]]
        if depth is not None:
            last = block_at(depth, n)
            layers = [layer - layers[-1] + last for layer in layers if layer - layers[-1] + last >= 0]
        if max(layers) >= n:
            raise BadRequest(f"{path}: layers: {layers}, but {lm.name} has {n}; correct the file")
        values["layers"] = layers
    names = module_names(lm)
    values |= {key: name for key, name in names.items() if key in values}
    if "rewrite_module_tmps" in values:
        values["rewrite_module_tmps"] = [names["rewrite_module_tmp"]]
    if "inner_params" in values:
        values["inner_params"] = _inner(lm, path, values["inner_params"], total)
    ours = {"v_loss_layer": n - 1, "fact_token": lookup, "half": False, "model_parallel": False}
    values |= {key: value for key, value in ours.items() if key in values}
    device = lm.device
    values["device"] = "cpu" if device.type == "cpu" else (device.index or 0)
    # Their code asks the name of the model how its maps are stored and how it is tokenised.
    values["model_name"] = "gpt2-xl" if lm.sites("mlp")[0].transposed else "llama"
    return values


def module_names(lm: LanguageModel) -> dict[str, str]:
    """Their keys for modules -> this model's paths, "{}" for the number of the block."""
    site, block = lm.sites("mlp")[0], lm.layout.blocks[0]
    rewrite, block = _template(site.path), _template(block)
    modules = dict(lm.module.named_modules())
    weight = lm.module.get_output_embeddings().weight  # the embedding's where they are tied, as EasyEdit looks it up
    head = next(name for name, value in lm.module.named_parameters() if value is weight).removesuffix(".weight")
    above = block.rpartition(".")[0].rpartition(".")[0]
    norm = next((f"{above}.{name}".strip(".") for name in NORMS if f"{above}.{name}".strip(".") in modules), "")
    first = lm.layout.blocks[0]
    attention = next((n for n, _ in modules[first].named_children() if "attn" in n or "attention" in n), "")
    return {
        "rewrite_module_tmp": rewrite,
        "layer_module_tmp": block,
        "mlp_module_tmp": rewrite.rpartition(".")[0],
        "attn_module_tmp": f"{block}.{attention}",
        "ln_f_module": norm,
        "lm_head_module": head,
    }


def _template(path: str) -> str:
    """The path of a module of block 0 with "{}" for its number."""
    parts = path.split(".")
    parts[parts.index("0")] = "{}"
    return ".".join(parts)


def _inner(lm: LanguageModel, path: Path, names: list[str], total: int) -> list[str]:
    """UltraEdit's list of modules: the maps of the same name in the blocks at the same depth."""
    found = []
    modules = dict(lm.module.named_modules())
    for name in names:
        numbers = [part for part in name.split(".") if part.isdigit()]
        inside = name.partition(f".{numbers[0]}.")[2] if numbers else name
        layer = min(lm.n_layers - 1, int((int(numbers[0]) + 0.5) * lm.n_layers / total)) if numbers else 0
        inside = inside.removesuffix(".weight")
        down = lm.sites("mlp")[layer].path
        here = down if inside in DOWN else f"{lm.layout.blocks[layer]}.{inside}"
        if here not in modules:
            raise BadRequest(f"{path}: inner_params: {lm.name} has no {here}; name a file with hparams=FILE")
        found.append(here)
    return list(dict.fromkeys(found))
