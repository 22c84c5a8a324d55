"""Write numbers and names the way readers of the report see them."""

from __future__ import annotations

from math import floor, log10

from glta.evaluation.metrics import ACCURACY, BEYOND_ACCURACY

NONE = "–"  # noqa: RUF001 - the typographic dash
"""Stands in a table where there is no value."""

NOT_TESTED = "not tested"
"""Stands in the place of p for a method of report.not_tuned."""


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
    """Write a p-value: p = 0.00024, p = 0.031, p = 1. Below 0.001 it has two digits."""
    if p >= 0.9995:
        return "p = 1"
    decimals = 3 if p >= 0.001 else 1 - floor(log10(p))
    return f"p = {p:.{decimals}f}"


def p_cell(p: float) -> str:
    """Write a p-value below a heading that already says p: 0.00024, 0.031, 1."""
    return p_text(p).removeprefix("p = ")


def effect_text(effect: float) -> str:
    """Write the size of an effect d_z without its sign, with Cohen's word for it (1988)."""
    size = abs(effect)
    limits = {0.8: "large", 0.5: "medium", 0.2: "small"}
    word = next((word for least, word in limits.items() if size >= least), "very small")
    return f"d_z {size:.2f}, {word}"


def covers_text(num_seeds: int) -> str:
    """Say in a sentence each what the interval over users and the spread over seeds cover."""
    users = (
        "The interval over users tells what to expect of other users of the same kind with these "
        "trained models. It says nothing about another training, as all users are served by the "
        "same models."
    )
    if num_seeds < 2:
        return f"{users} There is one seed, so the spread over trainings is not known."
    return (
        f"{users} The standard deviation over {num_seeds} seeds tells how much another training "
        "moves the value. The test pairs are the same for all seeds."
    )


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
