"""A simulated GPU: tensors that say they lie on cuda:0, are kept on the CPU, and do not mix with those of the host.

On it code for a GPU runs without one, slowly, and what CUDA would refuse is refused: operands on two devices, `.numpy()`
of a tensor of the GPU. What it does not show: kernels, streams, memory, bfloat16 products (autocast), threads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from editing import lazy

GPU = torch.device("cuda:0")
# What C++ takes it for: a device without kernels, whose backward pass is run by the calling thread.
INSIDE = torch.device("lazy:0")
# Operations that take tensors of both: copies, and indices of the host into a tensor of the GPU.
COPIES, INDEXING = ("aten.copy_", "aten._to_copy"), ("aten.index", "aten._index_put_impl_")


class OnGpu(torch.Tensor):
    """A tensor of the simulated GPU around one of the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnGpu:
        layout = {"dtype": inner.dtype, "layout": inner.layout, "storage_offset": inner.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(cls, inner.shape, inner.stride(), device=INSIDE, **layout)
        made.inner = inner
        return made

    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.inner!r})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], *_: Any) -> OnGpu:
        return OnGpu(inner["inner"])

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert a tensor of cuda:0 to numpy; use Tensor.cpu() first")
        if name in ("tolist", "data_ptr"):  # of a subclass the one is refused, the other 0
            return func(args[0].inner)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """Operations on tensors of the host too: they may make one of the GPU, or mix both."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Names(TorchFunctionMode):
    """The name of the GPU in calls from Python becomes the one that C++ knows."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = (args, kwargs or {}) if func is torch.device else tree_map(_inside, (args, kwargs or {}))
        return func(*args, **kwargs)


class _Generator(torch.Generator):
    """A generator of the CPU, whatever device is named."""

    def __new__(cls, device: object = "cpu") -> torch.Generator:  # type: ignore[misc]
        return torch._C.Generator("cpu")


def _inside(leaf: Any) -> Any:
    named = isinstance(leaf, str | torch.device) and str(leaf).split(":")[0] == GPU.type
    return INSIDE if named else leaf


def _computed(func: Any, args: tuple, kwargs: dict) -> Any:
    """The result on the CPU, wrapped where it would lie on the GPU.

    Raises:
        RuntimeError: operands on two devices, other than scalars, that CUDA would not take.
    """
    name = str(func)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [one for one in tensors if isinstance(one, OnGpu)]
    here = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
    indexes = name.startswith(INDEXING) and isinstance(args[0], OnGpu)
    if there and here and not indexes and not name.startswith(COPIES):
        shapes = [[tuple(one.shape) for one in group] for group in (there, here)]
        raise RuntimeError(f"{name}: operands on two devices: shapes {shapes[0]} on cuda:0, {shapes[1]} on cpu")
    device = kwargs.get("device")
    inner_args, inner = tree_map(lambda leaf: leaf.inner if isinstance(leaf, OnGpu) else leaf, (args, kwargs))
    if device is not None:
        inner["device"] = torch.device("cpu")
    result = func(*inner_args, **inner)
    if not (there if device is None else torch.device(device).type == INSIDE.type):
        return result
    wrapped = tree_map(lambda leaf: OnGpu(leaf) if isinstance(leaf, torch.Tensor) else leaf, result)
    fresh = not there or name.startswith("aten._to_copy")
    return wrapped if fresh else return_and_correct_aliasing(func, args, kwargs, wrapped)


def _moved(module: torch.nn.Module) -> torch.nn.Module:
    """`module` with all parameters and buffers on the simulated GPU; what was tied stays tied."""
    made: dict[int, torch.Tensor] = {}

    def on_gpu(tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, OnGpu):
            return tensor
        if id(tensor) not in made:
            one: torch.Tensor = OnGpu(tensor.detach().clone())
            parameter = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(one, tensor.requires_grad) if parameter else one
        return made[id(tensor)]

    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            tensors.update({name: on_gpu(one) for name, one in tensors.items() if one is not None})  # type: ignore[arg-type]
    return module


@contextmanager
def simulated_gpu() -> Iterator[torch.device]:
    """Within it PyTorch has one GPU with 8 GiB, of which the tensors are `OnGpu`; other threads have no GPU."""
    of_cuda = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "is_bf16_supported": True,
        "get_device_name": "simulated", "mem_get_info": (8 << 30, 8 << 30), "memory_reserved": 0, "memory_allocated": 0,
        "synchronize": None, "empty_cache": None, "manual_seed": None, "manual_seed_all": None,
        "get_rng_state": torch.get_rng_state(), "set_rng_state": None,
    }  # fmt: skip
    usual_to, fused = torch.nn.Module.to, "_get_fused_kernels_supported_devices"

    def to(module: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if device is None or device.type != GPU.type:
            return usual_to(module, *args, **kwargs)
        return _moved(module if dtype is None else usual_to(module, dtype))

    with pytest.MonkeyPatch.context() as patch, _Operations(), _Names():
        patch.setattr(torch.nn.Module, "to", to)
        patch.setattr(torch, "Generator", _Generator)
        patch.setitem(vars(lazy.torch), "Generator", _Generator)  # it keeps what it has been read for
        for name, value in of_cuda.items():
            patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
        for module in [one for name, one in sys.modules.items() if name.startswith("torch.") and hasattr(one, fused)]:
            patch.setattr(module, fused, lambda: ["cpu", "cuda", INSIDE.type])
        lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # else `torch.tensor(..., device=)` is made behind the modes' back
        try:
            yield GPU
        finally:
            torch._C._set_only_lift_cpu_tensors(lifted)
