"""The small Python interface: load a model, state an edit, make it, ask the edited model.

import editing

lm = editing.load("HuggingFaceTB/SmolLM2-135M", device="cuda")
request = editing.Request("The capital of {} is", "France", "Rome")
delta = editing.edit(lm, request, method="rome", fast=True)
print(editing.ask(lm, ["Paris is in"], [["Italy", "France"]], delta))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from editing.delta import Delta, check_delta
from editing.errors import BadRequest
from editing.eval import AUTO, at_dose, check_dose, replies
from editing.lazy import torch
from editing.methods import FAST, make_method, taken_by
from editing.model import LanguageModel, check_model, evaluating
from editing.stats import CORPUS, ModelStatistics
from editing.text import EditRequest, Lookup, check_text, edit_set, slot_count


def request(
    prompt: str | Sequence[str],
    subject: str = "",
    target: str | Sequence[str] = "",
    *,
    lookup: Lookup | None = None,
    lang: str = "en",
    id: str = "",
    contrast: str | Sequence[str] = (),
    keep: str | Sequence[str] = (),
    documents: Sequence[tuple[str, str]] = (),
) -> EditRequest:
    """One change of a model: behind `prompt`, about `subject`, it should say `target`.

    Args:
        prompt: a text that ends right before the target, `{}` where the subject stands; or several such texts.
        subject: fills the slot. Left out where no prompt has one (a rename: "The food made from milk curds is called"),
            or a name alone where `lookup="last"` is stated.
        target: what the edited model should say; one for all prompts, or one per prompt.
        lookup: "subject_last" (default where the prompts have a slot) or "last".
        lang: the language of the prompts, a code or a name: "fr", "French".
        id: a name for errors and records, and the seed of the edit's draws; by default made of subject and target.
        contrast, keep, documents: as in `EditRequest`; one text may stand for a list of one.

    Raises:
        BadRequest: as `EditRequest`; a subject that no prompt has a slot for, without `lookup`.
    """
    prompts, targets = _texts("prompt", prompt), _texts("target", target)
    if lookup is None:
        if subject and prompts and not any(slot_count(text) for text in prompts):
            why = f"subject {subject!r:.80}: no slot for it in prompt {prompts[0]!r:.120}"
            raise BadRequest(f"{why}; write {{}} where the subject stands, or leave the subject out")
        lookup = "subject_last" if any(slot_count(text) for text in prompts) else "last"
    name = id or f"{subject or (prompts[0] if prompts else '')} -> {', '.join(targets)}"
    pairs = documents if isinstance(documents, Iterable) else (documents,)
    texts = tuple(tuple(one) if isinstance(one, Iterable) and not isinstance(one, str) else one for one in pairs)
    contrasted, kept = _texts("contrast", contrast), _texts("text to keep", keep)
    return EditRequest(name, prompts, subject, targets, lookup, lang, texts, contrasted, kept)  # type: ignore[arg-type]


def _texts(what: str, value: object) -> tuple[str, ...]:
    """One text, or several, as a tuple.

    Raises:
        BadRequest: something else.
    """
    texts = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for text in texts:
        check_text(what, text)
    return texts  # type: ignore[return-value]


def edit(
    lm: LanguageModel,
    requests: EditRequest | Iterable[EditRequest],
    method: str = "rome",
    *,
    fast: bool = False,
    statistics: ModelStatistics | None = None,
    corpus: str | None = None,
    seed: int | None = None,
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
        corpus: text of the key covariance, see `ModelStatistics`; "samples:20000" by default.
        seed: of the samples and prefixes, 0 by default.
        dose: multiple of the change. "auto" is the smallest at which the requests' own prompts give the target with a
            margin (editing/eval/dose.py), 1 the change as the method makes it.
        settings: of the method, instead of its defaults.

    Raises:
        BadRequest: no request, an unknown method or setting, a request that cannot be carried out, two requests that
            exclude each other, a dose that is none; statistics of another model, or together with a corpus or seed.
        UserError: as the method.
    """
    check_model(lm)
    batch: list[Any]
    if isinstance(requests, EditRequest | str | Mapping) or not isinstance(requests, Iterable):
        batch = [requests]
    else:
        batch = list(requests)
    if not batch:
        raise BadRequest("no request to edit; give at least one editing.Request")
    for one in batch:
        if not isinstance(one, EditRequest):
            raise BadRequest(f"request {one!r:.80}: not an editing.Request; write Request(prompt, subject, target)")
    if excluding := edit_set(batch).excluding:
        names = ", ".join(repr(batch[i].id) for i in excluding[:4])
        raise BadRequest(f"requests {names}: the same prompt with different targets; no change makes both, keep one")
    dose = check_dose(dose)
    chosen = (taken_by(method, FAST) if fast else {}) | settings
    if statistics is None:
        statistics = ModelStatistics(lm, corpus=CORPUS if corpus is None else corpus, seed=seed or 0)
    elif corpus is not None or seed is not None:
        raise BadRequest("statistics, and a corpus or seed; the statistics have theirs, give one or the other")
    statistics.refuse_other(lm)
    # The search for an edit takes gradients, whatever the caller's mode.
    with evaluating(lm.module), torch.inference_mode(False), torch.enable_grad():
        delta = make_method(method, **chosen)(lm, batch, statistics)
        return at_dose(lm, delta, batch, dose)[0]


def ask(
    lm: LanguageModel,
    prompts: Iterable[str],
    candidates: Iterable[Iterable[str]],
    delta: Delta | None = None,
) -> list[dict[str, float]]:
    """log P(candidate | prompt) in nats, summed over the candidate's tokens: one dict per prompt, candidates as keys.

    Args:
        prompts: texts that end right before an answer.
        candidates: for each prompt the answers to score.
        delta: asks the model under this change; without it, the model as it is.

    Raises:
        BadRequest: not as many lists of candidates as prompts, an empty candidate, something else than texts or than a
            Delta; a prompt longer than the model reads.
    """
    check_model(lm)
    lists = [list(one) if isinstance(one, Iterable) and not isinstance(one, str) else one for one in candidates]
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if isinstance(prompts, str) or len(texts) != len(lists) or not all(isinstance(one, list) for one in lists):
        raise BadRequest(f"{len(lists)} lists of candidates; give a list of prompts and one list for each of them")
    for text, choices in zip(texts, lists, strict=True):
        check_text("prompt", text)
        for choice in choices:
            check_text("candidate", choice)
            if not choice.strip():
                raise BadRequest(f"prompt {text!r:.80}: an empty candidate; give the text of an answer")
    if delta is not None:
        check_delta(delta)
    with evaluating(lm.module):
        answers = replies(lm, texts, lists, deltas=[delta] if delta is not None else [])
    return [
        dict(zip(choices, map(float, answer.logp), strict=True)) for choices, answer in zip(lists, answers, strict=True)
    ]
