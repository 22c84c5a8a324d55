"""Show the report in a browser at three widths: nothing sticks out of the page or of a box."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from glta.params.model import Params
from glta.report.cells import load_cells
from glta.report.page.render import render
from tests.report.made_up import SKILL, records
from tests.report.test_report import make

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking"
)
FLAGS += (
    " --disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files"
)
MEASURE = """<body style="margin:0"><iframe id="f" src="index.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>f.onload = () => {{ const d = f.contentDocument, w = f.contentWindow;
const out = [...d.querySelectorAll("body *")].filter(e => !e.closest(".scroll, nav, pre, svg")
  && e.getBoundingClientRect().right > w.innerWidth + 1);
const pictures = d.querySelectorAll("svg").length;
const spilling = [...d.querySelectorAll(".flow g")].filter(g => {{ const r = g.querySelector("rect").getBBox();
  return [...g.querySelectorAll("text")].some(t => t.getBBox().x + t.getBBox().width > r.x + r.width - 2) }});
document.title = [d.documentElement.scrollWidth, w.innerWidth, out.length, pictures,
spilling.length].join(" ") }}</script>
"""


def browse(folder: Path, *arguments: str) -> str:
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium found")
@pytest.mark.parametrize("width", [1280, 390, 320])
def test_no_sideways_scrolling(tmp_path, monkeypatch, width):
    params = Params(
        datasets=["sample", "ml-latest-small"],
        seeds=[0, 1],
        methods=list(SKILL),
        report={"resamples": 200},
    )
    data = make(tmp_path, monkeypatch, params=params, methods=SKILL)
    costs, provenance = records(params)
    html = render(
        params, load_cells(data / "evaluate", params), costs=costs, provenance=provenance
    ).html
    (tmp_path / "index.html").write_text(
        html.replace("<details>", "<details open>"), encoding="utf-8"
    )
    (tmp_path / "frame.html").write_text(MEASURE.format(width=width), encoding="utf-8")
    picture = tmp_path / f"report-{width}.png"
    browse(
        tmp_path,
        f"--window-size={max(width, 500)},4000",
        f"--screenshot={picture}",
        f"file://{tmp_path}/index.html",
    )
    assert picture.stat().st_size > 50_000
    page = browse(
        tmp_path,
        "--window-size=1400,1000",
        "--virtual-time-budget=5000",
        "--dump-dom",
        f"file://{tmp_path}/frame.html",
    )
    scroll_width, inner_width, sticking_out, pictures, spilling = map(
        int, re.search(r"<title>([\d ]+)</title>", page)[1].split()
    )
    assert inner_width == width
    assert scroll_width <= inner_width
    assert sticking_out == 0
    assert pictures > 20
    assert spilling == 0
