"""The parts of `python -m benchmarks.speed.gpu`: models made on the device, checks, rates, and long runs of edits."""
