"""Figures and report: written whole, the same twice, hostile strings stay text, the page runs without network or
errors."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import altair as alt
import pandas as pd
import pytest

from editing.errors import BadData
from tests.tiers import fast_are
from tests.valley.build import edit, failed, frame, ladder, probes
from valley.report.files import write_curve_charts
from valley.report.page import Report, write_page
from valley.rows.schema import RowsError, to_frame
from valley.scores.curve import analyse
from valley.text import embed

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2> \"q\" 'a' \u202e\u0645\u0631 \0 ]]>"
)


def hostile() -> pd.DataFrame:
    rows = ladder(2)
    for column in (
        "subject",
        "prompt",
        "answer",
        "old",
        "text_before",
        "text_after",
        "model",
        "model_source",
        "commit",
    ):
        rows[column] = HOSTILE
    rows["rung"] = [f"{HOSTILE}{r}" for r in rows["rung"]]
    rows["settings"] = [json.dumps({"x": HOSTILE, "s": s}) for s in rows["settings"]]
    return pd.concat([rows, frame(failed(rung=HOSTILE + "r0", error=HOSTILE))], ignore_index=True)


class Tags(html.parser.HTMLParser):
    """Counts elements and keeps attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def curve_charts(rows: pd.DataFrame, folder: Path, min_known: int = 2, draws: int = 40) -> list[Path]:
    return write_curve_charts(Report(analyse(rows, min_known, draws), "toy"), folder)


