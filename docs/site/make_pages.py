"""Gather the pages of the documentation site in build/pages, from which zensical makes build/site.

The pages are the repository's own Markdown files, so that they read alike on the site and in the
repository, and one page of API reference for each package ("room") of glta/.
`python docs/site/make_pages.py` is the first half of `make docs`.
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BUILD = ROOT / "build"
PAGES = BUILD / "pages"
TOP = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files at the top of the repository, and the names of their pages."""

LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)(?=[)#])")
"""The path of a link or picture that leads to another file."""

ROOMS = {
    "glta.config": "What all settings are built from.",
    "glta.storage": "Whole files, arrays, and the folder of one dataset and seed.",
    "glta.pictures": "Drawings in SVG, and the check of those that a page shows.",
    "glta.progress": "Progress lines, and the records of a training.",
    "glta.io": "From bytes to two plain tables; every bad row is known by its line.",
    "glta.datasets": "The datasets that have a name: addresses, checksums, readers, presets.",
    "glta.data": "Cleaning, k-core, splits, and what every method takes.",
    "glta.training": "Early stopping, checkpoints, seeds and devices.",
    "glta.nn.graph": "Graph encoders, losses and their training.",
    "glta.nn.text": "Maps of text states, and their training.",
    "glta.nn.sequence": "Self-attention over items in order, and its training.",
    "glta.nn.quantize": "Codes of items: residual k-means, RQ-VAE, collisions.",
    "glta.nn.language": "Language models, prompts with node tokens, and text states.",
    "glta.features": "Item features and user features, such as texts.",
    "glta.evaluation": "Full ranking, metrics, groups of users and items, significance.",
    "glta.methods": "What a method is, the registry, and every method.",
    "glta.params": "`params.yaml`: its model, its checks, and changes of the file.",
    "glta.tuning": "Search for better settings on validation data.",
    "glta.serving": "Recommendations for the ids of the source.",
    "glta.report": "The report and its figures.",
    "glta.testing": "Contract tests for methods.",
    "pipeline.cli": "The command `glta`.",
}
"""Rooms from the bottom to the top: each imports only those before it."""


def modules_of(room: str) -> list[str]:
    """Return the modules of a room by name; those without any content are left out."""
    place = ROOT.joinpath(*room.split("."))
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    names = []
    for file in files:
        if file.exists() and ast.parse(file.read_text(encoding="utf-8")).body:
            parts = file.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def unlisted_modules() -> set[str]:
    """Return the modules of packages in glta/ that no page of the API reference shows."""
    shown = {name for room in ROOMS for name in modules_of(room)}
    return {name for name in modules_of("glta") if name.count(".") > 1} - shown


def page_of(file: Path) -> Path:
    """Return where a file of the repository lies among the pages."""
    if file.parent == ROOT and file.name in TOP:
        return PAGES / TOP[file.name]
    if file.is_relative_to(DOCS):
        return PAGES / file.relative_to(DOCS)
    return PAGES / "repository" / file.relative_to(ROOT)


def site_text(file: Path) -> tuple[str, set[Path]]:
    """Return a Markdown file with links that lead to pages, and the other files it links to."""
    others = set()

    def target(match: re.Match) -> str:
        linked = (file.parent / match[1]).resolve()
        if linked.suffix != ".md":
            others.add(linked)
        return page_of(linked).relative_to(PAGES).as_posix()

    return LINK.sub(target, file.read_text(encoding="utf-8")), others


def write_pages() -> None:
    """Write the Markdown files of the repository, and copy the pictures and files they link to."""
    for file in [*(ROOT / name for name in TOP), *sorted(DOCS.glob("*.md"))]:
        text, others = site_text(file)
        page_of(file).write_text(text, encoding="utf-8")
        for other in others:
            page_of(other).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(other, page_of(other))


def write_api() -> list[str]:
    """Write a page for each room that exists, and return the rooms."""
    rooms = {room: names for room in ROOMS if (names := modules_of(room))}
    (PAGES / "api").mkdir()
    for room, names in rooms.items():
        blocks = [f"# {room}", ROOMS[room], *(f"::: {name}" for name in names)]
        (PAGES / "api" / f"{room}.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    lines = [f"- [{room}]({room}.md): {ROOMS[room]}" for room in rooms]
    intro = "# API\n\nPackages from the bottom to the top: each imports only those before it.\n\n"
    (PAGES / "api" / "index.md").write_text(intro + "\n".join(lines) + "\n", encoding="utf-8")
    return list(rooms)


def main() -> None:
    if unlisted := unlisted_modules():
        raise SystemExit(
            f"no page shows {', '.join(sorted(unlisted))}: name the package in ROOMS of {__file__}"
        )
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    write_pages()
    rooms = write_api()
    # the API is the last entry of `nav`, and `nav` is the last key of the file
    config = (DOCS / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    entries = [f"      - {room}: api/{room}.md\n" for room in rooms]
    (BUILD / "mkdocs.yml").write_text(config + "".join(entries), encoding="utf-8")


if __name__ == "__main__":
    main()
