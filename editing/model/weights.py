"""The one place where edits are written into weights: put back bit for bit, and followed by the model's bfloat16 copy.

with lm.writing() as weights:
    weights.write(name, values)

The hashes that name a model are here as well: of its weights, and of its tokenizer and configuration.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from editing.errors import UserError
from editing.files import digest
from editing.lazy import nn, torch, transformers
from editing.model.experts import parameter
from editing.model.offload import other_names, true_tensor

Result = TypeVar("Result")

# Entries of a configuration that say where a model came from, how it is loaded and run.
LOADED = ("transformers_version", "dtype", "torch_dtype", "use_cache")


class ModelState:
    """What all `LanguageModel` objects of one module share; a deep copy of a model has its own, without open edits.

    Attributes:
        half: a `LanguageModel` of the module's bfloat16 copy, while there is one; else None.
        writers: the open edits of the weights, outermost first.
        attached: the open edits by hooks, outermost first (editing/model/hooks.py).
    """

    def __init__(self) -> None:
        self.half: Any = None
        self.writers: list[WeightWriter] = []
        self.attached: list[Any] = []
        self._running = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"half": self.half}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()
        self.half = state["half"]

    @contextmanager
    def detached(self) -> Iterator[None]:
        """The model without the hooks of the open edits, for the length of a `with` block."""
        there = [edit for edit in self.attached if edit.on]
        for edit in there:
            edit.take_off()
        try:
            yield
        finally:
            for edit in there:
                if edit in self.attached:  # it may have been taken out meanwhile
                    edit.put_on()

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Held during a forward pass of the model called `name`, and while an edit of it begins.

        Raises:
            UserError: another thread runs the model (a pass changes the modules it runs), or has an edit applied to it.
        """
        edited = any(edit.thread != threading.get_ident() for edit in self.writers)
        if edited or not self._running.acquire(blocking=False):
            what = "two threads run this model at once, which would mix up their passes"
            if edited:
                what = "one thread uses this model while another has an edit applied"
            raise UserError(f"{name}: {what}; use it from one thread, or load one model for each thread")
        try:
            yield
        finally:
            self._running.release()


def finished(undo: Callable[[], Result]) -> Result:
    """What `undo` gives. An interrupt (Ctrl-C, a notebook's stop) in the middle of it is raised once it has come to its
    end; for that it is begun again, so it must be the same twice.
    """
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            made = undo()
        except KeyboardInterrupt as error:
            interrupt = error
            continue
        if interrupt is not None:
            raise interrupt
        return made


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Every part of the module in evaluation mode (no dropout) for the length of a `with` block, and new tensors of
    float32, whatever the caller's default dtype."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    dtype = torch.get_default_dtype()
    try:
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
        yield
    finally:
        if dtype != torch.float32:
            torch.set_default_dtype(dtype)
        for part in training:
            part.training = True


@contextmanager
def likeliest_tokens(module: Any) -> Iterator[None]:
    """`module.generate` follows no rule of the model's own settings but its ends of a text for the length of a `with`
    block: many that were trained to chat have a penalty of repetitions, which changes greedy text too."""
    own = module.generation_config
    module.generation_config = transformers.GenerationConfig(eos_token_id=own.eos_token_id)
    try:
        yield
    finally:
        module.generation_config = own


def bfloat16_copy(module: Any, device: torch.device) -> Any:
    """The module with bfloat16 weights; buffers (rotary tables) stay as they are."""
    # each parameter is cast as it is copied: a copy in float32 would double the peak
    cast = {
        id(p): nn.Parameter(p.detach().to(torch.bfloat16), requires_grad=False)
        for p in module.parameters()
        if p.is_floating_point()
    }
    made = copy.deepcopy(module, cast)
    made.config.dtype = torch.bfloat16
    if device.type == "cpu":
        # the fused bf16 attention's backward pass on CPU costs more than it saves (1.8x per step on short texts)
        made.set_attn_implementation("eager")
    return made


@contextmanager
def attention_of(module: Any, other: Any) -> Iterator[None]:
    """`other` with the attention of `module` for the length of a `with` block."""
    before, during = other.config._attn_implementation, module.config._attn_implementation
    if before == during:
        yield
        return
    other.set_attn_implementation(during)
    try:
        yield
    finally:
        other.set_attn_implementation(before)


