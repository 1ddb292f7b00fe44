"""`python cli.py pack`. Heavy imports stay inside, so that --help is instant."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the packed run.")
def pack(run: Path, out: Path) -> None:
    """Keep RUN as one small file: every score, without continuations and log-probabilities.

    All commands that read a run read the packed one; nothing can be added to it.

    \b
    Example:
      python cli.py pack results/demo --out results/demo-packed
    """
    from valley.rows.pack import pack as packed

    done = packed(run, out)
    click.echo(
        f"{done.rows:,} rows in {done.after / 2**20:.1f} MiB (were {done.before / 2**20:.1f} MiB) -> {done.folder}"
    )
