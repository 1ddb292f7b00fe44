"""Where a model can be edited, found by what its modules do and not by what they are called.

A decoder block reads the residual stream and writes to it through two linear maps: the attention's output projection
and the MLP's down-projection. A few tiny forward passes tell which they are, and what follows them:

1. Two tokens, hooks on every linear map: which run, in which order, and which write `d_model` numbers.
2. The first token is changed: the first map whose input at the second token changes sits after the attention has mixed
   positions, so it is the attention's output projection. The last other map writing `d_model` is the MLP's
   down-projection; where several modules have such a map (Gemma 4 projects the embedding of each layer behind its
   MLP), it is the one that reads most numbers. An MLP whose down-projection is exactly zero in every block does not
   count: the model is attention-only.
3. One token: its attention weight is 1 whatever query and key are, so only value rows of the maps before the output
   projection have a gradient, and what is read is proportional to them. This finds `v_proj` as well as the value third
   of a fused or interleaved QKV map, and no gate.
4. A module of the block that reads what one of the two maps wrote, and changes it, is the norm behind that map.

This is done once for each way of building a block, while that block reads what the first one reads. In a hybrid some
blocks keep no keys and values but a state (state spaces, linear attentions, short convolutions): the output projection
of such a block is its "attn", and it has no "value".

In a mixture of experts the attention has the same sites as any other, and a shared expert's down-projection, which
runs for every token, is its "mlp". Where some blocks have no such map, the kind is missing. A routed expert runs for
the tokens that are sent to it, so that it is a site only where it is chosen (editing/model/experts.py).

Models without any attention, encoder-decoders and encoder-only models are refused with `NoSite`, and so are those whose
first position is not 0, those whose attention keeps more than keys and values, and those whose blocks share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import NamedTuple

from editing.errors import NoSite
from editing.lazy import nn, torch
from editing.model.offload import true_tensor
from editing.model.probing import (
    Linear,
    Probe,
    Values,
    linear_maps,
    linear_shape,
    norms_behind,
    own_cache,
    routed,
    tokens,
    values_of,
)

KINDS = ("mlp", "value", "attn")
EXPERT = "expert"  # a kind by choice only: one of a block's routed experts, see `LanguageModel.expert_site`
HEAD = "head"  # a kind for methods only: the map to the logits, behind all blocks, see `head_site`


@dataclass(frozen=True)
class Site:
    """A linear map y = W k of one block that an edit may change.

    Attributes:
        kind: "mlp" (down-projection), "value" (attention value projection), "attn" (attention output projection),
            "expert" (down-projection of a routed expert) or "head" (the map to the logits).
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
    """Block paths, sites by kind, and how a block returns its output.

    Attributes:
        sites: of every block; "value" of the blocks that have attention values.
        tuple_output: 0: a block returns a tensor; n: a tuple of n whose first is the hidden state.
        recurrent: whether some blocks hold a state other than keys and values.
    """

    blocks: tuple[str, ...]
    d_model: int
    tuple_output: int
    sites: dict[str, tuple[Site, ...]]
    recurrent: bool = False


@dataclass(frozen=True)
class _Found:
    """What was found in one way of building a block; paths are within the block.

    Attributes:
        mixer: the output projection of what mixes positions.
        value, rows: the map that makes its values, and which of its outputs they are (None: all).
        norms: as `norms_behind` gives them.
    """

    mixer: Linear
    mlp: Linear | None
    value: Linear | None
    rows: tuple[int, ...] | None
    norms: Mapping[str, str]


