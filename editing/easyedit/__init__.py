"""EasyEdit's hyper-parameter files, read as settings of our methods."""

from editing.easyedit.hparams import Hparams, method_of, read_hparams

__all__ = [
    "Hparams",
    "method_of",
    "read_hparams",
]
