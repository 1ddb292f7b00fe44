"""Which cases and probes a model has positions for: what is too long is left out and counted, the others are measured.

The length is that of the tokens as they are scored: what the model puts first, the prompt, and a candidate but for its
last token, which needs no position. An edit also needs room for the contexts that methods put before its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.cases import Case, Probe
from benchmarks.measure.records import left_out_row, unmeasured_row
from editing.model import LanguageModel
from editing.text import EditRequest, join

CONTEXT = 16  # tokens of the longest text that a method puts before a prompt
TOO_LONG = "longer than the model reads"


@dataclass(frozen=True)
class Fitting:
    """A case without the probes that are too long.

    Attributes:
        case: None where the edit itself, or every question for it, is too long.
        kept: index, in the whole case, of each probe that is kept.
        rows: a record for each part that is left out.
    """

    case: Case | None
    kept: tuple[int, ...]
    rows: tuple[dict, ...]


def fit(lm: LanguageModel, case: Case) -> Fitting:
    """The part of `case` that the model can read."""
    kept = tuple(i for i, probe in enumerate(case.probes) if not _too_long(lm, probe))
    if len(kept) == len(case.probes) and not _request_too_long(lm, case.request):
        return Fitting(case, kept, ())
    has_efficacy = any(case.probes[i].kind == "efficacy" for i in kept)
    if not has_efficacy or _request_too_long(lm, case.request):
        return Fitting(None, (), (left_out_row(case, TOO_LONG),))
    rows = tuple(unmeasured_row(i, p, TOO_LONG) for i, p in enumerate(case.probes) if i not in kept)
    return Fitting(replace(case, probes=tuple(case.probes[i] for i in kept)), kept, rows)


def _request_too_long(lm: LanguageModel, request: EditRequest) -> bool:
    return any(_exceeds(lm, prompt, request.targets, CONTEXT) for prompt in request.filled())


def _too_long(lm: LanguageModel, probe: Probe) -> bool:
    """Whether a candidate behind the prompt or the prior is too long. Texts for drift are cut where they are read."""
    if probe.kind == "drift":
        return False
    questions = (probe, *probe.needs)
    return any(_exceeds(lm, text, q.candidates) for q in questions for text in (q.prompt, q.prior) if text) or any(
        _exceeds(lm, text, probe.candidates) for text in probe.calibration
    )


def _exceeds(lm: LanguageModel, prompt: str, answers: Sequence[str], room: int = 0) -> bool:
    """Whether the prompt with one of the answers, and `room` tokens before it, is longer than the model reads.

    A token holds at least one byte, so that most texts need not be tokenised to be short enough.
    """
    free = lm.max_length - room - len(lm.prefix_ids)
    most = max((len(answer.encode()) for answer in answers), default=0) + 2  # a blank, a mark at the beginning
    if len(prompt.encode()) + most <= free or len(lm.encode(prompt)) + most + room <= lm.max_length:
        return False
    lengths = [len(lm.encode(join(prompt, answer))) - 1 for answer in answers] or [len(lm.encode(prompt))]
    return max(lengths) + room > lm.max_length
