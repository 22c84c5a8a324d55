"""The health of item codes: usage, errors and likeness by hand, and a tree that can be read."""

import re
from itertools import pairwise

import numpy as np
import pytest

from glta.methods.exhibit import Exhibit
from glta.methods.shared.code_health import code_exhibit, text_likeness, usage
from glta.methods.shared.code_step import with_estimates
from glta.methods.shared.code_tree import code_tree_picture
from glta.nn.quantize.codebooks import Codebooks
from glta.nn.quantize.item_codes import ItemCodes, make_codes
from glta.nn.quantize.spaces import Centring, JoinedSpace
from tests.nn.quantize.made import catalogue, small


@pytest.mark.parametrize(
    ("codes", "used", "bits"),
    [
        ([3, 3, 3], 1, 0.0),
        ([0, 1, 2, 3], 4, 2.0),
        ([0, 0, 1, 2], 3, 1.5),  # 1/2 * 1 + 2 * 1/4 * 2
        ([5, 5, 5, 7], 2, 2 - 0.75 * np.log2(3)),
    ],
)
def test_usage_by_hand(codes, used, bits):
    found = usage(np.array(codes))
    assert found == (used, pytest.approx(bits))
    assert str(found[1]) != "-0.0"


def test_likeness_by_hand():
    text = np.array([[1, 0], [0, 2], [1, 1], [-3, 0], [0, 0]], float)
    cosine = {(0, 1): 0.0, (0, 2): 0.5**0.5, (1, 2): 0.5**0.5}
    # items 0, 1 and 2 are a group; 3 is alone; 4 has no text
    each = [
        (cosine[0, 1] + cosine[0, 2]) / 2,
        (cosine[0, 1] + cosine[1, 2]) / 2,
        (cosine[0, 2] + cosine[1, 2]) / 2,
    ]
    assert text_likeness(np.array([8, 8, 8, 2, 2]), text) == (1, 3, pytest.approx(np.mean(each)))
    assert text_likeness(np.arange(5), text) == (0, 0, None)
    assert text_likeness(np.zeros(5, int), text)[2] == pytest.approx(
        (2 * sum(cosine.values()) + 2 * (-1 + 0 - 0.5**0.5)) / 4 / 3
    )


def known_codes() -> tuple[ItemCodes, np.ndarray]:
    """Make codes of four items on a line, of which the first two collide."""
    vectors = np.float32([[-1], [-1], [0], [2]])
    books = Codebooks(np.float32([[[-1], [2], [9]], [[0], [-2], [9]]]))
    nearest = np.int32([[0, 0], [0, 0], [0, 0], [1, 0]])
    codes = np.int32([[0, 0], [0, 1], [0, 2], [1, 0]])
    space = JoinedSpace(Centring(np.zeros(1, np.float32), 1.0), Centring(np.zeros(0), 0.0), 0.0)
    about = {"settings": {"kind": "residual-kmeans"}}
    return ItemCodes(codes, nearest, (3, 3), space, books, about), vectors


def rows_of(exhibit: Exhibit, table: int) -> dict:
    return {row[0]: row[1:] for row in exhibit.tables[table].rows}


def test_numbers_of_an_exhibit_by_hand():
    codes, vectors = known_codes()
    text = np.float32([[1, 0], [1, 0], [0, 1], [0, 1]])
    exhibit = code_exhibit(codes, vectors, text)
    levels = rows_of(exhibit, 0)
    bits = 0.75 * np.log2(4 / 3) + 0.25 * 2
    # squares around the mean 0: 1 + 1 + 0 + 4; the codes miss the third item by 1
    assert levels["1"] == (3, 2, 1, pytest.approx(bits), pytest.approx(2**bits), 1 / 6)
    assert levels["2"] == (3, 1, 2, 0.0, 1.0, 1 / 6)
    collisions = rows_of(exhibit, 1)
    assert collisions["items"] == (4,)
    assert collisions["different sequences before"] == (2,)
    assert collisions["collision rate before: 1 - sequences / items"] == (0.5,)
    assert collisions["items that share a sequence before"] == (3,)
    assert collisions["most items of a sequence before"] == (3,)
    assert collisions["items with other codes after"] == (2,)
    assert collisions["different sequences after"] == (4,)
    # -1 is told as -3, 0 as 8, and the others as they are
    assert collisions["error after"] == (pytest.approx((4 + 64) / 6),)
    texts = rows_of(exhibit, 2)
    assert texts["none: any two items"] == (1, 4, pytest.approx(1 / 3))
    assert texts["1"] == (1, 3, pytest.approx((0.5 + 0.5 + 0) / 3))


