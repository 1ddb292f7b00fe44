"""Command line of the search for default settings: `python -m benchmarks.live.defaults --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.live.defaults.search import run, summary
from editing.stats import CORPUS


def main() -> None:
    parser = argparse.ArgumentParser(description="Choose and measure the default settings of renames and retargets.")
    parser.add_argument("--model", required=True, help="model reference")
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--corpus", default=CORPUS, help="text of the key covariance")
    parser.add_argument("--test-only", action="store_true", help="no choice: today's defaults on the test concepts")
    parser.add_argument("--free-text", type=int, default=0, help="test concepts whose renames are read by free text")
    given = parser.parse_args()
    table = run(given.model, given.out, given.corpus, search=not given.test_only, free_text=given.free_text)
    print(summary(table).to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
