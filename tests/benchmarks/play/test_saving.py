"""Whatever a visitor types as a name, files land in the chosen folder; whatever a model writes, a page shows as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.play import panels
from benchmarks.play.answers import Answers, Bar, Bars, KindLine
from benchmarks.play.saving import folder_of, save
from benchmarks.readings import HeatMap
from editing.delta import Delta
from editing.delta.changes import LowRank
from editing.errors import BadRequest

CHANGE = Delta({"a.weight": LowRank(torch.ones(2, 1), torch.ones(3, 1))})
HOSTILE = (
    "../../etc/x",
    "/etc/x",
    "a/b\\c",
    "..",
    "x\x00y",
    "CON: <b>",
    "\u202eevil",
    "-rf x",
    "a" * 500,
    "~/x",
    ".ssh",
)
MARKUP = "<img src=x onerror=alert(1)>'\"&{{7*7}}"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_the_folder(name: str, tmp_path: Path) -> None:
    root = tmp_path / "out"
    try:
        written = save(root, name, CHANGE, "python", "commands")
    except BadRequest as error:
        assert "\n" not in str(error)
        written = []
    assert all(path.resolve().is_relative_to(root) for path in written)
    assert {path.name for path in tmp_path.iterdir()} <= {"out"}


def test_nothing_is_written_over(tmp_path: Path) -> None:
    save(tmp_path, "one", CHANGE, "python", "commands")
    with pytest.raises(BadRequest, match="there already"):
        save(tmp_path, "one", CHANGE, "", "")
    (tmp_path / "link").symlink_to(tmp_path.parent)
    with pytest.raises(BadRequest, match="there already"):
        folder_of(tmp_path, "link")
    with pytest.raises(BadRequest, match="no edit to save"):
        save(tmp_path, "two", Delta({}), "", "")
    assert not (tmp_path / "two").exists()


def test_every_panel_shows_markup_as_text() -> None:
    row = {
        "probe": "neighbour", "lang": "en", "prompt": MARKUP, "pick_before": MARKUP, "pick_after": "x", "text_before": MARKUP,
        "text_after": MARKUP, "value": float("nan"), "reason": MARKUP,
    }  # fmt: skip
    bars = Bars(MARKUP, "en", "efficacy", (Bar(MARKUP, 0.2, 0.9, "new"),))
    answers = Answers((row,), (KindLine("neighbour", 1, 0, 1, float("nan")),), (bars,))
    made = [part(answers) for part in (panels.bars, panels.kinds, panels.questions, panels.siblings, panels.languages)]
    effects = {"mlp_effect": np.array([[0.1, 0.5]])}
    heat = HeatMap(MARKUP, MARKUP, (MARKUP, MARKUP), 1, (0,), 0.9, 0.1, effects, effects)
    made += [panels.notice(MARKUP, "error"), panels.stack(()), panels.localiser(heat)]
    for html in made:
        assert "<img" not in html and "49" not in html
    assert sum("&lt;img src=x onerror=alert(1)&gt;" in html for html in made) >= 5
