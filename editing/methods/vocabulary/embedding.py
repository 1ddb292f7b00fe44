"""The row of one token in the embedding table: the subject's last token gets the vector that makes the model say the
target, by ROME's objective (Meng et al. 2022, "Locating and Editing Factual Associations in GPT", eq. 4).

delta, added to the embedding's output at the lookup position, minimises it; then row(token) += delta / scale, a
rank-one change with a one-hot left factor (what Prompt Tuning and Textual Inversion, Gal et al. 2022, do for new
words). It reaches every text with that token and no other, wherever the concept's other names are: a retargeting tool,
and the left end of the site axis.

Where the head is tied to the embedding, its row changes too: the token's own logit is moved by delta . h. `untied=True`
changes only what is read, as a hook (that form has no separate weight and cannot be exported as an adapter).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from editing.delta import Change, Delta, LowRank, TokenShift, embedding_scale
from editing.lazy import torch
from editing.methods.base import Placement, Prefixed, setting
from editing.model import LanguageModel, embedding_path
from editing.solve import Injection, ValueSettings, optimise_values
from editing.stats import ModelStatistics
from editing.text import EditRequest


@dataclass(frozen=True)
class EmbeddingRow(ValueSettings, Prefixed):
    """Settings of the row edit; `site` and `depth` do not matter to it."""

    name: ClassVar[str] = "embedding"
    summary: ClassVar[str] = "the embedding row of the subject's last token, with ROME's objective"
    uses_covariance: ClassVar[bool] = False

    published: ClassVar[Mapping[str, Any]] = {"lr": 0.1, "clamp": 2.0, "stop_loss": 0.05}

    untied: bool = setting(False, "separation from a tied head, which stays as it is")
    steps: int = 25
    # A change as long as the row is enough for the target; with a longer one the model gives the target to every
    # question about the subject. Gauss-Newton ends at shorter changes than Adam.
    clamp: float = 1.0
    # Going on below it takes facts of the same subject and gives no more paraphrases.
    stop_loss: float = 0.2

    @property
    def placed_by(self) -> tuple[str, ...]:
        """The row is that of the token there."""
        return ("lookup",)

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        """Below all blocks: site "embedding", depth 0."""
        return Placement("embedding", self.lookup or request.lookup, (), 0.0)

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        if not requests:
            return []
        contexts = self.contexts(lm, requests, statistics)
        table = lm.module.get_input_embeddings()
        path = embedding_path(lm.module)
        values = optimise_values(lm, contexts, Injection(path, -1), self, seed=self.seed)
        scale = embedding_scale(table)
        deltas = []
        for request, context, value in zip(requests, contexts, values, strict=True):
            # several prompts of one request may end in different tokens: each of them gets the same change
            ids = sorted({p.ids[p.lookup] for p in context.prompts[: context.n_bare]})
            note = value.note() | {"tokens": [lm.tokenizer.decode([i]) for i in ids]}
            if self.untied:
                name = f"{path}.output"
                change: Change = TokenShift(torch.tensor(ids), value.delta.repeat(len(ids), 1))
            else:
                name = f"{path}.weight"
                left = torch.zeros(table.weight.shape[0], 1)
                left[ids, 0] = 1.0
                change = LowRank(left, value.delta[:, None] / scale)
            deltas.append(Delta({name: change}, self.provenance(lm, [request], statistics) | {"optimiser": note}))
        return deltas
