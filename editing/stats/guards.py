"""When an edit is not to be trusted, in units of the model: tokens per dimension, cosines, norms relative to weights.

All thresholds stand here. The reasons are measured on a grown rung whose keys have 512 dimensions (LOG.md):

| tokens per dimension | 0.03 | 0.5 | 1 | 2 | 4 | 8 | 40 |
|---|---|---|---|---|---|---|---|
| ROME, relative norm of the change | 0.29 | 0.62 | 2.8 | 0.86 | 0.75 | 0.63 | 0.57 |
| ROME, cosine of the key and its direction | 0.77 | 0.36 | 0.09 | 0.26 | 0.31 | 0.37 | 0.40 |
| MEMIT, relative norm of the change | 0.30 | 0.69 | 1.07 | 0.034 | 0.016 | 0.010 | 0.008 |

Below one token per dimension C cannot have full rank: what the corpus did not show counts as free, and MEMIT changes
the weights some eighty times as much as with a full corpus. At one per dimension C is worst conditioned.
"""

from __future__ import annotations

from collections.abc import Mapping

from editing.errors import BadData, BadModel, BadRequest
from editing.model import EXPERT, Site
from editing.stats.covariance import Covariance

LEAST_TOKENS = 1.0  # per dimension of the key; fewer are refused where C is inverted
FEW_TOKENS = 4.0  # fewer are warned about: norms are 1.3 (ROME) to 2 (MEMIT) times those of a full corpus there
LARGE_ERROR = 0.3  # relative standard error of C over texts
LEAST_COSINE = 1e-4  # of a key and the direction its change is read along: the change is 1/cosine of the smallest one
SMALL_COSINE = 0.05
LARGE_NORM = 2.0  # of a change, relative to the weights it changes; the edits measured stay below 1


def refuse_infinite(name: str, path: str, covariance: Covariance) -> None:
    """Refuse keys that are no finite numbers, as those of a model that overflows float16.

    Raises:
        BadModel: C at `path` of the model called `name` holds a NaN or an infinity.
    """
    if not bool(covariance.matrix.isfinite().all()):
        raise BadModel(f"{name}: keys at {path} are not finite numbers; load the model in float32 or bfloat16")


def refuse_few_tokens(site: Site, covariance: Covariance, corpus: str) -> None:
    """Refuse a covariance that cannot have full rank. The identity, which is read from no tokens, passes.

    Raises:
        BadData: fewer than LEAST_TOKENS per dimension, or every key is 0.
    """
    width = len(covariance.matrix)
    if covariance.tokens and not bool(covariance.matrix.any()):
        raise BadData(f"corpus {corpus}: every key at {site.path} is 0; take another layer or site")
    if corpus == "identity" or covariance.tokens >= LEAST_TOKENS * width:
        return
    if site.kind == EXPERT:
        raise BadData(
            f"corpus {corpus}: {covariance.tokens:,} of its tokens are sent to {site.path}, whose keys have {width:,} "
            f"dimensions; a key covariance needs one token per dimension at least, better {FEW_TOKENS:.0f}; take a "
            "longer text, an expert that is sent more, or identity"
        )
    raise BadData(
        f"corpus {corpus}: {covariance.tokens:,} tokens for the {width:,} dimensions of {site.path}; a key covariance "
        f"needs one token per dimension at least, better {FEW_TOKENS:.0f}; take a longer text, "
        f"samples:{int(FEW_TOKENS) * width}, or identity"
    )


def covariance_warnings(used: Mapping[str, Covariance], corpus: str) -> list[str]:
    """A line where a covariance comes from few tokens or is known to a large error; one for all sites of a model."""
    lines = []
    made = [c for c in used.values() if c.tokens]
    few = min((c.tokens / len(c.matrix) for c in made), default=FEW_TOKENS)
    if few < FEW_TOKENS:
        lines.append(
            f"the key covariance comes from {few:.1f} tokens per dimension (corpus {corpus}); below {FEW_TOKENS:.0f} "
            "changes of weights come out larger than with a full corpus"
        )
    error = max((c.error for c in made if c.error == c.error), default=0.0)
    if error > LARGE_ERROR:
        lines.append(f"the key covariance is known to a relative error of {error:.2f} only (corpus {corpus})")
    return lines


def cosine_warning(request: str, dot: float, key_norm: float) -> str:
    """A line where the key of a rank-one change is nearly orthogonal to the direction that it is read along; else
    empty.

    Args:
        dot: u . k0 with u of norm 1. key_norm: of k0.

    Raises:
        BadRequest: the cosine is below LEAST_COSINE.
    """
    cosine = abs(dot) / key_norm if key_norm else 0.0
    if not cosine >= LEAST_COSINE:  # a NaN, too
        raise BadRequest(
            f"request {request!r}: its key is orthogonal to its own direction (cosine {cosine:.1e}); no rank-one edit, "
            "the change would be ten thousand times the smallest one; take a larger corpus or another layer"
        )
    if cosine < SMALL_COSINE:
        return (
            f"request {request!r}: its key is nearly orthogonal to its direction (cosine {cosine:.3f}), so the change "
            f"is {1 / cosine:.0f} times the smallest one"
        )
    return ""


def norm_warning(relative_norm: float) -> str:
    """A line where a change is larger than the weights it changes; else empty. A NaN counts as large."""
    if relative_norm <= LARGE_NORM:
        return ""
    return (
        f"the change is {relative_norm:.1f} times as large as the weights it changes (edits that work stay below 1); "
        "do not trust its scores"
    )
