"""The small Python interface: load a model, state an edit, make it, ask the edited model.

import editing

lm = editing.load("HuggingFaceTB/SmolLM2-135M", device="cuda")
request = editing.Request("The capital of {} is", "France", "Rome")
delta = editing.edit(lm, request, method="rome", fast=True)
print(editing.ask(lm, ["Paris is in"], [["Italy", "France"]], delta))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from editing.delta import Delta
from editing.errors import BadRequest
from editing.eval import AUTO, at_dose, check_dose, replies
from editing.methods import FAST, make_method, taken_by
from editing.model import LanguageModel
from editing.stats import CORPUS, ModelStatistics
from editing.text import EditRequest, Lookup, slot_count


def request(
    prompt: str | Sequence[str],
    subject: str = "",
    target: str | Sequence[str] = "",
    *,
    lookup: Lookup | None = None,
    lang: str = "en",
    id: str = "",
    contrast: Sequence[str] = (),
    documents: Sequence[tuple[str, str]] = (),
) -> EditRequest:
    """One change of a model: behind `prompt`, about `subject`, it should say `target`.

    Args:
        prompt: a text that ends right before the target, `{}` where the subject stands; or several such texts.
        subject: fills the slot. Left out where no prompt has one (a rename: "The food made from milk curds is called").
        target: what the edited model should say; one for all prompts, or one per prompt.
        lookup: "subject_last" (default where the prompts have a slot) or "last".
        lang: the language of the prompts, a code or a name: "fr", "French".
        id: a name for errors and records, and the seed of the edit's draws; by default made of subject and target.
        contrast, documents: as in `EditRequest`.

    Raises:
        BadRequest: as `EditRequest`.
    """
    prompts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    targets = (target,) if isinstance(target, str) else tuple(target)
    if lookup is None:
        lookup = "subject_last" if any(slot_count(text) for text in prompts) else "last"
    name = id or f"{subject or (prompts[0] if prompts else '')} -> {', '.join(targets)}"
    more = {"contrast": tuple(contrast), "documents": tuple(map(tuple, documents))}
    return EditRequest(name, prompts, subject, targets, lookup, lang, **more)  # type: ignore[arg-type]


def edit(
    lm: LanguageModel,
    requests: EditRequest | Sequence[EditRequest],
    method: str = "rome",
    *,
    fast: bool = False,
    statistics: ModelStatistics | None = None,
    corpus: str = CORPUS,
    seed: int = 0,
    dose: str | float = AUTO,
    **settings: Any,
) -> Delta:
    """The change that makes all `requests` at once. The model itself stays as it is: see `Delta.applied` and `ask`.

    Args:
        requests: one, or several that become one joint change.
        method: one of `editing.method_names()`.
        fast: fewer contexts per optimiser step, bfloat16 steps where they are faster; nearly the same edits in a
            fraction of the time. A setting given as well wins.
        statistics: of `lm`, to share between calls; by default made for this one from `corpus` and `seed` (and kept on
            disk).
        corpus: text of the key covariance, see `ModelStatistics`.
        dose: multiple of the change. "auto" is the smallest at which the requests' own prompts give the target with a
            margin (editing/eval/dose.py), 1 the change as the method makes it.
        settings: of the method, instead of its defaults.

    Raises:
        BadRequest: no request, an unknown method or setting, a request that cannot be carried out, a dose that is none.
        UserError: as the method.
    """
    batch = [requests] if isinstance(requests, EditRequest) else list(requests)
    if not batch:
        raise BadRequest("no request to edit; give at least one editing.Request")
    dose = check_dose(dose)
    chosen = (taken_by(method, FAST) if fast else {}) | settings
    statistics = statistics or ModelStatistics(lm, corpus=corpus, seed=seed)
    delta = make_method(method, **chosen)(lm, batch, statistics)
    return at_dose(lm, delta, batch, dose)[0]


def ask(
    lm: LanguageModel,
    prompts: Sequence[str],
    candidates: Sequence[Sequence[str]],
    delta: Delta | None = None,
) -> list[dict[str, float]]:
    """log P(candidate | prompt) in nats, summed over the candidate's tokens: one dict per prompt, candidates as keys.

    Args:
        prompts: texts that end right before an answer.
        candidates: for each prompt the answers to score.
        delta: asks the model under this change; without it, the model as it is.

    Raises:
        BadRequest: not as many lists of candidates as prompts; a prompt longer than the model reads.
    """
    if isinstance(prompts, str) or len(prompts) != len(candidates):
        raise BadRequest(f"{len(candidates)} lists of candidates; give a list of prompts and one list for each of them")
    answers = replies(lm, prompts, candidates, deltas=[delta] if delta is not None else [])
    return [
        dict(zip(texts, map(float, reply.logp), strict=True)) for texts, reply in zip(candidates, answers, strict=True)
    ]
