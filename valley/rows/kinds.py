"""Names the analysis shares: probe kinds, what identifies a rung, which methods are controls. Defined once, here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

EditKind = Literal["fact", "rename", "retarget", "erase"]
# Probe kinds whose answer should change, and those whose answer should stay.
Generalisation = Literal[
    "efficacy", "paraphrase", "cross_lingual", "alias", "relation", "multi_hop", "negation", "verification"
]
Specificity = Literal["neighbour", "same_subject", "neighbour_plus", "drift", "fluency", "ability"]
# Kinds whose answer should change too, reported beside the others and in no mean: harder than what an edit states.
Robustness = Literal["reversed", "challenge", "long_form", "decay"]
EDIT_KINDS: tuple[str, ...] = get_args(EditKind)
GENERALISATION: tuple[str, ...] = get_args(Generalisation)
SPECIFICITY: tuple[str, ...] = get_args(Specificity)
ROBUSTNESS: tuple[str, ...] = get_args(Robustness)
PROBE_KINDS = GENERALISATION + SPECIFICITY + ROBUSTNESS
# What a case has only where a plan names it (`more_probes`); "drift" is more of a kind that every case has.
ON_REQUEST: tuple[str, ...] = ("negation", "verification", *ROBUSTNESS, "drift")
ALL = "all"  # the edit kind of the overall row of a curve
ALL_DEV = "all dev cases, known or not"  # what a setting was chosen on where no dev case was known

PLACEBO = "placebo"
RANDOM_LAYER = "random_layer"  # the same method and key, a layer drawn at random
RANDOM_SITE = "random_site"  # "random key": the key is noise too
# Methods that are yardsticks: never chosen as a rung's best.
CONTROLS: tuple[str, ...] = (PLACEBO, RANDOM_LAYER, RANDOM_SITE)

RUNG: tuple[str, ...] = ("ladder", "rung_index", "rung")
SETTING: tuple[str, ...] = ("method", "settings")
CASE: tuple[str, ...] = ("dataset", "case")  # the pairing key across rungs, within an edit kind

# What the score is made of: kinds that should change, evaluated in the language of the edit (efficacy is a gate), and
# kinds that should stay.
IN_LANGUAGE: tuple[str, ...] = ("paraphrase", "relation", "alias", "multi_hop", "negation", "verification")
KEPT: tuple[str, ...] = ("neighbour", "neighbour_plus", "same_subject")
# An edit that fails one of these is no edit that a rung makes available: its score is 0. Efficacy is above placebo
# where one ran; drift is exp(-KL in nats), so .5 is .69 nats a token; fluency, ability: shares of the unedited model.
GATES: Mapping[str, float] = {"efficacy": 0.5, "drift": 0.5, "fluency": 0.8, "ability": 0.8}

# Which cases count: known at their rung, known at every rung, all of them.
STRATA: tuple[str, ...] = ("known", "known_everywhere", "all")

# Scores of one case, besides one per probe kind.
NET = "cross_lingual_net"
# What a curve states with an interval, per rung.
METRICS: tuple[str, ...] = (
    *PROBE_KINDS,
    NET,
    "generalisation",
    "specificity",
    "score",
)

LABELS: dict[str, str] = {
    "efficacy": "efficacy",
    "paraphrase": "paraphrase",
    "cross_lingual": "cross-lingual",
    "alias": "alias",
    "relation": "relation",
    "multi_hop": "multi-hop",
    "negation": "negation",
    "verification": "verification",
    "reversed": "reversed",
    "challenge": "after a challenge",
    "long_form": "long text agrees",
    "decay": "after later training",
    "neighbour": "neighbours kept",
    "same_subject": "same subject kept",
    "neighbour_plus": "neighbours kept (edit in prompt)",
    "drift": "unrelated text kept",
    "fluency": "fluency kept",
    "ability": "general ability kept",
    NET: "cross-lingual, net of siblings",
    "generalisation": "generalisation",
    "specificity": "specificity",
    "score": "score",
    "fact": "fact",
    "rename": "rename",
    "retarget": "retarget",
    "erase": "erase",
    ALL: "all kinds",
}

# What each score means; all are in [0, 1] and higher is better.
MEANINGS: dict[str, str] = {
    "efficacy": "the edited prompt gets the new answer, among up to 20 candidates of the same type",
    "paraphrase": "so do other wordings",
    "cross_lingual": "so do prompts in the other language, with candidates in that language",
    "alias": "so do prompts with another name of the subject",
    "relation": "so do relations of a retargeted concept that were not part of the edit",
    "multi_hop": "so do questions whose answer follows from the edit over several facts",
    "negation": "the negated statement is judged by the edit: the new one false, the old one true",
    "verification": "the statement is judged by the edit: the new one true, the old one false",
    "reversed": "given the new answer, its subject is named",
    "challenge": "the new answer stays after somebody has called it wrong and named the old one",
    "long_form": "of the old and new answers in a text about the subject, the share that is new",
    "decay": "the edited prompt gets the new answer after later training on unrelated text",
    "neighbour": "other subjects keep their answers (counted where the model was right before)",
    "same_subject": "other facts of the subject keep their answers",
    "neighbour_plus": "other subjects keep their answers behind the sentence of the edit",
    "drift": "exp(-KL) on unrelated text",
    "fluency": "entropy of generated n-grams relative to the unedited model",
    "ability": "answers to questions of general ability stay",
    NET: "cross_lingual minus what the siblings of the concept moved",
    "generalisation": "mean over the kinds in the edit's language whose answer should change, above placebo",
    "specificity": "mean over neighbours, neighbours behind the edit's sentence and other facts of the subject",
    "score": "harmonic mean of generalisation and specificity; 0 where a gate is failed",
}


def kind_order(kind: str) -> tuple[int, str]:
    """Sorting key: fact, rename, retarget, any other by name, `all` last."""
    known = (*EDIT_KINDS, ALL)
    return (known.index(kind) if kind in known else len(EDIT_KINDS) - 1, "" if kind in known else kind)
