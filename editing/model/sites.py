"""Where a model can be edited, found by what its modules do and not by what they are called.

A decoder block reads the residual stream and writes to it through two linear maps: the attention's output projection
and the MLP's down-projection. Four tiny forward passes tell which they are, and what follows them:

1. Two tokens, hooks on every linear map: which run, in which order, and which write `d_model` numbers.
2. The first token is changed: in block 0 the first map whose input at the second token changes sits after the
   attention has mixed positions, so it is the attention's output projection. The last other map writing `d_model` is
   the MLP's down-projection.
   An MLP whose down-projection is exactly zero in every block does not count: the model is attention-only.
3. One token: its attention weight is 1 whatever query and key are, so only value rows of the maps before the output
   projection have a gradient. This finds `v_proj` as well as the value third of a fused or interleaved QKV map.
4. A module of block 0 that reads what one of the two maps wrote, and changes it, is the norm behind that map.

In a mixture of experts the routed experts are no sites: which of them runs depends on the token, and the router may
choose others after an edit. Its attention has the same sites as any other, and a shared expert's down-projection, which
runs for every token, is its "mlp". Where some blocks have no such map (dense first blocks), the kind is missing.

State-space, hybrid, encoder-decoder and encoder-only models are refused with `NoSite`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from editing.errors import NoSite
from editing.lazy import nn, pytorch_utils, torch
from editing.model.offload import device_of, true_tensor

KINDS = ("mlp", "value", "attn")


@dataclass(frozen=True)
class Site:
    """A linear map y = W k of one block that an edit may change.

    Attributes:
        kind: "mlp" (down-projection), "value" (attention value projection) or "attn" (attention output projection).
        layer: index of the block.
        path: module path; the weight is the parameter `path + ".weight"`.
        d_in: length of the key k.
        d_out: length of the whole output of the module.
        rows: which outputs belong to the site (value rows of a fused QKV map); None means all.
        transposed: the weight is stored as (d_in, d_out), as in GPT-2's Conv1D.
        norm: path of the module that the output passes before it joins the residual stream, "" where there is none.
    """

    kind: str
    layer: int
    path: str
    d_in: int
    d_out: int
    rows: tuple[int, ...] | None
    transposed: bool
    norm: str = ""

    @property
    def weight(self) -> str:
        return f"{self.path}.weight"

    @property
    def size(self) -> int:
        """Number of outputs that belong to the site."""
        return self.d_out if self.rows is None else len(self.rows)

    def row_index(self, device: torch.device) -> torch.Tensor:
        """(size,) long: the outputs that belong to the site."""
        rows = range(self.d_out) if self.rows is None else self.rows
        return torch.tensor(list(rows), dtype=torch.long, device=device)


def only_rows(values: torch.Tensor, rows: tuple[int, ...] | None) -> torch.Tensor:
    """(..., size) the `rows` of `values` (..., d_out); None means all."""
    return values if rows is None else values[..., list(rows)]


def in_rows(values: torch.Tensor, rows: tuple[int, ...] | None, width: int) -> torch.Tensor:
    """(..., width) with `values` (..., size) in `rows` and zeros elsewhere; the inverse of `only_rows`."""
    if rows is None:
        return values
    index = torch.tensor(rows, device=values.device)
    return values.new_zeros(*values.shape[:-1], width).index_copy(-1, index, values)


@dataclass(frozen=True)
class Layout:
    """Block paths, sites by kind, and how a block returns its output."""

    blocks: tuple[str, ...]
    d_model: int
    tuple_output: int  # 0: a block returns a tensor; n: a tuple of n whose first is the hidden state
    sites: dict[str, tuple[Site, ...]]


@dataclass(frozen=True)
class _Linear:
    path: str  # within the block
    d_in: int
    d_out: int
    transposed: bool


def linear_shape(module: nn.Module) -> tuple[int, int, bool] | None:
    """(d_in, d_out, stored transposed) of a linear map, None for any other module."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, False
    if isinstance(module, pytorch_utils.Conv1D):
        return module.weight.shape[0], module.weight.shape[1], True
    return None


