"""Tiny forward passes that show what the modules of a decoder block do; `editing/model/sites.py` draws conclusions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from editing.errors import BadModel
from editing.lazy import nn, pytorch_utils, torch
from editing.model.experts import Expert, holds_experts, routing
from editing.model.offload import device_of

LIKENESS = 0.02  # largest relative error of the sum of a module's experts; bfloat16 rounds by .004


@dataclass(frozen=True)
class Linear:
    """A linear map of a block; `path` is within the block."""

    path: str
    d_in: int
    d_out: int
    transposed: bool


def linear_shape(module: nn.Module | Expert) -> tuple[int, int, bool] | None:
    """(d_in, d_out, stored transposed) of a linear map, None for any other module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, False
    if isinstance(module, pytorch_utils.Conv1D):
        return module.weight.shape[0], module.weight.shape[1], True
    return module.shape if isinstance(module, Expert) else None


def refuse_other_modules(module: nn.Module, name: str) -> None:
    """Refuse a module whose parts are not what they seem: hooks do not run in compiled ones, the map that a LoRA holds
    apart is not the whole one.

    Raises:
        BadModel: one of these, or no model of transformers.
    """
    if not hasattr(module, "get_input_embeddings") or not hasattr(module, "config"):
        raise BadModel(f"{name}: is no model of transformers; wrap the one that it holds, such as `module.module`")
    for part in module.modules():
        if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
            raise BadModel(f"{name}: is compiled, and no hook runs in it; wrap the model that was not compiled")
        if type(part).__module__.startswith("peft."):
            raise BadModel(f"{name}: holds PEFT adapters; wrap what `merge_and_unload()` returns")


def routed(path: str) -> bool:
    """Whether a module or parameter belongs to experts that a router chooses among (see the names in transformers)."""
    return any("expert" in part and "shared" not in part for part in path.split("."))


def linear_maps(block: nn.Module) -> dict[str, tuple[int, int, bool]]:
    """The linear maps of a block but for those of routed experts: path -> shape."""
    shapes = {path: linear_shape(module) for path, module in block.named_modules() if not routed(path)}
    return {path: shape for path, shape in shapes.items() if shape}


def tokens(model: nn.Module, ids: list[int]) -> torch.Tensor:
    """(1, n) token ids that the model has."""
    table = model.get_input_embeddings()  # pyright: ignore[reportCallIssue]
    return torch.tensor([ids], device=device_of(table)) % table.weight.shape[0]


def own_cache(output: Any) -> Any:
    """The cache that a model made for itself in a run with `use_cache`, by the output's names for it; None without."""
    name = "cache" if "cache" in output else "past_key_values"  # transformers 5.24 renames it
    return output.get(name)


def entering(args: tuple, kwargs: dict) -> torch.Tensor:
    """The hidden state that enters a block, of the arguments that a pre-hook of it gets."""
    return args[0] if args else kwargs["hidden_states"]


def with_entering(args: tuple, kwargs: dict, hidden: torch.Tensor) -> tuple[tuple, dict]:
    """The same arguments with `hidden` in place of that state."""
    return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})


