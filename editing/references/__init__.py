"""Model references: hub ids, folders, GGUF files and weights inside installed packages -> a folder on disk. No torch at
import."""

from editing.references.folder import CARD, check_card, check_folder
from editing.references.hub import within
from editing.references.package import known_packages, locate
from editing.references.quiet import quiet_transformers
from editing.references.reference import DTYPES, Parsed, Resolved, absent, gguf_file, parse, resolve, with_dtype

__all__ = [
    "CARD",
    "DTYPES",
    "Parsed",
    "Resolved",
    "absent",
    "check_card",
    "check_folder",
    "gguf_file",
    "known_packages",
    "locate",
    "parse",
    "quiet_transformers",
    "resolve",
    "with_dtype",
    "within",
]
