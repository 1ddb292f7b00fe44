"""The edited model as a folder of its own, which plain transformers loads: weights with the change in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from editing.delta import Delta, Dense, LowRank, Shift
from editing.errors import BadData, BadRequest
from editing.lazy import torch
from editing.model import LanguageModel


def export_merged(delta: Delta, lm: LanguageModel, folder: Path) -> torch.dtype:
    """Write the edited model and its tokenizer into a new or empty folder, in the number format that it is loaded in.

    Returns:
        That format. In bfloat16 a small change is rounded away in part; the caller says so.

    Raises:
        BadRequest: a change that no weight can hold.
        BadModel: the weights are offloaded.
        BadData: the folder holds files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadData(f"{folder}: is not empty; name an empty or new folder for the model")
    with in_weights(delta, lm):
        lm.module.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)
    return lm.dtype


@contextmanager
def in_weights(delta: Delta, lm: LanguageModel) -> Iterator[None]:
    """The change in the weights alone, hooks left out: a vector added to an output goes into its module's bias.

    Raises:
        BadRequest: a part of it has no form as weights.
    """
    if delta.context:
        raise BadRequest("this edit is a text before the prompt, not a change of weights; there is nothing to merge")
    biases = {}
    for name, change in delta.factors.items():
        path = name.rpartition(".")[0]
        if isinstance(change, LowRank | Dense):
            continue
        module = lm.module.get_submodule(path)
        if not isinstance(change, Shift) or getattr(module, "bias", None) is None:
            raise BadRequest(
                f"{name}: a {type(change).__name__} is no change of weights here; "
                "export it with `export steered`, `export control-vector` or `export plain`"
            )
        biases[f"{path}.bias"] = change.vector
    weights = Delta(
        {name: change for name, change in delta.factors.items() if isinstance(change, LowRank | Dense)},
        delta.provenance,
    )
    with weights.applied(lm), torch.no_grad():
        old = {name: lm.module.get_parameter(name).clone() for name in biases}
        try:
            for name, vector in biases.items():
                lm.module.get_parameter(name).add_(vector.to(lm.device))
            yield
        finally:
            for name, values in old.items():
                lm.module.get_parameter(name).copy_(values)
