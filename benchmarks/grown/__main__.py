"""`python -m benchmarks.grown [--checkpoints] NAME...` grows rungs and prints what each knows.

`--checkpoints` keeps the models along the training too, each a rung of its own: `gpt2-2x128@step64`.
"""

from __future__ import annotations

import sys

from benchmarks.grown.rungs import grow, read_card
from editing.errors import UserError


def main(arguments: list[str]) -> int:
    for name in arguments:
        if name == "--checkpoints":
            continue
        try:
            folder = grow(name, checkpoints="--checkpoints" in arguments)
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        card = read_card(folder)
        recall = " ".join(
            f"{kind} " + "/".join(f"{score['recall']:.2f}" for score in langs.values())
            for kind, langs in card["recall"].items()
        )
        print(
            f"{name}: {card['parameters']:,} parameters, loss {card['loss']:.3f}, {card['seconds']:.0f} s ({card['cpu_seconds']:.0f} "
            f"CPU-s), {card['tokens_per_second']:,} tokens/s; recall en/fr: {recall}\n  {folder}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
