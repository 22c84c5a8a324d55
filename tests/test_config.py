"""Sections of settings are closed and frozen, and tell tuning where to search."""

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from glta.config import Search, Section, Sha256, file_fields


class Inner(Section):
    low: int = 1
    high: int = 2


class Outer(Section):
    rate: Annotated[float, Search(1e-4, 1e-1, log=True)] = 0.01
    inner: Inner = Inner()
    other_name: int = Field(default=1, alias="other-name")
    digest: Sha256 | None = None


def test_unknown_keys_and_changes_are_refused():
    with pytest.raises(ValidationError):
        Inner.model_validate({"lo": 1})
    with pytest.raises(ValidationError):
        Inner().low = 3


def test_the_search_space_is_that_of_the_annotations():
    assert Outer.search_space() == {"rate": Search(1e-4, 1e-1, log=True)}


def test_changed_replaces_single_keys_of_inner_sections():
    before = Outer()
    after = before.changed({"rate": 0.5, "inner": {"high": 9}})
    assert after["rate"] == 0.5
    assert after["inner"] == {"low": 1, "high": 9}
    assert before.inner.high == 2


def test_fields_have_their_names_in_the_file():
    assert list(file_fields(Outer)) == ["rate", "inner", "other-name", "digest"]


@pytest.mark.parametrize("digest", ["SHA256:" + "A" * 64, "sha256:" + "a" * 64, "a" * 64])
def test_a_digest_has_one_form(digest):
    assert Outer(digest=digest).digest == "a" * 64


def test_what_is_no_digest_is_refused():
    with pytest.raises(ValidationError):
        Outer(digest="a" * 63)
