"""The chat form of a model: its prompts as a user's message, the answer as the reply. For edits, probes and free text.

The form is what the model's own chat template writes around one user message, up to where the reply begins. Texts that
are read and not answered (drift) stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import Case, Probe
from editing.errors import BadData, BadModel
from editing.text import EditRequest, escaped

AUTO, OFF = "auto", "off"
MARK = "PROMPTSTANDSHERE"
MOST_BYTES = 100_000


@dataclass(frozen=True)
class ChatForm:
    """What stands before a prompt and behind it, before the answer."""

    before: str
    after: str

    def text(self, prompt: str) -> str:
        """`prompt` in this form; an empty one stays empty (no prior)."""
        return f"{self.before}{prompt}{self.after}" if prompt else ""

    def request(self, request: EditRequest) -> EditRequest:
        """The same edit, made where the model replies."""
        before, after = escaped(self.before), escaped(self.after)
        prompts = tuple(f"{before}{prompt}{after}" for prompt in request.prompts)
        return replace(request, prompts=prompts, keep=tuple(map(self.text, request.keep)))

    def probe(self, probe: Probe) -> Probe:
        """The same question as a message."""
        if probe.kind == "drift":
            return probe
        needs = tuple(replace(one, prompt=self.text(one.prompt), prior=self.text(one.prior)) for one in probe.needs)
        calibration = tuple(map(self.text, probe.calibration))
        return replace(
            probe, prompt=self.text(probe.prompt), prior=self.text(probe.prior), needs=needs, calibration=calibration
        )

    def case(self, case: Case) -> Case:
        """A case with edit and probes in this form."""
        return replace(case, request=self.request(case.request), probes=tuple(map(self.probe, case.probes)))


def chat_option(value: str) -> str:
    """What a plan holds for `--chat`: empty for off, `auto`, or the text of the template in a file. Such a text, as the
    plan file of a run holds it, is taken as it is.

    Raises:
        BadData: the file cannot be read.
    """
    if value in ("", OFF):
        return ""
    if value == AUTO or "{{" in value:
        return value
    path = Path(value)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadData(f"{path}: larger than {MOST_BYTES:,} bytes, too large for a chat template")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"--chat {value}: neither auto, off nor a readable template ({error}); check the path") from error


def chat_form(lm: Any, chat: str) -> ChatForm | None:
    """The chat form of a model; None where `chat` is empty, or `auto` and the model has no template (said on stderr).

    Args:
        lm: a LanguageModel. chat: as `chat_option` gives it.

    Raises:
        BadModel: a template that does not write the message as it is, or not exactly once.
    """
    if not chat:
        return None
    if chat == AUTO and not lm.tokenizer.chat_template:
        print(f"{lm.name}: no chat template; edits and probes are plain text", file=sys.stderr)
        return None
    more = {} if chat == AUTO else {"chat_template": chat}
    message = [{"role": "user", "content": MARK}]
    try:
        text = lm.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **more)
    except Exception as error:  # whatever a template of somebody else raises
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise BadModel(
            f"{lm.name}: its chat template fails ({reason[0]:.160}); give another with --chat FILE"
        ) from error
    if text.count(MARK) != 1:
        raise BadModel(f"{lm.name}: its chat template writes the message {text.count(MARK)} times; use --chat FILE")
    before, after = text.split(MARK)
    first = lm.tokenizer.decode(list(lm.prefix_ids)) if lm.prefix_ids else ""
    return ChatForm(before.removeprefix(first) if first else before, after)  # the model's own first token comes once


def in_chat(lm: Any, cases: Sequence[Case], chat: str) -> tuple[Case, ...]:
    """`cases` in the chat form of the model, or as they are."""
    form = chat_form(lm, chat)
    return tuple(map(form.case, cases)) if form else tuple(cases)
