"""Map data to a rectangle of a drawing, and draw its ticks."""

from __future__ import annotations

import math

from glta.pictures.svg import Drawing


class Axes:
    """Map data to a rectangle of a drawing.

    box: left, top, right and bottom of the rectangle. x_limits, y_limits: smallest and largest data
    value. Equal limits are widened.
    """

    def __init__(
        self,
        drawing: Drawing,
        box: tuple[float, float, float, float],
        *,
        x_limits: tuple[float, float],
        y_limits: tuple[float, float],
    ):
        self.drawing = drawing
        self.box = box
        self.x_limits = widen(*x_limits)
        self.y_limits = widen(*y_limits)
        self.ticks_x: list[float] = []

    def x(self, value: float) -> float:
        """Return the horizontal coordinate of a data value."""
        low, high = self.x_limits
        left, _, right, _ = self.box
        return left + (value - low) / (high - low) * (right - left)

    def y(self, value: float) -> float:
        """Return the vertical coordinate of a data value."""
        low, high = self.y_limits
        _, top, _, bottom = self.box
        return bottom - (value - low) / (high - low) * (bottom - top)

    def x_ticks(self, count: int = 5, *, rules: bool = True, whole: bool = False) -> None:
        """Write about `count` tick values below the rectangle, and remember them as `ticks_x`.

        rules: draw a line through the rectangle at each. whole: at whole numbers alone.
        """
        _, top, _, bottom = self.box
        ticks = nice_ticks(*self.x_limits, count)
        self.ticks_x = [value for value in ticks if not whole or value == round(value)]
        for value in self.ticks_x:
            x = self.x(value)
            if rules:
                self.drawing.line((x, top), (x, bottom))
            self.drawing.text(x, bottom + 16, tick_text(value), kind="muted", anchor="middle")

    def y_ticks(self, count: int = 4) -> None:
        """Write about `count` tick values left of the rectangle, with a line through it at each."""
        left, _, right, _ = self.box
        for value in nice_ticks(*self.y_limits, count):
            y = self.y(value)
            self.drawing.line((left, y), (right, y))
            self.drawing.text(left - 6, y + 4, tick_text(value), kind="muted", anchor="end")

    def rules_between(self, top: float, bottom: float) -> None:
        """Draw a line at each of `ticks_x`, from top to bottom.

        A figure with rows draws them beside the marks alone, so that none crosses a row's name.
        """
        for value in self.ticks_x:
            self.drawing.line((self.x(value), top), (self.x(value), bottom))


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Choose about `count` round numbers within [low, high].

    They are 1, 2 or 5 times a power of ten apart.
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.8)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """Write a tick value with as few digits as it needs."""
    return f"{value:g}".replace("-", "−")  # noqa: RUF001 - the typographic minus


def widen(low: float, high: float) -> tuple[float, float]:
    """Return limits that differ."""
    if high > low:
        return low, high
    return low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
