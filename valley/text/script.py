"""Values for the scripts of a page."""

from __future__ import annotations

import json

from markupsafe import Markup


def embed(value: object) -> Markup:
    """`value` as JSON that may stand inside a <script> element: nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
