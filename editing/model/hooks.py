"""Forward hooks on modules by path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from editing.model.experts import expert_at
from editing.model.language_model import LanguageModel

Hook = tuple[str, Callable]  # module path, forward hook (module, args, output) -> output or None


@contextmanager
def hooked(lm: LanguageModel, hooks: Iterable[Hook]) -> Iterator[None]:
    """Forward hooks on modules by path, removed on the way out."""
    handles = []
    of_experts: dict[str, list[Callable]] = {}
    try:
        for path, hook in hooks:
            if expert_at(lm.module, path):
                of_experts.setdefault(path, []).append(hook)
            else:
                handles.append(lm.module.get_submodule(path).register_forward_hook(hook))
        for path, inner in of_experts.items():
            handles.append(lm.submodule(path).hook(inner))
        yield
    finally:
        for handle in handles:
            handle.remove()
