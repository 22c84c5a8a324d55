"""The artefact: it is read as it was written, or refused, and new items find free codes in it."""

import re

import numpy as np
import pytest

from glta.nn.quantize import item_codes
from glta.nn.quantize.item_codes import ItemCodes, make_codes
from glta.nn.quantize.spaces import Centring
from glta.storage.arrays import load_arrays, save_arrays
from tests.nn.quantize.made import catalogue, small

KINDS = ["residual-kmeans", "rq-vae"]
STRATEGIES = ["token", "assign", "nearest"]


@pytest.fixture(scope="module")
def made():
    """Make codes once for each kind."""
    vectors, text = catalogue()
    return {kind: make_codes(vectors, text, small(kind=kind, steps=20), 0) for kind in KINDS}


def distinct(codes: np.ndarray) -> bool:
    return len({*map(tuple, codes.tolist())}) == len(codes)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_they_are_the_same(made, kind, tmp_path, monkeypatch):
    codes = made[kind]
    codes.save(tmp_path)
    first = (tmp_path / "codes.safetensors").read_bytes()
    # nothing may be computed again
    monkeypatch.setattr(item_codes, "resolved", None)
    monkeypatch.setattr(item_codes, "residual_k_means", None)
    loaded = ItemCodes.load(tmp_path, num_items=60)
    np.testing.assert_array_equal(loaded.codes, codes.codes)
    assert loaded.digest == codes.digest and loaded.about == codes.about
    vectors, text = catalogue(9, seed=5)
    np.testing.assert_array_equal(loaded.encode(vectors, text), codes.encode(vectors, text))
    loaded.save(tmp_path)
    assert (tmp_path / "codes.safetensors").read_bytes() == first


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_inputs_give_equal_codes_of_their_own(kind, strategy):
    vectors, text = catalogue()
    settings = small(kind=kind, collisions=strategy, steps=10)
    codes = make_codes(vectors, text, settings, 3)
    assert codes.digest == make_codes(vectors, text, settings, 3).digest
    assert distinct(codes.codes)
    assert (codes.codes >= 0).all() and (codes.codes < codes.codes_per_level).all()
    assert codes.codes_per_level == (8,) * (4 if strategy == "token" else 3)


@pytest.mark.parametrize("change", ["seed", "vectors", "texts", "settings"])
def test_the_digest_says_what_made_the_codes(change):
    vectors, text = catalogue()
    settings = small(levels=1, codes=64)
    before = make_codes(vectors, text, settings, 0).digest
    if change == "vectors":
        vectors[0, 0] += 1e-6
    if change == "texts":
        text[0, 0] += 1e-6
    if change == "settings":
        settings = settings.model_copy(update={"restarts": 2})
    assert make_codes(vectors, text, settings, int(change == "seed")).digest != before


def damaged(folder, **arrays):
    """Change arrays of saved codes, as a stray write would."""
    path = folder / "codes.safetensors"
    found, meta = load_arrays(path)
    save_arrays(path, found | arrays, meta)
    return path


def test_codes_that_do_not_fit_their_digest_are_refused(made, tmp_path):
    codes = made["residual-kmeans"]
    codes.save(tmp_path)
    other = codes.codes.copy()
    other[[0, 1]] = other[[1, 0]]
    path = damaged(tmp_path, codes=other)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*digest {codes.digest[:12]}"):
        ItemCodes.load(tmp_path)


def test_codes_of_another_catalogue_or_schema_are_refused(made, tmp_path, monkeypatch):
    made["residual-kmeans"].save(tmp_path)
    path = re.escape(str(tmp_path / "codes.safetensors"))
    with pytest.raises(ValueError, match=f"^{path}: has codes of 60 items, .* catalogue has 61;"):
        ItemCodes.load(tmp_path, num_items=61)
    monkeypatch.setattr(item_codes, "SCHEMA", 2)
    with pytest.raises(ValueError, match=f"^{path}: has schema 1, this version of glta reads 2"):
        ItemCodes.load(tmp_path)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", KINDS)