@pytest.mark.parametrize("kind", ["residual-kmeans", "rq-vae"])
@pytest.mark.parametrize("collisions", ["token", "nearest"])
def test_an_exhibit_of_made_codes_can_be_saved(kind, collisions, tmp_path):
    vectors, text = catalogue(200)
    settings = small(kind=kind, collisions=collisions, steps=300)
    codes = make_codes(vectors, text, settings, 0)
    exhibit = code_exhibit(codes, vectors, text, [f"item {i} & <co>\x07" for i in range(200)])
    exhibit.save(tmp_path)
    assert Exhibit.load(tmp_path) == exhibit
    errors = [row[-1] for row in exhibit.tables[0].rows if row[-1] is not None]
    assert len(errors) == 3 and all(before > after for before, after in pairwise(errors))
    # vectors of six groups: one code of eight leaves less than a half over, and three some of it
    assert 0.1 < errors[0] < 0.5 and 0.01 < errors[-1] < 0.25
    assert ("further token" in rows_of(exhibit, 0)) == (collisions == "token")
    texts = rows_of(exhibit, 2)
    assert texts["none: any two items"][2] + 0.2 < texts["1"][2] < 1
    assert rows_of(exhibit, 1)["different sequences after"] == (200,)
    # what the health was measured on does not depend on a detour over the disk
    codes.save(tmp_path)
    assert code_exhibit(ItemCodes.load(tmp_path), vectors, text).tables == exhibit.tables


def heights(svg: str, left: float) -> list[float]:
    found = re.findall(rf'<rect class="\w+" x="{left:g}" [^>]*?height="([\d.]+)"', svg)
    return [float(height) for height in found]


def test_the_tree_shows_the_largest_codes_first():
    first = np.repeat([4, 7, 2], [60, 30, 10])
    codes = np.stack([first, np.arange(100) % 2, np.arange(100)], 1)
    distance = np.abs(np.arange(100) - 65.0)
    names = [f"name {i}" for i in range(100)]
    picture = code_tree_picture(codes, distance, names)
    assert "3 of 3 first codes, with 100 of 100 items" in picture.caption
    labels = re.findall(r">(\d+ · \d+)</text>", picture.svg)
    assert labels == ["4 · 60", "7 · 30", "2 · 10"]
    # heights are in proportion to the numbers of items
    high, middle, low = heights(picture.svg, 0)
    assert high == pytest.approx(2 * middle, rel=0.05) and middle == pytest.approx(3 * low, rel=0.1)
    assert len(heights(picture.svg, 150)) == 6
    # 65 and 64 are nearest among the items of code 7
    assert ">name 65 · name 64</text>" in picture.svg
    assert ">name 59 · name 58</text>" in picture.svg


def test_many_small_codes_become_one_bar():
    codes = np.stack([np.arange(2000) % 20, np.arange(2000)], 1)
    picture = code_tree_picture(codes, np.zeros(2000))
    assert "12 of 20 first codes, with 1200 of 2000 items" in picture.caption
    assert len(heights(picture.svg, 0)) == 12
    # each of the 1,200 second codes would be a third of a unit high
    assert len(heights(picture.svg, 150)) == 12
    assert picture.svg.count("100 more codes with 100 items") == 12
    assert len(picture.svg) < 10_000


def test_one_level_and_one_item():
    picture = code_tree_picture(np.int32([[3]]), np.zeros(1), ["a"])
    assert ">3 · 1</text>" in picture.svg


def test_items_without_users_have_codes_of_items_with_like_texts():
    """Three groups of texts have vectors around three points; unknown items are at random."""
    rng = np.random.default_rng(0)
    group = np.arange(240) % 3
    text = np.eye(3)[group] + rng.normal(0, 0.1, (240, 3))
    text = (text / np.linalg.norm(text, axis=1, keepdims=True)).astype(np.float32)
    vectors = (4 * rng.normal(size=(3, 8))[group] + rng.normal(0, 1, (240, 8))).astype(np.float32)
    known = np.arange(240) < 200
    vectors[~known] = rng.normal(0, 0.05, (40, 8))
    before = vectors.copy()

    def share(given: np.ndarray) -> float:
        """How many unknown items have a first code that known items of their group have."""
        first = make_codes(given, text, small(levels=3, codes=8, text_weight=0.1), 0).codes[:, 0]
        pairs = set(zip(group[known], first[known], strict=True))
        return np.mean([pair in pairs for pair in zip(group[~known], first[~known], strict=True)])

    estimated = with_estimates(vectors, text, known)
    assert share(vectors) < 0.2
    assert share(estimated) > 0.9
    np.testing.assert_array_equal(estimated[known], before[known])
    np.testing.assert_array_equal(vectors, before)
    for every in (True, False):
        assert with_estimates(vectors, text, np.full(240, every)) is vectors
