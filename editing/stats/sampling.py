"""Text drawn from the model itself: context prefixes, and a corpus for covariances that needs no data set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from editing.errors import OutOfMemory
from editing.lazy import cache_utils, torch
from editing.model import LanguageModel
from editing.run import Batch, StepCache, attempt, forward

# How the MEMIT code begins its contexts; a bare document separator often leads into code or lists.
OPENINGS = ("The", "Therefore", "Because", "I", "You")
PIECE = 256  # tokens of the vocabulary that are summed first


def sample_tokens(
    lm: LanguageModel,
    count: int,
    length: int,
    *,
    seed: int,
    top_k: int = 0,
    opening: str = "",
    read_once: bool = False,
    inverse: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """(count, length) token ids drawn one after another behind `prefix_ids` and `opening`, which are not returned.

    `on_step` is called with the number of tokens drawn in each step. Ancestral sampling at temperature 1 from all
    tokens, or from the `top_k` likeliest. Same seed and same kind of device, same tokens: a GPU draws for itself, so
    that no step sends a vocabulary of scores to the host. With `read_once` the opening is read once for all texts,
    which is faster where it is long, and may draw other tokens by rounding; with recurrent blocks it is read for each.
    With `inverse` a CPU draws by the inverse of the distribution function: one random number a text in place of one for
    each token of the vocabulary, a third of a long text's time; other tokens by the same law.

    Raises:
        OutOfMemory: `count` texts do not fit.
    """
    place = lm.device if lm.device.type == "cuda" else torch.device("cpu")
    generator = torch.Generator(place).manual_seed(seed)
    head = lm.encode(opening) if opening else list(lm.prefix_ids) or [lm.pad_id]
    recurrent = lm.layout.recurrent
    step = torch.tensor([head] * (1 if read_once and not recurrent else count), device=lm.device)
    cache = StepCache() if recurrent else cache_utils.DynamicCache()
    drawn = []
    start = 0
    with torch.no_grad():
        for _ in range(length):
            texts, width = step.shape
            positions = torch.arange(start, start + width, device=lm.device).expand(texts, width)
            mask = torch.ones(texts, start + width, dtype=torch.long, device=lm.device)
            rows = torch.arange(texts, device=lm.device)
            last = torch.full_like(rows, width - 1)
            batch = Batch(step, mask, positions)
            read = partial(forward, lm, batch, record=cache, gather=(rows, last))
            done = attempt(read)
            if done is None:  # not halved: the draws of one generator depend on all rows
                raise OutOfMemory(
                    f"{lm.name}: drawing {count} texts of {length} tokens from it runs out of memory; use a corpus of "
                    "text (text:PATH, hub:OWNER/NAME), bfloat16 weights, or a device with more memory"
                )
            (logits,) = done
            assert logits is not None
            if texts < count and isinstance(cache, cache_utils.DynamicCache):  # the opening, read once
                logits = logits.expand(count, -1)
                cache.batch_repeat_interleave(count)
            scores = logits.float().to(place)
            if top_k:
                floor = scores.topk(min(top_k, scores.shape[1])).values[:, -1:]
                scores = scores.masked_fill(scores < floor, float("-inf"))
            drawing = _by_inverse if inverse and place.type == "cpu" else _by_race
            chosen = drawing(scores.softmax(-1), generator)
            drawn.append(chosen)
            if on_step:
                on_step(count)
            step, start = chosen.to(lm.device), start + width
    return torch.cat(drawn, 1).cpu() if drawn else torch.zeros(count, 0, dtype=torch.long)


def _by_race(share: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(texts, 1) tokens by their shares (texts, vocabulary): torch divides each by an exponential variate."""
    return torch.multinomial(share, 1, generator=generator)


def _by_inverse(share: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same law: the first token at which the sum of shares exceeds a uniform variate.

    Summed in pieces of the vocabulary, then within the piece that holds the token: a running sum over all of it takes
    six times as long.
    """
    texts, vocabulary = share.shape
    whole = torch.nn.functional.pad(share, (0, -vocabulary % PIECE)) if vocabulary % PIECE else share  # pad copies
    pieces = whole.view(texts, -1, PIECE)
    below = pieces.sum(-1).cumsum(-1, dtype=torch.float64)
    level = torch.rand(texts, 1, generator=generator, dtype=torch.float64) * below[:, -1:]
    piece = torch.searchsorted(below, level, right=True).clamp(max=below.shape[1] - 1)
    inside = pieces[torch.arange(texts), piece[:, 0]].cumsum(-1, dtype=torch.float64)
    before = below.gather(1, piece) - inside[:, -1:]
    token = torch.searchsorted(inside, level - before, right=True).clamp(max=PIECE - 1)
    return (PIECE * piece + token).clamp(max=vocabulary - 1)


def sample_prefixes(lm: LanguageModel, counts: dict[int, int], *, seed: int) -> tuple[str, ...]:
    """Distinct short texts to put before a prompt; `counts` maps a length in tokens to how many are drawn.

    As in the MEMIT code: top-5 sampling behind five common openings. Braces and line ends are removed, and a model too
    small to find enough different ones repeats itself.
    """
    prefixes: list[str] = []
    for length, number in counts.items():
        if not number:
            continue
        per_opening = -(-number // len(OPENINGS))
        drawn: list[list[str]] = []
        for i, opening in enumerate(OPENINGS[:number]):
            rows = sample_tokens(
                lm, 4 * per_opening, length - 1, seed=seed + 100 * length + i, top_k=5, opening=opening
            )
            begun = lm.encode(opening)[len(lm.prefix_ids) :]
            texts = [opening + lm.text_behind(begun, row) for row in rows.tolist()]
            clean = [" ".join(t.replace("{", "").replace("}", "").split()).rstrip(" .") for t in texts]
            distinct = list(dict.fromkeys(clean))
            drawn.append((distinct * per_opening)[:per_opening])
        mixed = [text for group in zip(*drawn, strict=True) for text in group]
        prefixes += mixed[:number]
    return tuple(prefixes)
