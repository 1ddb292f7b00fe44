"""An edit as a visitor states it: what to change, by which method, in which layer, at which dose."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from benchmarks.live import OpenModel, chosen_cases, usual_settings
from editing.errors import BadRequest, UserError
from editing.eval import check_dose
from editing.methods import FAST, make_method, taken_by
from editing.stats import check_corpus

KINDS = ("rename", "retarget", "erase", "fact")
# As few tokens as a relative error of a half in each covariance needs: seconds instead of a minute on a small model.
CORPUS = "error:0.5"
LONGEST = 500  # characters of a word: more is no edit, and would only keep the model busy
LONGEST_RECORD = 20_000


@dataclass(frozen=True)
class Choice:
    """One edit of one model.

    Attributes:
        kind: rename, retarget, erase or fact.
        words: (OLD, NEW) of a rename, (FROM, TO) of a retarget, (CONCEPT, "") of an erasure; empty for a fact.
        record: of a fact, a record of a fact file as JSON text (`benchmarks/datasets/formats/fact_file.py`).
        method: name of an editing method.
        layer: index of the (last) edited block; None leaves it to the method.
        dose: multiple of the change; "auto" is the smallest that does what the edit asks for.
        fast: whether the settings of --fast are taken.
        corpus, seed: text and random seed of the method's statistics.

    Raises:
        BadRequest: an unknown kind, method, dose or corpus; an empty word, or one that is too long.
    """

    kind: str
    words: tuple[str, str] = ("", "")
    record: str = ""
    method: str = "rome"
    layer: int | None = None
    dose: float | str = "auto"
    fast: bool = True
    corpus: str = CORPUS
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise BadRequest(f"unknown kind of edit {self.kind!r:.40}; use one of {', '.join(KINDS)}")
        for text, most in ((self.words[0], LONGEST), (self.words[1], LONGEST), (self.record, LONGEST_RECORD)):
            if len(text) > most:
                raise BadRequest(f"{text[:40]!r}...: {len(text)} characters; write at most {most}")
        if not all(word.strip() for word in self.given()):
            raise BadRequest(f"{self.kind}: a word is empty; write it")
        make_method(self.method)
        check_dose(self.dose)
        check_corpus(self.corpus)

    def settings(self, n_layers: int) -> dict[str, Any]:
        """The settings that differ from the method's own, for a model of `n_layers` blocks.

        Raises:
            BadRequest: no such layer.
        """
        place: dict[str, Any] = {}
        if self.layer is not None:
            if not 0 <= self.layer < n_layers:
                raise BadRequest(f"layer {self.layer}: the model has layers 0 to {n_layers - 1}; choose one of them")
            place = {"depth": (self.layer + 0.5) / n_layers}  # the middle of the block: rounding cannot move it
        fast = taken_by(self.method, FAST) if self.fast else {}
        return usual_settings(self.kind, self.method, place) | fast | place

    def given(self) -> tuple[str, ...]:
        """The words that this kind of edit takes."""
        return {"fact": (), "erase": self.words[:1]}.get(self.kind, self.words)

    def first_dose(self) -> float | str:
        """The dose at which the edit is looked at first: an erasure, without a target, is whole at 1."""
        return 1.0 if self.kind == "erase" and self.dose == "auto" else self.dose

    def at(self, dose: float) -> Choice:
        """The same edit at another dose."""
        return replace(self, dose=dose)

    def case(self, model: OpenModel) -> Case:
        """The edit with its questions, exactly as `valley edit` asks them.

        Args:
            model: drafts concepts that are not in the suite.

        Raises:
            UserError: a word with an equals sign, a concept that cannot be edited in this way, a fact that is none.
        """
        if self.kind != "fact":
            given = {self.kind: "=".join(self.given())}
            (case,) = chosen_cases(**given, seed=self.seed, model=model)
            return case
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fact.json"
            path.write_text(self.record, encoding="utf-8")
            try:
                cases = chosen_cases(fact=path)
            except UserError as error:  # the file is ours and gone: its name would help nobody
                raise type(error)(str(error).replace(str(path), "the fact")) from None
        (case,) = cases
        return case

    def title(self) -> str:
        """One line that names the edit."""
        what = " → ".join(self.given())
        if self.kind == "fact":
            fact = json.loads(self.record)
            what = f"{fact['prompt'].replace('{}', fact['subject'])} → {fact['target']}"
        layer = "" if self.layer is None else f", layer {self.layer}"
        dose = self.dose if isinstance(self.dose, str) else f"{self.dose:.3g}"
        return f"{self.kind} {what} ({self.method}{layer}, dose {dose})"


def fact_record(prompt: str, subject: str, target: str, old: str = "", picked: dict[str, Any] | None = None) -> str:
    """The record of a fact file for a typed fact, as JSON text of one line.

    Args:
        prompt: ends right before the answer; the subject or `{}` stands in it.
        old: what is true before the edit; it may be left out.
        picked: the record of a fact to take the questions of, where it is the typed one: those of another fact would
            be judged by the typed answer.

    Raises:
        BadRequest: an empty field.
    """
    for name, text in (("prompt", prompt), ("subject", subject), ("target", target)):
        if not text.strip():
            raise BadRequest(f"the {name} of a fact is empty; write it")
    record: dict[str, Any] = {"prompt": prompt.strip(), "subject": subject.strip(), "target": target.strip()}
    if old.strip():
        record["old"] = old.strip()
    same = picked is not None and all(record.get(key) == picked.get(key) for key in ("old", *record))
    return json.dumps({**picked, **record} if picked is not None and same else record)


def record_of(case: Case) -> dict[str, Any]:
    """A fact of a data set as the record of a fact file, with its questions."""
    efficacy = next(p for p in case.probes if p.kind == "efficacy")
    record: dict[str, Any] = {
        "prompt": case.request.prompts[0],
        "subject": case.request.subject,
        "target": case.request.targets[0],
        "candidates": list(efficacy.candidates),
        "lang": case.request.lang,
    }
    if efficacy.old is not None:
        record["old"] = efficacy.candidates[efficacy.old]
    record["paraphrases"] = [p.prompt for p in case.probes if p.kind == "paraphrase"]
    for key, kind in (("neighbours", "neighbour"), ("same_subject", "same_subject")):
        probes = [p for p in case.probes if p.kind == kind]
        record[key] = [{"prompt": p.prompt, "answer": p.candidates[p.answer], "lang": p.lang} for p in probes]
    record["cross_lingual"] = [
        {"prompt": p.prompt, "target": p.candidates[p.answer], "lang": p.lang}
        | ({"old": p.candidates[p.old]} if p.old is not None else {})
        for p in case.probes
        if p.kind == "cross_lingual"
    ]
    return record
