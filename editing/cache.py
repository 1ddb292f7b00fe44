"""Where computed things are kept (models, covariances, samples), and how a file or folder gets there in one step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# Every sub-folder of the cache that this project fills.
PARTS = (
    "agreement", "answers", "crispness", "datasets", "grown", "hashes", "later_training", "models", "offload",
    "ravel", "readings", "statistics", "strength", "timings",
)  # fmt: skip
SOURCE = Path(__file__).resolve().parent.parent  # the source tree, or the folder that the packages are installed in


def cache_root() -> Path:
    """The folder of everything computed or downloaded once; it need not exist yet.

    `$VALLEY_CACHE`, else `$EDITBENCH_CACHE` (its former name), else an existing `.cache` in the source tree (where
    versions without an installer kept it), else the user's cache folder (`~/.cache/concept-valley` on Linux).
    """
    chosen = os.environ.get("VALLEY_CACHE") or os.environ.get("EDITBENCH_CACHE")
    if chosen:
        return Path(chosen)
    in_source = SOURCE / ".cache"
    if in_source.is_dir():
        return in_source
    from platformdirs import user_cache_path  # not needed where a folder was chosen, as on a machine lent for an hour

    return user_cache_path("concept-valley")


def clear_cache() -> list[tuple[Path, int]]:
    """Delete what this project keeps in the cache, trained models included: each folder that was there, and its bytes.

    Other files in the cache's folder stay: `VALLEY_CACHE` may name any folder.
    """
    removed = []
    for folder in (cache_root() / part for part in PARTS):
        if folder.is_dir():
            size = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
            shutil.rmtree(folder)
            removed.append((folder, size))
    return removed


def main() -> None:
    """Delete the cache and print what is deleted: `python -m editing.cache`, behind `make clean-cache`."""
    removed = clear_cache()
    for folder, size in removed:
        print(f"deleted {folder} ({size / 2**20:.1f} MiB)")
    print(f"{sum(size for _, size in removed) / 2**20:.1f} MiB deleted in {cache_root()}")


if __name__ == "__main__":
    main()
