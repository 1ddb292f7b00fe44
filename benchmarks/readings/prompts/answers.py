"""What a model answers: the log-probability of a target, whether greedy decoding gives it, and what a state stands for
when the end of the model reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing.lazy import torch
from editing.model import Hook, LanguageModel
from editing.run import Budget, Splice, first, forward, pad, with_first
from editing.text import Prompt


@dataclass(frozen=True)
class Answers:
    """Of n prompts: logp (n,) float64, log P(target | prompt) in nats; exact (n,) bool, greedy decoding gives the
    target: each of its tokens is the most probable one."""

    logp: torch.Tensor
    exact: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor, n: int) -> Answers:
        """From the logits (N, vocabulary) at all target places; rows, tokens (N,): whose place it is, what stands
        there."""
        logits = logits.float()
        logp = logits.gather(1, tokens[:, None])[:, 0].double() - logits.logsumexp(1).double()
        wrong = (logits.argmax(1) != tokens).double()
        zeros = torch.zeros(n, dtype=torch.float64, device=logits.device)
        return cls(zeros.index_add(0, rows, logp), zeros.index_add(0, rows, wrong) == 0)


def target_places(prompts: Sequence[Prompt], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, columns (places in `ids` whose logits predict a target token) and tokens, (N,) each."""
    places = [(r, p.start - 1 + t, token) for r, p in enumerate(prompts) for t, token in enumerate(p.target)]
    row, column, token = torch.tensor(places, device=device).T
    return row, column, token


def answer_scores(lm: LanguageModel, prompts: Sequence[Prompt], *, batch_tokens: int = 4096) -> Answers:
    """The answers of the unchanged model to prompts with targets. Beginnings that several of them share (`Prompt.head`)
    are read once."""

    def read(members: list[int]) -> Answers:
        part = [prompts[i] for i in members]
        row, column, token = target_places(part, lm.device)
        heads = [p.head for p in part]
        with torch.no_grad():
            splice = Splice.prepare(lm, [p.ids for p in part], heads, -1, heads)
            logits = splice.run((row, column - torch.tensor(heads, device=lm.device)[row]))
        assert logits is not None
        return Answers.of(logits, row, token, len(part))

    logp = torch.empty(len(prompts), dtype=torch.float64)
    exact = torch.empty(len(prompts), dtype=torch.bool)
    budget = Budget(lm.batch_tokens(batch_tokens), "asking facts")
    for members, answers in budget.run([len(p.ids) - p.head for p in prompts], read):
        logp[members], exact[members] = answers.logp.cpu(), answers.exact.cpu()
    return Answers(logp, exact)


def read_out(lm: LanguageModel, states: torch.Tensor, *, batch: int = 512) -> torch.Tensor:
    """(n, vocabulary) float32 logits that the final norm and the head give for states (n, d_model) behind the last
    block: the logit lens (nostalgebraist 2020)."""
    block, last = lm.layout.blocks[-1], lm.n_layers - 1
    out = []
    for part in states.split(batch):
        one_token = pad([[lm.pad_id]] * len(part), lm, side="right")
        rows = torch.arange(len(part), device=lm.device)

        def put(module: torch.nn.Module, args: tuple, output: object, part: torch.Tensor = part) -> object:
            value = first(output)
            return with_first(output, part.to(value.device, value.dtype).reshape(value.shape))

        hook: Hook = (block, put)
        hidden = part.to(lm.device, lm.dtype)[:, None]
        with torch.no_grad():
            logits = forward(
                lm, one_token, start=last, hidden=hidden, gather=(rows, torch.zeros_like(rows)), hooks=[hook]
            )
        assert logits is not None
        out.append(logits.float().cpu())
    return torch.cat(out)
