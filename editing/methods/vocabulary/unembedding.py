"""The learned rename: rows of the head changed, as functions of the last state, until the prompts give their targets.

A change dW of the head alone changes no state, so all that it does can be known from one reading. At every position
that predicts a token of a target (teacher forced) the head reads k_j and gives z_j, and will give z_j + dW k_j.

dW = p R + D. R is half of the trivial rename (`unembedding_swap`): the row of the token that the model says in place of
a target is replaced by the row of the target's first token, so that with p = 1 both come out alike; the target's own
row, and with it what is said in texts where that word belongs, takes no part in it. D is the least change, min
tr(D (C + w c K) D^T), under which every target token leads every other one by `margin` nats
(editing/solve/least_change.py: multinomial logistic regression in the limit of no penalty). C is the second moment of
the head's input over the corpus, so that the trace is the mean square by which the logits of other text change; K is
that of the texts to keep (editing/stats/keeping.py). Each rival that stands in the way gets a row of its own in D. With
one prompt, one token and no rivals D is ROME's rank-one solve (Meng et al. 2022, eq. 2) at the head, with C^-1 k as the
direction along which the row is written.

It says nothing of where a model holds a concept: it changes which word comes out, whatever the model had computed. As
the finer form of the trivial rename it is the baseline that an edit inside the model has to beat. It cannot change what
is said of the concept, only names; and rows of tokens that other words begin with change for those too.

Where the head is tied to the embedding, reading is kept as it is. A soft cap or a factor behind the head is taken as
its slope at the states that were read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from editing.delta import Delta
from editing.errors import BadRequest
from editing.lazy import torch
from editing.methods.base import setting
from editing.methods.vocabulary.head_rows import HeadRows, head_change, head_weight
from editing.model import LanguageModel, Site, head_site
from editing.run import Budget, capture, forward, pad
from editing.solve import kept_keys, least_change
from editing.stats import ModelStatistics, refuse_nothing_kept, solve_keeping
from editing.text import EditRequest, Prompt, build_contexts


@dataclass(frozen=True, eq=False)
class Answers:
    """What the head reads and gives at the positions that predict the prompts' targets.

    Attributes:
        states: (n, d_model) float32. logits: (n, vocabulary) float32. slope: d logit / d (row . state).
        tokens: the target's token of each position. first: whether it is a target's first one.
    """

    states: torch.Tensor
    logits: torch.Tensor
    slope: float
    tokens: list[int]
    first: list[bool]


@dataclass(frozen=True)
class Unembedding(HeadRows):
    """`site`, `lookup`, `depth` and `seed` do not matter to it: it edits behind all blocks and draws nothing."""

    name: ClassVar[str] = "unembedding"
    summary: ClassVar[str] = "the learned rename: rows of the head, least change by which targets lead"

    # For facts; a rename, whose prompts are all of one kind, is made with less (benchmarks/live/defaults).
    margin: float = setting(8.0, "lead of a target's token over every other one", unit="nats")
    pull: float = setting(0.0, "share of the way that the old token's row is moved to the new one's", unit="way")
    keep_weight: float = setting(0.0, "weight of the request's kept texts in the covariance; 0: none", unit="corpus")

    def edited_sites(self, lm: LanguageModel, request: EditRequest) -> tuple[Site, ...]:
        return (head_site(lm.module, lm.n_layers),)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        kept = self._kept(lm, requests)
        return [self._joint(lm, [request], statistics, kept) for request in requests]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        """One change that carries out all requests, the least one for all of them together.

        Raises:
            BadRequest: no request; `keep_weight` for a request without texts to keep; targets that no change of the
                head can give.
        """
        if not requests:
            raise BadRequest(f"method {self.name}: no request in the batch; give at least one")
        return self._joint(lm, requests, statistics, self._kept(lm, requests))

    def _kept(self, lm: LanguageModel, requests: Sequence[EditRequest]) -> dict[str, torch.Tensor]:
        """(d_model,) what the head reads at the last token of each text to keep, where they are weighed; read once."""
        if not self.keep_weight:
            return {}
        refuse_nothing_kept(requests)
        texts = list(dict.fromkeys(text for r in requests for text in r.keep))
        return dict(zip(texts, kept_keys(lm, head_site(lm.module, lm.n_layers), texts), strict=True)) if texts else {}

    def _joint(
        self,
        lm: LanguageModel,
        requests: Sequence[EditRequest],
        statistics: ModelStatistics,
        kept: Mapping[str, torch.Tensor],
    ) -> Delta:
        """The change for all of `requests`; `kept` as `_kept` gives them."""
        site = head_site(lm.module, lm.n_layers)
        read = read_answers(lm, [p for r in requests for p in build_contexts(lm, r, (), "last").prompts])
        pairs = _replaced(read) if self.pull else {}
        rows = lm.values(head_weight(lm))[[*pairs, *pairs.values()]].float().cpu()
        difference = rows[len(pairs) :] - rows[: len(pairs)]  # new - old
        start = read.logits.clone()
        if pairs:
            start[:, list(pairs)] += self.pull * read.slope * read.states @ difference.T
        keys = read.slope * read.states.T.double()
        own = list(dict.fromkeys(text for r in requests for text in r.keep)) if self.keep_weight else []
        if own:
            states = torch.stack([kept[text] for text in own])
            solved = solve_keeping(statistics, site, keys, states, self.keep_weight)
        else:
            solved = statistics.solve(site, keys)
        found = least_change(keys.T @ solved, start, read.tokens, self.margin)
        if found.missed > 0:
            raise BadRequest(
                f"method {self.name}: {', '.join(repr(r.id) for r in requests):.80}: no change of the head found that "
                f"gives every target a lead of {self.margin:g} nats ({found.missed:.2g} are missing); its prompts are "
                "read too much alike: drop some, or take another method"
            )
        # rank: one for each state that takes part, and one for each token that is replaced
        used = found.weights.abs().sum(0) > 0
        rank = int(used.sum())
        learned = {t: w[used] for t, w in zip(found.tokens, found.weights, strict=True) if w.any()}
        tokens = sorted({*pairs, *learned})
        left = torch.zeros(len(tokens), rank + len(pairs), dtype=torch.float64)
        for row, token in enumerate(tokens):
            left[row, :rank] = learned.get(token, 0.0)
            for column, old in enumerate(pairs, rank):
                left[row, column] = self.pull * (token == old)
        right = torch.cat([solved[:, used], difference.T.double()], 1)
        decode = lm.tokenizer.decode
        made = self.provenance(lm, requests, statistics) | {
            "margin": self.margin,
            "rows": [decode([t]) for t in tokens],
            "replaced": [[decode([old]), decode([new])] for old, new in pairs.items()],
        }
        made |= {"kept_texts": len(own)} if self.keep_weight else {}
        return Delta(head_change(lm, tokens, left, right), made)


def _replaced(read: Answers) -> dict[int, int]:
    """What the model likeliest says in place of a target -> the target's first token.

    That is the token of the highest mean probability over the positions of this target, where they do not give it
    already. A token that is in the place of several targets goes to the first of them; a target is not replaced.
    """
    pairs: dict[int, int] = {}
    at: dict[int, list[int]] = {}
    for j, (token, first) in enumerate(zip(read.tokens, read.first, strict=True)):
        if first and int(read.logits[j].argmax()) != token:
            at.setdefault(token, []).append(j)
    for new, members in at.items():
        likely = read.logits[members].double().softmax(1).mean(0)
        likely[read.tokens] = 0.0
        pairs.setdefault(int(likely.argmax()), new)
    return pairs


def read_answers(lm: LanguageModel, prompts: Sequence[Prompt]) -> Answers:
    """One reading of the prompts with their targets behind them."""
    path = head_site(lm.module, lm.n_layers).path
    states: list[list[torch.Tensor]] = [[] for _ in prompts]
    logits: list[list[torch.Tensor]] = [[] for _ in prompts]
    scaled = plain = 0.0

    def read(members: list[int]) -> tuple[list[int], torch.Tensor, torch.Tensor, torch.Tensor]:
        batch = pad([prompts[i].ids for i in members], lm, side="right")
        spots = [(n, prompts[i].start - 1 + t) for n, i in enumerate(members) for t in range(len(prompts[i].target))]
        rows, columns = torch.tensor(spots, device=lm.device).T
        store: dict[tuple[str, str], torch.Tensor] = {}
        hooks = [capture(path, side, store, len(spots)) for side in ("input", "output")]
        with torch.no_grad():
            out = forward(lm, batch, gather=(rows, columns), hooks=hooks)
        assert out is not None
        owners = [members[n] for n, _ in spots]
        entering, raw = (store[path, side][0].float().cpu() for side in ("input", "output"))
        return owners, out.float().cpu(), entering, raw

    budget = Budget(lm.batch_tokens(2048), "reading answers")
    for _, (owners, out, entering, raw) in budget.run([len(p.ids) for p in prompts], read):
        centred = raw - raw.mean(1, keepdim=True)
        scaled += float((out * centred).double().sum())
        plain += float((centred * centred).double().sum())
        for i, state, values in zip(owners, entering, out, strict=True):
            states[i].append(state)
            logits[i].append(values)
    slope = scaled / max(plain, 1e-30)
    return Answers(
        torch.stack([state for one in states for state in one]),
        torch.stack([values for one in logits for values in one]),
        1.0 if abs(slope - 1) < 1e-4 else slope,
        [token for p in prompts for token in p.target],
        [n == 0 for p in prompts for n in range(len(p.target))],
    )
