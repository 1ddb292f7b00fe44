"""Data sets: name -> cases. ours/ makes them from the world, formats/ reads other people's files, reading/ is how."""

from benchmarks.datasets.asking import M, UnknownConcept, ask, find_concept, turns
from benchmarks.datasets.check import check_file, format_check
from benchmarks.datasets.common_probes import with_common_probes
from benchmarks.datasets.concept_check import count_concepts, format_concepts
from benchmarks.datasets.ours.concept_suite import differing, distant, edited_rank, rename_case, retarget_case
from benchmarks.datasets.ours.erasures import erase_case
from benchmarks.datasets.probes_on_request import with_requested
from benchmarks.datasets.reading.names import mentions
from benchmarks.datasets.registry import (
    account,
    build_cases,
    dataset_names,
    describe,
    for_model,
    kinds_of,
    read_cases,
    with_form,
)
from benchmarks.datasets.show import format_show, show

__all__ = [
    "M",
    "UnknownConcept",
    "account",
    "ask",
    "build_cases",
    "check_file",
    "count_concepts",
    "dataset_names",
    "describe",
    "differing",
    "distant",
    "edited_rank",
    "erase_case",
    "find_concept",
    "for_model",
    "format_check",
    "format_concepts",
    "format_show",
    "kinds_of",
    "mentions",
    "read_cases",
    "rename_case",
    "retarget_case",
    "show",
    "turns",
    "with_common_probes",
    "with_form",
    "with_requested",
]
