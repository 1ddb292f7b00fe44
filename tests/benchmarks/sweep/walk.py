"""A search walked through without a model."""

from __future__ import annotations

import json
from collections.abc import Callable

from benchmarks.sweep.cell import Task
from benchmarks.sweep.search.place import Place
from benchmarks.sweep.search.schedule import steps
from benchmarks.sweep.search.search_points import Point


def follow(place: Place, point: Callable[[dict], Point]) -> list[list[Task]]:
    """The steps of a search in which `point` says how good settings are."""
    schedule = steps(place)
    result = [next(schedule)]
    while True:
        try:
            result.append(schedule.send(lambda tasks: point(json.loads(tasks[0].cell.settings))))
        except StopIteration:
            return result
