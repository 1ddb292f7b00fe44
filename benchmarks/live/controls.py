"""The placebo of a method under the settings of a command."""

from __future__ import annotations

import json
from typing import Any

from editing.methods import make_method, taken_by
from valley.rows import PLACEBO


def placebo_for(name: str, settings: dict) -> Any:
    """The control of method `name`: the same edit elsewhere, with what it takes of `settings` (a `Placebo`)."""
    takes, own = make_method(PLACEBO).settings(), taken_by(name, settings)
    options = {key: value for key, value in own.items() if key not in takes}
    shared = {key: value for key, value in own.items() if key in takes}
    return make_method(PLACEBO, inner=name, options=json.dumps(options), **shared)
