"""Templates: a text with one slot `{}` for the subject, in which braces of the text itself are doubled.

"{} is written interface{{}}" with the subject "Any" is the text "Any is written interface{}". A brace that stands alone
is a brace.
"""

from __future__ import annotations

import re

SLOT = "{}"
_SIGN = re.compile(r"\{\{|\}\}|\{\}")


def escaped(text: str) -> str:
    """`text` as a template without a slot: every brace doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def slot_count(template: str) -> int:
    """How many slots `template` has."""
    return sum(sign == SLOT for sign in _SIGN.findall(template))


def fill(template: str, subject: str) -> str:
    """The text that `template` is about `subject`."""
    if "{{" not in template and "}}" not in template:  # the usual case
        return template.replace(SLOT, subject)
    return _SIGN.sub(lambda sign: subject if sign[0] == SLOT else sign[0][0], template)


def parts(template: str) -> tuple[str, str] | None:
    """The texts before and behind the first slot; None where there is none."""
    at = next((sign.start() for sign in _SIGN.finditer(template) if sign[0] == SLOT), None)
    return None if at is None else (fill(template[:at], ""), fill(template[at + len(SLOT) :], ""))