def find_layout(model: nn.Module) -> Layout:
    """The sites of a causal language model.

    Raises:
        NoSite: the model is no decoder with attention; the message gives the reason.
    """
    name = type(model).__name__
    _refuse_other_kinds(model, name)
    paths = _block_paths(model, int(model.config.get_text_config().num_hidden_layers))  # pyright: ignore
    blocks = [model.get_submodule(path) for path in paths]
    ids, first = tokens(model, [1, 3]), Probe(model, blocks[0], blocks[0])
    try:
        run = first.run(ids)
    except (ValueError, TypeError, NotImplementedError) as error:  # raised by the code of a family
        raise NoSite(f"{name}: does not run on plain tokens ({_first_line(error)})") from error
    returned = run[2]
    hidden = returned[0] if isinstance(returned, tuple) else returned
    if not isinstance(hidden, torch.Tensor):
        raise NoSite(f"{name}: a block returns a {type(returned).__name__}, where a tensor or a tuple is expected")
    _check_reading(model, name)
    keep = _keep_keys(model, blocks)
    if not any(keep):
        raise NoSite(f"{name}: no block keeps keys and values: a state space, or attention without a cache")
    if not all(keep) and "shared_kv_states" in signature(type(blocks[0]).forward).parameters:
        raise NoSite(f"{name}: some blocks read the keys and values of others; take a model that shares none")
    builds = [*zip(map(_build, blocks), keep, strict=True)]
    parts: dict[tuple[_Build, bool], _Found] = {}
    for (build, keeps), block in zip(builds, blocks, strict=True):
        if (build, keeps) not in parts:
            probe = first if block is blocks[0] else Probe(model, blocks[0], block)
            order, inputs, _ = run if probe is first else probe.run(ids)
            if not build.wide:  # state spaces use maps by their weights alone
                _refuse_idle(block, order, name)
            parts[build, keeps] = _find(probe, order, inputs, hidden.shape[-1], bool(build.wide), keeps, name)
    found = [parts[build] for build in builds]
    mlp = [one.mlp for one in found]
    if _silent(model, [f"{path}.{linear.path}" for path, linear in zip(paths, mlp, strict=True) if linear]):
        mlp = [None] * len(found)
    norms = [one.norms for one in found]
    sites = {
        "mlp": _sites("mlp", model, paths, mlp, norms),
        "value": _sites("value", model, paths, [one.value for one in found], norms, [one.rows for one in found]),
        "attn": _sites("attn", model, paths, [one.mixer for one in found], norms),
    }
    if len(sites["mlp"]) < len(paths):  # a method's default place would be missing in some blocks
        sites["mlp"] = ()
    recurrent = any(build.wide or not keeps for build, keeps in builds)
    return Layout(tuple(paths), hidden.shape[-1], len(returned) if isinstance(returned, tuple) else 0, sites, recurrent)


class _Build(NamedTuple):
    """How a block is built: its linear maps, and its other wide parameters but for those of routed experts."""

    linears: tuple[Linear, ...]
    wide: tuple[str, ...]


def _build(block: nn.Module) -> _Build:
    wide = tuple(n for n, p in block.named_parameters() if p.ndim > 2 and not routed(n))
    return _Build(tuple(Linear(path, *shape) for path, shape in linear_maps(block).items()), wide)


