"""An edited GGUF: the source file with the changed tensors in float32 and every other byte of its data as it was.

A changed tensor is not packed again: 4-bit rounding would lose most of a small edit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editing.delta import Delta, Shift
from editing.errors import BadModel, BadRequest
from editing.export.merged import in_weights, needs_own_head
from editing.files import atomic_file
from editing.lazy import torch
from editing.model import LanguageModel

HEAD = "output.weight"
SAME = 1e-6  # relative difference at which a tensor of the file is the model's


def export_gguf(delta: Delta, lm: LanguageModel, source: Path, file: Path) -> tuple[str, ...]:
    """Write the edited copy of `source`, the GGUF that `lm` was read from.

    A head that the change parts from its embedding becomes one more tensor, `output.weight`: where it is missing, both
    llama.cpp and transformers take the embedding in its place.

    Returns:
        The names of the changed tensors in the file.

    Raises:
        BadRequest: a change that no weight can hold, or none.
        BadModel: a tensor that the file does not hold in the model's order (rotary rows, for one).
    """
    import gguf

    reader = gguf.GGUFReader(source)
    stated = reader.get_field("general.architecture")
    assert stated is not None, "every GGUF file states its architecture"
    architecture = str(stated.contents())
    names = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    tensor_names = gguf.get_tensor_name_map(names[architecture], lm.n_layers)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    places: dict[str, tuple[str, bool]] = {}  # tensor of the file -> parameter of the model, whether it is transposed
    for name in _parameters(delta):
        place = tensor_names.get_name(name, try_suffixes=(".weight", ".bias"))
        if place not in stored:
            raise BadModel(f"{name}: not in {source.name} under a known name; export the model with `export merged`")
        kept = _values(stored[place], gguf)
        ours = lm.values(name).float().cpu()
        turned = [t for t in (False, True) if _same(kept, ours.T if t else ours)]
        if not turned:
            raise BadModel(f"{name}: {source.name} holds it in another order; export the model with `export merged`")
        places[place] = name, turned[0]
    if not places:
        raise BadRequest("this edit changes no weight; there is nothing to write into a GGUF")
    own_head = needs_own_head(delta, lm)
    with in_weights(delta, lm), atomic_file(file) as temporary:
        changed = {}
        for place, (name, turned) in places.items():
            values = lm.values(name).detach().float().cpu()
            if own_head and lm.module.get_parameter(name) is lm.module.get_input_embeddings().weight:
                changed[HEAD] = lm.module.get_output_embeddings().weight.detach().float().cpu().numpy()
                if _same(_values(stored[place], gguf), values.T if turned else values):
                    continue  # a rename reads as before: the embedding stays packed
            changed[place] = (values.T if turned else values).contiguous().numpy()
        _copy(reader, gguf.GGUFWriter(temporary, architecture), changed, gguf)
    return tuple(changed)


def _parameters(delta: Delta) -> list[str]:
    """The parameters that the change reaches, each once."""
    names = []
    for name, change in delta.factors.items():
        path = name.rpartition(".")[0]
        names.append(f"{path}.bias" if isinstance(change, Shift) else f"{path}.weight")
    return list(dict.fromkeys(names))


def _values(tensor: Any, gguf: Any) -> torch.Tensor:
    """A tensor of a file in float32."""
    return torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy()).float()


def _same(kept: torch.Tensor, ours: torch.Tensor) -> bool:
    return kept.shape == ours.shape and float((kept - ours).norm()) <= SAME * float(ours.norm())


def _copy(reader: Any, writer: Any, changed: dict[str, Any], gguf: Any) -> None:
    """Every field and tensor of the reader, those of `changed` in float32 instead."""
    for field in reader.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue  # the writer writes them itself
        kind = field.types[0]
        item = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=item)
        if field.name == gguf.Keys.General.ALIGNMENT:
            writer.data_alignment = int(field.contents())
    tensors = {tensor.name: (tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    tensors |= {name: (data, gguf.GGMLQuantizationType.F32) for name, data in changed.items()}
    for name, (data, kind) in tensors.items():
        writer.add_tensor_info(name, data.shape, data.dtype, data.nbytes, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for data, _ in tensors.values():
        writer.write_tensor_data(data)
    writer.close()
