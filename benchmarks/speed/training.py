"""How fast rungs train: `python -m benchmarks.speed.training gpt2-2x128 gpt2-6x256@batch1536`.

For each name it runs a few steps of a fresh training. It prints tokens per second, processor time per token, the share
of it that the optimiser takes, and the share of the machine's peak of matrix products that the model's arithmetic
reaches (6 operations per weight and token, Kaplan et al. 2020, arXiv:2001.08361, section 2.1; the optimiser's products
count as overhead). Times are processor seconds, which depend less on other work on the machine.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.grown import RungSpec, Trainer, build, frequencies, ground, one_torch_thread
from benchmarks.speed.stopwatch import matmul_peak
from editing.errors import UserError

WARM, STEPS = 3, 12


@dataclass(frozen=True)
class Pace:
    """tokens_per_second: wall time. cpu_microseconds: per token. optimiser, peak: shares in [0, 1]."""

    tokens_per_second: float
    cpu_microseconds: float
    optimiser: float
    peak: float


def pace(name: str, steps: int = STEPS) -> Pace:
    """Times `steps` training steps of a fresh rung on the CPU, after a few to warm up.

    Raises:
        BadModel: not the name of a grown rung.
    """
    spec = RungSpec.parse(name)
    on = ground(spec)
    sentences = on.tokenizer([s.text for s in on.corpus.train])["input_ids"]
    model = build(spec, len(on.tokenizer), on.tokenizer.eos_token_id)
    weights = frequencies(on.corpus, spec.zipf, spec.split.seed) if spec.zipf else None
    trainer = Trainer(model, sentences, on.tokenizer.eos_token_id, spec.recipe, spec.seed, weights)
    table = trainer.head.numel()
    work = 6 * (sum(p.numel() for n, p in model.named_parameters() if "wpe" not in n and p is not trainer.head) + table)
    optimising = [0.0]

    def timed(update):
        def run(grads: list[torch.Tensor], rate: float) -> None:
            began = time.thread_time()
            update(grads, rate)
            optimising[0] += time.thread_time() - began

        return run

    with (
        one_torch_thread(),
        sdpa_kernel([SDPBackend.MATH]),
        ThreadPoolExecutor(trainer.shards, initializer=lambda: torch.set_num_threads(1)) as pool,
    ):
        for _ in range(WARM):
            trainer.step(pool.map)
        trainer.updates = [timed(update) for update in trainer.updates]
        before, wall, cpu = trainer.seen, time.perf_counter(), time.process_time()
        for _ in range(steps):
            trainer.step(pool.map)
        wall, cpu, tokens = time.perf_counter() - wall, time.process_time() - cpu, trainer.seen - before
        peak = matmul_peak(torch.device("cpu"), trainer.dtype)
    return Pace(tokens / wall, cpu / tokens * 1e6, optimising[0] / cpu, work * tokens / cpu / peak)


def main(names: list[str]) -> int:
    print("rung                                 tokens/s  CPU us/token  optimiser  share of peak")
    for name in names:
        try:
            p = pace(name)
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        print(f"{name:36} {p.tokens_per_second:8,.0f} {p.cpu_microseconds:13.0f} {p.optimiser:10.0%} {p.peak:14.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
