"""A draft as a TOML file with comments, and as a few lines for a terminal."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.live.draft.draft import LANG, Attribute, Concept, Draft
from editing.errors import BadData
from editing.files import atomic_file

HEAD = """# Concepts drafted by {model} (weights {hash}, seed {seed}). Nobody has read them yet: correct what is wrong.
# Each text says who wrote it, and whether the unedited model answers the word to it among the word's siblings:
# rank 1 is the answer. {answered} of {texts} texts are answered. The keys are explained in docs/guides/own-concepts.md.
languages = ["en"]
"""


def refuse_existing(path: Path, force: bool) -> None:
    """Refuse, before any work, a file that would be replaced.

    Raises:
        BadData: it is there already and `force` is not set.
    """
    if path.is_dir() or (path.exists() and not force):
        raise BadData(f"{path}: is there already; name another file, or add --force to replace it")


def write_draft(draft: Draft, path: Path, force: bool = False) -> None:
    """Write the file.

    Raises:
        BadData: it is there already and `force` is not set, or it cannot be written.
    """
    refuse_existing(path, force)
    with atomic_file(path) as temporary:
        temporary.write_text(as_toml(draft), encoding="utf-8")


def as_toml(draft: Draft) -> str:
    """The whole file; what it holds without its comments is `draft.table()`."""
    described = [one for one in draft.concepts if one.cloze]
    answered = sum(one.answered for one in described)
    texts = sum(len(one.definitions) + 1 for one in described)
    parts = [
        HEAD.format(model=draft.model, hash=draft.model_hash[:12], seed=draft.seed, answered=answered, texts=texts)
    ]
    for number, concept in enumerate(draft.concepts):
        if number == draft.requested:
            parts.append("# Siblings: what the concepts above are distinguished from.\n")
        parts.append("\n".join(_entry(concept)) + "\n")
    return "\n".join(parts)


def _entry(concept: Concept) -> list[str]:
    lines = [f"# {note}" for note in concept.notes]
    if concept.drawn:
        why = ", ".join(f"{count} {reason}" for reason, count in (concept.dropped or {}).items())
        lines.append(f"# {concept.drawn} texts were looked at" + (f"; left out: {why}" if why else ""))
    lines += ["[[concept]]", f"type = {_text(concept.kind)}", f"{LANG} = {_text(concept.name)}"]
    lines.append("proper = true" if concept.proper else f"count = {str(concept.count).lower()}")
    for name, one in (concept.attributes or {}).items():
        lines.append(_attribute(name, one))
    if concept.cloze:
        lines += ["define_en = ["]
        lines += [f"    {_text(one.text)},  # {one.comment}" for one in concept.definitions]
        lines += ["]", f"cloze_en = {_text(concept.cloze.text)}  # {concept.cloze.comment}"]
    return lines


def _attribute(name: str, one: Attribute) -> str:
    line = f"{name} = {_text(one.answer)}  # the model's answer in {one.agree} of {one.wordings} wordings"
    return line if one.kept else f"# {line}: too few, left out"


def _text(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, except that of DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def format_draft(draft: Draft) -> str:
    """A few lines per concept of a word: kind, siblings, and its texts with the model's answer to each."""
    lines = []
    for concept in draft.concepts[: draft.requested]:
        kin = [one.name for one in draft.concepts[draft.requested :] if one.kind == concept.kind]
        others = ", ".join(kin) or ("those of the suite" if concept.of_suite else "none")
        lines.append(f"{concept.name} ({concept.kind}); siblings: {others}")
        for one in (*concept.definitions, *((concept.cloze,) if concept.cloze else ())):
            lines.append(f"  {one.text!r}  ({one.comment})")
        kept = [f"{name} {one.answer}" for name, one in (concept.attributes or {}).items() if one.kept]
        lost = [name for name, one in (concept.attributes or {}).items() if not one.kept]
        lines.append(f"  answers: {', '.join(kept) or 'none'}" + (f"; unsure of {', '.join(lost)}" if lost else ""))
        reasons = ", ".join(f"{count} {why}" for why, count in (concept.dropped or {}).items())
        lines.append(
            f"  {concept.answered} of {len(concept.definitions) + 1} texts are answered with the word; "
            f"{concept.drawn} looked at, left out: {reasons or 'none'}"
        )
    return "\n".join(lines)
