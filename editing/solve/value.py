"""v*: the output at the lookup position that makes the model say the target, searched for many requests at once.

Meng et al. 2022 (ROME), equation 4: minimise over delta the mean negative log-likelihood of the target over contexts,
plus KL divergence of a next-token distribution in "{subject} is a", plus weight decay; project onto ||delta|| <= c
||v0||. As in the ROME code, that distribution is the one at the key's token: behind the subject, or with lookup last
behind the whole text.

Settings and results are in editing/solve/settings.py, the objective in editing/solve/objective.py, the optimisers in
editing/solve/solvers.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from editing.model import LanguageModel, search_tokens
from editing.run import Budget
from editing.solve.settings import Injection, Settings, Value, ValueSettings, setting, uses_half
from editing.solve.solvers import solve
from editing.text import Contexts

__all__ = ["Injection", "Settings", "Value", "ValueSettings", "optimise_values", "setting", "uses_half"]


def optimise_values(
    lm: LanguageModel,
    requests: Sequence[Contexts],
    where: Injection | Sequence[Injection],
    settings: ValueSettings,
    *,
    seed: int = 0,
    written: int | None = None,
) -> list[Value]:
    """v* of every request, each in its own problem but all in the same forward passes.

    With several places in `where` they are optimised jointly, each with its own clamp and weight decay; `Value.delta`
    and `Value.v0` are then their concatenation in the order of `where`.

    The result for a request does not depend on its neighbours beyond rounding: Adam is element-wise, stopping is per
    request, and contexts are drawn from a generator seeded by `seed` and the request's id.

    Args:
        written: how many of the places, from the first on, the edit writes, the others only taking part in the search;
            None: all. Gauss-Newton then ends with what these do alone, Adam with all places, as in PMET's paper.

    Raises:
        BadRequest: a request without a target.
        UserError: the loss of a request is not finite.
        OutOfMemory: a request does not fit alone.
    """
    source = lm.half if uses_half(lm, settings.precision) else lm
    places = (where,) if isinstance(where, Injection) else tuple(where)
    prompts = [(*c.prompts, *([c.essence] if c.essence else [])) for c in requests]

    def solve_chunk(members: list[int]) -> list[Value]:
        return solve(source, [requests[i] for i in members], places, settings, seed, written or len(places))

    chunks = Budget(lm.batch_tokens(search_tokens(lm)), "searching v*").run(
        [max(len(p.ids) - p.lookup for p in texts) for texts in prompts],
        solve_chunk,
        rows=[len(texts) for texts in prompts],
        names=[f"request {c.id!r}" for c in requests],
    )
    values = {i: value for members, chunk in chunks for i, value in zip(members, chunk, strict=True)}
    return [values[i] for i in range(len(requests))]
