"""The memory that edits of a model will need, before any work: a plan that fits, or one line that says what to change.

The figures are estimates, meant to be right within a factor of two. A plan is made to fit in two ways: covariances are
accumulated for fewer sites at a time (more passes over the corpus, the same bits), and batches get shorter
(`LanguageModel.batch_scale`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from editing.errors import NoSite, OutOfMemory
from editing.lazy import torch
from editing.model.language_model import LanguageModel
from editing.model.sites import KINDS, Site

# Share of free memory that a plan may take: allocators round up, and other processes grow.
USABLE = 0.9
SMALLEST, LARGEST = 1 / 64, 64
# ... and of what is free on a GPU that the passes of a batch may take.
LARGEST_SHARE = 0.5
# Tokens of a batch: of covariances and evaluation, and of the search for v*.
READ_TOKENS, SEARCH_TOKENS = 4096, 3072
# ... which on a CPU is shorter where the graph of so many tokens would take more than CPU_GRAPH bytes and no less time.
CPU_GRAPH, LEAST_SEARCH = 2**31, 384
# float64 sums of two halves; a batch's own product in float32, where the model runs; what is kept of a site; its
# factor.
SUMS, PRODUCT, KEPT, FACTOR = 16, 4, 4, 8


@dataclass(frozen=True)
class MemoryPlan:
    """A plan that fits; sizes in bytes.

    Attributes:
        weights: size of the model's weights, in memory already. half: of its bfloat16 copy, 0 where none is made.
        parts: size of each stage: "covariances" (one pass), "factors", "v*", "evaluation".
        peak, free: largest use at one time beside the weights, and what is free, where the model runs.
        host_peak, host_free: the same for main memory; equal to them on a CPU.
        passes: number of passes over the corpus.
        batch_scale: factor of the usual batch sizes.
    """

    weights: int
    half: int
    parts: Mapping[str, int]
    peak: int
    free: int
    host_peak: int
    host_free: int
    passes: int
    batch_scale: float


def free_memory(device: torch.device) -> int:
    """Free bytes of a device; of main memory, no more than the limit of a container or a SLURM job leaves."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    import psutil  # only main memory is measured with it

    return min(psutil.virtual_memory().available, _left_in_container(), _left_in_job())