def write_report(rows: pd.DataFrame, path: Path, min_known: int, draws: int, max_cases: int = 5000) -> Path:
    return write_page(Report(analyse(rows, min_known, draws), "run", max_cases=max_cases), path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a small run, with five of its cases."""
    return write_report(ladder(2), tmp_path_factory.mktemp("page") / "r.html", 2, 10, max_cases=5).read_text()


def test_charts_of_a_curve_are_written_and_leave_no_scraps(tmp_path: Path):
    written = curve_charts(ladder(2), tmp_path)
    assert [p.name for p in written] == ["editability_strength.png", "generalisation_specificity.png"]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in written)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written)


@pytest.mark.slow
def test_charts_of_a_curve_are_the_same_twice(tmp_path: Path):
    rows = ladder(4, kinds=("fact", "rename"))
    first = curve_charts(rows, tmp_path / "a")
    second = curve_charts(rows.sample(frac=1, random_state=1), tmp_path / "b")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    both = pd.concat([rows, rows.assign(ladder="other", cell=rows["cell"] + "x")], ignore_index=True)
    assert [p.name for p in curve_charts(both, tmp_path / "c")] == [
        f"{name}-{i}.png" for i in (1, 2) for name in ("editability_strength", "generalisation_specificity")
    ]


@pytest.mark.parametrize(
    ("rows", "n_charts"),
    [
        pytest.param(lambda: ladder(1), 2, marks=pytest.mark.slow),
        (lambda: frame(failed()), 0),
        (lambda: frame(edit("a", probes(efficacy=[1.0]), bits_per_byte_en=float("nan"))), 0),
    ],
    ids=["one rung", "only failures", "no specificity, no strength"],
)
def test_odd_runs_are_drawn_and_written(rows: Callable[[], pd.DataFrame], n_charts: int, tmp_path: Path):
    report = Report(analyse(rows(), 2, 10), "odd")
    paths = write_curve_charts(report, tmp_path)
    assert len(paths) == n_charts and all(p.stat().st_size > 5000 for p in paths)
    assert write_page(report, tmp_path / "r.html").stat().st_size > 5000


@pytest.mark.parametrize("charts", fast_are([1], [1, 9]))
def test_charts_keep_to_the_schema(charts: int):
    """Building them does not check it."""
    for chart in list(Report(analyse(ladder(2), 2, 10), "toy").charts.values())[:charts]:
        assert [alt.Chart.from_dict(chart.still(choice), validate=True) for choice in chart.views]


def test_a_file_names_its_axis_and_offers_no_clicks():
    charts = Report(analyse(ladder(3), 2, 10), "toy").charts
    strength = charts["strength-0"]
    assert "click" in json.dumps(strength.views), "on the page the legend singles out"
    titles = [strength.still(choice)["title"]["text"] for choice in strength.views]
    assert titles == [f"Editability against {choice}" for choice in strength.views] and len(set(titles)) > 1
    text = json.dumps([chart.still() for chart in charts.values()])
    assert "click" not in text and "currentColor" not in text and "{choice}" not in text


def test_report_is_one_offline_page(plain: str):
    values = Tags(plain)
    assert not {"link", "img", "iframe", "object"} & set(values.tags)
    assert not [
        a for a in values.attributes if a[1] in ("src", "srcset") or (a[1] == "href" and not str(a[2]).startswith("#"))
    ]


@pytest.mark.slow
def test_a_larger_report_is_small_and_the_same_twice(tmp_path: Path):
    rows = ladder(3, kinds=("fact", "rename"))
    page = write_report(rows, tmp_path / "a.html", 2, 40)
    again = write_report(rows.sample(frac=1, random_state=2), tmp_path / "b.html", 2, 40)
    assert page.read_bytes() == again.read_bytes()
    assert page.stat().st_size < 2_000_000
    assert "the smallest valley that this run would show 80% of the time" in page.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_hostile_strings_stay_text(tmp_path: Path, plain: str):
    report = Report(analyse(hostile(), 2, 10), "hostile")
    assert len(write_curve_charts(report, tmp_path)) == 2
    text = write_page(report, tmp_path / "r.html").read_text()
    values, calm = Tags(text), Tags(plain)
    assert values.tags.count("script") == calm.tags.count("script") and "img" not in values.tags
    assert not [a for a in values.attributes if a[1].startswith("on")]
    assert "\0" not in text and "\u202e" not in text
    assert any("window.hacked=1" in part for part in values.text), "the string should be shown, as text"


def test_embed_cannot_be_left():
    value = {"a": ["</script>", "<!--", "&amp;", "\u2028", HOSTILE]}
    text = str(embed(value))
    assert not re.search(r"[<>&\u2028]", text) and json.loads(text) == value


def test_listed_cases_are_counted(plain: str):
    match = re.search(r'id="case-data">(.*?)</script>', plain)
    assert match and "5 of 24 cases" in plain and len(json.loads(match.group(1))["cases"]) == 5


def test_unwritable_places_are_refused_in_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for write in (curve_charts, write_report):
        with pytest.raises(BadData) as caught:
            write(ladder(1), tmp_path / "file" / "x", 2, 10)
        assert "cannot write" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(RowsError):
        write_report(to_frame([]), tmp_path / "r.html", 2, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


DRIVE = """<script>
const out = {};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const chart = (name) => document.getElementById("chart-" + name);
const faded = () => [...chart("strength-0").querySelectorAll(".mark-symbol path, .mark-rule line")]
  .filter((mark) => Number(mark.getAttribute("opacity") ?? 1) <= 0.1).length;
(async () => {
  await wait(2000);
  out.drawn = document.querySelectorAll("[data-chart] svg").length;
  out.hacked = window.hacked ?? 0;
  const entry = chart("strength-0").querySelector(".role-legend-symbol path[tabindex]");
  entry.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  await wait(500);
  out.filters = faded() > 0;
  const choice = document.querySelector("[data-switch=strength-0] input:not(:checked)");
  choice.click();
  await wait(1500);
  out.axis = chart("strength-0").querySelector(".role-axis-title text")?.textContent;
  const field = document.getElementById("find");
  field.value = "FACT-03"; document.querySelector(".filters").requestSubmit();
  out.found = document.getElementById("found").textContent;
  const first = document.querySelector("details.case");
  first.open = true;
  await wait(300);
  out.probes = first.querySelectorAll("tbody tr").length;
  field.value = "no such thing"; document.querySelector(".filters").requestSubmit();
  out.none = !document.getElementById("none-found").hidden;
  document.getElementById("clear").click();
  out.cleared = document.getElementById("found").textContent;
  out.images = document.images.length;
  out.requests = performance.getEntriesByType("resource").length;
})().catch((error) => problems.push(String(error))).finally(() => {
  out.errors = window.problems;
  document.title = JSON.stringify(out);
});
</script>"""
WATCH = """<script>window.problems = [];
addEventListener("error", (e) => problems.push(e.message));
addEventListener("unhandledrejection", (e) => problems.push(String(e.reason)));
addEventListener("securitypolicyviolation", (e) => problems.push(e.violatedDirective));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(words.join(" "));
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium on this machine (apt-get install chromium)")
@pytest.mark.parametrize(
    ("made", "filters"),
    [(lambda: ladder(3, kinds=("fact", "rename")), True), (hostile, False)],
    ids=["plain", "hostile"],
)
def test_page_in_a_real_browser(made: Callable[[], pd.DataFrame], filters: bool, tmp_path: Path):
    """No error, no request; the legend singles out by keyboard, the axis switches, the search finds, strings stay
    text."""
    rows = made()
    page = write_report(rows, tmp_path / "r.html", 2, 10)
    text = page.read_text().replace("<title>", WATCH + "<title>", 1)
    page.write_text(text.removesuffix("</body>\n</html>") + DRIVE + "</body>\n</html>")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=60000",
               "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path}/profile", "--dump-dom",
               page.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    match = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert match, "the page's script did not finish"
    out = json.loads(match.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    good = rows[rows["error"] == ""]
    n_rungs = good["rung"].nunique()
    n_cases = good["case"].nunique() * n_rungs
    assert out == {
        "drawn": 5, "hacked": 0, "filters": filters, "axis": "parameters", "found": f"{n_rungs} of {n_cases} found",
        "probes": 7, "none": True, "cleared": f"{n_cases} of {n_cases} found", "images": 0, "requests": 0, "errors": [],
    }  # fmt: skip
