"""Whether bfloat16 matrix products are faster than float32 ones: measured once per processor and torch, then kept.

Processors have native bfloat16 as AMX tiles or as avx512_bf16 instructions; how much either gains differs by model and
by torch's kernels, so that it is measured. Graphics processors are judged by what they say of themselves.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from editing.cache import cache_root
from editing.files import atomic_file
from editing.lazy import torch

NARROWEST = 384  # narrower models spend their time outside of matrix products
ROWS, FACTOR = 64, 4  # the measured product: 64 tokens through a layer four times as wide as it reads
ROUNDS = 7
LEAST_GAIN = 1.3  # below it the gain does not pay for the copy of the weights


def bfloat16_gain(width: int) -> float:
    """CPU-seconds of a float32 product of this width over those of a bfloat16 one; 0 without native bfloat16.

    The first call on a machine measures (milliseconds) and keeps the result beside other timings in the cache.
    """
    if not (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return 0.0
    about = {"processor": processor(), "torch": torch.__version__, "width": width}
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_root() / "timings" / f"bfloat16-{name}.json"
    try:
        return float(json.loads(path.read_text("utf-8"))["gain"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    seconds = {str(dtype).removeprefix("torch."): _product(width, dtype) for dtype in (torch.float32, torch.bfloat16)}
    gain = seconds["float32"] / seconds["bfloat16"]
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(about | {"seconds": seconds, "gain": gain}), encoding="utf-8")
    return gain


def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [x.partition(":")[2].strip() for x in info.read_text().splitlines() if x.startswith("model name")]
        if names:
            return names[0]
    import platform

    return platform.processor() or platform.machine()


def _product(width: int, dtype: torch.dtype) -> float:
    """CPU-seconds per thread of one product, the least of several rounds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, width, generator=generator).to(dtype)
    weight = torch.randn(FACTOR * width, width, generator=generator).to(dtype)
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        torch.nn.functional.linear(x, weight)
        best = min(best, time.process_time() - began)
    return max(best, 1e-9)
