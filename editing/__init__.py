"""How one language model is changed: load a model, state an edit, make it, ask the edited model.

    import editing

    lm = editing.load("HuggingFaceTB/SmolLM2-135M")
    request = editing.Request("The capital of {} is", "France", "Rome")
    delta = editing.edit(lm, request, method="rome")
    with delta.applied(lm):
        print(lm.generate("The capital of France is"))

Names are imported when they are first used, so that `import editing` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing.api import ask, edit
    from editing.api import request as Request
    from editing.delta.delta import Delta
    from editing.delta.peft_export import export_peft
    from editing.errors import UserError
    from editing.methods import make_method, method_names
    from editing.model.language_model import LanguageModel
    from editing.model.load import load
    from editing.stats.statistics import ModelStatistics as Statistics

__all__ = [
    "Delta",
    "LanguageModel",
    "Request",
    "Statistics",
    "UserError",
    "ask",
    "edit",
    "export_peft",
    "load",
    "make_method",
    "method_names",
]

_PLACES = {
    "Delta": ("editing.delta.delta", "Delta"),
    "LanguageModel": ("editing.model.language_model", "LanguageModel"),
    "Request": ("editing.api", "request"),
    "Statistics": ("editing.stats.statistics", "ModelStatistics"),
    "UserError": ("editing.errors", "UserError"),
    "ask": ("editing.api", "ask"),
    "edit": ("editing.api", "edit"),
    "export_peft": ("editing.delta.peft_export", "export_peft"),
    "load": ("editing.model.load", "load"),
    "make_method": ("editing.methods", "make_method"),
    "method_names": ("editing.methods", "method_names"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'editing' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
