"""Fixtures for all tests: nothing is downloaded, and small models are made in the test session."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.once import FOLDER

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Before torch is imported: on a busy machine the spinning threads of tiny products cost 20 times the work itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """One temporary folder for the session, its cache inside: no test reads or writes the cache of the user.

    The workers of pytest-xdist inherit both variables, so that what one of them has trained serves the other. Imports
    make hardly any garbage: it is looked for from the first test on.
    """
    gc.disable()
    if not hasattr(config, "workerinput"):
        session = tempfile.mkdtemp(prefix="valley-tests-")
        config.add_cleanup(lambda: shutil.rmtree(session, ignore_errors=True))
        os.environ[FOLDER] = session
        os.environ["VALLEY_CACHE"] = str(Path(session) / "cache")


def pytest_collection_finish() -> None:
    """Keep what was imported out of garbage collection, and collect less often: both together are 5% of the suite."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="module")
def little_to_search() -> None:
    """For modules that look for garbage again and again: what is there before them is not searched."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"no data sets at {SHARED}")
    return SHARED


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache for the tests of a module that says `pytestmark = pytest.mark.usefixtures("own_cache")`.

    Shared by the session is what costs seconds a model and is the same in every module: how strong models are, what they
    answer unedited, and the text and the covariances drawn from them.
    """
    cache = tmp_path_factory.mktemp("cache")
    for name in ("strength", "statistics", "answers", "agreement"):
        shared = Path(os.environ[FOLDER]) / "cache" / name
        shared.mkdir(parents=True, exist_ok=True)
        (cache / name).symlink_to(shared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VALLEY_CACHE", str(cache))
        yield


@pytest.fixture(scope="session")
def tiny_lm() -> Callable:
    """`tiny_lm(family, seed=0, **config)`: a random model of a family with a small byte-level tokenizer."""
    from tests.editing.families import tiny_lm

    return tiny_lm


@pytest.fixture(scope="session")
def trained_lm():
    """A four-block GPT-2 that knows a few sentences."""
    from tests.editing.families import trained_lm

    return trained_lm()
