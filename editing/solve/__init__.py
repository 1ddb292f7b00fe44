"""The optimisation inside methods: keys, the value v*, gradient descent."""

from editing.solve.descent import Descent, Outcome, TrainingSet, adding, by_owner, descend, groups_of
from editing.solve.keys import bare_weights, group_mean, kept_keys, mean_weights, states, type_weights
from editing.solve.least_change import LeastChange, least_change
from editing.solve.rising import Rising
from editing.solve.routing import AUTO, Route, reaching, routes, sent_contexts
from editing.solve.settings import FORMER
from editing.solve.value import (
    Injection,
    Settings,
    Value,
    ValueSettings,
    optimise_values,
    setting,
    uses_half,
)

__all__ = [
    "AUTO",
    "FORMER",
    "Descent",
    "Injection",
    "LeastChange",
    "Outcome",
    "Rising",
    "Route",
    "Settings",
    "TrainingSet",
    "Value",
    "ValueSettings",
    "adding",
    "bare_weights",
    "by_owner",
    "descend",
    "group_mean",
    "groups_of",
    "kept_keys",
    "least_change",
    "mean_weights",
    "optimise_values",
    "reaching",
    "routes",
    "sent_contexts",
    "setting",
    "states",
    "type_weights",
    "uses_half",
]
