"""Texts of a data set on the Hugging Face hub, for covariances: a column of its Parquet files, as far as it is needed.

What is in the local hub cache is read from there; otherwise the hub lists the files once and they are fetched one by
one, training split first, until enough has been read. `HF_HUB_OFFLINE=1` is honoured. Nothing but Parquet is opened and
no code is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from editing.errors import BadData
from editing.references import within

ASK_SECONDS = 6.0
ROWS = 256
FORM = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?::([^:]+))?(?::([1-9]\d*))?")


@dataclass(frozen=True)
class HubCorpus:
    """`OWNER/NAME`, `OWNER/NAME:COLUMN` or `OWNER/NAME:COLUMN:TOKENS`.

    Attributes:
        name: name of the data set. column: the column that holds text. tokens: number of tokens read.
    """

    name: str
    column: str = "text"
    tokens: int = 200_000

    @classmethod
    def parse(cls, text: str) -> HubCorpus | None:
        """None where the text has another form."""
        match = FORM.fullmatch(text)
        return match and cls(match[1], match[2] or cls.column, int(match[3] or cls.tokens))

    @property
    def label(self) -> str:
        return f"corpus hub:{self.name}"

    def files(self) -> list[Callable[[], Path]]:
        """One function per Parquet file that returns its path, from the cache or the hub.

        Raises:
            BadData: neither cached nor reachable, unknown, gated, without Parquet files.
        """
        from huggingface_hub import constants

        cached = self._cached()
        if cached:
            return [lambda path=path: path for path in cached]
        if constants.is_offline_mode():
            raise BadData(
                f"{self.label}: no Parquet file of it is in the local hub cache and HF_HUB_OFFLINE is set; "
                "unset it once to download, or use samples:NUMBER"
            )
        revision, names = self._listed()
        return [lambda name=name: self._fetched(name, revision) for name in names]

    def read(self, files: list[Callable[[], Path]], count: Callable[[str], int]) -> list[str]:
        """Texts in the order of the files until they have `tokens` tokens by `count`; the last one may pass that.

        Raises:
            BadData: a damaged file, no such column, no text in it, a download that breaks off.
        """
        texts: list[str] = []
        left = self.tokens
        for file in files:
            for text in self._column(file()):
                texts.append(text)
                left -= count(text)
                if left <= 0:
                    return texts
        if not texts:
            raise BadData(f"{self.label}: column {self.column!r} holds no text; name another data set or column")
        return texts

    def _column(self, path: Path) -> Iterator[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                if self.column not in schema.names:
                    known = ", ".join(schema.names)
                    raise BadData(
                        f"{self.label}: {path.name} has no column {self.column!r}; "
                        f"write hub:{self.name}:COLUMN with one of {known:.200}"
                    )
                kind = schema.field(self.column).type
                if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                    raise BadData(
                        f"{self.label}: column {self.column!r} of {path.name} holds {kind}, not text; name another"
                    )
                for batch in file.iter_batches(ROWS, columns=[self.column]):
                    yield from (text for text in batch.column(0).to_pylist() if text and text.strip())
        except (OSError, pa.ArrowException) as error:
            first = " ".join(str(error).split())
            raise BadData(
                f"{self.label}: {path.name} is damaged ({first:.120}); delete {path.resolve()} and run again"
            ) from error

    def _cached(self) -> list[Path]:
        """Parquet files in the local hub cache, training split first."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

        try:
            snapshot = snapshot_download(
                self.name, repo_type="dataset", local_files_only=True, allow_patterns=["*.parquet"]
            )
        except IncompleteSnapshotError as error:  # some files are enough
            snapshot = error.snapshot_path
        except LocalEntryNotFoundError:
            return []
        folder = Path(snapshot)
        return [folder / name for name in _ordered(p.relative_to(folder).as_posix() for p in folder.rglob("*.parquet"))]

    def _listed(self) -> tuple[str | None, list[str]]:
        """The commit and names of the Parquet files on the hub."""
        from huggingface_hub import HfApi
        from huggingface_hub import errors as hub

        try:
            info = within(ASK_SECONDS, partial(HfApi().dataset_info, self.name, timeout=ASK_SECONDS))
        except hub.GatedRepoError as error:
            raise BadData(self._gated()) from error
        except hub.RepositoryNotFoundError as error:
            raise BadData(
                f"{self.label}: the hub has no such data set, or it is private; check the name, or log in with "
                "`hf auth login`"
            ) from error
        except Exception as error:  # the http library's own errors have no common parent across its versions
            raise BadData(
                f"{self.label}: not in the local hub cache and the hub cannot be reached ({type(error).__name__}); "
                "connect and run again, or use samples:NUMBER"
            ) from error
        names = _ordered(file.rfilename for file in info.siblings or ())
        if not names:
            raise BadData(f"{self.label}: the hub has no Parquet files of it; choose a data set stored as Parquet")
        return info.sha, names

    def _fetched(self, name: str, revision: str | None) -> Path:
        from huggingface_hub import errors as hub
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.name, name, repo_type="dataset", revision=revision))
        except hub.GatedRepoError as error:
            raise BadData(self._gated()) from error
        except Exception as error:
            raise BadData(
                f"{self.label}: the download of {name} broke off ({type(error).__name__}); run again"
            ) from error

    def _gated(self) -> str:
        return (
            f"{self.label}: gated; accept its terms on the hub's page of {self.name}, then log in with `hf auth login`"
        )


def _ordered(names: Any) -> list[str]:
    """Parquet files by name, those of a training split first."""
    return sorted((n for n in names if n.endswith(".parquet")), key=lambda n: ("train" not in n, n))
