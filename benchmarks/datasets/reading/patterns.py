"""mParaRel's folder of patterns (Fierro and Søgaard 2022): LANG/P36.jsonl, one `{"pattern": "[X] ... [Y]"}` a line."""

from __future__ import annotations

from pathlib import Path

from benchmarks.datasets.reading.fields import look, text
from benchmarks.datasets.reading.records import Place, read_records

SUBJECT, OBJECT = "[X]", "[Y]"


class Patterns:
    """The patterns of a folder that can be evaluated: those that end with the object.

    Raises:
        BadData: no such folder, or no language in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[tuple[str, str], tuple[str, ...]] = {}
        if not any(folder.glob("*/P*.jsonl")):
            Place(str(folder)).refuse("holds no patterns such as en/P36.jsonl", "name mParaRel's folder of patterns")

    def of(self, relation: str, lang: str) -> tuple[str, ...]:
        """Prompts with `{}` for the subject, in the file's order; none where there is no such file.

        Raises:
            BadData: a malformed file.
        """
        key = relation, lang
        if key not in self._read:
            path = self.folder / lang / f"{relation}.jsonl"
            plain = relation.isalnum() and path.is_file()
            rows = read_records(path) if plain else []
            said = [_pattern(Place(str(path), number), row) for number, row in enumerate(rows, 1)]
            self._read[key] = tuple(dict.fromkeys(prompt for prompt in map(prompt_of, said) if prompt))
        return self._read[key]


def _pattern(place: Place, row: object) -> str:
    if not isinstance(row, dict):
        place.refuse("is not an object", 'write {"pattern": "[X] ... [Y]"}')
    return text(place, look(row, "pattern", "template")[1], "pattern")


def prompt_of(pattern: str) -> str:
    """`pattern` up to its object with `{}` for the subject; empty where the object does not come last."""
    bare = pattern.strip().rstrip(" .")
    if bare.count(SUBJECT) != 1 or bare.count(OBJECT) != 1 or not bare.endswith(OBJECT) or "{}" in bare:
        return ""
    prompt = bare.removesuffix(OBJECT).strip().replace(SUBJECT, "{}")
    return prompt if prompt.startswith("{}") else prompt[:1].upper() + prompt[1:]
