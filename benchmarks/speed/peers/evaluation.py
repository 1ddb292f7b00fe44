"""EasyEdit's evaluation of an edited model, imported here so that both can run on the same weights.

Nothing of it is copied: `compute_edit_quality` comes from the checkout that EASYEDIT_HOME names. What its modules
import and this measurement never calls (judges behind an API, training, other editors) is stood in for while they are
imported, and raises if called.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from editing.errors import BadData, BadRequest
from editing.methods import checkout, easyedit_process
from editing.model import LanguageModel

# name -> what is imported from it; only those that are not installed are stood in for
OUTSIDE = {"nltk": (), "sklearn.metrics": ("f1_score",), "openai": ("OpenAI",)}
# of theirs, with what is imported from them: a class of another editor, and the trainers
INSIDE = {"easyeditor.models.melo.melo": ("LORA",), "easyeditor.trainer": ()}
MAX_LENGTH = 40  # of their published settings


@dataclass(frozen=True)
class Short:
    """One edit's questions in the form in which EasyEdit asks them.

    Attributes:
        target: what the edit and its paraphrases should say.
        rewrite: one prompt. rephrase: paraphrases of it.
        locality: (prompt, what the unedited model should go on saying) about other subjects.
    """

    target: str
    rewrite: str
    rephrase: tuple[str, ...]
    locality: tuple[tuple[str, str], ...]

    @property
    def questions(self) -> list[tuple[str, str]]:
        """All (prompt, continuation) pairs: rewrite, rephrase, locality."""
        return [(p, self.target) for p in (self.rewrite, *self.rephrase)] + list(self.locality)


@dataclass(frozen=True)
class Found:
    """Per prompt of `Short.questions`: share of target tokens that are the likeliest (NaN for locality, where they
    give the tokens themselves), and the likeliest tokens (empty where they give the share)."""

    accuracy: tuple[float, ...]
    tokens: tuple[tuple[int, ...], ...]


class PeerEvaluation:
    """EasyEdit's `compute_edit_quality`, ready for one model.

    Args:
        lm: loaded from a transformers folder; its tokenizer is opened as their editor does, with `lm.prefix_ids` before
            every text.

    Raises:
        BadData: EASYEDIT_HOME is missing or its evaluation cannot be imported. BadRequest: no transformers folder.
    """

    def __init__(self, lm: LanguageModel) -> None:
        import transformers

        folder = Path(str(getattr(lm.module, "name_or_path", "")))
        if not (folder / "config.json").is_file():
            raise BadRequest(f"{lm.name}: not loaded from a transformers folder, which EasyEdit's tokenizer needs")
        self.lm = lm
        self.compute = load_evaluation(checkout())
        self.tokenizer = easyedit_process.open_tokenizer(
            transformers, {"model": str(folder), "prefix_ids": list(lm.prefix_ids)}
        )
        # They count a prompt's tokens as those that are not padding, so padding must be no token of a text.
        if self.tokenizer.pad_token_id in lm.prefix_ids:
            self.tokenizer.pad_token_id = next(i for i in range(len(self.tokenizer)) if i not in lm.prefix_ids)
        self.hparams = SimpleNamespace(alg_name="ROME", max_length=MAX_LENGTH)

    def __call__(self, short: Short) -> dict[str, Any]:
        """What their function returns for the weights that `lm` has now."""
        # Targets are a list for all prompts: one string would be taken apart letter by letter beside several
        # paraphrases.
        prompts, truths = zip(*short.locality, strict=True)
        record = {
            "prompt": [short.rewrite],
            "target_new": [short.target] * max(1, len(short.rephrase)),
            "ground_truth": "",
            "rephrase_prompt": list(short.rephrase),
            "locality": {"neighborhood": {"prompt": list(prompts), "ground_truth": list(truths)}},
        }
        with torch.no_grad():
            return self.compute(self.lm.module, self.lm.name, self.hparams, self.tokenizer, record, str(self.lm.device))


def read_found(result: Mapping[str, Any]) -> Found:
    """Their result in the order of `Short.questions`."""
    shares = [*result["rewrite_acc"], *result["rephrase_acc"]]
    lines: Sequence[Sequence[int]] = result["locality"]["neighborhood_output"]
    accuracy = (*map(float, shares), *[float("nan")] * len(lines))
    return Found(accuracy, (*[()] * len(shares), *(tuple(line) for line in lines)))


def load_evaluation(home: Path) -> Callable[..., dict[str, Any]]:
    """`compute_edit_quality` of the checkout; what was stood in for outside of it is taken away again.

    Raises:
        BadData: it cannot be imported.
    """
    missing = [name for name in OUTSIDE if importlib.util.find_spec(name.partition(".")[0]) is None]
    before = set(sys.modules)
    easyedit_process.make_parents(home)
    for name, attributes in [(m, OUTSIDE[m]) for m in missing] + list(INSIDE.items()):
        module = types.ModuleType(name)
        for attribute in attributes:
            setattr(module, attribute, type(attribute, (), {"__init__": easyedit_process.never}))
        sys.modules[name] = module
        for parent in (name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)):
            sys.modules.setdefault(parent, types.ModuleType(parent))
    try:
        package = types.ModuleType("easyeditor.evaluate")
        package.__path__ = [str(home / "easyeditor" / "evaluate")]
        sys.modules[package.__name__] = package
        util: Any = sys.modules["easyeditor.util"]
        util.HyperParams = importlib.import_module("easyeditor.util.hparams").HyperParams
        return importlib.import_module("easyeditor.evaluate.evaluate").compute_edit_quality
    except (ImportError, OSError, AttributeError) as error:
        raise BadData(
            f"EASYEDIT_HOME={home}: its evaluation cannot be imported ({error}); correct its installation"
        ) from error
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] != "easyeditor" and sys.modules[name].__spec__ is None:  # made by hand
                del sys.modules[name]
