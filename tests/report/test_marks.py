"""Marks of methods: one pair of colour and shape for each method, for readers with any sight."""

import re
from itertools import combinations

import numpy as np
import pytest

from glta.pictures.svg import PALETTE, figure_style, mark_outline
from glta.report.draw.marks import colour_class, mark_shapes
from glta.report.known import order

SIGHTS = {
    "usual": np.eye(3),
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
"""Linear RGB as seen (Machado, Oliveira and Fernandes 2009, severity 1)."""

GROUNDS = {"light": "#ffffff", "dark": "#1a212b"}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Ottosson 2020; distances are those that readers see."""
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    parts = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.array(parts) @ np.cbrt(np.clip(np.array(cones) @ rgb, 0, None))


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("mode", GROUNDS)
def test_all_colours_can_be_told_apart(mode, sight):
    """The eight colours of Okabe and Ito, darkened for white, have a least distance of 0.03."""
    seen = [
        oklab(np.clip(SIGHTS[sight] @ linear(pair[list(GROUNDS).index(mode)]), 0, 1))
        for pair in PALETTE
    ]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.075


@pytest.mark.parametrize("mode", GROUNDS)
def test_all_colours_stand_out_from_their_ground(mode):
    for pair in PALETTE:
        both = [luminance(pair[list(GROUNDS).index(mode)]), luminance(GROUNDS[mode])]
        assert (max(both) + 0.05) / (min(both) + 0.05) >= 3


def test_registered_methods_repeat_no_colour_and_no_shape_before_all_are_used():
    """No more of them can be told apart; a method beyond them has a new pair of the two."""
    numbers = range(len(order()))
    assert len(numbers) >= 13
    colours = [colour_class(number) for number in numbers]
    shapes = [tuple(mark_outline(number, 5)) for number in numbers]
    assert len(set(colours)) == min(len(numbers), len(PALETTE))
    assert len(set(shapes)) == min(len(numbers), len(PALETTE) - 1)
    assert len({*zip(colours, shapes, strict=True)}) == len(numbers)
    declared = re.findall(r"\.m\d+\{color:(#\w+)\}", figure_style().partition("@media")[0])
    assert len(set(declared)) == len(PALETTE)


def test_no_two_of_many_methods_have_one_mark():
    assert len(set(mark_shapes(range(180)).values())) == 180