def _keep_keys(model: nn.Module, blocks: Sequence[nn.Module]) -> list[bool]:
    """Whether each block keeps keys and values."""
    ids = tokens(model, [1, 3])
    try:
        with torch.no_grad():
            out = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True)
    except Exception as error:  # whatever transformers' code for this family raises
        name = type(model).__name__
        raise NoSite(f"{name}: runs with no cache in this version of transformers ({_first_line(error)})") from error
    layers = getattr(own_cache(out), "layers", [])
    if any(hasattr(layer, "update_indexer") for layer in layers):
        # Blocks choose the tokens that they attend to by these keys, some by the choice of the block before.
        name = type(model).__name__
        raise NoSite(
            f"{name}: keeps keys of an indexer (sparse attention), which cannot be read apart; take another model"
        )
    keys = [getattr(layer, "keys", None) for layer in layers]
    keys += [None] * (len(blocks) - len(keys))
    return [isinstance(k, torch.Tensor) and k.shape[-2:-1] == ids.shape[1:] for k in keys]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _find(
    probe: Probe,
    order: list[Linear],
    inputs: Mapping[str, torch.Tensor],
    d_model: int,
    wide: bool,
    keeps: bool,
    name: str,
) -> _Found:
    """What one block holds.

    Args:
        order, inputs: of its linear maps on tokens 1 and 3, as `Probe.run` gives them. wide: whether it has wide
            parameters, see `_Build`. keeps: whether it keeps keys and values.

    Raises:
        NoSite: there is no output projection behind what mixes positions.
    """
    other = probe.run(tokens(probe.model, [2, 3]))[1]
    mixed = [o for o in order if not torch.equal(inputs[o.path][-1], other[o.path][-1])]
    outputs = [o for o in (mixed if wide else mixed[:1]) if o.d_out == d_model]
    if not outputs:
        raise NoSite(f"{name}: no attention output projection was found")
    # Where a state space runs beside an attention in one block, the attention's output is the one that queries and keys
    # have no influence on at one token.
    values = {o.path: values_of(probe, order, o) for o in outputs} if keeps else {}
    mixer = next((o for o in outputs if wide and keeps and values[o.path].with_queries), outputs[0])
    value = values.get(mixer.path, Values())
    later = [o for o in order[order.index(mixer) + 1 :] if o.d_out == d_model]
    last = {o.path.rpartition(".")[0]: o for o in later}  # of each module
    mlp = max(reversed(last.values()), key=lambda o: o.d_in, default=None)
    norms = norms_behind(probe, [linear.path for linear in (mlp, mixer) if linear], tokens(probe.model, [1, 3]))
    return _Found(mixer, mlp, value.linear, value.rows, norms)


def _refuse_other_kinds(model: nn.Module, name: str) -> None:
    """Encoder-decoders and models without a language-model head."""
    if getattr(model.config, "is_encoder_decoder", False):
        raise NoSite(f"{name} is an encoder-decoder; editing needs a decoder-only language model")
    if model.get_output_embeddings() is None:  # pyright: ignore[reportCallIssue]
        raise NoSite(
            f"{name} has no output embedding, so it predicts no next token; load it as a causal language model"
        )


def _refuse_idle(block: nn.Module, order: list[Linear], name: str) -> None:
    running = {o.path for o in order}
    idle = [path for path in linear_maps(block) if path not in running]
    if idle:
        raise NoSite(f"{name}: linear map {idle[0]} did not run on a plain input: an optional branch")


def _sites(
    kind: str,
    model: nn.Module,
    paths: Sequence[str],
    linears: Sequence[Linear | None],
    norms: Sequence[Mapping[str, str]],
    rows: Sequence[tuple[int, ...] | None] | None = None,
) -> tuple[Site, ...]:
    """The sites of the blocks that have one, in order. `norms`: of each block, see `norms_behind`."""
    sites = []
    for layer, (path, linear, behind) in enumerate(zip(paths, linears, norms, strict=True)):
        if linear is None:
            continue
        shape = linear_shape(model.get_submodule(f"{path}.{linear.path}"))
        assert shape is not None
        norm = f"{path}.{behind[linear.path]}" if linear.path in behind else ""
        own = None if rows is None else rows[layer]
        sites.append(Site(kind, layer, f"{path}.{linear.path}", shape[0], shape[1], own, shape[2], norm))
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


def _check_reading(model: nn.Module, name: str) -> None:
    """Refuse what `editing.run` would read wrong: models that look ahead, or that number positions in another way."""

    def logits(ids: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **more).logits[0].float()

    ids = tokens(model, [1, 3])
    own, other = logits(ids), logits(tokens(model, [1, 4]))
    if float((own[0] - other[0]).abs().max()) > 1e-4 * float(own[0].abs().max()):
        raise NoSite(f"{name} looks ahead: its answer at one token depends on the next; not a causal language model")
    if "position_ids" in signature(type(model).forward).parameters:
        ours = logits(ids, position_ids=torch.arange(2, device=ids.device)[None])
        if float((own - ours).abs().max()) > 1e-4 * float(own.abs().max()):
            raise NoSite(
                f"{name}: its first token does not stand at position 0 (RoBERTa and its kin); take another model"
            )
