"""Where the unedited model looks up what an edit is about: the heat map of causal tracing for a typed edit."""

from __future__ import annotations

import re
from collections.abc import Callable

from benchmarks.cases import Case
from benchmarks.readings import HeatMap, heat_map_of
from editing.delta import Delta
from editing.errors import BadRequest
from editing.eval import continuation_logprobs
from editing.model import LanguageModel
from editing.text import fill, parts


def localise(lm: LanguageModel, case: Case, progress: Callable[[int, int], None] | None = None) -> HeatMap:
    """Trace the first question of the edit, for the candidate that the model gives before the edit.

    Raises:
        BadRequest: a question that does not name what it is about.
    """
    question = next(probe for probe in case.probes if probe.kind == "efficacy")
    template = case.request.prompts[0]
    around = parts(template)
    if around is not None and fill(template, case.request.subject) == question.prompt:
        span = (len(around[0]), len(around[0]) + len(case.request.subject))
    else:
        span = description_span(question.prompt, question.prior)
    (logp,) = continuation_logprobs(lm, [question.prompt], [question.candidates], [Delta({})])
    likeliest = max(range(len(question.candidates)), key=lambda i: float(logp[i]))
    return heat_map_of(lm, question.prompt, span, question.candidates[likeliest], progress=progress)


def description_span(prompt: str, prior: str) -> tuple[int, int]:
    """Characters of a prompt in which it differs from its prior, the same text without a subject; whole words.

    A rename has no subject in its prompts: what stands there is a description, and "this thing" in the prior.

    Raises:
        BadRequest: no prior, or one that does not differ.
    """
    words, others = re.findall(r"\w+|\W", prompt), re.findall(r"\w+|\W", prior)
    first = _common(words, others)
    behind = min(_common(words[::-1], others[::-1]), min(len(words), len(others)) - first)
    start, end = len("".join(words[:first])), len(prompt) - len("".join(words[len(words) - behind :]))
    if not prior or not prompt[start:end].strip():
        raise BadRequest(f"{prompt!r:.80}: this question does not name what it is about; trace an edit that does")
    return start, end


def _common(words: list[str], others: list[str]) -> int:
    """How many words two texts share at their beginning."""
    differ = (i for i, (one, other) in enumerate(zip(words, others, strict=False)) if one != other)
    return next(differ, min(len(words), len(others)))
