"""Test what is recorded of the machine and the packages, and where results differ in it."""

from __future__ import annotations

import importlib.metadata

from pipeline.tracking.environment import (
    describe_environment,
    differences,
    environment_of,
    environment_tags,
    in_short,
)


def test_the_environment_names_what_decides_numbers():
    found = describe_environment(2)
    assert found["threads"] == "2" and found["torch"] == importlib.metadata.version("torch")
    assert {"python", "system", "processor", "numpy", "scipy", "polars"} <= found.keys()
    assert all(isinstance(value, str) and value for value in found.values())
    assert environment_of({"stage": "x", **environment_tags(found)}) == found
    line = in_short(found)
    assert line.startswith(found["processor"]) and f"numpy {found['numpy']}" in line


def test_differences_name_the_values_and_their_stages():
    one = {"torch": "2.1", "threads": "1", "kernel": "6.1", "processor": "A"}
    other = one | {"torch": "2.2", "threads": "2", "kernel": "6.2"}
    assert differences({"a": one, "b": other, "c": {}, "d": one}) == {
        "torch": {"2.1": ["a", "d"], "2.2": ["b"]}
    }
    assert differences({"a": one, "b": one | {"gpu": "X"}}) == {"gpu": {"none": ["a"], "X": ["b"]}}
    assert differences({"a": one, "c": {}}) == {}
