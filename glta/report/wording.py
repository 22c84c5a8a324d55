"""Write numbers and names the way readers of the report see them."""

from __future__ import annotations

from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY

NONE = "–"  # noqa: RUF001 - the typographic dash
"""Stands in a table where there is no value."""


def metric_title(metric: str) -> str:
    """Write a metric with its cut-off: NDCG@20."""
    name, _, k = metric.partition("@")
    definition = ACCURACY.get(name) or BEYOND_ACCURACY.get(name)
    metric_name = definition.title if definition else name
    return f"{metric_name}@{k}" if k else metric_name


def group_title(group: str) -> str:
    """Write the name of a group of users or items: cold users."""
    return group.replace("_", " ")


def number(value: float | None, digits: int = 4) -> str:
    """Write a number with a fixed number of decimals, or a dash where there is none."""
    return NONE if value is None else f"{value:,.{digits}f}"


def signed(value: float, digits: int = 4) -> str:
    """Write a number with its sign, without a sign for zero."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "−")  # noqa: RUF001 - the typographic minus


def p_text(p: float) -> str:
    """Write a p-value: p < 0.001, p = 0.031, p = 1."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.9995 else "p = 1"


def p_cell(p: float) -> str:
    """Write a p-value below a heading that already says p: < 0.001, 0.031, 1."""
    return p_text(p).removeprefix("p ").removeprefix("= ")


def percent(share: float) -> str:
    """Write a share. 0% means none and 100% means all, so shares close to them are not rounded."""
    if share in (0, 1):
        return f"{share:.0%}"
    text = f"{share:.1%}"
    return {"0.0%": "under 0.1%", "100.0%": "over 99.9%"}.get(text, text)


def seconds(value: float) -> str:
    """Write a duration: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: float | None) -> str:
    """Write a number of bytes in binary units, or a dash where there is none."""
    if value is None:
        return NONE
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def shortened(name: str, limit: int = 19) -> str:
    """Replace the middle of a long name by an ellipsis; its end has the version or file type."""
    return name if len(name) <= limit else f"{name[: limit - 7]}…{name[-6:]}"
