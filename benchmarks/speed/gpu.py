"""`python -m benchmarks.speed.gpu --out DIR`: checks and speed on one GPU, in one call of at most eight minutes.

It needs torch, transformers, safetensors, numpy, pandas and click, and no network: the models have random weights, made
on the device, or are trained there. DIR/gpu.json and DIR/README.md are written after every row, so that an interrupted
call keeps what it has measured. `--shapes tiny` runs all parts in about a minute on a CPU.
"""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import click
import torch

from benchmarks.provenance import commit, versions
from benchmarks.speed.device.checks import FAMILIES, checks
from benchmarks.speed.device.mass import mass
from benchmarks.speed.device.models import Bench, Shape, bench_of, grown_lm, random_lm, shapes_of
from benchmarks.speed.device.rates import rates
from benchmarks.speed.device.record import Deadline, Part, Row, run, table
from benchmarks.speed.stopwatch import device_name, matmul_peak
from editing.errors import UserError
from editing.model import find_device

# Seconds of each part on a GPU; together less than the eight minutes of a call, with room for start and transfers.
SECONDS = {"peak": 10, "checks": 70, "large": 80, "long": 160, "small": 45}
TINY_SETTINGS = {"steps": 3, "short_prefixes": 2, "long_prefixes": 2, "prefixes": 2, "warmup": 4}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for gpu.json and README.md.")
@click.option(
    "--shapes",
    type=click.Choice(["auto", "published", "tiny"]),
    default="auto",
    help="Model sizes; auto: published ones on a GPU, tiny ones elsewhere.",
)
@click.option("--device", default=None, help="cpu, cuda...  [default: a GPU where there is one]")
@click.option("--seconds", default=450.0, type=click.FloatRange(1), help="Time limit of the whole run, in seconds.")
def main(out: Path, shapes: str, device: str | None, seconds: float) -> None:
    """Check the edits on one device, and measure their speed."""
    try:
        target = find_device(device)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    tiny = shapes == "tiny" or (shapes == "auto" and target.type != "cuda")
    gc.freeze()  # what the imports made is never searched for garbage again; each timing begins with such a search
    work = Path(tempfile.mkdtemp(prefix="valley-gpu-"))
    try:
        about = {
            "device": device_name(target),
            "shapes": "tiny" if tiny else "published",
            "seconds are": "wall" if target.type == "cuda" else "CPU",
            "versions": versions(),
            "commit": commit(),
        }
        click.echo(table(run(parts(target, tiny, work), about, out, seconds)))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def parts(device: torch.device, tiny: bool, work: Path) -> list[Part]:
    """What is measured; the largest model first, because the whole may be cut off."""
    batches = (1, 4) if tiny else (1, 32, 256)
    singles, sequence = (4, 6) if tiny else (1000, 3000)
    settings = TINY_SETTINGS if tiny else {}
    *others, largest = shapes_of(tiny)

    def of_shape(shape: Shape) -> Bench:
        return bench_of(random_lm(shape, device), shape.slow, max(sequence, 256), settings, work / shape.name)

    def grown() -> Bench:
        return bench_of(grown_lm(device, tiny), 2, 256, settings, work / "grown")

    large = cache(partial(of_shape, largest))

    def long_runs(deadline: Deadline) -> Iterator[Row]:
        try:
            yield from mass(large, singles, sequence, deadline)
        finally:
            large.cache_clear()  # the other models get its memory

    families = 1 if tiny else len(FAMILIES)
    return [
        Part("peak of matrix products", SECONDS["peak"], partial(_peaks, device)),
        Part("checks", SECONDS["checks"], partial(checks, device, work / "checks", families)),
        Part(f"rates: the shape of {largest.name}", SECONDS["large"], partial(rates, large, batches)),
        Part(f"long runs: the shape of {largest.name}", SECONDS["long"], long_runs),
        Part("rates: a rung grown on the device", SECONDS["small"], partial(rates, grown, batches)),
        *(
            Part(
                f"rates: the shape of {shape.name}", SECONDS["small"], partial(rates, partial(of_shape, shape), batches)
            )
            for shape in others
        ),
    ]


def _peaks(device: torch.device, deadline: Deadline) -> Iterator[Row]:
    """Operations per second of square matrix products, the scale of every share."""
    size = 8192 if device.type == "cuda" else 512
    for dtype in (torch.float32, torch.bfloat16):
        peak = matmul_peak(device, dtype, size=size)
        yield Row(f"{size} x {size} products in {dtype}".replace("torch.", ""), note=f"{peak / 1e12:.3g} TFLOP/s")


if __name__ == "__main__":
    main()
