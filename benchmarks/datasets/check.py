"""Counts of what a file of facts holds: its format, cases, languages, probe kinds, and its bad records."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from benchmarks.datasets.reading.sources import located
from benchmarks.datasets.registry import ANY_FORM, CaseSet, account, forms, read_cases
from editing.text import edit_set

KIND = "fact"  # what files hold; renames and retargets are made from the concept suite


def check_file(argument: str, form: str = "") -> dict[str, Any]:
    """Counts of a file in the given form, or in the one that its records are recognised as.

    Args:
        argument: the path, with the form's options behind a `#`; as in `--datasets` the form may stand before it.

    Raises:
        BadRequest: no such form.
        BadData: the file cannot be read, no form recognises it, or none of its records can be used.
    """
    before, colon, path = argument.partition(":")
    if colon and not form and before in (ANY_FORM, *forms()):
        form, argument = before.replace(ANY_FORM, ""), path
    with _no_garbage_collection():
        case_set = read_cases(f"{form or ANY_FORM}:{argument}", KIND)
        form = form or case_set.cases[0].dataset
        return {"file": str(located(form, argument).path), "form": form} | _counts(form, case_set)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Cases hold no circles; looking for some among a million new objects takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _counts(form: str, case_set: CaseSet) -> dict[str, Any]:
    probes = [probe for case in case_set.cases for probe in case.probes]
    kinds = Counter(map(attrgetter("kind", "lang"), probes))
    together = edit_set([case.request for case in case_set.cases])
    notes = [*case_set.notes, *case_set.readings, *together.notes()]
    sizes = sorted(len(probe.candidates) for probe in probes if probe.candidates)
    return {
        "records": case_set.records,
        "cases": len(case_set.cases),
        "left_out": len({one.record for one in case_set.left_out}),
        "subjects": len({case.subject for case in case_set.cases}),
        "relations": len({case.relation for case in case_set.cases}),
        "edited_in": dict(sorted(Counter(case.request.lang for case in case_set.cases).items())),
        "probes": {f"{kind} {lang}": count for (kind, lang), count in sorted(kinds.items())},
        "candidates": {"fewest": sizes[0], "median": sizes[len(sizes) // 2], "most": sizes[-1]},
        "without_prior": sum(not probe.prior for probe in probes if probe.candidates),
        "bad": [{"record": one.record, "reason": one.reason} for one in case_set.left_out],
        "excluding": len(together.excluding),
        "duplicates": len(together.duplicates),
        "notes": notes,
        "account": list(account(form, case_set.left_out, case_set.records, notes)),
    }


def format_check(about: dict[str, Any]) -> str:
    """`check_file` as text."""
    from benchmarks.text import format_pairs

    sizes = about["candidates"]
    pairs = {key: about[key] for key in ("file", "form", "records", "cases", "left_out", "subjects", "relations")}
    pairs["left out"] = pairs.pop("left_out")
    pairs["edited in"] = ", ".join(f"{lang} ({count:,})" for lang, count in about["edited_in"].items())
    pairs["candidates per probe"] = f"{sizes['fewest']} to {sizes['most']}, median {sizes['median']}"
    pairs["probes without a prior"] = about["without_prior"]
    pairs |= {f"probes {kind}": count for kind, count in about["probes"].items()}
    return "\n".join([format_pairs(pairs), *about["account"]])
