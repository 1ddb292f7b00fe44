"""Steering vectors for other programs: lm-evaluation-harness (`--model steered`) and llama.cpp (GGUF control vectors).

Both add a vector to a module's output at every position, which is what a `Shift` is. lm-evaluation-harness hooks any
module. A control vector is added to the output of a block (llama.cpp: `llama_adapter_cvec`, block 1 and up; repeng
writes the same file), so a shift inside a block has that form only where it reaches the block's output as it is: that
is measured on the model.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from editing.delta import Delta, Shift, delta_hooks
from editing.errors import BadRequest
from editing.files import atomic_file, write_whole
from editing.lazy import torch
from editing.model import Hook, LanguageModel, hooked

TOLERANCE = 1e-4  # largest difference of logits at which two places of a vector count as one
PROBE = "The quick brown fox jumps over the lazy dog."


def shifts_of(delta: Delta) -> dict[str, torch.Tensor]:
    """Module path -> vector (d_out,) added to its output.

    Raises:
        BadRequest: the change is of another kind.
    """
    if delta.context:
        raise BadRequest("this edit is a text before the prompt, not a vector; export it with `export plain`")
    for name, change in delta.factors.items():
        if not isinstance(change, Shift):
            raise BadRequest(
                f"{name}: a {type(change).__name__} is no vector added everywhere; "
                "export weights with `export adapter` or `export merged`, anything with `export plain`"
            )
    if not delta.factors:
        raise BadRequest("this edit changes nothing; there is no vector to write")
    return {name.rpartition(".")[0]: change.vector.float() for name, change in delta.factors.items()}  # type: ignore[union-attr]


def export_steered(delta: Delta, lm: LanguageModel, file: Path) -> Path:
    """A file for lm-evaluation-harness: `--model steered --model_args pretrained=MODEL,steer_path=FILE`.

    Raises:
        BadRequest: a change that is no vector, a name that does not end in .pt (which decides how it is read there), a
            module outside the model's base.
        BadModel: the delta was computed on another model.
    """
    if file.suffix != ".pt":
        raise BadRequest(f"{file}: lm-evaluation-harness reads steering vectors from a .pt file; name it so")
    delta.check_fits(lm)
    prefix = f"{lm.module.base_model_prefix}."
    config = {}
    for path, vector in shifts_of(delta).items():
        if not path.startswith(prefix):
            raise BadRequest(f"{path}: outside of {prefix[:-1]}, where lm-evaluation-harness looks for modules")
        config[path.removeprefix(prefix)] = {
            "steering_vector": vector.cpu(),
            "steering_coefficient": 1.0,
            "action": "add",
            "bias": None,
            "head_index": None,
        }
    content = io.BytesIO()  # written below: on a full disk torch.save has an error that does not say so
    torch.save(config, content)
    return write_whole(file, content.getvalue())


def export_control_vector(delta: Delta, lm: LanguageModel, file: Path) -> float:
    """A GGUF control vector: tensors `direction.N` in float32, N the block behind whose output it is added.

    Returns:
        The largest difference of the logits between the edit and its vectors at the blocks, on one text.

    Raises:
        BadRequest: a change that is no vector, a place whose output is not added to the block's as it is, block 0.
    """
    from gguf import GGUFWriter

    if file.suffix != ".gguf":
        raise BadRequest(f"{file}: a control vector is a .gguf file; name it so")
    blocks = list(lm.layout.blocks)
    directions: dict[int, torch.Tensor] = {}
    for path, vector in shifts_of(delta).items():
        layer = next((i for i, block in enumerate(blocks) if path == block or path.startswith(f"{block}.")), None)
        if layer is None:
            raise BadRequest(f"{path}: in no block; a control vector is added to the outputs of blocks")
        if not layer:
            raise BadRequest(f"{path}: in block 0, where llama.cpp adds no control vector; edit at a greater depth")
        directions[layer] = directions.get(layer, 0) + vector
    difference = _difference(delta, lm, {blocks[layer]: vector for layer, vector in directions.items()})
    if difference > TOLERANCE:
        raise BadRequest(
            f"{', '.join(delta.weights)}: the model changes this output before the block's "
            f"(logits differ by {difference:.2g}); a control vector needs an edit of the block: --set at=block"
        )
    with atomic_file(file) as temporary:
        writer = GGUFWriter(temporary, "controlvector")
        writer.add_string("controlvector.model_hint", lm.module.config.model_type)
        writer.add_uint32("controlvector.layer_count", lm.n_layers)
        for layer, vector in sorted(directions.items()):
            writer.add_tensor(f"direction.{layer}", vector.cpu().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return difference


def _difference(delta: Delta, lm: LanguageModel, at_blocks: dict[str, torch.Tensor]) -> float:
    def adding(vector: torch.Tensor):
        def hook(module: torch.nn.Module, args: tuple, output):
            if isinstance(output, tuple):
                return (output[0] + vector.to(output[0].device, output[0].dtype), *output[1:])
            return output + vector.to(output.device, output.dtype)

        return hook

    hooks: list[Hook] = [(path, adding(vector)) for path, vector in at_blocks.items()]
    return float((logits_under(lm, delta_hooks(lm, [delta], [0])) - logits_under(lm, hooks)).abs().max())


def logits_under(lm: LanguageModel, hooks: list[Hook], more: Sequence[int] = ()) -> torch.Tensor:
    """(T, vocabulary) logits of PROBE, and the tokens `more` behind it, under some hooks."""
    ids = torch.tensor([[*lm.encode(PROBE), *more]], device=lm.device)
    with torch.no_grad(), hooked(lm, hooks):
        return lm.module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float().cpu()
