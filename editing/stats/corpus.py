"""The names of corpora that covariances come from; their forms are in the docstring of `ModelStatistics`."""

from __future__ import annotations

from editing.errors import BadRequest
from editing.files import digest
from editing.stats.error_corpus import parse_error
from editing.stats.hub_corpus import HubCorpus
from editing.stats.text_corpus import read_texts

# Text of the models' covariances: 20,000 tokens drawn from each model itself, so that no rung needs outside data.
CORPUS = "samples:20000"
MOST_TOKENS = 100_000_000  # drawn from a model; as a list they take gigabytes


def check_corpus(corpus: str) -> None:
    """Refuse what is not the name of a corpus; nothing is opened.

    Raises:
        BadRequest: another form than those of `ModelStatistics`.
    """
    if not isinstance(corpus, str):
        raise BadRequest(f"corpus {corpus!r:.80}: not a text; write samples:NUMBER or another of its forms")
    kind, _, value = corpus.partition(":")
    fits = {
        "identity": not value,
        "samples": value.isdecimal() and 0 < int(value) <= MOST_TOKENS,
        "error": parse_error(value) is not None,
        "text": bool(value),
        "hub": HubCorpus.parse(value) is not None,
    }
    if not fits.get(kind):
        raise BadRequest(
            f"corpus {corpus!r}: write samples:NUMBER (at most {MOST_TOKENS:,}), error:NUMBER (above 0, below 1), "
            "text:PATH, hub:OWNER/NAME[:COLUMN[:TOKENS]] or identity"
        )


def corpus_hash(corpus: str) -> str:
    """SHA-256 of the texts of "text:PATH", which may change under one name; empty for every other corpus.

    Raises:
        BadData: as `read_texts`.
    """
    kind, _, value = corpus.partition(":")
    return digest(read_texts(value)) if kind == "text" else ""


def refuse_missing_corpus(corpus: str) -> None:
    """Refuse what is not the name of a corpus, or "text:PATH" without a text at PATH, before a model is loaded.

    Raises:
        BadRequest: as `check_corpus`. BadData: as `read_texts`.
    """
    check_corpus(corpus)
    kind, _, value = corpus.partition(":")
    if kind == "text":
        read_texts(value)
