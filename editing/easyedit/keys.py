"""The keys of EasyEdit's hyper-parameter files and what they are here, as tables."""

from __future__ import annotations

from typing import Any

# alg_name -> our method; FT is one of two, by its objective.
ALGORITHMS = {
    "ROME": "rome",
    "R-ROME": "r_rome",
    "MEMIT": "memit",
    "EMMET": "emmet",
    "PMET": "pmet",
    "AlphaEdit": "alphaedit",
    "ULTRAEDIT": "ultraedit",
    "UltraEdit": "ultraedit",
    "FT": "ft",
    "LoRA": "lora",
    "GRACE": "grace",
    "IKE": "ike",
}
OBJECTIVES = {"prompt_last": "ft_l", "target_new": "ft_m"}

# Their key -> our setting, where number and meaning are the same.
_SEARCH = {
    "v_num_grad_steps": "steps",
    "v_lr": "lr",
    "v_weight_decay": "weight_decay",
    "clamp_norm_factor": "clamp",
    "kl_factor": "kl",
}
_TUNING = {"num_steps": "steps", "lr": "lr"}
RENAMED: dict[str, dict[str, str]] = {
    "rome": _SEARCH,
    "r_rome": _SEARCH,
    "memit": _SEARCH | {"mom2_update_weight": "covariance_weight"},
    "emmet": _SEARCH,
    "pmet": _SEARCH | {"mom2_update_weight": "covariance_weight"},
    "alphaedit": _SEARCH | {"nullspace_threshold": "null_threshold", "L2": "l2"},
    "ultraedit": {"lr": "rate"},
    "ft_l": _TUNING,
    "ft_m": _TUNING,
    "lora": _TUNING | {"rank": "rank", "lora_alpha": "alpha"},
    "grace": {"n_iter": "steps", "edit_lr": "lr", "eps": "radius"},
    "ike": {},
}
RANK_ONE = ("rome", "r_rome")
SPREAD = ("memit", "emmet", "pmet", "alphaedit")

# Our settings that EasyEdit's code fixes, whatever the file says.
FIXED: dict[str, dict[str, Any]] = {
    "memit": {"prefixes": 5},
    "emmet": {"prefixes": 5},
    "pmet": {"prefixes": 5},
    "alphaedit": {"prefixes": 5},
    "grace": {"lookup": "last", "stop_loss": 0.0},  # all steps are made
    "lora": {"prefixes": 0, "stop_loss": 0.0},
}

# Method -> key -> (the value it has here, what to say when the file has another one).
HERE: dict[str, dict[str, tuple[Any, str]]] = {
    "emmet": {"update_norm_lambda": (0, "no such term here")},
    "pmet": {"nll_loss_factor": (1, "the likelihood always weighs 1 here")},
    "ft_l": {"weight_decay": (0, "none here"), "batch_size": (1, "all requests of a call share one loss here")},
    "ft_m": {"weight_decay": (0, "none here"), "batch_size": (1, "all requests of a call share one loss here")},
    "lora": {
        "lora_type": ("lora", "ranks are not adapted here, plain LoRA"),
        "lora_dropout": (0, "no dropout here"),
        "weight_decay": (0, "none here"),
        "batch_size": (1, "all requests of a call share one loss here"),
        "norm_constraint": (False, "no bound here"),
    },
    "grace": {
        "val_init": ("warm", "the search starts from the map's own output here"),
        "val_train": ("sgd", "no perturbations here"),
        "replacement": (None, "the output at the lookup position is replaced here"),
        "eps_expand": ("coverage", "a radius grows to reach the new key here"),
    },
    "ultraedit": {
        "token": (None, "here the positions that predict the target"),
    },
    "ike": {"k": (0, "no demonstrations here, the new fact alone")},
}
# Method -> key -> the only value there is an edit for.
ONLY: dict[str, dict[str, Any]] = {
    "r_rome": {"enable_prompt_keys": False, "enable_random_prefix_keys": True, "original_implementation": False},
    "grace": {"dist_fn": "euc"},
}
