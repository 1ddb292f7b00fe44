"""What all visitors share: the models of this machine and the one lock under which a model is used.

A change is in the weights only while the lock is held, so no visitor ever meets another visitor's edit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.ladders import ladder_names, load_ladder
from benchmarks.live import OpenModel
from benchmarks.models import absent, is_local
from editing.errors import BadModel, UserError
from editing.model import LanguageModel
from editing.references import known_packages
from editing.stats import ModelStatistics

FIRST = "./results/ladders/grown-quick/rungs/gpt2-4x192"  # the example of the first screen; it lies in a checkout
MOST_MODELS = 2  # kept in memory
LONGEST_NAME = 300
WAIT = 0.1  # seconds between two looks at the cancel button while another visitor has the model

Progress = Callable[[str, int, int], None]


class Stopped(UserError):
    """A visitor pressed "Cancel"."""


class Workshop:
    """Models by reference, each loaded once.

    Args:
        device: torch device of all models; None is a GPU where there is one.
    """

    def __init__(self, device: str | None = None) -> None:
        self.device = device
        self._lock = threading.Lock()
        self._listener: Progress | None = None
        self._models: OrderedDict[str, OpenModel] = OrderedDict()
        self._statistics: dict[tuple[str, str, int], ModelStatistics] = {}

    @contextmanager
    def working(self, stop: threading.Event, progress: Progress | None = None) -> Iterator[None]:
        """Alone with the models, as soon as other visitors are done; `progress` hears of the work meanwhile.

        Raises:
            Stopped: `stop` is set before.
        """
        while not self._lock.acquire(timeout=WAIT):
            refuse_stopped(stop)
        try:
            refuse_stopped(stop)
            self._listener = progress
            yield
        finally:
            self._listener = None
            self._lock.release()

    def model(self, reference: str) -> OpenModel:
        """The model of a reference, loaded. To be called while `working`.

        Raises:
            BadModel: no such reference, or its model is not on this machine: nothing is fetched or trained from here.
        """
        reference = " ".join(reference.split())
        if len(reference) > LONGEST_NAME:
            raise BadModel(
                f"{reference[:40]!r}...: {len(reference)} characters are no model reference; write a shorter one"
            )
        if reference not in self._models:
            if not is_local(reference):
                why = (
                    absent(reference) or f"model {reference}: not trained yet; `valley describe {reference}` trains it"
                )
                raise BadModel(f"{why} (the playground neither fetches nor trains a model)")
            opened = OpenModel(reference, self.device)
            opened()
            self._models[reference] = opened
        self._models.move_to_end(reference)
        while len(self._models) > MOST_MODELS:
            dropped, _ = self._models.popitem(last=False)
            self._statistics = {key: one for key, one in self._statistics.items() if key[0] != dropped}
        return self._models[reference]

    def statistics(self, opened: OpenModel, corpus: str, seed: int) -> ModelStatistics:
        """What a method needs of the unedited model, kept from call to call. To be used while `working`."""
        key = (opened.reference, corpus, seed)
        if key not in self._statistics:
            self._statistics[key] = ModelStatistics(opened(), corpus=corpus, seed=seed, progress=self.report)
        return self._statistics[key]

    def report(self, label: str, done: int = 0, total: int = 0) -> None:
        """Reports how far the work is; a total of 0 is unknown."""
        if self._listener is not None:
            self._listener(label, done, total)


def refuse_stopped(stop: threading.Event) -> None:
    """Raises Stopped where the event is set."""
    if stop.is_set():
        raise Stopped("cancelled; nothing was changed")


@contextmanager
def stoppable(lm: LanguageModel, stop: threading.Event) -> Iterator[None]:
    """Inside, the model's next block raises Stopped once the event is set: all long work runs through its blocks."""
    running = True

    def look(*_: object) -> None:
        if running:  # a bfloat16 copy made inside has this hook too, and keeps it
            refuse_stopped(stop)

    modules = [lm.module, *([lm.state.half.module] if lm.state.half is not None else [])]
    blocks = [block for module in modules for block in (module.get_submodule(path) for path in lm.layout.blocks)]
    handles = [block.register_forward_pre_hook(look) for block in blocks]
    try:
        yield
    finally:
        running = False
        for handle in handles:
            handle.remove()


def models_here() -> list[str]:
    """References of models that can be used without a download or a training, the example's first.

    A rung whose folder stands relative to another working directory is not among them, nor one trained here on first
    use (`grown:NAME`), which can be typed: whether it is there takes seconds to say.
    """
    rungs = [rung.model for name in ladder_names() for rung in load_ladder(name).rungs]
    rungs = [name for name in rungs if not name.startswith("grown:")]
    names = dict.fromkeys([FIRST, *rungs, *(f"package:{name}" for name in known_packages())])
    here = []
    for name in names:
        try:
            here += [name] if is_local(name) else []
        except UserError:  # a reference that cannot be read is no model to choose
            continue
    return here
