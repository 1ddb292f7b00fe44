"""Forward hooks on modules by path, for some passes or for as long as an edit is open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from editing.model.experts import expert_at
from editing.model.language_model import LanguageModel
from editing.model.weights import finished

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
        finished(lambda: [handle.remove() for handle in handles])


class Attached:
    """The hooks of one open edit: on the model and on its bfloat16 copy, where there is one.

    Attributes:
        on: whether they are there at the moment.
    """

    def __init__(self, lm: LanguageModel, hooks: Iterable[Hook]) -> None:
        self._lm, self._hooks, self._open, self.on = lm, list(hooks), ExitStack(), False

    def put_on(self) -> None:
        self.on = True
        for one in (self._lm, self._lm.state.half):
            if one is not None:
                self._open.enter_context(hooked(one, self._hooks))

    def take_off(self) -> None:
        self.on = False
        self._open.close()


@contextmanager
def attached(lm: LanguageModel, hooks: Iterable[Hook]) -> Iterator[None]:
    """As `hooked`, for the hooks of an edit: `lm.unedited()` takes them off for its length, and the bfloat16 copy of
    the model has them too."""
    edit = Attached(lm, hooks)
    lm.state.attached.append(edit)
    try:
        edit.put_on()
        yield
    finally:
        edit.take_off()
        lm.state.attached.remove(edit)
