"""One hyper-parameter file in YAML, its values read as the type of the setting.

PyYAML reads YAML 1.1: `5e-1` (no dot) is text there, `no` is False, `null` and an empty value are None. So a value is
converted by the type of the setting it is for, and what cannot be is refused in one line that names file and key.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from editing.errors import BadData


class _EachKeyOnce(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word; here they are refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := next((key for i, key in enumerate(keys) if key in keys[:i]), None):
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: the key {repeated!r:.60} stands twice")
        return super().construct_mapping(node, deep)


class HparamsFile:
    """The keys of one file; keeps track of which were read, so that the rest can be listed.

    Raises:
        BadData: the file cannot be read, is no YAML mapping, or a value does not fit (from the methods).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            values = _EachKeyOnce(self.path.read_text(encoding="utf-8")).get_single_data()
        except OSError as error:
            raise BadData(
                f"{path}: cannot be read ({error.strerror}); name one of EasyEdit's hparams YAML files"
            ) from error
        except (yaml.YAMLError, ValueError) as error:
            why = " ".join(str(error).split())
            raise BadData(f"{path}: not a YAML file ({why}); correct it there") from error
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise BadData(f"{path}: not a mapping of keys to values; name one of EasyEdit's hparams YAML files")
        self._values: dict[str, Any] = values
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def refuse(self, key: str, need: str) -> BadData:
        """The error that says what `key` must be."""
        shown = repr(self._values[key]) if key in self._values else "missing"
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        return BadData(f"{self.path}: {key}: {shown}; it must be {need}")

    def raw(self, key: str) -> Any:
        """The value as YAML gives it, None where there is none."""
        self._read.add(key)
        return self._values.get(key)

    def unread(self) -> tuple[str, ...]:
        """The keys that were not read, in the order of the file."""
        return tuple(key for key in self._values if key not in self._read)

    def text(self, key: str) -> str:
        value = self.raw(key)
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(key, "a text")
        return value.strip()

    def number(self, key: str) -> float:
        """A finite number; also one that YAML took for text."""
        value = self.raw(key)
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError
            value = float(value)
        except (ValueError, OverflowError) as error:
            raise self.refuse(key, "a number") from error
        if not math.isfinite(value):
            raise self.refuse(key, "a finite number")
        return value

    def whole(self, key: str) -> int:
        value = self.number(key)
        if value != int(value):
            raise self.refuse(key, "a whole number")
        return int(value)

    def flag(self, key: str) -> bool:
        value = self.raw(key)
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.raw(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.refuse(key, "a list of texts")
        return [v.strip() for v in value]

    def wholes(self, key: str) -> list[int]:
        value = self.raw(key)
        if not isinstance(value, list) or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            raise self.refuse(key, "a list of whole numbers")
        return value

    def check_run(self, key: str, blocks: list[int], n_layers: int) -> None:
        """Refuse `blocks`, named by `key`, unless they are of 0 to `n_layers` - 1, in order and without a gap."""
        if not 0 <= min(blocks) <= max(blocks) < n_layers:
            raise self.refuse(key, f"block numbers of this model, 0 to {n_layers - 1}; change them in the file")
        if blocks != list(range(blocks[0], blocks[0] + len(blocks))):
            raise self.refuse(key, "blocks next to each other in rising order; keep one run of them in the file")
