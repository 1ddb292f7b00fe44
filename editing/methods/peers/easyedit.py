"""EasyEdit's editors as methods, `easyedit:ROME` and so on: its code makes the edit, everything else is ours.

EASYEDIT_HOME names a checkout of https://github.com/zjunlp/EasyEdit, EASYEDIT_PYTHON an interpreter that has what its
editors import (by default the one that runs this). An editor runs in a process of its own
(editing/methods/peers/process.py) on a transformers folder of the model; what it changed of the weights comes back as a
Delta, low-rank where it is, and is measured, scored, saved and reverted as any other. Editors that keep something
beside the weights (GRACE, WISE, IKE) are refused, with that reason.

Settings are those of EasyEdit's own files, with the names of this model's modules and its number of layers in their
place (hparams.py). Two things are ours, so that editors can be compared: the key covariances, because theirs need a
corpus, and, unless `contexts` says otherwise, the texts put before prompts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from editing.delta import Change, Delta, Dense, LowRank, Shift
from editing.errors import BadData, BadRequest
from editing.lazy import torch
from editing.methods.base import Method, Placement, setting
from editing.methods.peers.hparams import default_file, fitted
from editing.model import LanguageModel, Site, hash_weights
from editing.references import quiet_transformers
from editing.stats import ModelStatistics
from editing.text import EditRequest

PREFIX = "easyedit:"
TENSORS = "tensors.safetensors"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
SCRIPT = Path(__file__).with_name("process.py")
LENGTHS = {5: 10, 10: 10}  # tokens -> number of contexts, as ROME draws them
BESIDE = ("GRACE", "WISE", "IKE", "MELO", "SERAC", "DEFER", "SimIE")  # change no weight, or hooks with it
ONE_REQUEST = ("ROME", "R-ROME", "KN")  # take one prompt


@dataclass(frozen=True)
class EasyEdit(Method):
    """One of EasyEdit's editors; `easyedit_class` makes a subclass for each name."""

    editor: ClassVar[str] = ""

    hparams: str = setting("", "YAML file of EasyEdit; empty: the one of the checkout that fits the model best")
    contexts: str = setting("ours", "texts put before prompts", choices=("ours", "theirs"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.site != "mlp":
            raise self.refuse("site", "mlp, the only site of EasyEdit's editors")

    def values(self, lm: LanguageModel, request: EditRequest) -> dict[str, Any]:
        """EasyEdit's settings for this model and request.

        Raises:
            BadData: no checkout, or an unreadable file. BadRequest: a file that does not fit the model.
        """
        path = Path(self.hparams) if self.hparams else default_file(checkout(), self.editor, lm)
        return fitted(path, bool(self.hparams), lm, self.depth, self.lookup or request.lookup)

    def placement(self, lm: LanguageModel, request: EditRequest) -> Placement:
        layers = tuple(self.values(lm, request).get("layers") or range(lm.n_layers))
        return Placement(self.site, self.lookup or request.lookup, layers, (layers[-1] + 0.5) / lm.n_layers)

    def edited_sites(self, lm: LanguageModel, request: EditRequest) -> tuple[Site, ...]:
        return super().edited_sites(lm, request) if "mom2_dataset" in self.values(lm, request) else ()

    def each(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> list[Delta]:
        deltas: dict[int, Delta] = {}
        for members in self._by_lookup(requests):  # a setting of all edits of one process
            made = self._run(lm, [[requests[i]] for i in members], statistics)
            deltas |= dict(zip(members, made, strict=True))
        return [deltas[i] for i in range(len(requests))]

    def __call__(self, lm: LanguageModel, requests: Sequence[EditRequest], statistics: ModelStatistics) -> Delta:
        if self.editor in ONE_REQUEST:
            return super().__call__(lm, requests, statistics)
        if len(self._by_lookup(requests)) > 1:
            raise BadRequest(f"{self.name}: one batch mixes lookup positions; set `lookup`, or edit one by one")
        return self._run(lm, [list(requests)], statistics)[0]

    def _by_lookup(self, requests: Sequence[EditRequest]) -> list[list[int]]:
        """Indices of `requests` by the token at which they are looked up; one empty list where there is none."""
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(self.lookup or request.lookup, []).append(i)
        return list(groups.values()) or [[]]

    def _run(
        self, lm: LanguageModel, groups: Sequence[Sequence[EditRequest]], statistics: ModelStatistics
    ) -> list[Delta]:
        """One edit of the unedited model for each group of requests."""
        if self.editor in BESIDE:
            raise BadRequest(
                f"{self.name}: keeps its edits beside the weights; only changes of weights can be taken over"
            )
        flat = [request for group in groups for request in group]
        several = next((r.id for r in flat if self.editor in ONE_REQUEST and len(r.prompts) > 1), None)
        if several is not None:
            raise BadRequest(f"{self.name}: takes one prompt, request {several!r} has several; use easyedit:MEMIT")
        if not flat:
            raise BadRequest(f"{self.name}: no request; give at least one")
        sites = tuple(dict.fromkeys(site for request in flat for site in self.edited_sites(lm, request)))
        statistics.prepare(sites)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = self._job(lm, groups, statistics, sites, folder)
            result = run_easyedit(self.name, job, folder)
            return self._deltas(lm, groups, statistics, result, folder)

    def _job(self, lm, groups, statistics: ModelStatistics, sites: Sequence[Site], folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        covariances = {}
        for site in sites:
            covariances[site.path] = str(folder / f"{site.path}.safetensors")
            save_file({"covariance": statistics.covariance(site).matrix.contiguous()}, covariances[site.path])
        values = self.values(lm, groups[0][0]) | {"stats_dir": str(folder)}
        prompts = max(sum(len(request.prompts) for request in group) for group in groups)
        for key in ("batch_size", "batch_size_once"):
            if key in values:
                values[key] = prompts
        if "P_loc" in values:
            values["P_loc"] = str(folder / "null_space_project.pt")  # the name under which it writes one itself
        return {
            "editor": self.editor,
            "model": _folder_of(lm, folder),
            "device": str(lm.device),
            "hparams": values,
            "groups": [[one for request in group for one in _requests(request)] for group in groups],
            "prefixes": list(statistics.prefixes(LENGTHS)) if self.contexts == "ours" else None,
            "prefix_ids": list(lm.prefix_ids),
            "covariances": covariances,
            "ridge": statistics.ridge,
            "seed": self.seed,
        }

    def _deltas(self, lm, groups, statistics: ModelStatistics, result: dict, folder: Path) -> list[Delta]:
        deltas = []
        for group, edit, factors in zip(groups, result["edits"], changes_in(result, folder), strict=True):
            if edit["error"]:
                raise BadRequest(f"{self.name}: request {group[0].id!r}: {edit['error']}")
            about = {"versions": result["versions"], "cpu_seconds": edit["cpu_seconds"]}
            deltas.append(Delta(factors, self.provenance(lm, group, statistics) | {"easyedit": about}))
        return deltas


def is_easyedit(name: str) -> bool:
    """Whether a method's name is that of one of EasyEdit's editors."""
    return name.startswith(PREFIX)


@cache
def easyedit_class(name: str) -> type[EasyEdit]:
    """The method `easyedit:EDITOR`; which editors a checkout has is seen when one is run."""
    editor = name.removeprefix(PREFIX)
    summary = f"EasyEdit's {editor}, by its own code in the checkout that EASYEDIT_HOME names"
    return type(f"EasyEdit{editor.replace('-', '')}", (EasyEdit,), {"name": name, "editor": editor, "summary": summary})


def checkout() -> Path:
    """The checkout that EASYEDIT_HOME names.

    Raises:
        BadData: it is not set, or names something else.
    """
    named = os.environ.get("EASYEDIT_HOME", "")
    if not named:
        raise BadData("EASYEDIT_HOME: not set; set it to a checkout of https://github.com/zjunlp/EasyEdit")
    if not (Path(named) / "easyeditor" / "util" / "alg_dict.py").is_file():
        raise BadData(f"EASYEDIT_HOME={named}: holds no easyeditor; name a checkout of EasyEdit")
    return Path(named).resolve()


def easyedit_editors() -> dict[str, str]:
    """Editor of the checkout -> why it cannot be used here, empty where it can. Takes some seconds: all are imported.

    Raises:
        BadData: no checkout, or no interpreter that can read it.
    """
    with tempfile.TemporaryDirectory() as name:
        reasons = run_easyedit("easyedit", {"check": True}, Path(name))["editors"]
    beside = "keeps its edits beside the weights"
    return {editor: beside if editor in BESIDE else reason for editor, reason in reasons.items()}


def run_easyedit(name: str, job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The result of a job of process.py, which runs in `folder`. Home, tensors and, where the job has none, threads are
    added to it.

    Args:
        name: what runs, for errors.

    Raises:
        BadData: no checkout, or the process failed, with the last line that it wrote.
    """
    python = os.environ.get("EASYEDIT_PYTHON") or sys.executable
    home, threads = checkout(), job.get("threads") or torch.get_num_threads()
    job = job | {"home": str(home), "tensors": str(folder / TENSORS), "threads": threads}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    files = [str(folder / "job.json"), str(folder / "result.json")]
    surroundings = os.environ | {"HF_HUB_OFFLINE": "1"} | dict.fromkeys(THREADS, str(threads))
    try:
        done = subprocess.run(
            [python, str(SCRIPT), *files], env=surroundings, cwd=folder, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise BadData(f"EASYEDIT_PYTHON={python}: {error}; name an interpreter that can run EasyEdit") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BadData(
            f"{name}: EasyEdit's process failed: {last}; install what is missing for {python}, "
            "or name another interpreter as EASYEDIT_PYTHON"
        )
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def changes_in(result: dict[str, Any], folder: Path) -> list[dict[str, Change]]:
    """What each edit of a result changes, empty for an edit that failed; its tensors are in `folder`."""
    from safetensors.torch import load_file

    tensors = load_file(folder / TENSORS)
    edits = []
    for number, edit in enumerate(result["edits"]):
        factors: dict[str, Change] = {}
        for name, kind in edit.get("changes", {}).items():
            at = f"{number}.{name}"
            if kind == "low_rank":
                factors[name] = LowRank(tensors[f"{at}.left"], tensors[f"{at}.right"])
            elif kind == "dense":
                factors[name] = Dense(tensors[f"{at}.dense"])
            else:  # a bias is added to the output, wherever it is read
                factors[f"{name.removesuffix('.bias')}.output"] = Shift(tensors[at])
        edits.append(factors)
    return edits


def _requests(request: EditRequest) -> list[dict[str, Any]]:
    """A request in EasyEdit's words, one for each prompt; it wants a subject that stands in the prompt."""
    return [
        {
            "case_id": f"{request.id} {number}",
            "prompt": prompt,
            "subject": request.subject if request.subject and request.subject in prompt else prompt.split()[-1],
            "target_new": target.strip(),
            "ground_truth": "",
        }
        for number, (prompt, target) in enumerate(zip(request.filled(), request.targets, strict=True))
    ]


def _folder_of(lm: LanguageModel, folder: Path) -> str:
    """A transformers folder with the weights as they are now: the model's own, or one written for the process."""
    source = Path(lm.source)
    if (source / "config.json").is_file() and hash_weights(lm.module) == lm.weight_hash:
        return str(source.resolve())
    path = folder / "model"
    with quiet_transformers():
        lm.module.save_pretrained(path)
    lm.tokenizer.save_pretrained(path)
    return str(path)
