"""A causal language model, its tokenizer and its sites: what every method edits and every score evaluates."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from editing.errors import BadModel, BadRequest, NoSite
from editing.lazy import nn, torch
from editing.model import experts
from editing.model.bfloat16 import LEAST_GAIN, NARROWEST, bfloat16_gain
from editing.model.offload import device_of, is_dispatched, is_offloaded, other_names, true_tensor
from editing.model.probing import find_experts, refuse_other_modules, routed
from editing.model.sites import EXPERT, KINDS, Layout, Site, find_layout
from editing.model.weights import (
    ModelState,
    WeightWriter,
    attention_of,
    bfloat16_copy,
    evaluating,
    hash_reading,
    hash_weights,
    likeliest_tokens,
    unedited,
    writing,
)
from editing.references import quiet_transformers


@dataclass(frozen=True, eq=False, repr=False)
class LanguageModel:
    """Immutable apart from the weights, which edits change and put back; make one with `LanguageModel.wrap`.

    Attributes:
        module: a transformers causal language model, in evaluation mode, its parameters without gradients.
        tokenizer: a fast tokenizer (offsets are needed to find the subject).
        name: the reference as written. source: what it resolved to.
        prefix_ids: tokens put before every text (BOS or document separator).
        batch_scale: factor of the usual batch sizes, for a model that leaves little memory; see
            editing/model/memory.py.
        state: what changes about the module, see editing/model/weights.py.
    """

    module: Any
    tokenizer: Any
    name: str = ""
    source: str = ""
    prefix_ids: tuple[int, ...] = field(default=())
    batch_scale: float = 1.0
    state: ModelState = field(default_factory=ModelState)

    def __repr__(self) -> str:
        try:
            size = f"layers={self.n_layers}, d_model={self.d_model}"
        except NoSite:
            size = f"no sites in {type(self.module).__name__}"
        parameters, dtype = f"{self.n_parameters / 1e6:.1f}M parameters", str(self.dtype).removeprefix("torch.")
        return f"LanguageModel({self.name!r}, {size}, {parameters}, {dtype}, {self.device})"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle keeps: not the hash, where edits are in the weights that it takes over."""
        return {k: v for k, v in self.__dict__.items() if not (k == "weight_hash" and self.state.writers)}

    @classmethod
    def wrap(
        cls,
        module: nn.Module,
        tokenizer: Any,
        *,
        name: str = "",
        source: str = "",
        prefix_ids: tuple[int, ...] | None = None,
    ) -> LanguageModel:
        """A language model around a loaded module.

        `prefix_ids=None` takes the tokens that the tokenizer puts before a text; if there are none, its document
        separator `<|endoftext|>` or end-of-sequence token, which such models saw before every training document.

        A model that accelerate spread over devices or offloaded works wherever an edit is a hook; see
        `refuse_offloaded`. Finding v* holds the weights of the blocks from the edited one on while it goes back through
        them.

        Raises:
            BadModel: the tokenizer gives no offsets; the module is compiled or has adapters; or weights are empty (meta
                device) without an offload hook of accelerate that brings them in.
        """
        refuse_other_modules(module, name or type(module).__name__)
        if tokenizer is None:
            raise BadModel(f"{name or type(module).__name__}: no tokenizer; give the model's own as well")
        if not getattr(tokenizer, "is_fast", False):
            raise BadModel(
                f"{name or type(module).__name__}: its tokenizer has no fast version; convert it to tokenizer.json"
            )
        for weight, parameter in module.named_parameters():
            if parameter.is_meta:
                try:
                    true_tensor(module, weight)
                except BadModel as error:
                    raise BadModel(f"{name or type(module).__name__}: {error}") from error
        module.eval()
        module.requires_grad_(False)
        if prefix_ids is None:
            prefix_ids = _own_prefix(tokenizer)
        return cls(module, tokenizer, name or type(module).__name__, source, tuple(prefix_ids))

    def with_batches(self, scale: float) -> LanguageModel:
        """The same model, run in batches of `scale` times the usual size."""
        if scale == self.batch_scale:
            return self
        other = copy.copy(self)  # keeps what is cached: layout, hash
        object.__setattr__(other, "batch_scale", scale)
        return other

    def batch_tokens(self, usual: int) -> int:
        """Padded tokens of a batch that holds `usual` where memory is ample."""
        return max(1, round(usual * self.batch_scale))

    @cached_property
    def layout(self) -> Layout:
        return find_layout(self.module)

    @property
    def n_layers(self) -> int:
        return len(self.layout.blocks)

    @property
    def d_model(self) -> int:
        return self.layout.d_model

    @property
    def device(self) -> torch.device:
        """Where sequences enter; blocks may run elsewhere."""
        return device_of(self.module.get_input_embeddings()) or torch.device("cpu")

    @cached_property
    def offloaded(self) -> bool:
        """Whether weights are brought in for each call only."""
        return is_offloaded(self.module)

    def refuse_offloaded(self) -> None:
        """To be called before weights are changed in place.

        Raises:
            BadModel: some weights are offloaded; a change of them would be lost at the next call.
        """
        if self.offloaded:
            raise BadModel(
                f"{self.name}: its weights are offloaded and cannot be changed in place; run the edit as hooks "
                "(`editing.ask(lm, ..., delta)`), or load the model whole"
            )

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.module.parameters() if p.is_floating_point())

    @cached_property
    def n_parameters(self) -> int:
        second_names = other_names(self.module)
        return sum(p.numel() for n, p in self.module.named_parameters() if n not in second_names)

    @cached_property
    def weight_hash(self) -> str:
        """sha256 of names, types, shapes and bytes of all weights, offloaded or not.

        Taken at the first call, without the edits that are applied then, and kept.
        """
        with self.unedited():
            return hash_weights(self.module)

    @cached_property
    def reading_hash(self) -> str:
        """sha256 of tokenizer and configuration. With `weight_hash` and `prefix_ids` it names what the model answers
        and what its maps read: a corrected tokenizer.json or config.json beside the same weights makes another model.
        """
        return hash_reading(self.tokenizer, self.module.config)

    def sites(self, kind: str = "mlp") -> tuple[Site, ...]:
        """The sites of one kind, one per block; "value" only of the blocks that have attention values.

        Raises:
            NoSite: unknown kind, or the model has none of it (an attention-only model has no "mlp").
        """
        if kind not in KINDS:
            raise NoSite(f"no site kind {kind!r}; use one of {', '.join(KINDS)}")
        sites = self.layout.sites[kind]
        if not sites:
            present = [k for k in (*KINDS, EXPERT) if self.layers_with(k)]
            raise NoSite(f"{self.name} has no site of kind {kind!r}; use one of {', '.join(present)}")
        return sites

    def site(self, kind: str, layer: int) -> Site:
        """The site of one block.

        Raises:
            NoSite: as `sites`, or this block has none.
        """
        by_layer = {site.layer: site for site in self.sites(kind)}
        if layer not in by_layer:
            have = ", ".join(map(str, by_layer))
            raise NoSite(f"{self.name}: block {layer} has no site of kind {kind!r}; blocks {have} have, set depth")
        return by_layer[layer]

    def layers_with(self, kind: str) -> list[int]:
        """The blocks that have a site of this kind."""
        if kind == EXPERT:
            return [layer for layer, path in enumerate(self.experts) if path]
        return [site.layer for site in self.layout.sites.get(kind, ())]

    @cached_property
    def experts(self) -> tuple[str, ...]:
        """Path of the module that holds the routed experts of each block, "" where there is none to edit."""
        return ("",) * self.n_layers if self.offloaded else find_experts(self.module, self.layout.blocks)

    def expert_sites(self, layer: int) -> tuple[Site, ...]:
        """The down-projections of the routed experts of one block.

        Raises:
            NoSite: the block has none, or none that are understood.
            BadModel: the weights are offloaded.
        """
        if self.offloaded:
            raise BadModel(f"{self.name}: its weights are offloaded; routed experts are edited in a whole model only")
        if not any(self.experts):
            names = (name for name, _ in self.module.named_parameters())
            reason = "its experts are built in another way" if any(map(routed, names)) else "it is dense"
            raise NoSite(f"{self.name} has no routed experts that can be edited: {reason}; use site mlp, value or attn")
        path = self.experts[layer]
        if not path:
            have = ", ".join(str(i) for i, p in enumerate(self.experts) if p)
            raise NoSite(f"{self.name}: block {layer} has no routed experts; blocks {have} have, set depth")
        first = self.submodule(f"{path}.0.down_proj")
        d_in, d_out, transposed = first.shape
        return tuple(
            Site(EXPERT, layer, f"{path}.{index}.down_proj", d_in, d_out, None, transposed)
            for index in range(len(first.module.down_proj))
        )

    def expert_site(self, layer: int, index: int) -> Site:
        """The down-projection of one of them.

        Raises:
            NoSite: as `expert_sites`, or the block has fewer.
        """
        sites = self.expert_sites(layer)
        if index >= len(sites):
            last = len(sites) - 1
            raise NoSite(f"{self.name}: block {layer} has experts 0 to {last}, no expert {index}; use one of these")
        return sites[index]

    def submodule(self, path: str) -> Any:
        """The module at `path`; an `Expert` where that is the down-projection of a routed one."""
        return experts.submodule(self.module, path)

    def weight(self, name: str) -> torch.Tensor:
        """The parameter called `name`; empty (meta) where it is offloaded, see `values`."""
        return experts.parameter(self.module, name)

    def values(self, name: str) -> torch.Tensor:
        """The values of the parameter called `name`, to be read only; off the offload map where it is offloaded."""
        expert = experts.expert_at(self.module, name.removesuffix(".weight"))
        return true_tensor(self.module, name).detach() if expert is None else expert.weight

    def encode(self, text: str) -> list[int]:
        """`prefix_ids` and the tokens of `text`."""
        return [*self.prefix_ids, *self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]]

    def generate(self, prompt: str, new_tokens: int = 20) -> str:
        """The greedy continuation of `prompt`, at most `new_tokens` tokens, cut at end-of-text; under `Delta.applied`
        the edited one. Penalties and other rules of the model's generation_config.json do not count. A blank that ends
        the prompt is left to the model, which writes it with the next word.

        Raises:
            BadRequest: no text, fewer than one new token, no room for them behind the prompt, or nothing to go on from.
            UserError: another thread runs the model.
        """
        if not isinstance(prompt, str):
            raise BadRequest(f"prompt {prompt!r:.80}: a {type(prompt).__name__}; give a text")
        if new_tokens < 1:
            raise BadRequest(f"new_tokens={new_tokens}; give at least 1")
        ids = torch.tensor([self.encode(prompt.removesuffix(" ") or prompt)], dtype=torch.long, device=self.device)
        if not ids.shape[1]:
            raise BadRequest(f"prompt {prompt!r} has no tokens; write some text")
        if ids.shape[1] + new_tokens > self.max_length:
            raise BadRequest(
                f"a prompt of {ids.shape[1]} tokens that ends {prompt[-40:]!r} and {new_tokens} new ones: "
                f"the model reads {self.max_length}; shorten the prompt or take fewer new tokens"
            )
        mask = torch.ones_like(ids)
        alone, plain = self.state.running(self.name), likeliest_tokens(self.module)
        with alone, plain, torch.no_grad(), quiet_transformers(), evaluating(self.module):
            out = self.module.generate(
                ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, pad_token_id=self.pad_id
            )
        return self.text_behind(ids[0].tolist(), out[0, ids.shape[1] :].tolist())

    def text_behind(self, begun: Sequence[int], ids: Sequence[int]) -> str:
        """The text of the tokens `ids` behind those of `begun`, without special tokens. Decoded together: SentencePiece
        leaves out the blank before the first word of a text."""
        whole, first = (self.tokenizer.decode(one, skip_special_tokens=True) for one in ([*begun, *ids], list(begun)))
        return whole[len(first) :]

    @property
    def max_length(self) -> int:
        """Longest sequence the model reads, in tokens."""
        config = self.module.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None) or 2048)

    @property
    def pad_id(self) -> int:
        """Any valid token: padding is always masked."""
        return self.prefix_ids[0] if self.prefix_ids else 0

    @property
    def half_wins(self) -> bool:
        """Whether bfloat16 products are faster: on a GPU with bf16 units; on a CPU as measured, for a wide model."""
        if is_dispatched(self.module):  # there is no copy of such a model
            return False
        if self.device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return self.d_model >= NARROWEST and bfloat16_gain(self.d_model) >= LEAST_GAIN

    def writing(self) -> AbstractContextManager[WeightWriter]:
        """A writer of weights; on the way out, also by an exception or an interrupt, they have their old bits again.

        Raises:
            UserError: another thread runs the model or has an edit applied to it; on the way out, if an edit made after
                this one is still in the weights (both are undone then).
        """
        return writing(self.module, self.state, self.name)

    def unedited(self) -> AbstractContextManager[None]:
        """The model without the edits that are open, in weights or as hooks, for the length of a `with` block."""
        return unedited(self.state)

    @property
    def half(self) -> LanguageModel:
        """The model with bfloat16 weights, for work that needs no more; buffers (rotary tables) stay float32.

        Copied at the first use; edits of the weights are written into the copy too (editing/model/weights.py).

        Raises:
            BadModel: the model is spread over devices or offloaded; it is not copied.
        """
        if self.dtype == torch.bfloat16:
            return self
        if is_dispatched(self.module):
            raise BadModel(
                f"{self.name}: is spread over devices or offloaded, no bfloat16 copy of it is made; "
                "use precision float32 or auto, or load it in bfloat16"
            )
        if self.state.half is None:
            with self.state.detached():  # hooks would be copied too, and stay
                module = bfloat16_copy(self.module, self.device)
                self.state.half = LanguageModel(module, self.tokenizer, self.name, self.source, self.prefix_ids)
        return self.state.half.with_batches(self.batch_scale)

    @property
    def has_half(self) -> bool:
        """Whether `half` takes no more memory: it is there already, or the weights are bfloat16 themselves."""
        return self.dtype == torch.bfloat16 or self.state.half is not None

    @contextmanager
    def fastest(self) -> Iterator[LanguageModel]:
        """For passes without gradients: `half` with the model's own attention where it is faster, else the model."""
        there = self.has_half
        source = self.half if self.half_wins else self
        try:
            with attention_of(self.module, source.module):
                yield source
        finally:
            if not there:
                self.state.half = None  # a copy made for these passes alone


def _own_prefix(tokenizer: Any) -> tuple[int, ...]:
    """See `LanguageModel.wrap`; SmolLM2, for one, declares another BOS than the separator it saw in training."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    if len(full) > len(plain):
        head = tuple(full[: len(full) - len(plain)])
        if full[len(head) :] == plain:
            return head
        if full[: len(plain)] != plain:  # something on both sides: keep what stands before
            return tuple(full[: full.index(plain[0])])
    separator = tokenizer.get_vocab().get("<|endoftext|>")
    if separator is not None:
        return (separator,)
    if tokenizer.eos_token_id is not None:
        return (tokenizer.eos_token_id,)
    return ()