def test_new_items_get_codes_that_nobody_has(kind, strategy):
    vectors, text = catalogue()
    settings = small(kind=kind, codes=16, collisions=strategy, steps=10)
    codes = make_codes(vectors, text, settings, 0)
    # those of known items, and one of them many times
    again = np.concatenate([vectors[:10], np.repeat(vectors[:1], 5, axis=0)])
    words = np.concatenate([text[:10], np.repeat(text[:1], 5, axis=0)])
    extended = codes.extended(again, words)
    assert distinct(extended.codes) and extended.num_items == 75
    np.testing.assert_array_equal(extended.codes[:60], codes.codes)
    np.testing.assert_array_equal(extended.codes[60:], codes.encode(again, words))
    np.testing.assert_array_equal(extended.nearest[60:70], codes.nearest[:10])
    assert extended.digest != codes.digest
    # a second extension sees the first
    assert distinct(extended.extended(again, words).codes)


def test_no_free_code_is_an_error():
    vectors, text = catalogue(9)
    codes = make_codes(vectors, text, small(levels=1, codes=8, collisions="token"), 0)
    with pytest.raises(ValueError, match="more than 8 items have equal codes"):
        codes.encode(np.repeat(vectors[:1], 8, axis=0), np.repeat(text[:1], 8, axis=0))
    with pytest.raises(ValueError, match=r"^settings\.mine: 8 items have all 8\^1 code seq"):
        make_codes(vectors, text, small(levels=1, codes=8), 0, section="settings.mine")


def test_a_new_item_is_placed_by_what_is_known_of_it(made):
    """Text and vector of an item lead to its first code, each alone."""
    vectors, text = catalogue()
    codes = make_codes(vectors, text, small(text_weight=1.0, codes=6), 0)
    first = codes.nearest[:54, 0]
    by_vector = codes.encode(vectors[:54])[:, 0]
    by_text = codes.encode(None, text[:54])[:, 0]
    for found in (by_vector, by_text):
        # chance would be a sixth
        assert 0.9 < (found == first).mean() <= 1
    with pytest.raises(ValueError, match="new items need vectors, or text states"):
        codes.encode(None)
    with pytest.raises(ValueError, match="new items need vectors, as the encoder"):
        made["rq-vae"].encode(None, text)
    with pytest.raises(ValueError, match=r"shape \(60, 5\), but .* width 6; use"):
        codes.encode(text)


def test_texts_pull_codes_towards_them():
    """Vectors say nothing, texts all: with text_weight the first code follows the texts."""
    _, text = catalogue(120)
    vectors = np.random.default_rng(3).normal(size=(120, 6)).astype(np.float32)
    group = np.arange(120) % 6

    def purity(weight: float) -> float:
        settings = small(text_weight=weight, text_dim=5, codes=6)
        code = make_codes(vectors, text, settings, 0).nearest[:, 0]
        return sum(np.bincount(group[code == c]).max() for c in np.unique(code)) / 120

    # the least possible is a sixth
    assert 0.2 < purity(0.0) < 0.35
    assert 0.95 < purity(10.0) <= 1


def test_without_text_weight_texts_change_no_code():
    vectors, text = catalogue()
    settings = small(text_weight=0.0)
    found = [make_codes(vectors, words, settings, 0).codes for words in (text, text[::-1])]
    np.testing.assert_array_equal(*found)


def test_shuffled_codes_are_those_of_other_items():
    vectors, text = catalogue()
    plain, shuffled = (make_codes(vectors, text, small(shuffled=s), 0) for s in (False, True))
    assert sorted(map(tuple, shuffled.codes)) == sorted(map(tuple, plain.codes))
    assert (shuffled.codes == plain.codes).all(1).mean() < 0.2


def test_vectors_and_texts_must_be_of_equally_many_finite_items():
    vectors, text = catalogue()
    with pytest.raises(ValueError, match="60 vectors and 59 text states"):
        make_codes(vectors, text[1:], small(), 0)
    vectors[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite; train them again"):
        make_codes(vectors, text, small(), 0)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("width", [None, 2])
def test_centring(unit, width):
    vectors, _ = catalogue()
    centring = Centring.of(vectors, unit=unit, width=width)
    rows = centring.rows(vectors)
    assert rows.shape == (60, width or 6) and not rows[-2].any()
    known = vectors[vectors.any(1)].astype(np.float64)
    expected = known - known.mean(0)
    if width:
        _, _, directions = np.linalg.svd(expected, full_matrices=False)
        expected = expected @ directions[:2].T
    size = np.square(expected).sum(1)
    expected /= np.sqrt(size)[:, None] if unit else np.sqrt(size.mean())
    # directions have no sign
    np.testing.assert_allclose(np.abs(rows[vectors.any(1)]), np.abs(expected), atol=1e-4)
    assert np.square(rows).sum() / 59 == pytest.approx(1, rel=1e-4)
