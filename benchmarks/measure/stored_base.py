"""What is measured of an unedited model, kept on disk: its answers to a set of cases, and tables about it.

Every process of a sweep needs the answers, one measures them. Their file is named by everything that decides its
numbers: weights, tokenizer and configuration, number format, kind of device, cases, and the code that asks. Numbers are
stored with all digits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, case_record
from benchmarks.measure.answers import Answer, Base, measure_base
from benchmarks.provenance import CODE_SCHEMA, versions
from editing.cache import cache_root
from editing.errors import BadData
from editing.files import atomic_file, digest
from editing.lazy import pandas as pd
from editing.model import LanguageModel


def stored_base(lm: LanguageModel, cases: Sequence[Case]) -> Base:
    """`measure_base(lm, cases)`, measured at the first call and read from the cache from then on.

    Raises:
        BadData: the file is damaged.
    """
    questions = [case_record(case) for case in cases]
    decisive = [lm.weight_hash, lm.reading_hash, lm.prefix_ids, str(lm.dtype), lm.device.type, CODE_SCHEMA, versions()]
    decisive.append(questions)
    path = cache_root() / "answers" / f"{digest(decisive)[:32]}.json"
    if path.is_file():
        return _read(path)
    base = measure_base(lm, cases)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(asdict(base), default=_plain, ensure_ascii=False), encoding="utf-8")
    return base


def stored_table(
    folder: Path, lm: LanguageModel, identity: Sequence[Any], make: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """The table that `make` gives, made at the first call and read from the cache from then on; one that cannot be read
    is made again.

    Args:
        folder: of such tables. identity: what decides the table besides the model, as JSON.

    Raises:
        BadData: the cache cannot be written.
    """
    key = hashlib.sha256(json.dumps([*identity, lm.prefix_ids, lm.reading_hash]).encode()).hexdigest()
    path = folder / f"{lm.weight_hash[:24]}-{key[:16]}.parquet"
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):  # nothing there, or nothing readable
        pass
    table = make()
    with atomic_file(path) as temporary:
        table.to_parquet(temporary, index=False)
    return table


def _plain(value: Any) -> Any:
    """numpy's arrays and numbers as lists and numbers."""
    return value.tolist()


def _read(path: Path) -> Base:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        answers = tuple(tuple(map(_answer, case)) for case in record["answers"])
        priors = tuple(tuple(None if p is None else np.array(p, float) for p in case) for case in record["priors"])
        return Base(answers, priors, tuple(record["known"]), record["new_tokens"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadData(f"{path}: damaged answers ({error}); delete the file, it will be made again") from error


def _answer(record: dict[str, Any] | None) -> Answer | None:
    if record is None:
        return None
    lists = {
        "logp": np.array(record["logp"], float),
        "tokens": tuple(map(tuple, record["tokens"])),
        "forced": {int(c): tuple(tokens) for c, tokens in record["forced"].items()},
    }
    return Answer(**record | lists)
