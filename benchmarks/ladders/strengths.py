"""`python -m benchmarks.ladders.strengths REF...`: measure models afresh and write strengths.toml.

What it holds of other models stays; a changed text or question makes other names, and the old entries go.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import STRENGTHS, known_rates, open_model, strength, strengths

HEADER = "# Strength of the rungs of the demo, as in the cache: kind, hash of the weights, hash of the texts.\n"


def main(references: Sequence[str]) -> None:
    """Measure the models `references`, on the CPU in float32."""
    entries = dict(strengths())
    for reference in references:
        lm = open_model(reference, "cpu")
        entries = {name: entry for name, entry in entries.items() if lm.weight_hash[:24] not in name}
        with tempfile.TemporaryDirectory() as folder:
            strength(lm, cache=Path(folder))
            known_rates(lm, cache=Path(folder))
            files = (Path(folder) / "strength").iterdir()
            entries |= {file.name.partition(".")[0]: json.loads(file.read_text(encoding="utf-8")) for file in files}
    lines = [HEADER]
    for name in sorted(entries):
        lines += [f'\n["{name}"]\n', *(f"{key} = {value!r}\n" for key, value in entries[name].items())]
    STRENGTHS.write_text("".join(lines), encoding="utf-8")
    print(f"{STRENGTHS}: {len(entries)} entries")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("references", nargs="+", metavar="REF")
    main(parser.parse_args().references)