def find_layout(model: nn.Module) -> Layout:
    """The sites of a causal language model.

    Raises:
        NoSite: the model is no decoder with attention in every block; the message gives the reason.
    """
    name = type(model).__name__
    _refuse_other_kinds(model, name)
    paths = _block_paths(model, int(model.config.get_text_config().num_hidden_layers))  # pyright: ignore
    blocks = [model.get_submodule(path) for path in paths]
    _refuse_wide_parameters(blocks[0], name)

    ids = _ids(model, [1, 3])
    order, _, returned = _run(model, blocks[0], ids)
    hidden = returned[0] if isinstance(returned, tuple) else returned
    if not isinstance(hidden, torch.Tensor):
        raise NoSite(f"{name}: a block returns a {type(returned).__name__}, where a tensor or a tuple is expected")
    d_model = hidden.shape[-1]
    _refuse_idle(blocks[0], order, name)
    _check_causal(model, name)
    attention = _attention_output(model, blocks[0], order, ids)
    if attention is None or attention.d_out != d_model:
        raise NoSite(f"{name}: no attention output projection was found in the first block")
    _refuse_unlike_blocks(paths, blocks, attention, name)

    later = order[order.index(attention) + 1 :]
    mlp = next((o for o in reversed(later) if o.d_out == d_model), None)
    if mlp is not None and not all(mlp.path in _linears(block) for block in blocks):
        mlp = None
    if mlp is not None and _silent(model, [f"{path}.{mlp.path}" for path in paths]):
        mlp = None
    value, rows = _value_rows(model, blocks[0], order, attention)
    norms = _norms(model, blocks[0], [linear.path for linear in (mlp, attention) if linear], ids)
    sites = {
        "mlp": _in_every_block("mlp", model, paths, mlp, None, norms),
        "value": _in_every_block("value", model, paths, value, rows, norms),
        "attn": _in_every_block("attn", model, paths, attention, None, norms),
    }
    return Layout(tuple(paths), d_model, len(returned) if isinstance(returned, tuple) else 0, sites)


def _refuse_other_kinds(model: nn.Module, name: str) -> None:
    """Encoder-decoders and models without a language-model head."""
    if getattr(model.config, "is_encoder_decoder", False):
        raise NoSite(f"{name} is an encoder-decoder; editing needs a decoder-only language model")
    if model.get_output_embeddings() is None:  # pyright: ignore[reportCallIssue]
        raise NoSite(
            f"{name} has no output embedding, so it predicts no next token; load it as a causal language model"
        )


def _refuse_wide_parameters(block: nn.Module, name: str) -> None:
    for parameter_name, parameter in block.named_parameters():
        if parameter.ndim > 2 and not _routed(parameter_name):
            shape = tuple(parameter.shape)
            raise NoSite(f"{name}: block parameter {parameter_name} has shape {shape}: a state space, not attention")


def _routed(path: str) -> bool:
    """Whether a module or parameter belongs to experts that a router chooses among (see the names in transformers)."""
    return any("expert" in part and "shared" not in part for part in path.split("."))


def _refuse_idle(block: nn.Module, order: list[_Linear], name: str) -> None:
    running = {o.path for o in order}
    idle = [path for path in _linears(block) if path not in running]
    if idle:
        raise NoSite(f"{name}: linear map {idle[0]} did not run on a plain input: an optional branch")


def _refuse_unlike_blocks(paths: list[str], blocks: list[nn.Module], attention: _Linear, name: str) -> None:
    """Blocks that mix positions in another way than the first, by other maps."""
    mixer = attention.path.rpartition(".")[0]
    first = _mixing(blocks[0], mixer)
    for path, block in zip(paths[1:], blocks[1:], strict=True):
        here = _mixing(block, mixer)
        if here != first:
            other = next(iter(sorted(first.symmetric_difference(here))))
            raise NoSite(f"{name}: block {path} is built unlike the first ({other}); hybrid model")


def _mixing(block: nn.Module, mixer: str) -> set[str]:
    """The parameters of a block outside of its MLP: those of the module `mixer` and of blocks' own wide parameters."""
    inside = {f"{n} {p.ndim}" for n, p in block.named_parameters() if n.startswith(f"{mixer}.")}
    return inside | {n for n, p in block.named_parameters() if p.ndim > 2 and not _routed(n)}


def _in_every_block(
    kind: str,
    model: nn.Module,
    paths: list[str],
    linear: _Linear | None,
    rows: tuple[int, ...] | None,
    norms: Mapping[str, str],
) -> tuple[Site, ...]:
    """The site of each block, in order; none without a `linear` map. `norms`: as `_norms` gives them."""
    sites = []
    for layer, path in enumerate(paths if linear else []):
        assert linear is not None
        shape = linear_shape(model.get_submodule(f"{path}.{linear.path}"))
        assert shape is not None
        behind = f"{path}.{norms[linear.path]}" if linear.path in norms else ""
        sites.append(Site(kind, layer, f"{path}.{linear.path}", shape[0], shape[1], rows, shape[2], behind))
    return tuple(sites)


