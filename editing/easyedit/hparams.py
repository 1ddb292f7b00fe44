"""EasyEdit's hyper-parameter files (`hparams/METHOD/MODEL.yaml`) as settings of our methods.

Their numbers are absolute: the settings have the preset "published", also where a file leaves a number out. Read as
they are, by what their code does with a key and not by its name alone: EMMET's two weights act as their
product, `mom2_adjustment` is looked at by ROME and R-ROME only, GRACE edits at the prompt's last token. What means
nothing here, or something else, is listed in `Hparams.notes`; what would silently become another edit is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from editing.easyedit.file import HparamsFile
from editing.easyedit.keys import ALGORITHMS, FIXED, HERE, OBJECTIVES, ONLY, RANK_ONE, RENAMED, SPREAD
from editing.easyedit.layers import place
from editing.errors import BadData, BadRequest
from editing.methods import Method, make_method, registry


@dataclass(frozen=True)
class Hparams:
    """The settings in a file.

    Attributes:
        method: one of ours, with the file's settings.
        corpus: of `ModelStatistics`; "identity" where the file switches the covariance off, else None (the caller's
            own).
        notes: one line for each key that means something else here or has no counterpart.
        model_name: the model the file was written for.
    """

    method: Method
    corpus: str | None
    notes: tuple[str, ...]
    model_name: str


def method_of(path: str | Path) -> str:
    """The name of our method that a file is for; needs no model.

    Raises:
        BadData: no such file, no YAML mapping, or a method without a counterpart.
    """
    return _method_of(HparamsFile(path))


def read_hparams(path: str | Path, n_layers: int) -> Hparams:
    """The settings in one of EasyEdit's files, for a model of `n_layers` blocks.

    Their block numbers become the fraction of the depth (and the span) that gives exactly these blocks in such a model.

    Raises:
        BadData: unreadable, or something in it that no method here can do.
    """
    file = HparamsFile(path)
    name = _method_of(file)
    settings, notes = _settings(file, name, n_layers)
    corpus = _covariance(file, name, notes)
    for key, (value, why) in HERE.get(name, {}).items():
        theirs = file.raw(key)
        if key in file and (value is None or theirs != value):
            notes.append(f"{key}: {theirs}: {why}")
    for key, value in ONLY.get(name, {}).items():
        if key in file and file.raw(key) != value:
            raise file.refuse(key, f"{value!r}; method {name} has nothing else")
    model_name = file.text("model_name") if "model_name" in file else ""
    unread = file.unread()
    if unread:
        notes.append(f"no counterpart here: {', '.join(unread)}")
    try:
        method = make_method(name, **settings)
    except BadRequest as error:
        raise BadData(f"{path}: {error}; correct the file") from error
    return Hparams(method, corpus, tuple(notes), model_name)


def _method_of(file: HparamsFile) -> str:
    name = _one_of(file, "alg_name", ALGORITHMS)
    return _one_of(file, "objective_optimization", OBJECTIVES) if name == "ft" else name


def _one_of(file: HparamsFile, key: str, names: Mapping[str, str]) -> str:
    if str(file.raw(key)) not in names:
        raise file.refuse(key, f"one of {', '.join(names)}")
    return names[str(file.raw(key))]


def _settings(file: HparamsFile, name: str, n_layers: int) -> tuple[dict[str, Any], list[str]]:
    notes: list[str] = []
    settings = {"preset": "published"} | _numbers(file, name, notes) | FIXED.get(name, {})
    if name in ("ft_l", "ft_m"):
        settings["bound"] = _bound(file)
    if name == "emmet" and ("emmet_lambda" in file or "mom2_update_weight" in file):
        # their (K'C^-1 K / w + lambda)^-1 K'C^-1 / w is ours with slack w lambda
        weight = file.number("mom2_update_weight") if "mom2_update_weight" in file else 1.0
        settings["slack"] = file.number("emmet_lambda") * weight
        notes.append(f"emmet_lambda x mom2_update_weight: slack {settings['slack']:g}")
    if name in RANK_ONE:
        settings |= _prefixes(file, notes)
    if name in (*RANK_ONE, *SPREAD):
        settings["lookup"] = _lookup(file)
        notes.append(f"fact_token: lookup {settings['lookup']} for every request (lookup null: each request's own)")
        _loss_layer(file, name, n_layers, notes)
    if name == "grace":
        notes.append("lookup: the prompt's last token, as EasyEdit's GRACE does")
    if name != "ike":
        settings |= place(file, name, n_layers, notes)
    return settings, notes


def _numbers(file: HparamsFile, name: str, notes: list[str]) -> dict[str, Any]:
    """The settings of RENAMED, each by the type of our field; a missing key keeps the published default, with a
    note."""
    hints = get_type_hints(registry()[name])
    defaults = make_method(name, preset="published").settings()
    settings: dict[str, Any] = {}
    for theirs, ours in RENAMED[name].items():
        if theirs not in file:
            notes.append(f"{theirs}: not in the file; {ours} stays {defaults[ours]}")
            continue
        kinds = get_args(hints[ours]) or (hints[ours],)
        settings[ours] = file.number(theirs) if float in kinds else file.whole(theirs)
    return settings


def _bound(file: HparamsFile) -> float:
    if "norm_constraint" not in file or file.raw("norm_constraint") in (False, None):
        return 0.0
    bound = file.number("norm_constraint")
    if bound <= 0:
        raise file.refuse("norm_constraint", "false or above zero")
    return bound


def _lookup(file: HparamsFile) -> str:
    if file.raw("fact_token") not in ("subject_last", "last"):
        raise file.refuse("fact_token", "subject_last or last")
    return file.text("fact_token")


def _prefixes(file: HparamsFile, notes: list[str]) -> dict[str, int]:
    key = "context_template_length_params"
    if key not in file:
        notes.append(f"{key}: not in the file; the prefixes stay 10 short and 10 long")
        return {}
    pairs, counts = file.raw(key), {5: 0, 10: 0}
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(v) is int and v >= 0 for v in pair)):
            raise file.refuse(key, "a list of [length, number]")
        if pair[0] not in counts:
            raise file.refuse(key, "of lengths 5 and 10, the two there are here")
        counts[pair[0]] += pair[1] // 5 * 5  # their code draws number // 5 texts for each of five openings
    return {"short_prefixes": counts[5], "long_prefixes": counts[10]}


def _loss_layer(file: HparamsFile, name: str, n_layers: int, notes: list[str]) -> None:
    """Only the MEMIT family reads the likelihood off that block; ROME's code names it and uses the model's output."""
    if "v_loss_layer" in file and file.whole("v_loss_layer") != n_layers - 1 and name in SPREAD:
        layer = file.whole("v_loss_layer")
        notes.append(f"v_loss_layer: {layer} of {n_layers}: the likelihood is read at the model's end here")


def _covariance(file: HparamsFile, name: str, notes: list[str]) -> str | None:
    if not registry()[name].uses_covariance:
        return None
    off = "mom2_adjustment" in file and not file.flag("mom2_adjustment")
    if off and name in RANK_ONE:
        notes.append("covariance: identity, as the file says (mom2_adjustment: false)")
        return "identity"
    if off:
        notes.append("mom2_adjustment: false: not read by EasyEdit's code of this method, the covariance is used")
    if name in RANK_ONE and "mom2_adjustment" not in file:
        notes.append("mom2_adjustment: not in the file; the covariance is used")
    if "mom2_dataset" in file:
        notes.append(f"mom2_dataset: {file.raw('mom2_dataset')}: the covariance is of the corpus chosen here instead")
    return None
