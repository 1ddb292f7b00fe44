"""Which settings `benchmarks.speed.methods.search` tries of each method: grids, each the product of its axes.

What a grid leaves out has the default of the preset "scale_free". Depths are shares of the blocks, so that models of
all sizes are searched; constants are in the model's own units, as the defaults are. A grid of one axis is one change of
the default at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from editing.methods import block_at, make_method
from editing.model import LanguageModel

Grid = Mapping[str, Sequence[Any]]

LOOKUPS, DEPTHS = ["subject_last", "last"], [0.0, 0.35, 0.65, 0.9]
PLACES: Grid = {"lookup": LOOKUPS, "depth": DEPTHS}
ATTENTION: Grid = {"site": ["attn"], "lookup": ["last"], "depth": DEPTHS}
# The search for v*, one change at a time.
VALUE: tuple[Grid, ...] = (
    {"move_above": [0.3]}, {"clamp": [1.0, 2.0, 4.0, 8.0]}, {"steps": [50]}, {"weight_decay": [0.0, 0.1]},
    {"kl": [0.0, 0.25]}, {"stop_loss": [0.05]}, {"move_above": [0.7, 2.0]}, {"optimiser": ["adam"]},
)  # fmt: skip
WEIGHTED: tuple[Grid, ...] = ({"covariance_weight": [0.005, 0.02, 0.2, 0.5]}, {"span": [0.0, 0.5]})
TUNED: tuple[Grid, ...] = ({"steps": [10, 50]}, {"stop_loss": [0.001, 0.1]}, {"prefixes": [5]})
SEARCH: dict[str, tuple[Grid, ...]] = {
    "rome": (PLACES, *VALUE, ATTENTION),
    "r_rome": (PLACES, *VALUE, ATTENTION),
    "memit": (PLACES, *WEIGHTED, *VALUE[:6], ATTENTION),
    "memit_iterative": (
        PLACES, *WEIGHTED, {"rounds": [2, 10]}, {"reached": [0.05, 0.5]}, *VALUE[:2], {"site": ["attn"]}, *VALUE[3:6],
    ),
    "pmet": (PLACES, {"lookup": ["last"], "depth": [0.65, 0.9], "covariance_weight": [0.0, 0.005]}, *WEIGHTED, *VALUE),
    "emmet": (PLACES, {"slack": [0.0, 0.001, 0.01]}, {"span": [0.34]}, *VALUE[:6], ATTENTION),
    "alphaedit": (
        PLACES, {"null_threshold": [0.1, 1.0, 2.0]}, {"l2": [0.005, 0.2, 0.5]}, {"span": [0.0]}, *VALUE[:6], ATTENTION,
    ),
    "ultraedit": (
        {"rate": [0.1, 0.2, 0.3, 0.5, 1.0], "depth": [0.35, 0.65, 0.95]}, {"ridge": [0.01, 1.0]},
        {"span": [0.0, 0.5]}, {"warmup": [8, 128]}, {"lookup": LOOKUPS}, {"site": ["attn"], "rate": [0.3, 1.0, 2.0]},
        {"rate": [0.4, 0.5], "ridge": [1.0]}, {"prefixes": [5]},
    ),
    "ft_m": ({"lr": [0.005, 0.01, 0.02, 0.04], "depth": [0.3, 0.65, 0.9], "site": ["mlp", "attn"]}, *TUNED),
    "ft_l": (
        {"lr": [0.05, 0.1], "bound": [0.1, 0.3, 0.6, 1.0], "depth": [0.3, 0.65, 0.9]}, {"lr": [0.02]},
        {"site": ["attn"]}, *TUNED,
    ),
    "loc_ft": ({"lr": [0.005, 0.01, 0.02, 0.04], "depth": [0.3, 0.65, 0.9], "site": ["mlp", "attn"]}, *TUNED),
    "lora": (
        {"lr": [0.0003, 0.001, 0.003], "site": ["value", "mlp", "attn"]}, {"rank": [2, 32]}, {"prefixes": [0]},
        {"stop_loss": [0.01, 0.2]}, {"span": [0.34]}, {"span": [0.34], "depth": [0.5]}, {"steps": [80]},
        {"more_sites": ["mlp"]}, {"site": ["mlp"], "stop_loss": [0.2]},
    ),
    "documents": ({"lr": [0.0005, 0.002]}, {"stop_loss": [0.01, 0.5]}, {"more_sites": [""]}, {"site": ["mlp"]}),
    "mend": (
        {"rate": [0.03, 0.3], "edit_weight": [0.1, 0.3]}, {"edit_weight": [0.03, 0.3, 1.0]}, {"steps": [100, 400]},
        {"span": [0.5]}, {"span": [0.5], "depth": [0.5]}, {"depth": [0.65]}, {"site": ["attn"]}, {"lr": [1e-4, 1e-3]},
        {"rank": [16]}, {"prefixes": [5]}, {"edits": [256]},
    ),
    "grace": (
        {"radius": [0.1, 0.3, 0.6, 1.0, 1.5], "depth": DEPTHS}, {"radius": [0.3, 0.6, 1.0], "lookup": ["subject_last"]},
        {"radius": [0.3, 0.6, 1.0], "site": ["attn"]}, {"clamp": [2.0, 4.0]}, {"steps": [50]},
    ),
    "steer": (
        {"clamp": [0.3, 1.0, 2.0, 4.0], "depth": [0.35, 0.65, 0.9], "widest": [0.0]},
        {"by": ["value"], "clamp": [1.0, 2.0, 4.0]},
        {"by": ["means"], "at": ["block"], "strength": [1.0, 2.0, 4.0], "depth": [0.35, 0.65]},
        {"at": ["block"], "clamp": [0.3, 0.6, 1.0], "widest": [0.0]}, {"clamp": [2.0], "steps": [60], "widest": [0.0]},
        {"clamp": [3.0, 6.0], "widest": [0.0]}, {"site": ["attn"], "clamp": [2.0], "widest": [0.0]}, {"widest": [0.0]},
    ),
    "embedding": (
        {"clamp": [0.25, 0.5, 1.0, 2.0, 4.0], "untied": [False, True]}, {"lookup": ["last"], "clamp": [0.5, 1.0, 2.0]},
        {"kl": [0.0, 0.25, 1.0]}, {"weight_decay": [0.0, 0.1, 0.5]}, {"optimiser": ["adam"], "lr": [0.1, 0.3, 1.0]},
        {"steps": [60]}, {"stop_loss": [0.05, 0.5]},
    ),
    "unembedding": ({"margin": [0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0], "pull": [0.0, 0.25, 0.5, 1.0]},),
    "lre": (
        {"lookup": ["subject_last"], "rank": [0.05, 0.2, 0.5], "beta": [0.25, 0.5], "depth": [0.0, 0.35]},
        {"lookup": ["subject_last"], "rank": [0.05, 0.1, 0.2, 0.5, 1.0], "beta": [1.0]},
        {"lookup": ["last"], "rank": [0.05, 0.2, 0.5], "beta": [0.5, 1.0], "depth": [0.35, 0.65]}, {"depth": [0.8]},
        {"beta": [0.35]}, {"examples": [0]}, {"site": ["attn"]},
    ),
    "rect": (
        {"keep": [0.1, 0.2, 0.6, 0.8, 1.0]}, PLACES, {"inner": ["memit"], "keep": [0.2, 0.4, 0.8]},
        {"inner": ["r_rome", "alphaedit", "ft_m"]}, {"inner": ["memit"], "lookup": ["last"], "depth": DEPTHS},
        {"options": ['{"clamp": 2.0}', '{"stop_loss": 0.05}', '{"move_above": 0.3}']},
    ),
    "sphere": (
        {"alpha": [0.25, 0.75, 1.0]}, {"eta": [0.25, 0.75]}, PLACES, {"inner": ["rome", "memit", "ft_m"]},
        {"options": ['{"l2": 0.005}', '{"l2": 0.2}', '{"clamp": 2.0}', '{"stop_loss": 0.05}']},
        {"eta": [0.25, 0.75], "alpha": [0.25, 0.75, 1.0]},
    ),
    "norm_anchor": (
        {"depth": DEPTHS}, {"lookup": LOOKUPS}, {"site": ["attn"]}, {"inner": ["rome"], **PLACES},
        {"inner": ["rome", "memit", "r_rome", "alphaedit"]}, {"inner": ["memit", "ft_l"], "lookup": ["last"],
        "depth": DEPTHS}, {"inner": ["rome"], "lookup": LOOKUPS, "site": ["attn"]},
        {"inner": ["rome"], "options": ['{"clamp": 16.0}', '{"weight_decay": 0.0}']},
    ),
}  # fmt: skip
TWO_PLACES: tuple[Grid, ...] = ({"lookup": ["last"], "depth": [0.65]}, {"depth": [0.5]})
THREE_PLACES: tuple[Grid, ...] = (TWO_PLACES[0], {"depth": [0.2, 0.5]})
# For models that take minutes a setting: other places, and what the searches of small models found.
FEW: dict[str, tuple[Grid, ...]] = {
    "grace": ({"radius": [0.3, 0.6, 1.0]},),
    "ft_l": (
        {"lr": [0.02], "bound": [0.6], "depth": [0.65, 0.85]},
        {"lr": [0.05, 0.01], "bound": [0.3], "depth": [0.85]},
    ),
    "embedding": ({"clamp": [2.0]}, {"optimiser": ["adam"]}),
    "ft_m": ({"lr": [0.02, 0.01], "depth": [0.85]}, {"lr": [0.01]}),
    "loc_ft": ({"lr": [0.01]}, {"depth": [0.65, 0.95]}),
    "ultraedit": ({"rate": [0.1, 0.2]}, {"depth": [0.65]}),
    "rome": (*THREE_PLACES, {"clamp": [2.0]}),
    "memit": (*THREE_PLACES, {"covariance_weight": [0.02]}, {"clamp": [2.0]}),
    "alphaedit": (*THREE_PLACES, {"l2": [0.02]}),
    "emmet": (*TWO_PLACES, {"span": [0.34]}, {"clamp": [2.0]}),
    "pmet": (*TWO_PLACES, {"clamp": [2.0]}),
    "memit_iterative": (*TWO_PLACES, {"clamp": [2.0]}),
    "r_rome": (*TWO_PLACES, {"clamp": [2.0]}),
    "rect": ({"keep": [0.2, 0.6]}, {"inner": ["memit"], "keep": [0.4]}, {"inner": ["memit"], "lookup": ["last"]}),
    "sphere": ({"alpha": [0.25, 0.75]}, {"inner": ["rome", "memit"]}),
    "steer": ({"clamp": [1.0], "depth": [0.65], "widest": [0.0]}, {"clamp": [2.0], "depth": [0.9], "widest": [0.0]}),
    "lora": ({"prefixes": [0]}, {"stop_loss": [0.2]}, {"site": ["mlp"], "stop_loss": [0.2]}),
}
# Methods without a search: no settings that matter, or single edits that are another method's.
SAME = {"memit_merge": "memit"}
NO_SETTINGS = ("ike", "unembedding_swap")


def tried(method: str, lm: LanguageModel | None = None, few: bool = False) -> Iterator[dict[str, Any]]:
    """The default, then the settings of every grid that differ from it; with `lm`, of depths in one block only the
    first."""
    default = make_method(method).settings()
    seen: list[dict[str, Any]] = []
    for grid in ({}, *(FEW if few else SEARCH).get(method, ())):
        for values in product(*grid.values()):
            settings = dict(zip(grid, values, strict=True))
            changed = {key: value for key, value in settings.items() if default[key] != value}
            if lm is not None and "depth" in changed:
                changed["depth"] = block_at(changed["depth"], lm.n_layers)
            if changed not in seen:
                seen.append(changed)
                yield settings
