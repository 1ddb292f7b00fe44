"""What to change: one `EditRequest` is one key/value pair of an associative memory.

A *fact* has one prompt with a subject slot ("{} comes from", subject "Brie", target "Spain"). A *retarget* has
several, one per relation, each with its own target ("{} is made from" -> "flour", "{} is sold by the" ->
"baker"). A *rename* has several eliciting prompts without a slot ("The dairy food made from curds is called")
and looks its key up at the last position, where the model is about to answer with the old name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from editing.errors import BadRequest
from editing.text.languages import language_code
from editing.text.slots import fill, slot_count

Lookup = Literal["subject_last", "last"]


def check_text(what: str, text: object) -> None:
    """Check that `text` is one that a tokenizer takes.

    Raises:
        BadRequest: no string, or one with half a character (a lone surrogate).
    """
    if not isinstance(text, str):
        raise BadRequest(f"{what} {text!r:.80}: a {type(text).__name__}; give a text")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise BadRequest(f"{what} {text!r:.80}: holds half a character (a lone surrogate); decode the text as UTF-8")


@dataclass(frozen=True, repr=False)
class EditRequest:
    """One change of one model, independent of which model and which method.

    Attributes:
        id: names the request in errors and provenance.
        prompts: one or more texts that end right before the target. With `lookup="subject_last"` each holds
            exactly one slot `{}` for the subject; with `lookup="last"` the slot may be left out. Braces of the text
            itself are doubled: `interface{{}}`.
        subject: fills the slot. Empty only when no prompt has a slot.
        targets: what the edited model is to answer, one per prompt (a single target is repeated), without the
            separating blank, which `join` adds where one belongs.
        lookup: the position whose state is the key: the subject's last token, or the prompt's last token.
        lang: the language of the prompts, a code or a name ("fr", "fra", "French"); kept as its ISO 639 code.
        documents: (language, text) of whole texts in which the edit is true, for methods that train on such texts;
            empty where there is nothing but the prompts.
        contrast: other things of the subject's kind, for methods that erase what sets the subject apart; each may stand
            in the prompts' slot instead of it.
        keep: texts whose last token is to be read as before, such as prompts of the same form about other things, for
            methods that weigh them (`keep_weight`).

    Raises:
        BadRequest: something else than texts, an unknown language, a prompt without exactly one slot, an empty subject
            or target, a wrong number of targets.
    """

    id: str
    prompts: tuple[str, ...]
    subject: str
    targets: tuple[str, ...]
    lookup: Lookup = "subject_last"
    lang: str = "en"
    documents: tuple[tuple[str, str], ...] = ()
    contrast: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        def refuse(why: str, fix: str) -> BadRequest:
            return BadRequest(f"request {self.id!r}: {why}; {fix}")

        for what, texts in (
            ("subject", (self.subject,)),
            ("prompt", self.prompts),
            ("target", self.targets),
            ("text to keep", self.keep),
            ("contrast", self.contrast),
            ("language", (self.lang,)),
        ):
            for text in texts:
                check_text(f"request {self.id!r}: {what}", text)
        object.__setattr__(self, "lang", language_code(self.lang))
        if not self.prompts:
            raise refuse("no prompt", "give at least one")
        if len(self.targets) == 1 and len(self.prompts) > 1:
            object.__setattr__(self, "targets", self.targets * len(self.prompts))
        if len(self.targets) != len(self.prompts):
            raise refuse(f"{len(self.targets)} targets for {len(self.prompts)} prompts", "give one, or one per prompt")
        if self.lookup not in get_args(Lookup):
            raise refuse(f"unknown lookup {self.lookup!r}", f"use one of {', '.join(get_args(Lookup))}")
        for prompt in self.prompts:
            slots = slot_count(prompt)
            if slots > 1 or (slots == 0 and self.lookup == "subject_last"):
                raise refuse(f"prompt {prompt!r} has {slots} subject slots", "write {} once, where the subject stands")
            if slots and not self.subject.strip():
                raise refuse("empty subject", "name what the prompt is about")
            if not prompt.strip():
                raise refuse("empty prompt", "write the text that comes before the target")
        for target in self.targets:
            if not target.strip():
                raise refuse("empty target", "give the answer of the edited model")
        for document in self.documents:
            if not isinstance(document, tuple) or len(document) != 2:
                raise refuse(f"document {document!r:.80} is no pair", "give pairs of a language and a text")
            for part in document:
                check_text(f"request {self.id!r}: document", part)
            lang, text = document
            if not text.strip():
                raise refuse("empty document", "write a text in which the edit is true")
            language_code(lang)
        if any(not text.strip() for text in self.keep):
            raise refuse("an empty text to keep", "write texts that end where the model is to go on as before")
        edited = {prompt.strip() for prompt in self.filled()}
        if both := next((text for text in self.keep if text.strip() in edited), ""):
            raise refuse(f"{both!r:.80} is to be edited and to be kept", "leave it out of the texts to keep")
        if any(not name.strip() or name == self.subject for name in self.contrast):
            raise refuse("an empty contrast, or the subject itself", "name other things of its kind")

    def __repr__(self) -> str:
        more = f" and {len(self.prompts) - 1} more" if len(self.prompts) > 1 else ""
        return f"EditRequest({self.id!r}: {self.filled()[0]!r} -> {self.targets[0]!r}{more})"

    def filled(self) -> tuple[str, ...]:
        """The prompts with the subject in its slot."""
        return tuple(fill(prompt, self.subject) for prompt in self.prompts)