def _silent(model: nn.Module, paths: list[str]) -> bool:
    """Whether weight and bias of all these maps are exactly zero, so that they write nothing."""
    for path in paths:
        for name, parameter in model.get_submodule(path).named_parameters():
            values = true_tensor(model, f"{path}.{name}") if parameter.is_meta else parameter
            if bool(values.any()):
                return False
    return True


def _block_paths(model: nn.Module, count: int) -> list[str]:
    lists = [(p, m) for p, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise NoSite(f"{type(model).__name__}: no list of {count} blocks found; not a stack of decoder blocks")
    path, _ = max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))
    return [f"{path}.{i}" for i in range(count)]


def _ids(model: nn.Module, ids: list[int]) -> torch.Tensor:
    table = model.get_input_embeddings()  # pyright: ignore[reportCallIssue]
    return torch.tensor([ids], device=device_of(table)) % table.weight.shape[0]


@contextmanager
def _hooked(modules: dict[str, nn.Module], note) -> Iterator[None]:
    handles = [m.register_forward_hook(lambda _m, a, o, p=p: note(p, a, o)) for p, m in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _linears(block: nn.Module) -> dict[str, nn.Module]:
    return {p: m for p, m in block.named_modules() if linear_shape(m) and not _routed(p)}


def _run(model: nn.Module, block: nn.Module, ids: torch.Tensor):
    """Order of the linear maps of `block`, their inputs as (tokens, d_in), and what the block returned."""
    order: list[_Linear] = []
    inputs: dict[str, torch.Tensor] = {}
    returned: list = []

    def note(path: str, args: tuple, output: object) -> None:
        if path == "":
            returned.append(output)
            return
        shape = linear_shape(block.get_submodule(path))
        assert shape is not None
        order.append(_Linear(path, *shape))
        inputs[path] = args[0].detach().reshape(-1, shape[0])

    with torch.no_grad(), _hooked({"": block, **_linears(block)}, note):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return order, inputs, returned[0]


def _check_causal(model: nn.Module, name: str) -> None:
    with torch.no_grad():
        one, two = (
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, 0].float()
            for ids in (_ids(model, [1, 3]), _ids(model, [1, 4]))
        )
    if float((one - two).abs().max()) > 1e-4 * float(one.abs().max()):
        raise NoSite(f"{name} looks ahead: its answer at one token depends on the next; not a causal language model")


def _attention_output(model: nn.Module, block: nn.Module, order: list[_Linear], ids: torch.Tensor) -> _Linear | None:
    other = ids.clone()
    other[0, 0] = _ids(model, [2])[0, 0]
    before, after = _run(model, block, ids)[1], _run(model, block, other)[1]
    return next((o for o in order if not torch.equal(before[o.path][-1], after[o.path][-1])), None)


def _norms(model: nn.Module, block: nn.Module, linears: Sequence[str], ids: torch.Tensor) -> dict[str, str]:
    """Linear map -> the module that reads its very output and changes it; none where there is no such module. Paths
    are within `block`."""
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

    modules = {path: module for path, module in block.named_modules() if path and not _routed(path)}
    with torch.no_grad(), _hooked(modules, note):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return readers


def _value_rows(
    model: nn.Module, block: nn.Module, order: list[_Linear], attention: _Linear
) -> tuple[_Linear | None, tuple[int, ...] | None]:
    outputs: dict[str, torch.Tensor] = {}
    inputs: dict[str, torch.Tensor] = {}
    earlier = order[: order.index(attention)]

    def note(path: str, args: tuple, output: torch.Tensor) -> torch.Tensor | None:
        if path == attention.path:
            inputs[path] = args[0]
            return None
        outputs[path] = output.detach().requires_grad_()
        return outputs[path]

    ids = _ids(model, [1])
    modules = {o.path: block.get_submodule(o.path) for o in [*earlier, attention]}
    with torch.enable_grad(), _hooked(modules, note):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    mixed = inputs[attention.path]
    if not mixed.requires_grad:
        return None, None
    weights = torch.linspace(1.0, 2.0, mixed.numel(), device=mixed.device, dtype=mixed.dtype).reshape(mixed.shape)
    tensors = [outputs[o.path] for o in earlier]
    gradients = torch.autograd.grad(mixed, tensors, weights, allow_unused=True)
    for linear, gradient in reversed(list(zip(earlier, gradients, strict=True))):
        if gradient is None:
            continue
        size = gradient.reshape(-1, linear.d_out).abs().amax(0)
        rows = tuple(int(i) for i in torch.nonzero(size > 1e-4 * size.max()).flatten())
        if rows and float(size.max()) > 0:
            return linear, None if len(rows) == linear.d_out else rows
    return None, None
