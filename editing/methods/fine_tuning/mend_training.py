"""How MEND's network is trained on one model: edits of drawn texts, under a budget of steps (Mitchell et al. 2022,
eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.fine_tuning.gradients import Features, read_features
from editing.methods.fine_tuning.hypernetwork import Hypernetwork
from editing.model import Hook, LanguageModel, Site
from editing.run import Splice
from editing.solve import Settings, adding
from editing.stats import sample_tokens
from editing.text import Contexts, Prompt

PROMPT, TARGET, BEFORE = 8, 2, 6  # tokens of an edit's prompt and target, and of the text before it
ELSEWHERE, SHARED = 12, 4  # tokens of the KL's text, and of the prompt up to where it goes on with it
RATE_LR = 100.0  # learning rate of the rates, in units of that of the network (1e-4 beside 1e-6 in the paper)


@dataclass(frozen=True)
class Budgeted(Settings):
    """What the training of the network may take; the same for every model."""

    steps: int = setting(200, "updates of the network", least=1)
    edits: int = setting(128, "edits of drawn texts that it learns from", unit="edits", least=1)
    batch: int = setting(8, "edits of one update", unit="edits", least=1)
    lr: float = setting(3e-4, "learning rate of Adam")
    rank: int = setting(64, "rank of the network's products U V", least=1)
    edit_weight: float = setting(0.1, "weight of the target's NLL beside the KL")


@dataclass(frozen=True, eq=False)
class Lesson:
    """Some edits of drawn texts.

    Attributes:
        features: of every map, the tokens of all edits' prompts, `tokens` each.
        splice: three sequences per edit, the edit's text, the same behind another one, and the text of the KL.
        spots: (N, 3) row, column and token where a target is predicted. places: (M, 2) where the KL is taken.
    """

    count: int
    tokens: int
    features: dict[Site, Features]
    splice: Splice
    spots: torch.Tensor
    places: torch.Tensor


def train(
    lm: LanguageModel, sites: Sequence[Site], budget: Budgeted, rate: float, relative: bool, seed: int
) -> tuple[Hypernetwork, float]:
    """The network trained on `budget.edits` edits of texts drawn by `seed`, and the mean loss of its last pass."""
    lessons = _lessons(lm, sites, budget, seed)
    features = {site: Features.together([lesson.features[site] for lesson in lessons]) for site in sites}
    rates = {site: rate * (_unit(features[site]) if relative else 1.0) for site in sites}
    network = Hypernetwork.start(sites, features, rates, budget.rank, seed).on(lm.device)
    trained = network.trained()
    for tensor in trained.values():
        tensor.requires_grad_()
    own = [tensor for name, tensor in trained.items() if not name.endswith(".rate")]
    rates_of_maps = [tensor for name, tensor in trained.items() if name.endswith(".rate")]
    adam = torch.optim.Adam(
        [{"params": own, "lr": budget.lr}, {"params": rates_of_maps, "lr": RATE_LR * budget.lr}], fused=True
    )
    draw = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    order: list[int] = []
    for _ in range(budget.steps):
        order = order or torch.randperm(len(lessons), generator=draw).tolist()
        with torch.enable_grad():
            loss = _loss(network, lessons[order.pop()], budget.edit_weight)
            adam.zero_grad()
            loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    last = losses[-len(lessons) :]
    return Hypernetwork({name: t.detach().cpu() for name, t in network.tensors.items()}), sum(last) / len(last)


def _unit(features: Features) -> float:
    """The rate at which a token's normalised gradient changes the output for its normalised key by the output's root
    mean square."""
    output, key = (float(x.double().square().mean().sqrt()) for x in (features.output, features.key))
    return output / (features.key.shape[1] * key)


def _lessons(lm: LanguageModel, sites: Sequence[Site], budget: Budgeted, seed: int) -> list[Lesson]:
    length = max(PROMPT + TARGET, BEFORE, ELSEWHERE)
    drawn = sample_tokens(lm, 4 * budget.edits, length, seed=seed).view(4, budget.edits, length).tolist()
    head = tuple(lm.prefix_ids) or (lm.pad_id,)
    lessons = []
    for begin in range(0, budget.edits, budget.batch):
        prompts, sequences, spots, places = [], [], [], []
        parts = zip(*(kind[begin : begin + budget.batch] for kind in drawn), strict=True)
        for i, (text, other, before, elsewhere) in enumerate(parts):
            start, target = len(head) + PROMPT, tuple(other[PROMPT : PROMPT + TARGET])
            ids = (*head, *text[:PROMPT], *target[:-1])
            prompts.append(Prompt(ids, start - 1, start, target))
            behind = (*head, *before[:BEFORE], *ids[len(head) :])
            sequences += [ids, behind, (*head, *elsewhere[:ELSEWHERE], *text[SHARED:PROMPT])]
            for row, first in ((3 * i, start - 1), (3 * i + 1, start - 1 + BEFORE)):
                spots += [(row, first + t, token) for t, token in enumerate(target)]
            places += [(3 * i + 2, len(head) + t) for t in range(ELSEWHERE + PROMPT - SHARED)]
        contexts = [Contexts(str(begin + i), (p,), 1, None) for i, p in enumerate(prompts)]
        splice = Splice.prepare(lm, sequences, [0] * len(sequences), min(site.layer for site in sites))
        features = read_features(lm, contexts, sites, [[1 / TARGET]] * len(prompts), "text")
        where = torch.tensor(spots, device=lm.device), torch.tensor(places, device=lm.device)
        lessons.append(Lesson(len(prompts), len(prompts[0].ids), features, splice, *where))
    return lessons


def _loss(network: Hypernetwork, lesson: Lesson, edit_weight: float) -> torch.Tensor:
    """Eq. 4, the mean over the lesson's edits."""
    splice, spots, places = lesson.splice, lesson.spots, lesson.places
    with torch.no_grad():
        unedited = splice.run((places[:, 0], places[:, 1]))
    where = torch.cat([spots[:, :2], places])
    edited = splice.run((where[:, 0], where[:, 1]), _hooks(network, lesson))
    assert unedited is not None and edited is not None
    base = unedited.float().log_softmax(-1)
    answers, rest = edited.float().log_softmax(-1).split([len(spots), len(places)])
    nll = -answers.gather(1, spots[:, 2:]).mean()
    kl = (base.exp() * (base - rest)).sum(1).mean()
    return edit_weight * nll + kl


def _hooks(network: Hypernetwork, lesson: Lesson) -> list[Hook]:
    """Each edit's change on its three sequences."""
    owner = torch.arange(3 * lesson.count, device=lesson.spots.device) // 3

    def change(site: Site):
        key, value = (x.view(lesson.count, lesson.tokens, -1) for x in network.factors(site, lesson.features[site]))
        return lambda keys: (keys.float() @ key[owner].mT) @ value[owner]

    return [adding(site.path, change(site), owner, site.rows) for site in lesson.features]
