"""What a method needs to know of a model: context prefixes and key covariances, kept on disk."""

from editing.stats.corpus import CORPUS, check_corpus, corpus_hash, refuse_missing_corpus
from editing.stats.covariance import covariances
from editing.stats.guards import cosine_warning, norm_warning
from editing.stats.keeping import refuse_nothing_kept, solve_keeping
from editing.stats.sampling import sample_tokens
from editing.stats.statistics import ModelStatistics

__all__ = [
    "CORPUS",
    "ModelStatistics",
    "check_corpus",
    "corpus_hash",
    "cosine_warning",
    "covariances",
    "norm_warning",
    "refuse_missing_corpus",
    "refuse_nothing_kept",
    "sample_tokens",
    "solve_keeping",
]
