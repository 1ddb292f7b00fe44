"""Large libraries, imported when they are first used: settings, plans and finished runs are read without waiting for
torch, commands that judge no table without waiting for pandas, those that draw nothing without waiting for altair.

    from editing.lazy import nn, torch
    from editing.lazy import pandas as pd

Annotations are not evaluated and cost nothing. A class that inherits from a torch class, or a decorator of torch, uses
it at import; such code stays inside functions, or in a file that only functions import.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Later:
    """Stands for a module until one of its attributes is used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._module: ModuleType | None = None

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__version__":  # what copy or inspect ask of every object
            raise AttributeError(attribute)
        if self._module is None:
            self._module = import_module(self._name)
        value = getattr(self._module, attribute)
        vars(self)[attribute] = value  # found at once from now on: models ask for torch's functions all the time
        return value


if TYPE_CHECKING:
    import altair as altair
    import duckdb as duckdb
    import pandas as pandas
    import pyarrow as pyarrow
    import torch as torch
    import transformers as transformers
    from pyarrow import parquet as parquet
    from safetensors import torch as tensor_files
    from scipy import special as special
    from scipy import stats as stats
    from torch import nn as nn
    from torch.autograd import forward_ad as forward_ad
    from torch.nn import attention as attention
    from transformers import cache_utils as cache_utils
    from transformers import pytorch_utils as pytorch_utils
else:
    torch = Later("torch")
    nn = Later("torch.nn")
    attention = Later("torch.nn.attention")
    forward_ad = Later("torch.autograd.forward_ad")
    transformers = Later("transformers")
    cache_utils = Later("transformers.cache_utils")
    pytorch_utils = Later("transformers.pytorch_utils")
    tensor_files = Later("safetensors.torch")
    pandas = Later("pandas")
    pyarrow = Later("pyarrow")
    parquet = Later("pyarrow.parquet")
    duckdb = Later("duckdb")
    special = Later("scipy.special")
    stats = Later("scipy.stats")
    altair = Later("altair")
