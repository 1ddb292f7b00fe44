"""The rooms stay apart, and nothing dangerous or accidental gets in. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("editing", "benchmarks", "valley")
SOURCES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")) + sorted(ROOT.glob("*.py"))
FILES = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
HEAVY = ("torch", "transformers", "safetensors", "tokenizers")

# Third-party packages that a room does without. pyarrow reads the Parquet files of a hub data set (editing/stats).
FOREIGN = {"editing": ("pandas", "altair", "click"), "benchmarks": (), "valley": (*HEAVY, "click")}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports, also inside functions and through importlib."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative
                package = path.relative_to(ROOT).parent.parts
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            texts = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
            yield from ((node.lineno, text) for text in texts if isinstance(text, str))


def called(node: ast.Call) -> str:
    """Last part of the name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the file is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "__name__" in ast.unparse(child.test):
            continue
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in packages)


def test_there_is_something_to_look_at() -> None:
    assert all(any(name(p).startswith(f"{room}/") for p in SOURCES) for room in ROOMS)
    assert [name(p) for p in SOURCES if "/" not in name(p)] == ["cli.py"], "cli.py is the only file at the top"


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_do_without_some_libraries(room: str) -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in SOURCES
        if name(path).startswith(f"{room}/")
        for line, module in imports(path)
        if is_in(module, FOREIGN[room])
    ]
    assert not wrong, wrong


def test_the_command_line_imports_nothing_heavy_at_the_top() -> None:
    light = ("click", "benchmarks", "benchmarks.commands", "editing.errors")
    for path in (ROOT / "cli.py", *sorted((ROOT / "benchmarks" / "commands").glob("*.py"))):
        if path.name in ("catalogue.py", "schemas.py", "pages.py"):  # imported inside commands
            continue
        top = [node for node in at_import(tree(path)) if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {a.name if isinstance(n, ast.Import) else n.module or "" for n in top for a in n.names}
        foreign = {m for m in modules if m.partition(".")[0] not in sys.stdlib_module_names}
        assert not {m for m in foreign if not is_in(m, light) and not typing_only(path, m)}, name(path)
    assert not [m for _, m in imports(ROOT / "editing" / "errors.py") if not m.startswith("__future__")]


def typing_only(path: Path, module: str) -> bool:
    """Whether a module is imported below `if TYPE_CHECKING` alone."""
    blocks = [n for n in tree(path).body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    names = [n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for b in blocks for n in b.body]  # type: ignore[union-attr]
    return module in names


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_seeds_or_threads_are_set_at_import(path: Path) -> None:
    """Nor anywhere global in the library: randomness comes from a generator that is passed on."""
    calls = [n for n in at_import(tree(path)) if isinstance(n, ast.Call)]
    setters = ("manual_seed", "seed", "seed_all", "seed_everything", "set_seed", "set_num_threads", "set_default_dtype")
    assert not [ast.unparse(c) for c in calls if called(c) in setters]
    globally = ("torch.manual_seed", "np.random.seed", "numpy.random.seed", "random.seed", "torch.set_default_dtype")
    allowed = "fork_rng"  # a seed inside forked generator state leaks nowhere
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in globally:
            assert allowed in text, f"{name(path)}:{node.lineno} seeds a global generator"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_foreign_code_runs(path: Path) -> None:
    """Nothing from a model or data file is executed: no pickle, no remote code, no eval."""
    banned = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
    assert not [f"{line}: {m}" for line, m in imports(path) if is_in(m, banned)]
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Call):
            continue
        where = f"{name(path)}:{node.lineno}"
        for keyword in node.keywords:
            value = getattr(keyword.value, "value", None)
            assert not (keyword.arg == "trust_remote_code" and value is not False), where
            assert not (keyword.arg == "weights_only" and value is False), where
            assert not (keyword.arg == "allow_pickle" and value is not False), where
            assert not (keyword.arg == "shell" and value is True), where
        function = ast.unparse(node.func)
        assert function not in ("eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load", "pd.read_pickle"), where
        if function == "torch.load":
            assert any(k.arg == "weights_only" for k in node.keywords), where


@pytest.mark.parametrize("path", FILES, ids=name)
def test_files_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= 400, f"{name(path)} has {lines} lines; split it"
    if text.strip():
        assert ast.get_docstring(tree(path)), f"{name(path)} opens without a docstring"


# Home folders and scratch folders of whoever wrote a file.
MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|root|work|mnt|scratch)/\w|[A-Z]:\\\\")


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "test_architecture.py"], ids=name)
def test_no_paths_of_one_machine(path: Path) -> None:
    result = [f"{i}: {line.strip()}" for i, line in enumerate(path.read_text().splitlines(), 1) if MACHINE.search(line)]
    assert not result, result


def test_every_package_folder_is_a_package() -> None:
    folders = {p.parent for p in SOURCES if p.parent != ROOT}
    assert not [name(f) for f in folders if not (f / "__init__.py").is_file()]


def test_no_default_argument_can_be_changed() -> None:
    kinds = ast.List | ast.Dict | ast.Set
    result = []
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
                result += [f"{name(path)}:{node.lineno}" for d in defaults if isinstance(d, kinds)]
    assert not result, result
