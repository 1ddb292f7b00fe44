"""The edited model as a folder of its own, which plain transformers loads: weights with the change in them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from editing.delta import Delta, Dense, LowRank, Shift, TokenShift, delta_hooks, embedding_scale
from editing.errors import BadData, BadModel, BadRequest
from editing.export.steering import logits_under
from editing.files import atomic_folder
from editing.lazy import torch, transformers
from editing.model import LanguageModel, embedding_path, own_head, tied_head
from editing.references import quiet_transformers


@dataclass(frozen=True)
class Merged:
    """What `export_merged` wrote.

    Attributes:
        dtype: the number format of the weights. In bfloat16 a small change is rounded away in part.
        head_bytes: size of the head that is written beside the embedding it was tied to; 0 where nothing was untied.
        difference: largest difference of logits between the folder, loaded again, and the edit; measured where the
            head was untied, else NaN.
    """

    dtype: torch.dtype
    head_bytes: int = 0
    difference: float = float("nan")


def export_merged(delta: Delta, lm: LanguageModel, folder: Path) -> Merged:
    """Write the edited model and its tokenizer into a new or empty folder, in the number format that it is loaded in.

    A change of what is read of some tokens, in a model whose head is the embedding, needs a head of its own: it is
    written so, the folder is loaded again, and its logits are compared with the edit's.

    Raises:
        BadRequest: a change that no weight can hold.
        BadModel: the weights are offloaded; or the architecture has no such head.
        BadData: the folder holds files, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadData(f"{folder}: is not empty; name an empty or new folder for the model")
    with in_weights(delta, lm), quiet_transformers(), atomic_folder(folder) as temporary:
        lm.module.save_pretrained(temporary)
        lm.tokenizer.save_pretrained(temporary)
    if not needs_own_head(delta, lm):
        return Merged(lm.dtype)
    head = lm.module.get_output_embeddings().weight
    return Merged(lm.dtype, head.numel() * head.element_size(), _difference(delta, lm, folder))


def needs_own_head(delta: Delta, lm: LanguageModel) -> bool:
    """Whether the change makes the head another matrix than the embedding it is tied to."""
    return f"{embedding_path(lm.module)}.output" in delta.factors and tied_head(lm.module)


def _difference(delta: Delta, lm: LanguageModel, folder: Path) -> float:
    """The largest difference of logits between the model in `folder` and the edit, on a text with the changed tokens.

    Raises:
        BadModel: it is more than rounding; the folder is emptied.
    """
    shift = delta.factors[f"{embedding_path(lm.module)}.output"]
    assert isinstance(shift, TokenShift), "in_weights refuses others"
    ids = shift.ids.unique().tolist()
    with quiet_transformers():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=lm.dtype, local_files_only=True)
    module = cast("torch.nn.Module", loaded).to(lm.device)
    again = LanguageModel.wrap(module, lm.tokenizer, prefix_ids=lm.prefix_ids)
    expected = logits_under(lm, delta_hooks(lm, [delta], [0]), ids)
    difference = float((logits_under(again, [], ids) - expected).abs().max())
    if not difference <= torch.finfo(lm.dtype).eps ** 0.5 * float(expected.abs().max()):
        shutil.rmtree(folder)
        raise BadModel(
            f"{lm.name}: head and embedding are one matrix, and {type(lm.module).__name__} with a head of its own "
            f"answers otherwise once loaded (logits differ by {difference:.2g}); export the change with `export plain`"
        )
    return difference


@contextmanager
def in_weights(delta: Delta, lm: LanguageModel) -> Iterator[None]:
    """The change in the weights alone, hooks left out, for the length of a `with` block.

    A vector added to an output goes into its module's bias; what is added to the embedding's output at some tokens into
    their rows, where a head that is tied to the embedding first gets weights of its own.

    Raises:
        BadRequest: a part of it has no form as weights.
        BadModel: the weights are offloaded.
    """
    if delta.context:
        raise BadRequest("this edit is a text before the prompt, not a change of weights; there is nothing to merge")
    lm.refuse_offloaded()
    table = embedding_path(lm.module)
    written: dict[str, torch.Tensor] = {}  # besides what `applied` writes
    for name, change in delta.factors.items():
        path = name.rpartition(".")[0]
        if isinstance(change, LowRank | Dense):
            continue
        if isinstance(change, TokenShift) and path == table:
            written[f"{table}.weight"] = _shifted(delta, lm, change)
        elif isinstance(change, Shift) and getattr(lm.module.get_submodule(path), "bias", None) is not None:
            written[f"{path}.bias"] = lm.values(f"{path}.bias").float() + change.vector.to(lm.device)
        else:
            others = "`export steered`, `export control-vector` or " if isinstance(change, Shift) else ""
            raise BadRequest(
                f"{name}: {type(change).__name__} is no change of weights here; export it with {others}`export plain`"
            )
    weights = Delta(
        {name: change for name, change in delta.factors.items() if isinstance(change, LowRank | Dense)},
        delta.provenance,
    )
    head = own_head(lm.module) if needs_own_head(delta, lm) else nullcontext()
    with weights.applied(lm), head, lm.writing() as weight:
        for name, values in written.items():
            weight.write(name, values)
        yield


def _shifted(delta: Delta, lm: LanguageModel, shift: TokenShift) -> torch.Tensor:
    """The embedding's weight under the edit, float32: all changes of its rows added before they are rounded."""
    name = f"{embedding_path(lm.module)}.weight"
    table = lm.module.get_input_embeddings()
    rows = lm.values(name).float()
    change = delta.factors.get(name)
    if isinstance(change, LowRank | Dense):
        rows = rows + change.dense().to(rows.device)
    vectors = shift.vectors.to(rows.device) / embedding_scale(table)
    return rows.index_add(0, shift.ids.to(rows.device), vectors)
