"""A judge of free text: a model that says whether an answer states the target. Only where the user names one.

A model reference is loaded here, by the likelihoods of yes and no; an address is an OpenAI-compatible server, queried
once per answer at temperature 0, with the key in OPENAI_API_KEY where it needs one. Nothing is sent by default.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure.opening import open_model
from editing.errors import BadModel, BadRequest
from editing.eval import continuation_logprobs
from editing.lazy import pandas as pd
from valley.rows import read_run

QUESTION = (
    'A text begins: "{prompt}" It goes on: "{text}"\n'
    'Does it say that the answer is "{answer}"? Reply with one word, yes or no.\nReply:'
)
SECONDS = 60.0


def judged(judge: str, answers: Sequence[tuple[str, str, str]], device: str | None = None) -> list[bool]:
    """Whether each (prompt, continuation, answer) states the answer, in the opinion of `judge`.

    Args:
        judge: a model reference, or the address of an OpenAI-compatible server with the model behind a `#`:
            http://localhost:8000/v1#NAME.

    Raises:
        BadRequest: an address without a model. BadModel: no such model; a server that fails or replies otherwise.
    """
    questions = [QUESTION.format(prompt=prompt, text=text, answer=answer) for prompt, text, answer in answers]
    if judge.startswith(("http://", "https://")):
        address, _, name = judge.partition("#")
        if not name:
            raise BadRequest(f"--by {judge}: no model; write the address with its name behind a #, as {judge}#NAME")
        return [_verdict(address.rstrip("/"), name, question) for question in questions]
    lm = open_model(judge, device)
    scores = continuation_logprobs(lm, questions, [("yes", "no")] * len(questions))
    # A judge's habit of saying yes is taken off: the same question about no text at all.
    empty = [QUESTION.format(prompt=prompt, text="", answer=answer) for prompt, _, answer in answers]
    habit = continuation_logprobs(lm, empty, [("yes", "no")] * len(empty))
    pairs = zip(scores, habit, strict=True)
    return [bool((score[0] - score[1]) > (usual[0] - usual[1])) for score, usual in pairs]


def _verdict(address: str, name: str, question: str) -> bool:
    body = {"model": name, "temperature": 0, "max_tokens": 4, "messages": [{"role": "user", "content": question}]}
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{address}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            content: Any = json.load(reply)["choices"][0]["message"]["content"]
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadModel(f"judge {address}: no usable reply ({error}); check address, model and key") from error
    word = str(content).strip().strip("\"'*.").lower()
    if not word.startswith(("yes", "no")):
        raise BadModel(f"judge {address}: replied {str(content)!r:.60} instead of yes or no; use another model")
    return word.startswith("yes")


KINDS = ("efficacy", "paraphrase", "cross_lingual", "alias", "multi_hop")
COLUMNS = [
    "rung",
    "method",
    "settings",
    "case",
    "probe",
    "probe_index",
    "prompt",
    "answer",
    "text_after",
    "exact_after",
]


def judge_run(run: Path, judge: str, limit: int, device: str | None = None) -> pd.DataFrame:
    """Rows of a run with free text, at most `limit` per rung and method (the first by case), with the column `judged`.

    Raises:
        BadRequest: a packed run, which keeps no continuations. RowsError: no such run. BadModel: see `judged`.
    """
    rows = read_run(run, [*COLUMNS, "error"])
    rows = rows[(rows["error"] == "") & rows["probe"].isin(KINDS) & (rows["text_after"] != "")]
    if rows.empty:
        raise BadRequest(f"{run}: no free text in it (a packed run keeps none); judge the run that was packed")
    rows = rows.sort_values(["rung", "method", "case", "probe", "probe_index"], kind="stable")
    rows = rows.groupby(["rung", "method"], sort=False).head(limit).reset_index(drop=True)
    answers = list(rows[["prompt", "text_after", "answer"]].itertuples(index=False, name=None))
    return rows[COLUMNS].assign(judge=judge, judged=judged(judge, answers, device))


def format_judged(table: pd.DataFrame) -> str:
    """Per rung and method: what the judge and exact match make of the same texts, and how often they agree."""
    lines = [f"{'rung':<20}{'method':<14}{'texts':>6}{'judge':>8}{'exact':>8}{'agree':>8}"]
    for (rung, method), part in table.groupby(["rung", "method"], sort=False):
        exact, said = part["exact_after"].to_numpy(float), part["judged"].to_numpy(float)
        lines.append(
            f"{rung:<20}{method:<14}{len(part):>6}{said.mean():>8.2f}{exact.mean():>8.2f}{(exact == said).mean():>8.2f}"
        )
    return "\n".join([*lines, f"judge: {table['judge'].iloc[0]}"])
