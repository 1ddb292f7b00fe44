"""Exactly what a data set will ask of a model: every request and probe of its cases, as texts."""

from __future__ import annotations

from typing import Any

from benchmarks.cases import FREE, Case, Probe
from benchmarks.datasets.registry import CaseSet, kinds_of, read_cases
from editing.errors import BadRequest
from editing.text import EditRequest, border, fill, parts


def show(name: str, case_id: str = "") -> dict[str, Any]:
    """The cases of a data set or file, or the one called `case_id`.

    Returns:
        {"form", "cases": [{"id", "lang", "subject", "requests": [{"prompt", "subject_span", "target"}], "probes":
        [{"kind", "lang", "prompt", "prior", "answer", "old", "candidates"}]}], "left_out": [{"where", "why"}]}.
        Prompts have their subject filled in; `subject_span` is [start, end] in characters of the prompt, None where the
        prompt has no subject. Target, answer, old and candidates are texts exactly as they continue their prompt: with
        a leading blank where one belongs.

    Raises:
        BadRequest: no such data set or case.
        BadData: the file cannot be read.
    """
    sets = [read_cases(name, kind, mostly_bad=True) for kind in kinds_of(name)]
    cases = [case for one in sets for case in one.cases]
    chosen = [case for case in cases if case_id in ("", case.id, case.id.partition(":")[2])]
    if not chosen and case_id:
        some = ", ".join(case.id for case in cases[:3])
        raise BadRequest(f"{name}: no case is called {case_id!r:.80}; its cases are called {some}...")
    return {
        "form": cases[0].dataset if cases else name.partition(":")[0],
        "cases": [_case(case) for case in chosen],
        "left_out": [line for one in sets for line in _left_out(one)],
    }


def _left_out(case_set: CaseSet) -> list[dict[str, str]]:
    """Records by their number, then parts of records, which are counted for the whole file."""
    records = [{"where": f"record {one.record}", "why": one.reason} for one in case_set.left_out]
    return records + [{"where": "file", "why": note} for note in case_set.notes]


def _case(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "lang": case.request.lang,
        "subject": case.request.subject or case.subject,
        "requests": _requests(case.request),
        "probes": [_probe(probe) for probe in case.probes],
    }


def _requests(request: EditRequest) -> list[dict[str, Any]]:
    shown = []
    for template, target in zip(request.prompts, request.targets, strict=True):
        prompt, around = fill(template, request.subject), parts(template)
        start = len(around[0]) if around else 0
        span = [start, start + len(request.subject)] if around else None
        shown.append({"prompt": prompt, "subject_span": span, "target": border(prompt, target) + target})
    return shown


def _probe(probe: Probe) -> dict[str, Any]:
    texts = [border(probe.prompt, text) + text for text in probe.candidates]
    has_answer = probe.kind not in FREE
    return {
        "kind": probe.kind,
        "lang": probe.lang,
        "prompt": probe.prompt,
        "prior": probe.prior or None,
        "answer": texts[probe.answer] if has_answer else None,
        "old": texts[probe.old] if has_answer and probe.old is not None else None,
        "candidates": texts,
    }


def format_show(about: dict[str, Any]) -> str:
    """`show` as text, the edited subject between ⟦ and ⟧, the answer behind an arrow."""
    lines = [f"form: {about['form']}"]
    for case in about["cases"]:
        lines += ["", f"{case['id']} ({case['lang']})"]
        lines += [f"  edit  {_marked(one)} -> {one['target']!r}" for one in case["requests"]]
        for probe in case["probes"]:
            lines.append(f"  {probe['kind']} ({probe['lang']})  {probe['prompt']}{_choice(probe)}")
    if about["left_out"]:
        lines += ["", "left out:", *(f"  {one['where']}: {one['why']}" for one in about["left_out"])]
    return "\n".join(lines)


def _marked(request: dict[str, Any]) -> str:
    prompt, span = request["prompt"], request["subject_span"]
    return prompt if span is None else f"{prompt[: span[0]]}⟦{prompt[span[0] : span[1]]}⟧{prompt[span[1] :]}"


def _choice(probe: dict[str, Any]) -> str:
    if probe["answer"] is None:
        return ""
    others = [text for text in probe["candidates"] if text not in (probe["answer"], probe["old"])]
    before = "" if probe["old"] in (None, probe["answer"]) else f", before {probe['old']!r}"
    prior = f"; prior {probe['prior']!r}" if probe["prior"] else ""
    return f" -> {probe['answer']!r}{before}; or {', '.join(map(repr, others)) or 'nothing else'}{prior}"