def _left_in_container(folder: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that the control group's limit leaves, counting the file cache as free; no limit is a very large number."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return 2**62 if limit == "max" else max(int(limit) - used + int(stat["inactive_file"]), 0)
    except (OSError, ValueError, KeyError):
        return 2**62


def _left_in_job() -> int:
    """Bytes that `sbatch --mem` leaves to this process, if it is the only one of its job; SLURM kills a larger one."""
    import psutil

    megabytes = os.environ.get("SLURM_MEM_PER_NODE", "0")  # 0 is all the node has
    granted = int(megabytes) * 2**20 if megabytes.isdecimal() else 0
    return max(granted - psutil.Process().memory_info().rss, 0) if granted else 2**62


def covariance_groups(sites: Sequence[Site], free: int, host_free: int | None = None) -> list[list[Site]]:
    """`sites` in the groups whose covariances are accumulated together, in order of their layers.

    Args:
        free: bytes where the model runs. host_free: of main memory, None where that is the same.

    Raises:
        OutOfMemory: the sums of one site do not fit.
    """

    def fits(group: Sequence[Site]) -> bool:
        here, host = _accumulating(group)
        return here + host <= free if host_free is None else here <= free and host <= host_free

    groups: list[list[Site]] = []
    for site in sorted(dict.fromkeys(sites), key=lambda s: s.layer):
        if groups and fits([*groups[-1], site]):
            groups[-1].append(site)
        elif fits([site]):
            groups.append([site])
        else:
            raise OutOfMemory(
                f"{site.path}: the covariance of {site.d_in} inputs takes {_gb(sum(_accumulating([site])))} "
                f"while it is accumulated, {_gb(free if host_free is None else min(free, host_free))} is free; "
                "choose a narrower site, corpus identity, or free memory"
            )
    return groups


def _accumulating(group: Sequence[Site]) -> tuple[int, int]:
    """Bytes where the model runs, and in main memory, while the covariances of `group` are accumulated and finished."""
    squares = [s.d_in**2 for s in group]
    return PRODUCT * sum(squares), SUMS * (sum(squares) + max(squares))


def largest_scale(lm: LanguageModel, free: int) -> float:
    """The factor of the usual batch sizes that fits `free` bytes: 1 on a CPU, where larger batches gain nothing.

    On a GPU a step costs as much for a few tokens as for thousands, so batches grow while their passes take no more
    than LARGEST_SHARE of the memory.
    """
    if lm.device.type == "cpu":
        return 1.0
    every = [site for kind in KINDS for site in lm.layout.sites[kind]]
    scale = float(LARGEST)
    while scale > 1 and max(_search(lm, every, False, search_tokens(lm) * scale), _read(lm, READ_TOKENS * scale)) > (
        LARGEST_SHARE * free
    ):
        scale /= 2
    return scale


def plan_memory(
    lm: LanguageModel,
    sites: Sequence[Site],
    *,
    covariance: bool = True,
    half: bool = False,
    free: int | None = None,
    host_free: int | None = None,
) -> MemoryPlan:
    """How edits at `sites` will fit into memory, in the largest batches that do.

    Args:
        covariance: whether their covariances are needed. half: whether v* is searched in a bfloat16 copy.
        free, host_free: bytes; None means what the machine has.

    Raises:
        OutOfMemory: nothing fits, not even the shortest batches and one site at a time.
    """
    free = free_memory(lm.device) if free is None else free
    scale = largest_scale(lm, free)
    if host_free is None:
        host_free = free if lm.device.type == "cpu" else free_memory(torch.device("cpu"))
    measured = sorted(dict.fromkeys(sites), key=lambda s: s.layer) if covariance else []
    while True:
        try:
            return _plan(lm, sites, measured, half, free, host_free, scale)
        except OutOfMemory:
            if scale <= SMALLEST:
                raise
            scale /= 2


def _plan(
    lm: LanguageModel,
    sites: Sequence[Site],
    measured: Sequence[Site],
    half: bool,
    free: int,
    host_free: int,
    scale: float,
) -> MemoryPlan:
    """The plan with batches of `scale` times the usual size; `measured` are the sites whose covariance is needed.

    Raises:
        OutOfMemory: it does not fit.
    """
    cpu = lm.device.type == "cpu"
    room, host_room = int(USABLE * free), int(USABLE * host_free)
    copy = 2 * lm.n_parameters if half and not lm.has_half else 0
    squares = [s.d_in**2 for s in measured]
    kept, factors = KEPT * sum(squares), FACTOR * (sum(squares) + max(squares, default=0))
    search, read = _search(lm, sites, half, search_tokens(lm) * scale), _read(lm, READ_TOKENS * scale)

    groups = covariance_groups(measured, room - read - copy - (kept if cpu else 0), None if cpu else host_room - kept)
    sums = [_accumulating(group) for group in groups]
    here, host = max((h for h, _ in sums), default=0), max((h for _, h in sums), default=0)
    if cpu:  # one memory holds it all
        device = main = copy + kept + max(here + host + read, factors + search, factors + read)
    else:
        device, main = copy + max(here + read, factors + search, factors + read), kept + host

    parts = {"covariances": here + host, "factors": factors, "v*": search, "evaluation": read}
    if device > room or main > host_room:
        largest, size = max([*parts.items(), ("bfloat16 copy", copy)], key=lambda part: part[1])
        raise OutOfMemory(
            f"{lm.name}: these edits need {_gb(max(device, main))} beside the weights, {_gb(min(free, host_free))} is "
            f"free, and {largest} alone {_gb(size)}; edit fewer or narrower sites, take a smaller model, or free memory"
        )
    weights = sum(p.numel() * p.element_size() for p in lm.module.parameters())
    return MemoryPlan(weights, copy, parts, device, free, main, host_free, max(len(groups), 1), scale)


def format_plan(plan: MemoryPlan) -> str:
    """One line for a terminal."""
    parts = [f"weights {_gb(plan.weights)}", *([f"bfloat16 copy {_gb(plan.half)}"] if plan.half else [])]
    passes = f" in {plan.passes} passes" if plan.passes > 1 else ""
    parts += [f"{name} {_gb(n)}{passes if name == 'covariances' else ''}" for name, n in plan.parts.items() if n]
    both = "" if plan.host_free == plan.free else f" (main memory {_gb(plan.host_peak)} of {_gb(plan.host_free)})"
    tokens = f"batches of {round(READ_TOKENS * plan.batch_scale)} tokens"
    return f"memory: {', '.join(parts)}; at most {_gb(plan.peak)} of {_gb(plan.free)} free{both}; {tokens}"


def _widths(lm: LanguageModel) -> tuple[int, int, int]:
    """Widths of the residual stream and of an MLP, and the length of the vocabulary."""
    try:
        inner = lm.sites("mlp")[0].d_in
    except NoSite:
        inner = 0
    return lm.d_model, inner, lm.module.get_output_embeddings().weight.shape[0]


def _read(lm: LanguageModel, tokens: float) -> int:
    """A forward pass: keys and values of all layers, the temporaries of one block, logits at one token in eight.

    A row of logits is held in the model's type, twice in float32 and once in float64.
    """
    width, inner, vocabulary = _widths(lm)
    size = lm.dtype.itemsize
    return int(tokens * (size * (2 * width * lm.n_layers + 8 * width + 3 * inner) + vocabulary * (size + 16) / 8))


def search_tokens(lm: LanguageModel) -> int:
    """Tokens of a batch of the search for v*, where memory is ample."""
    if lm.device.type != "cpu":
        return SEARCH_TOKENS
    return min(SEARCH_TOKENS, max(LEAST_SEARCH, int(CPU_GRAPH / _graph(lm, lm.n_layers, lm.dtype.itemsize))))


def _search(lm: LanguageModel, sites: Sequence[Site], half: bool, tokens: float) -> int:
    """A pass of the search for v*: states kept by the blocks from the lowest site on, and logits with gradients."""
    size = 2 if half else lm.dtype.itemsize
    above = lm.n_layers - min((s.layer for s in sites), default=lm.n_layers)
    graph = tokens * _graph(lm, above, size) if sites else 0.0
    # the backward pass holds every weight that an offloaded model brought in for it
    return int(graph + (lm.n_parameters * size * above / lm.n_layers if lm.offloaded else 0))


def _graph(lm: LanguageModel, blocks: int, size: int) -> float:
    """Bytes of one token in the graph of `blocks` blocks, numbers of `size` bytes, and logits at one token in six."""
    width, inner, vocabulary = _widths(lm)
    return size * blocks * (14 * width + 5 * inner) + vocabulary * (size + 20) / 6


def _gb(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size < 10 * 2**30 else f"{size / 2**30:.0f} GiB"
