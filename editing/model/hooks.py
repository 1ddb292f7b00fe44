"""Forward hooks on modules by path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from editing.model.language_model import LanguageModel

Hook = tuple[str, Callable]  # module path, forward hook (module, args, output) -> output or None


@contextmanager
def hooked(lm: LanguageModel, hooks: Iterable[Hook]) -> Iterator[None]:
    """Forward hooks on modules by path, removed on the way out."""
    handles = []
    try:
        for path, hook in hooks:
            handles.append(lm.module.get_submodule(path).register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()