class WeightWriter:
    """The weights that one edit writes, and their values before it; made by `LanguageModel.writing`.

    Attributes:
        thread: in which the edit was applied; no other may use the model until it is taken out.
    """

    def __init__(self, module: nn.Module, state: ModelState) -> None:
        self._module, self._state = module, state
        self.thread = threading.get_ident()
        self._originals: dict[str, torch.Tensor] = {}

    def original(self, name: str) -> torch.Tensor:
        """The weight as it was when this edit first came to it."""
        if name not in self._originals:
            self._originals[name] = parameter(self._module, name).detach().clone()
        return self._originals[name]

    def write(self, name: str, values: torch.Tensor) -> None:
        """Put `values`, of the weight's shape and any float type, into the weight called `name`."""
        self.original(name)
        self._copy(name, values)

    def restore(self) -> None:
        """Put the old bits back; the last written first, since two names may reach one tied weight."""
        for name, values in reversed(self._originals.items()):
            self._copy(name, values)

    def now(self) -> dict[str, torch.Tensor]:
        """The values of all weights that this edit has written, as they are now."""
        return {name: parameter(self._module, name).detach().clone() for name in self._originals}

    def _copy(self, name: str, values: torch.Tensor) -> None:
        with torch.no_grad():
            weight = parameter(self._module, name)
            weight.copy_(values)
            if self._state.half is not None:
                parameter(self._state.half.module, name).copy_(weight)


@contextmanager
def writing(module: nn.Module, state: ModelState, name: str) -> Iterator[WeightWriter]:
    """See `LanguageModel.writing`."""
    writer = WeightWriter(module, state)
    with state.running(name):
        state.writers.append(writer)
    try:
        yield writer
    finally:
        inside = finished(lambda: _close(state.writers, writer))
        if inside:
            raise UserError(
                f"{name}: an edit was taken out while {inside} made after it remained; all of them are out now; "
                "take out the latest first, as nested `with` blocks do"
            )


@contextmanager
def unedited(state: ModelState) -> Iterator[None]:
    """See `LanguageModel.unedited`."""
    edited = [(writer, writer.now()) for writer in state.writers]
    for writer, _ in reversed(edited):
        writer.restore()
    try:
        with state.detached():
            yield
    finally:
        for writer, values in edited:
            for name, tensor in values.items():
                writer.write(name, tensor)


def _close(writers: list[WeightWriter], writer: WeightWriter) -> int:
    """Undo `writer` and the open edits made after it, and return how many those are."""
    if writer not in writers:  # undone together with an edit made before it
        return 0
    position = writers.index(writer)
    for open_writer in reversed(writers[position:]):
        open_writer.restore()
    inside = len(writers) - position - 1
    del writers[position:]
    return inside


def hash_weights(module: nn.Module) -> str:
    """sha256 over all parameters and persistent buffers, in the order of their names; tied weights count once.

    Offloaded weights are read off their offload map, so that the hash is that of the model as it was.
    """
    digest = hashlib.sha256()
    persistent = module.state_dict()
    names = {n for n, _ in module.named_parameters()} | {n for n, _ in module.named_buffers() if n in persistent}
    for name in sorted(names - other_names(module).keys()):
        tensor = true_tensor(module, name).detach().contiguous().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weight_versions(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Identity and count of in-place writes of every parameter and buffer: unlike before where one was replaced or
    written to.

    A write through `.data` is not counted, so this only says when `hash_weights` must look at once.
    """
    return tuple((id(tensor), tensor._version) for tensor in (*module.parameters(), *module.buffers()))


def hash_reading(tokenizer: Any, config: Any) -> str:
    """See `LanguageModel.reading_hash`."""
    whole = tokenizer.backend_tokenizer.to_str()
    # It begins with padding and truncation, which calls of the tokenizer change.
    rules = whole[whole.index('"added_tokens"') :]
    return digest([rules, _decisive(json.loads(config.to_json_string(use_diff=False)))])


def _decisive(config: Any) -> Any:
    """A configuration without LOADED and what is private (paths, kernels), in those of its parts too."""
    if not isinstance(config, dict):
        return config
    return {k: _decisive(v) for k, v in config.items() if k not in LOADED and not k.startswith("_")}
