"""The same retargeting over the rungs of a ladder: one line per rung and method, kept rung by rung.

    OUT/rungs/<rung>.json   one finished rung: what was requested, its lines, every question
    OUT/retarget.csv        the lines of all finished rungs, written again after each

The same command goes on where it was stopped: a rung whose file says the same request is not measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import cases_digest
from benchmarks.ladders import Rung, choose_rungs
from benchmarks.live.retarget.agreement import agreements
from benchmarks.live.retarget.panel import retarget_panel
from benchmarks.live.retarget.run import STEERING, Retargeting, chosen_methods, run_retarget
from benchmarks.live.retarget.scores import summary
from benchmarks.live.retarget.table import cell, with_interval
from benchmarks.world import Knowledge
from editing.errors import BadData, UserError
from editing.eval import AUTO, check_dose
from editing.files import atomic_file, canonical, made_folder
from editing.lazy import pandas as pd
from editing.progress import announce
from editing.stats import CORPUS, corpus_hash, refuse_missing_corpus

VERSION = 2  # raise it when the same model would give other lines than before
TABLE = "retarget.csv"


@dataclass(frozen=True)
class Sweep:
    """A table with one line per requested rung and method; how many of them were there already; a line per rung left
    out and per one that failed; the file, which has all finished rungs of the ladder."""

    table: pd.DataFrame
    kept: int
    skipped: tuple[str, ...]
    failed: tuple[str, ...]
    file: Path | None

    def as_json(self) -> dict:
        """With null for what is not measurable: JSON has no NaN."""
        lines = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        about = {"kept": self.kept, "skipped": list(self.skipped), "failed": list(self.failed)}
        return {"rungs": lines} | about | {"file": str(self.file) if self.file else None}


def sweep_retarget(
    ladder: str,
    a: str,
    b: str,
    by: Sequence[str] = ("rome",),
    settings: Mapping[str, object] | None = None,
    device: str | None = None,
    seed: int = 0,
    corpus: str = CORPUS,
    out: Path | None = None,
    rungs: Sequence[str] = (),
    say: Callable[[str], None] = announce,
    known: Knowledge | None = None,
    dose: str | float = AUTO,
) -> Sweep:
    """`run_retarget` at every rung of a ladder; a rung that fails is reported and the next one goes on.

    Args:
        out: folder of the sweep; None keeps nothing. rungs: only these.
        say: called with one line per rung.
        known: the concepts, of a file of one's own; None takes those of the suite.
        dose: as in `run_retarget`.

    Raises:
        UserError: no such ladder, rung, concept, method or setting; a folder of another request or that cannot be
            written. Before any work.
    """
    chosen, skipped = choose_rungs(ladder, rungs)
    panel = retarget_panel(a, b, seed, known)
    refuse_missing_corpus(corpus)
    methods = {method.name: method.settings() for method in chosen_methods(by, settings or {})}
    about = {"concept": panel.concept, "goal": panel.goal, "methods": methods, "seed": seed, "corpus": corpus}
    about |= {"dose": check_dose(dose)}
    about |= {"questions": cases_digest([panel.case]), "version": VERSION}
    about |= {"texts": texts} if (texts := corpus_hash(corpus)) else {}
    whole, _ = choose_rungs(ladder, absent=True)
    there = _finished(out, whole, about) if out is not None else {}
    finished, failed = dict(there), []
    for i, rung in enumerate(chosen, 1):
        if rung.name in there:
            continue
        say(f"rung {i} of {len(chosen)}: {rung.name}")
        try:
            done = run_retarget(rung.model, a, b, by, settings, device, seed, corpus, known, dose)
        except UserError as error:
            failed.append(f"failed: rung {rung.name}: {error}")
            continue
        finished[rung.name] = _lines(rung, whole.index(rung), done, seed)
        if out is not None:
            _write_rung(out, rung, about, finished[rung.name], done)
            _write_table(out, finished)
    if out is not None and finished:
        _write_table(out, finished)
    file = out / TABLE if out is not None and finished else None
    lines = [line for rung in chosen for line in finished.get(rung.name, ())]
    kept = sum(rung.name in there for rung in chosen)
    return Sweep(pd.DataFrame(lines), kept, skipped, tuple(failed), file)


def _lines(rung: Rung, index: int, done: Retargeting, seed: int) -> list[dict]:
    """What the table says of a rung, as JSON can hold it."""
    agreed = {(one.b if one.a == STEERING else one.a, one.group): one for one in agreements(done.questions, seed)}
    model = done.model
    about = {"rung": rung.name, "rung_index": index, "model": rung.model, "model_hash": model["hash"]}
    about |= {
        "parameters": model["parameters"],
        "n_layers": model["layers"],
        "concept": done.concept,
        "goal": done.goal,
    }
    lines = []
    for one, line in zip(done.made, summary(done, seed), strict=True):
        line = about | {"settings": canonical(one.settings), "seconds": one.seconds} | line
        for group in ("concept", "siblings"):
            pair = agreed.get((one.by, group))
            for name in ("kappa", "r"):
                bounds = getattr(pair, f"{name}_interval") if pair else (None, None)
                values = (getattr(pair, name) if pair else None, *bounds)
                keys = (f"{name}_with_{STEERING}_{group}{end}" for end in ("", "_low", "_high"))
                line |= dict(zip(keys, values, strict=True))
        lines.append({key: None if value is None or value != value else value for key, value in line.items()})
    return lines


def _rung_file(out: Path, rung: Rung) -> Path:
    return out / "rungs" / f"{rung.name.replace('/', '--').replace(':', '-')}.json"


def _finished(out: Path, rungs: Sequence[Rung], about: dict) -> dict[str, list[dict]]:
    """Rung name -> its lines, of those of a whole ladder that are there; the folder can be written to."""
    made_folder(out / "rungs")
    there = {}
    for index, rung in enumerate(rungs):
        path = _rung_file(out, rung)
        if not path.exists():
            continue
        try:
            record = json.loads(path.read_text("utf-8"))
            plan, model, lines = record["asked"], record["model"], record["lines"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadData(f"{path}: not the record of a rung ({error!s:.80}); delete it to measure it again") from error
        unlike = [key for key in about if plan.get(key) != about[key]]
        if unlike or model != rung.model:
            what = ", ".join(unlike) or f"model {model}, not {rung.model}"
            raise BadData(f"{path}: of another request ({what}); use another --out")
        there[rung.name] = [line | {"rung_index": index} for line in lines]
    return there


def _write_rung(out: Path, rung: Rung, about: dict, lines: list[dict], done: Retargeting) -> None:
    record = {"asked": about, "model": rung.model, "lines": lines, "retargeting": done.as_json()}
    with atomic_file(_rung_file(out, rung)) as temporary:
        temporary.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_table(out: Path, finished: Mapping[str, list[dict]]) -> None:
    lines = [line for of_rung in finished.values() for line in of_rung]
    with atomic_file(out / TABLE) as temporary:
        pd.DataFrame(lines).sort_values(["rung_index", "by"], kind="stable").to_csv(temporary, index=False)


def format_sweep(sweep: Sweep) -> str:
    """The table as text for a terminal: weakest rung first, a line per rung and method."""
    lines = []
    if len(sweep.table):
        wide = max(map(len, sweep.table["rung"]))
        columns = _columns(sweep.table)
        heads = " ".join(f"{head:>{width}}" for head, _, width in columns)
        langs = _langs(sweep.table)
        lines.append(f"{'rung':<{wide}} {'by':<10} {heads}  net transfer {'; '.join(g.upper() for g in langs)}")
        for row in sweep.table.to_dict("records"):
            numbers = " ".join(f"{cell(row[key]):>{width}}" for _, key, width in columns)
            nets = [with_interval(row[f"net_{g}"], (row[f"net_{g}_low"], row[f"net_{g}_high"])) for g in langs]
            lines.append(f"{row['rung']:<{wide}} {row['by']:<10} {numbers}  {'; '.join(nets)}")
    if sweep.kept:
        lines.append(f"{sweep.kept} rungs were there already")
    return "\n".join([*lines, *sweep.skipped, *sweep.failed, *([f"wrote {sweep.file}"] if sweep.file else [])])


def _langs(table: pd.DataFrame) -> list[str]:
    """The languages of the questions, that of the edit first."""
    return [name[5:-6] for name in table.columns if name.startswith("hits_") and name.endswith("_after")]


def _columns(table: pd.DataFrame) -> list[tuple[str, str, int]]:
    """(heading, column, width) of the numbers shown: of the edit's language, with those of the others beside them."""
    home, *others = _langs(table)

    def beside(key: str, after: str = "") -> list[tuple[str, str, int]]:
        return [(lang.upper(), f"{key}_{lang}{after}", 6) for lang in others]

    return [
        (f"moved {home.upper()}", f"moved_{home}", 8),
        *beside("moved"),
        ("held out", f"moved_held_out_{home}", 8),
        ("siblings", f"siblings_{home}", 8),
        *beside("siblings"),
        ("as goal", f"hits_{home}_after", 8),
        *beside("hits", "_after"),
        ("text kept", f"drift_{home}", 9),
    ]
