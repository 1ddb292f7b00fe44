"""Which room may import which, and that other rooms are entered through their front door. Read from the source."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from itertools import count

from tests.test_architecture import FILES, SOURCES, imports, name, tree

# A room may import only rooms of lines below its own. A room is a package, or a file that stands beside the packages.
ARROWS = """
cli
benchmarks.commands
benchmarks.play
benchmarks.api | benchmarks.where
benchmarks.live | benchmarks.speed | benchmarks.oracle | benchmarks.readings
benchmarks.sweep | benchmarks.crispness
benchmarks.ladders
benchmarks.measure
benchmarks.models | benchmarks.datasets
benchmarks.grown | benchmarks.texts | benchmarks.plans
benchmarks.chat
benchmarks.world | benchmarks.cases
benchmarks.provenance | benchmarks.text | benchmarks.watch | benchmarks.pictures
editing.api | editing.easyedit
editing.methods
editing.eval | editing.solve | editing.stats | editing.export
editing.run | editing.text
editing.delta
editing.model
editing.references
valley.calibration
valley.compare | valley.proof | valley.board
valley.report
valley.hypotheses
valley.text
valley.verdicts
valley.scores
valley.rows
valley.statistics
editing.files | editing.plugins | editing.seeds
editing.errors | editing.progress | editing.lazy | editing.cache
"""
LEVEL = {
    room.strip(): level
    for level, line in enumerate(reversed(ARROWS.split("\n")))
    for room in line.split("|")
    if room.strip()
}
TOP = ("benchmarks", "editing", "valley")  # the faces of the three packages, imported by users alone
# What benchmarks may know of valley, and valley of editing. KNOW_VALLEY may know every room of valley.
KNOW_VALLEY = ("benchmarks.commands", "benchmarks.api")
OF_VALLEY = ("valley.rows", "valley.statistics")
OF_EDITING = ("editing.errors", "editing.files", "editing.lazy", "editing.plugins")


def module(path) -> str:
    return name(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module(path): path for path in SOURCES}


def room(dotted: str) -> str:
    return ".".join(dotted.split(".")[:2])


@cache
def targets(path) -> list[tuple[int, str]]:
    """Line and module of every import of ours: of `from room import name` the room, where its face offers the name."""
    result = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            result += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            offered = face(node.module)
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                result.append((node.lineno, inner if inner in MODULES and alias.name not in offered else node.module))
    return list(dict.fromkeys((line, target) for line, target in result if target in MODULES))


@cache
def face(package: str) -> tuple[str, ...]:
    """What `__all__` of a package lists."""
    for node in tree(MODULES[package]).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return tuple(ast.literal_eval(node.value))
    return ()


@cache
def arrows() -> list[tuple[str, str, str]]:
    """(file, module that it imports, line as text) for every import between two rooms."""
    return [
        (source, target, f"{name(path)}:{line} imports {target}")
        for source, path in MODULES.items()
        for line, target in targets(path)
        if room(target) != room(source)
    ]


def test_every_room_is_in_the_table() -> None:
    rooms = {room(one) for one in MODULES} - set(TOP)
    assert rooms == set(LEVEL), rooms ^ set(LEVEL)


def test_rooms_import_only_what_stands_below_them() -> None:
    wrong = []
    for source, target, line in arrows():
        if source in TOP or target in TOP:
            continue
        above, below = LEVEL[room(source)], LEVEL[room(target)]
        if below >= above:
            wrong.append(line)
        elif source.startswith("benchmarks.") and room(source) not in KNOW_VALLEY:
            if target.startswith("valley.") and room(target) not in OF_VALLEY:
                wrong.append(line)
        elif (source.startswith("valley.") and target.startswith("editing.") and room(target) not in OF_EDITING) or (
            source.startswith("editing.") and target.startswith("valley.")
        ):
            wrong.append(line)
    assert not wrong, "\n".join(wrong)


def test_other_rooms_are_imported_through_their_face() -> None:
    """`from benchmarks.world import knowledge`, never `from benchmarks.world.knowledge import knowledge`."""
    wrong = [line for source, target, line in arrows() if target.count(".") > 1 and source not in TOP]
    assert not wrong, "\n".join(wrong)


def test_faces_state_what_they_offer() -> None:
    rooms = {target for _, target, _ in arrows() if target.count(".") == 1 and MODULES[target].name == "__init__.py"}
    silent = [one for one in sorted(rooms) if not face(one)]
    assert not silent, silent


def test_no_circle_of_files() -> None:
    """Files import each other in one direction, also inside functions and inside a room."""
    graph = defaultdict(set)
    for source, path in MODULES.items():
        for _, target in targets(path):
            if target != source and not target.startswith(f"{source}.") and source not in TOP:
                graph[source].add(target)
    circles = [group for group in components(graph) if len(group) > 1]
    assert not circles, circles


def components(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components (Tarjan 1972)."""
    order, low, stack, groups = {}, {}, [], []
    number = count()

    def visit(node: str) -> None:
        order[node] = low[node] = next(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = set()
            while node not in group:
                group.add(stack.pop())
            groups.append(group)

    for node in list(graph):
        if node not in order:
            visit(node)
    return groups


def test_click_is_known_to_the_command_line_only() -> None:
    allowed = ("cli", "benchmarks.commands", "benchmarks.speed")
    wrong = [
        f"{name(path)}:{line}"
        for source, path in MODULES.items()
        for line, target in imports(path)
        if target.partition(".")[0] == "click" and room(source) not in allowed
    ]
    assert not wrong, wrong


def test_no_folder_is_crowded() -> None:
    files = defaultdict(int)
    for path in FILES:
        files[name(path).rpartition("/")[0]] += path.name != "__init__.py"
    crowded = {folder: n for folder, n in files.items() if n > 12}
    assert not crowded, crowded
