"""The rooms stay apart, and nothing dangerous or accidental gets in. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("editing", "benchmarks", "valley")
SOURCES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")) + sorted(ROOT.glob("*.py"))
FILES = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
LAZY = ROOT / "editing" / "lazy.py"
HEAVY = ("torch", "transformers", "safetensors", "tokenizers")

# Third-party packages that a room does without. pyarrow reads the Parquet files of a hub data set (editing/stats).
FOREIGN = {"editing": ("pandas", "altair", "click"), "benchmarks": (), "valley": (*HEAVY, "click")}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """A file as parsed, once for all tests of a process."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of everything a file imports, also inside functions, through importlib and editing.lazy."""
    return list(_imports(path))


@cache
def lazy() -> dict[str, str]:
    """Names of editing.lazy -> the libraries that they stand for."""
    assigned = [node for node in ast.walk(tree(LAZY)) if isinstance(node, ast.Assign)]
    made = [(node.targets[0], node.value) for node in assigned if isinstance(node.value, ast.Call)]
    return {ast.unparse(target): ast.literal_eval(call.args[0]) for target, call in made if called(call) == "Later"}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
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
            if base == "editing.lazy":
                yield from ((node.lineno, lazy().get(alias.name, "")) for alias in node.names)
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


def test_rooms_do_without_some_libraries() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in SOURCES
        if path != LAZY
        for line, module in imports(path)
        if is_in(module, FOREIGN.get(name(path).partition("/")[0], ()))
    ]
    assert not wrong, wrong


def test_the_command_line_imports_nothing_heavy_at_the_top() -> None:
    light = ("click", "benchmarks", "benchmarks.commands", "editing.errors", "editing.seeds")
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


def test_no_seeds_or_threads_are_set_at_import() -> None:
    """Nor anywhere global in the library: randomness comes from a generator that is passed on. A context manager may set
    the default dtype, since it puts the caller's back."""
    setters = ("manual_seed", "seed", "seed_all", "seed_everything", "set_seed", "set_num_threads", "set_default_dtype")
    globally = ("torch.manual_seed", "np.random.seed", "numpy.random.seed", "random.seed", "torch.set_default_dtype")
    wrong = []
    for path in SOURCES:
        calls = [n for n in at_import(tree(path)) if isinstance(n, ast.Call) and called(n) in setters]
        if "fork_rng" not in path.read_text(encoding="utf-8"):  # a seed inside forked generator state leaks nowhere
            calls += [n for n in calls_of(path) if called(n) in setters and ast.unparse(n.func) in globally]
        calls = [n for n in calls if called(n) != "set_default_dtype" or n not in in_context_managers(path)]
        wrong += [f"{name(path)}:{call.lineno}: {ast.unparse(call)}" for call in calls]
    assert not wrong, "\n".join(wrong)


@cache
def calls_of(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]


def in_context_managers(path: Path) -> list[ast.AST]:
    """What is inside of functions that are context managers."""
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    managers = [f for f in functions if any(ast.unparse(d) == "contextmanager" for d in f.decorator_list)]
    return [node for manager in managers for node in ast.walk(manager)]


PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
RUN_TEXT = ("eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load", "pd.read_pickle")


def test_no_foreign_code_runs() -> None:
    """Nothing from a model or data file is executed: no pickle, no remote code, no eval."""
    wrong = [
        f"{name(p)}:{line} imports {module}" for p in SOURCES for line, module in imports(p) if is_in(module, PICKLES)
    ]
    for path in SOURCES:
        wrong += [
            f"{name(path)}:{call.lineno}: {ast.unparse(call)}" for call in calls_of(path) if runs_foreign_code(call)
        ]
    assert not wrong, "\n".join(wrong)


def runs_foreign_code(call: ast.Call) -> bool:
    """Whether a call could execute what a file holds."""
    safe = {"trust_remote_code": False, "weights_only": True, "allow_pickle": False, "shell": False}
    settings = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
    if any(word in settings and settings[word] is not value for word, value in safe.items()):
        return True
    if called(call) not in {function.rpartition(".")[2] for function in (*RUN_TEXT, "torch.load")}:
        return False
    function = ast.unparse(call.func)
    return function in RUN_TEXT or (function == "torch.load" and "weights_only" not in settings)


def test_files_are_short_and_say_what_they_are() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in FILES}
    long = [f"{name(path)}: {text.count(chr(10))} lines" for path, text in texts.items() if text.count("\n") > 400]
    assert not long, f"split {long}"
    silent = [name(path) for path, text in texts.items() if text.strip() and not text.startswith(('"""', 'r"""'))]
    assert not silent, f"without a docstring: {silent}"


# Home folders and scratch folders of whoever wrote a file.
MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|root|work|mnt|scratch)/\w|[A-Z]:\\\\")


def test_no_paths_of_one_machine() -> None:
    result = [
        f"{name(path)}:{i}: {line.strip()}"
        for path in FILES
        if path.name != "test_architecture.py"
        for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert not result, "\n".join(result)


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
