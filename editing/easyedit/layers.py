"""Which maps and blocks an EasyEdit file means, as our site, depth and span.

They name modules of one family of models; a name is translated by what such modules do everywhere they occur:
`mlp.down_proj` writes what the MLP adds to the residual stream, `self_attn.o_proj` what the attention adds,
`self_attn.v_proj` makes the values.
"""

from __future__ import annotations

import re
from typing import Any

from editing.easyedit.file import HparamsFile

DOWN = ("down_proj", "c_proj", "fc_out", "dense_4h_to_h", "fc2")
OUT = ("o_proj", "out_proj", "c_proj", "dense")
VALUE = ("v_proj", "c_attn", "query_key_value", "qkv_proj")
# Methods that edit a run of blocks; all others edit one.
MANY = ("memit", "emmet", "pmet", "alphaedit", "ultraedit", "lora")


def place(file: HparamsFile, name: str, n_layers: int, notes: list[str]) -> dict[str, Any]:
    """`site`, `depth` and, where the method has them, `span` and `more_sites` that give exactly the file's blocks.

    Raises:
        BadData: a module that is no site, blocks that this model lacks or that have gaps, several for a method of one.
    """
    if name in ("grace", "ultraedit"):
        key = "inner_params"
        modules = file.texts(key)
        layers = sorted({_block(file, key, module) for module in modules})
    else:
        key = "layers"
        modules = file.texts("target_modules") if name == "lora" else [file.text("rewrite_module_tmp")]
        layers = file.wholes(key)
    settings = _sites(file, name, modules, notes)
    if name == "lora" and not layers:
        return settings | {"span": 1.0}
    if not layers or (len(layers) > 1 and name not in MANY):
        raise file.refuse(key, "at least one block" if not layers else f"one block; method {name} edits no more")
    file.check_run(key, layers, n_layers)
    settings["depth"] = (layers[-1] + 0.5) / n_layers
    if name in MANY:
        settings["span"] = len(layers) / n_layers
    span = f", span {settings['span']:.4f}" if name in MANY else ""
    notes.append(f"{key} {layers} of {n_layers}: kept as depth {settings['depth']:.4f}{span}")
    return settings


def _sites(file: HparamsFile, name: str, modules: list[str], notes: list[str]) -> dict[str, Any]:
    key = {"grace": "inner_params", "ultraedit": "inner_params", "lora": "target_modules"}.get(
        name, "rewrite_module_tmp"
    )
    kinds: dict[str, str] = {}
    for module in modules:
        kind = site_of(module)
        last = re.sub(r"(?<=[.\[])\d+(?=[.\]])", "N", module)
        if kind:
            kinds.setdefault(kind, last)
        elif name == "lora":
            notes.append(f"target_modules: {module}: writes neither the residual stream nor values; not trained here")
        else:
            raise file.refuse(key, f"maps that write the residual stream or values; {last} does neither")
    if not kinds:
        raise file.refuse(key, "maps of which one at least writes the residual stream or values")
    if len(kinds) > 1 and name != "lora":
        raise file.refuse(key, f"maps of one kind; these are {' and '.join(kinds)}")
    notes.extend(f"{key}: {module}: site {kind}" for kind, module in kinds.items())
    first, *more = kinds
    return {"site": first} | ({"more_sites": ",".join(more)} if more else {})


def site_of(module: str) -> str | None:
    """ "mlp", "attn" or "value" for a module's name ("model.layers.{}.mlp.down_proj", "v_proj"); None where it is none
    of them.
    """
    path = module.removesuffix(".weight")
    last = next((part for part in reversed(re.split(r"[.*\[\]{}]+", path)) if part), "")
    attention = re.search(r"attn|attention", path) is not None
    if last in VALUE:
        return "value"
    if last in OUT and attention:
        return "attn"
    # c_proj alone is the name of both
    return "mlp" if last in DOWN and not attention and (last != "c_proj" or "mlp" in path) else None


def _block(file: HparamsFile, key: str, module: str) -> int:
    """18 of "model.layers[18].mlp.down_proj.weight" or "model.layers.18.mlp.down_proj"."""
    numbers = re.findall(r"[.\[](\d+)(?=[.\]])", module)
    if len(numbers) != 1:
        raise file.refuse(key, f"module paths with one block number; {module} has {len(numbers)}")
    return int(numbers[0])
