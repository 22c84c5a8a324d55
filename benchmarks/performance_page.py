"""Write the table and the figure of docs/performance.md from the records of the benchmarks."""

from __future__ import annotations

import json
import math
from pathlib import Path

from benchmarks.timing import Row
from glta.pictures.svg import Drawing
from glta.report.draw.axes import Axes

BEGIN, END = "<!-- table: written by python -m benchmarks -->", "<!-- end of table -->"


def cells(row: Row) -> list[str]:
    """Write a row as text: case, ours, rival's name, rival's value, ratio, target, note."""
    target = "" if row.target is None else f"{row.target:g}{'' if row.met else ' missed'}"
    return [
        row.case,
        f"{row.ours:.3g} {row.unit}",
        row.against,
        f"{row.rival:.3g} {row.unit}",
        f"{row.ratio:.2g}",
        target,
        row.note,
    ]


def read(out: Path) -> dict[str, tuple[dict, list[Row]]]:
    """Read every record: {name: (machine, rows)}."""
    found = {}
    for path in sorted(out.glob("*.json")):
        record = json.loads(path.read_text())
        found[path.stem] = record["machine"], [Row(**row) for row in record["rows"]]
    return found


def write_page(out: Path, docs: Path) -> None:
    """Rewrite the part of performance.md between its marks, and images/performance.svg."""
    records = read(out)
    lines = []
    for name, (about, rows) in records.items():
        words = ", ".join(f"{key} {value}" for key, value in about.items())
        lines += [
            f"**{name}** ({words})",
            "",
            "| what | this package | against | theirs | ratio | target | note |",
            "|---" * 7 + "|",
        ]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
        lines.append("")
    page = docs / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + END + rest.partition(END)[2])
    (docs / "images" / "performance.svg").write_text(
        figure([row for _, rows in records.values() for row in rows])
    )


def figure(rows: list[Row]) -> str:
    """Draw one bar for each comparison with a target, on a logarithmic scale, with the target."""
    rows = [row for row in rows if row.target is not None]
    drawing = Drawing(
        760,
        46 + 24 * len(rows),
        "How many times as fast as",
        "One bar for each comparison, with its target",
    )
    most = max([2.0, *(row.ratio for row in rows), *(row.target for row in rows)])
    low, high = math.log10(0.5), math.log10(most * 1.3)
    axes = Axes(drawing, (390, 10, 700, 20 + 24 * len(rows)), x_limits=(low, high), y_limits=(0, 1))
    for value in (0.5, 1, 2, 5, 10, 20, 50, 100):
        if low <= math.log10(value) <= high:
            x = axes.x(math.log10(value))
            drawing.line((x, axes.box[1]), (x, axes.box[3]))
            drawing.text(x, axes.box[3] + 16, f"{value:g}", kind="muted", anchor="middle")
    for place, row in enumerate(rows):
        y = 16 + 24 * place
        drawing.text(380, y + 11, f"{row.case}: {row.against}", anchor="end")
        end = axes.x(math.log10(max(row.ratio, 0.5)))
        drawing.bar(
            390, y, max(end - 390, 1), 14, kind="m3" if row.met else "m4", tip=f"{row.ratio:.2g}"
        )
        goal = axes.x(math.log10(row.target))
        drawing.line((goal, y - 3), (goal, y + 17), kind="ink", width=2)
        drawing.text(max(end, goal) + 6, y + 11, f"{row.ratio:.2g}", kind="muted")
    return drawing.svg(standalone=True)
