"""Links of the documentation lead somewhere, and the citation file can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

PAGES = [Path(name) for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(Path("docs").glob("*.md"))
FENCE = re.compile(r"^\s*```.*?^\s*```", re.M | re.S)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *#*$", re.M)


def links(text: str) -> list[str]:
    """Return the targets of links and pictures that lead to this repository."""
    found = LINK.findall(CODE.sub("", FENCE.sub("", text)))
    return [target for target in found if not re.match(r"https?:|mailto:", target)]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        repeated = sum(
            re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found
        )
        found.add(f"{slug}-{repeated}" if repeated else slug)
    return found


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of it."""
    wrong = []
    for target in links(text):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if name and not file.is_file():
            wrong.append(f"{page}: {target}: no such file")
        elif anchor and anchor not in anchors(text if file == page else file.read_text("utf-8")):
            wrong.append(f"{page}: {target}: no such heading")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_local_link_resolves(page):
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found():
    text = "# A b: `c_d`\n[here](#a-b-c_d) [not](#a-b) [nor](absent.md) `[code](absent.md)`\n"
    assert broken(Path("docs/page.md"), text) == [
        "docs/page.md: #a-b: no such heading",
        "docs/page.md: absent.md: no such file",
    ]


def test_repeated_headings_are_numbered():
    assert anchors("# One\n## Two\n## Two\n") == {"one", "two", "two-1"}


def test_the_citation_file_can_be_read():
    cff = YAML(typ="safe").load(Path("CITATION.cff").read_text(encoding="utf-8"))
    assert cff["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cff.keys()
    papers = [paper["identifiers"][0]["value"] for paper in cff["references"]]
    assert papers == ["arXiv:2502.18757", "arXiv:2406.13235", "arXiv:2412.13771"]
    assert all(paper["title"] and paper["authors"] for paper in cff["references"])


def test_the_citation_has_the_version_of_the_package():
    import glta

    cff = YAML(typ="safe").load(Path("CITATION.cff").read_text(encoding="utf-8"))
    assert cff["version"] == glta.__version__
