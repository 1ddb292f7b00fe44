"""The state of a training on its way, so that a killed one goes on where it was and ends with the same weights.

A state is one safetensors file: weights, the optimisers' moments, the steps done and the log. The order of the
sentences is a function of the seed and the step, so its generator is brought to its place by drawing the batches again
(under a millisecond each).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from editing.errors import BadData
from editing.files import atomic_file
from editing.lazy import tensor_files, torch

if TYPE_CHECKING:
    from benchmarks.grown.train import Trainer

EVERY = 20.0  # seconds
SHARE = 20  # at least this many times as long is trained as the last state took to write


class StateFile:
    """Keeps a training's state in one file, now and then.

    Args:
        path: of the file; written in one step.
        identity: what must be the same for a state to be taken up again: the rung's key, device and precision.
        every: seconds between two states.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], every: float = EVERY) -> None:
        self.path, self.identity, self.every = path, dict(identity), every
        self.cost, self.last = 0.0, time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.last >= max(self.every, SHARE * self.cost if self.every else 0.0)

    def save(self, trainer: Trainer, spent: Mapping[str, float]) -> None:
        """Writes the state of `trainer`. `spent`: wall and processor seconds so far.

        Raises:
            BadData: the file cannot be written.
        """
        begun = time.monotonic()
        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in trainer.tensors().items()}
        about = {"identity": self.identity, "numbers": trainer.numbers(), "spent": dict(spent)}
        with atomic_file(self.path) as temporary:
            tensor_files.save_file(tensors, temporary, metadata={"state": json.dumps(about)})
        self.last = time.monotonic()
        self.cost = self.last - begun

    def load(self, trainer: Trainer) -> dict[str, float]:
        """Brings `trainer` to where the file says; returns the seconds spent till then (none without a file).

        Raises:
            BadData: the file is damaged or of another device or precision.
        """
        if not self.path.is_file():
            return {}
        try:
            with safe_open(self.path, framework="pt") as file:
                about: dict[str, Any] = json.loads(file.metadata()["state"])
                tensors: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["identity"] != self.identity:
                was, now = (" ".join(map(str, who.values())) for who in (about["identity"], self.identity))
                raise BadData(f"{self.path}: begun as {was}, now {now}; go on as it was begun, or delete the file")
            trainer.restore(tensors, about["numbers"])
            return about["spent"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadData(
                f"{self.path}: not the state of this training ({type(error).__name__}); delete it to begin anew"
            ) from error

    def steps(self) -> int:
        """Steps done in the file, 0 without one.

        Raises:
            BadData: the file is damaged.
        """
        if not self.path.is_file():
            return 0
        try:
            with safe_open(self.path, framework="pt") as file:
                return int(json.loads(file.metadata()["state"])["numbers"]["done"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadData(
                f"{self.path}: not the state of a training ({type(error).__name__}); delete it to begin anew"
            ) from error

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
