"""Where computed things are kept (models, covariances, samples), and how a file or folder gets there in one step."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

SOURCE = Path(__file__).resolve().parent.parent  # the source tree, or the folder that the packages are installed in


def cache_root() -> Path:
    """The folder of everything computed or downloaded once; it need not exist yet.

    `$VALLEY_CACHE`, else `$EDITBENCH_CACHE` (its former name), else an existing `.cache` in the source tree (where versions
    without an installer kept it), else the user's cache folder (`~/.cache/concept-valley` on Linux).
    """
    chosen = os.environ.get("VALLEY_CACHE") or os.environ.get("EDITBENCH_CACHE")
    if chosen:
        return Path(chosen)
    in_source = SOURCE / ".cache"
    return in_source if in_source.is_dir() else user_cache_path("concept-valley")
