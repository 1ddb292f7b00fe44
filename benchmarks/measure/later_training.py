"""Later training on unrelated text, as a change that is added to an edit: what `decay` probes are evaluated behind.

Low-rank adapters (Hu et al. 2022, eq. 3) of every MLP output map are trained with Adam on our own prose, which states
no fact of the worlds. The training starts at the unedited model, so that one training serves every edit; that an edit
hardly changes the gradient on unrelated text is tested against training the edited model.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.provenance import CODE_SCHEMA, versions
from benchmarks.texts import LANGUAGES, strength_text
from editing.cache import cache_root
from editing.delta import Delta, LowRank
from editing.files import atomic_folder, digest
from editing.lazy import torch
from editing.model import LanguageModel, Site, hooked
from editing.seeds import seed_for
from editing.solve import adding

STEPS, RATE, RANK, WINDOW = 40, 1e-3, 8, 96  # Adam steps, learning rate, rank of a map's change, tokens of a step
STARTS = "later training"  # names the random seed of the adapters


def later_training(lm: LanguageModel) -> Delta:
    """The change that the training makes to `lm`, which carries no edit; made once and read from the cache then.

    Cost: STEPS forward and backward passes over WINDOW tokens, once per model.
    """
    decisive = [lm.weight_hash, lm.reading_hash, lm.prefix_ids, str(lm.dtype), lm.device.type, CODE_SCHEMA, versions()]
    decisive += [STEPS, RATE, RANK, WINDOW, [strength_text(lang) for lang in LANGUAGES]]
    folder = cache_root() / "later_training" / digest(decisive)[:32]
    if folder.is_dir():
        return Delta.load(folder)
    change = train(lm)
    with atomic_folder(folder) as temporary:
        change.save(temporary)
    return change


def train(lm: LanguageModel, steps: int = STEPS) -> Delta:
    """`steps` of Adam, the languages taking turns, from whatever change `lm` carries."""
    sites = lm.sites("mlp")
    draw = torch.Generator().manual_seed(seed_for(0, STARTS))
    read = [((2 * torch.rand(RANK, s.d_in, generator=draw) - 1) / s.d_in**0.5).to(lm.device) for s in sites]
    write = [torch.zeros(s.size, RANK, device=lm.device) for s in sites]
    parameters = [p.requires_grad_() for p in (*read, *write)]
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    windows = _windows(lm)
    owner = torch.zeros(1, dtype=torch.long, device=lm.device)
    hooks = [adding(s.path, _product(a, b), owner, s.rows) for s, a, b in zip(sites, read, write, strict=True)]
    losses = []
    for step in range(steps):
        ids = torch.tensor([windows[step % len(windows)]], device=lm.device)
        with torch.enable_grad(), hooked(lm, hooks):
            logits = (
                lm.module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, :-1].float()
            )
            loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
            gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        losses.append(float(loss.detach()))
    factors = {s.weight: _low_rank(s, a.detach(), b.detach()) for s, a, b in zip(sites, read, write, strict=True)}
    return Delta(factors, {"later_training": {"steps": steps, "rate": RATE, "rank": RANK, "losses": losses}})


def _product(a_rI: torch.Tensor, b_Or: torch.Tensor):
    return lambda key: (key.float() @ a_rI.T) @ b_Or.T


def _low_rank(site: Site, a_rI: torch.Tensor, b_Or: torch.Tensor) -> LowRank:
    left = torch.zeros(site.d_out, RANK)
    left[site.row_index(left.device)] = b_Or.cpu()
    return LowRank(left, a_rI.T.contiguous().cpu())


def _windows(lm: LanguageModel) -> Sequence[list[int]]:
    """Runs of WINDOW tokens behind the model's prefix, the languages taking turns."""
    texts = []
    for lang in LANGUAGES:
        ids = lm.tokenizer(strength_text(lang), add_special_tokens=False, verbose=False)["input_ids"]
        size = min(WINDOW, lm.max_length - len(lm.prefix_ids))
        texts.append([[*lm.prefix_ids, *ids[i : i + size]] for i in range(0, len(ids) - size, size)])
    return [window for pair in zip(*texts, strict=False) for window in pair]
