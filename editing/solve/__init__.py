"""The optimisation inside methods: keys, the value v*, gradient descent."""

from editing.solve.descent import Descent, Outcome, adding, by_owner, descend, groups_of
from editing.solve.keys import bare_weights, group_mean, mean_weights, states, type_weights
from editing.solve.value import OPTIMISERS, PRECISIONS, Injection, Value, ValueSettings, optimise_values, uses_half

__all__ = [
    "OPTIMISERS",
    "PRECISIONS",
    "Descent",
    "Injection",
    "Outcome",
    "Value",
    "ValueSettings",
    "adding",
    "bare_weights",
    "by_owner",
    "descend",
    "group_mean",
    "groups_of",
    "mean_weights",
    "optimise_values",
    "states",
    "type_weights",
    "uses_half",
]
