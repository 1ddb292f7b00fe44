"""A clock on stderr for long steps that cannot say how far they are, and silence for libraries that say too much."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ticking(text: str, expected: float, show: bool = True) -> Iterator[None]:
    """Shows `text` with elapsed and estimated remaining seconds on stderr while the body runs.

    Args:
        expected: seconds the body is expected to take; when it takes longer the bar waits at its end.
        show: False shows nothing.
    """
    from tqdm import tqdm

    from editing.progress import QUIET

    if show and not QUIET.get() and not sys.stderr.isatty():
        print(f"{text}, about {expected:.0f} s", file=sys.stderr)
    show = show and not QUIET.get() and sys.stderr.isatty()
    total = max(1, round(expected))
    shape = "{desc} |{bar:20}| {elapsed}, about {remaining} left"
    bar = tqdm(total=total, desc=text, bar_format=shape, file=sys.stderr, disable=not show)
    done = threading.Event()

    def tick() -> None:
        while not done.wait(1.0):
            if bar.n < total - 1:
                bar.update(1)
            else:
                bar.refresh()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
        done.set()
        thread.join()
        bar.update(total - bar.n)
    finally:
        done.set()
        thread.join()
        bar.close()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and only errors from transformers inside the body; its settings are put back afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