@contextmanager
def watched(modules: dict[str, nn.Module], note) -> Iterator[None]:
    """`note(path, inputs, output)` is called when one of `modules` (path -> module) has run."""
    handles = [m.register_forward_hook(lambda _m, a, o, p=p: note(p, a, o)) for p, m in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Probe:
    """Forward passes of `model` in which `block` reads what the `first` block reads."""

    model: nn.Module
    first: nn.Module
    block: nn.Module

    def forward(self, ids: torch.Tensor) -> None:
        """One pass."""
        states: list[torch.Tensor] = []

        def note(_module: nn.Module, args: tuple, kwargs: dict) -> None:
            states.append(entering(args, kwargs))

        def replace(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            return with_entering(args, kwargs, states[0])

        handles = []
        if self.block is not self.first:
            handles.append(self.first.register_forward_pre_hook(note, with_kwargs=True))
            handles.append(self.block.register_forward_pre_hook(replace, with_kwargs=True))
        try:
            self.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()

    def run(self, ids: torch.Tensor) -> tuple[list[Linear], dict[str, torch.Tensor], object]:
        """Order of the linear maps of the block, their inputs as (tokens, d_in), and what the block returned."""
        order: list[Linear] = []
        inputs: dict[str, torch.Tensor] = {}
        returned: list = []

        def note(path: str, args: tuple, output: object) -> None:
            if path == "":
                returned.append(output)
                return
            order.append(Linear(path, *linears[path]))
            inputs[path] = args[0].detach().reshape(-1, linears[path][0])

        linears = linear_maps(self.block)
        modules = {path: self.block.get_submodule(path) for path in ("", *linears)}
        with torch.no_grad(), watched(modules, note):
            self.forward(ids)
        return order, inputs, returned[0]


def norms_behind(probe: Probe, linears: Sequence[str], ids: torch.Tensor) -> dict[str, str]:
    """Linear map -> the module that reads its very output and changes it; none where there is no such module. Paths
    are within the block."""
    written: dict[str, torch.Tensor] = {}
    readers: dict[str, str] = {}

    def note(path: str, args: tuple, output: object) -> None:
        if not isinstance(output, torch.Tensor):
            return
        if args and isinstance(args[0], torch.Tensor) and output.shape == args[0].shape:
            for linear, own in written.items():
                same = args[0].data_ptr() == own.data_ptr() and args[0].shape == own.shape
                if same and not torch.equal(output, args[0]):
                    readers.setdefault(linear, path)
        if path in linears:
            written[path] = output

    modules = {path: module for path, module in probe.block.named_modules() if path and not routed(path)}
    with torch.no_grad(), watched(modules, note):
        probe.forward(ids)
    return readers


class Values(NamedTuple):
    """The map that makes the values that an output projection reads, which of its outputs they are (None: all), and
    whether the output projection reads a map that has no influence at one token (queries, keys)."""

    linear: Linear | None = None
    rows: tuple[int, ...] | None = None
    with_queries: bool = False


def values_of(probe: Probe, order: list[Linear], output: Linear) -> Values:
    """What the output projection `output` reads at one token; `order`: the maps of the block as they run.

    Several maps may have a gradient there: the values, and a gate that they are multiplied with. The values are those
    that the input of the output projection is proportional to: twice the values are twice that input, without rounding
    in every float type.
    """
    outputs: dict[str, torch.Tensor] = {}
    inputs: dict[str, torch.Tensor] = {}
    earlier = order[: order.index(output)]

    def note(path: str, args: tuple, out: torch.Tensor) -> torch.Tensor | None:
        if path == output.path:
            inputs[path] = args[0]
            return None
        outputs[path] = out.detach().requires_grad_()
        return outputs[path]

    def proportional(linear: Linear) -> bool:
        def double(path: str, args: tuple, out: torch.Tensor) -> torch.Tensor | None:
            if path == output.path:
                inputs[path] = args[0]
                return None
            return 2 * out

        with torch.no_grad(), watched({path: modules[path] for path in (linear.path, output.path)}, double):
            probe.forward(tokens(probe.model, [1]))
        twice = 2 * mixed.detach().float()
        return float((inputs[output.path].float() - twice).norm()) < 1e-3 * float(twice.norm())

    modules = {o.path: probe.block.get_submodule(o.path) for o in [*earlier, output]}
    with torch.enable_grad(), watched(modules, note):
        probe.forward(tokens(probe.model, [1]))
    mixed = inputs[output.path]
    if not earlier or not mixed.requires_grad:
        return Values()
    weights = torch.linspace(1.0, 2.0, mixed.numel(), device=mixed.device, dtype=mixed.dtype).reshape(mixed.shape)
    gradients = torch.autograd.grad(mixed, [outputs[o.path] for o in earlier], weights, allow_unused=True)
    by_map = {linear: g for linear, g in zip(earlier, gradients, strict=True) if g is not None}
    sizes = {linear: g.reshape(-1, linear.d_out).abs().amax(0) for linear, g in by_map.items()}
    largest = max((float(size.max()) for size in sizes.values()), default=0.0)
    with_queries = any(float(size.max()) < 1e-4 * largest for size in sizes.values())
    read = [linear for linear in reversed(sizes) if float(sizes[linear].max()) > 0]
    if not read:
        return Values(with_queries=with_queries)
    value = next(filter(proportional, read), read[0])
    rows = tuple(int(i) for i in torch.nonzero(sizes[value] > 1e-4 * sizes[value].max()).flatten())
    return Values(value, None if len(rows) == value.d_out else rows, with_queries)


def find_experts(model: nn.Module, blocks: Sequence[str]) -> tuple[str, ...]:
    """Path of the experts' module of each block, "" where a block has none that is understood.

    A module is understood where the sum of its experts, each by `Expert`, is what it puts out.
    """
    path_of = dict.fromkeys(blocks, "")

    def compare(block: str, path: str) -> Callable:
        def hook(module: nn.Module, args: tuple, output: Any) -> None:
            if len(args) == 3 and all(isinstance(t, torch.Tensor) for t in (*args, output)):
                ours = _sum_of_experts(module, args)
                theirs = output.reshape(ours.shape).to(ours.dtype)
                if float((ours - theirs).norm()) <= LIKENESS * float(theirs.norm()):
                    path_of[block] = path

        return hook

    handles = [
        module.register_forward_hook(compare(block, f"{block}.{path}"))
        for block in blocks
        for path, module in model.get_submodule(block).named_modules()
        if holds_experts(module)
    ]
    ids = tokens(model, [1, 3])
    try:
        if handles:
            with torch.no_grad():
                model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(path_of.values())


def _sum_of_experts(module: Any, args: tuple) -> torch.Tensor:
    """(N, d_out) the output of an experts' module."""
    hidden, weights = args[0].reshape(-1, args[0].shape[-1]), routing(module, args)
    experts = [Expert(module, int(i)) for i in torch.nonzero(weights.any(0)).flatten()]
    parts = [weights[:, e.index, None] * e.output(e.key(hidden)) for e in experts]
    return torch.stack(parts).sum(0)
