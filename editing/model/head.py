"""The two ends of a model: the embedding that reads tokens, the head that gives logits, and whether they are one
matrix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from editing.lazy import nn
from editing.model.sites import HEAD, Site

TIED = "tie_word_embeddings"


def head_site(model: Any, n_layers: int) -> Site:
    """The map from the last states to the logits, as a site behind the `n_layers` blocks."""
    head = model.get_output_embeddings()
    d_out, d_in = head.weight.shape
    return Site(HEAD, n_layers, path_of(model, head), d_in, d_out, None, False)


def embedding_path(model: Any) -> str:
    """Path of the input embedding."""
    return path_of(model, model.get_input_embeddings())


def path_of(model: Any, module: nn.Module) -> str:
    """Path of a module of the model."""
    return next(path for path, one in model.named_modules() if one is module)


def tied_head(model: Any) -> bool:
    """Whether the head's weight is the embedding's."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    return head is not None and head.weight is table.weight


@contextmanager
def own_head(model: nn.Module) -> Iterator[None]:
    """For the length of a `with` block the tied head has a copy of its weight, and the configuration says so."""
    whole: Any = model
    head = whole.get_output_embeddings()
    shared = head.weight
    configs = list({id(config): config for config in (whole.config, whole.config.get_text_config())}.values())
    before = [getattr(config, TIED, None) for config in configs]
    try:
        head.weight = nn.Parameter(shared.detach().clone(), requires_grad=False)
        for config in configs:
            setattr(config, TIED, False)
        yield
    finally:
        head.weight = shared
        for config, value in zip(configs, before, strict=True):
            setattr(config, TIED, value)
