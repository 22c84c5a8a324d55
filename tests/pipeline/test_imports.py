"""Test that all code behind a program is found, or the import that cannot be followed is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine import code
from pipeline.engine.imports import forget, modules_of, rest_of

MODEL = "glta/methods/mine/model.py"


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Return a function that writes files into an empty project: {path: text}."""
    monkeypatch.chdir(tmp_path)

    def write(files: dict[str, str]) -> None:
        forget()
        for package in ("glta", "glta/methods", "glta/methods/mine"):
            files = {f"{package}/__init__.py": ""} | files
        for path, text in files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)

    yield write
    forget()


FOLLOWED = {
    "lazy": ("def f():\n    from glta.far.away import g\n", "glta/far/away.py"),
    "by a literal": (
        "from importlib import import_module\nm = import_module('glta.far.away')\n",
        "glta/far/away.py",
    ),
    "relative": ("from .helper import g\n", "glta/methods/mine/helper.py"),
    "relative, two up": ("from ..shared import tool\n", "glta/methods/shared/tool.py"),
    "the module by itself": ("import glta.far.away as away\n", "glta/far/away.py"),
    "all of a package": ("from glta.far import *\n", "glta/far/away.py"),
    "in a branch": (
        "try:\n    import torch\nexcept ImportError:\n    from glta.far import away\n",
        "glta/far/away.py",
    ),
    "a package that exports again": ("from glta.far import g\n", "glta/far/away.py"),
    "a constant of a package": ("from glta.constants import ALPHA\n", "glta/constants/__init__.py"),
    "data beside it": ("", "glta/methods/mine/words.json"),
    "data in a folder beside it": ("", "glta/methods/mine/tables/deep/words.json"),
}


@pytest.mark.parametrize(("text", "wanted"), FOLLOWED.values(), ids=list(FOLLOWED))
def test_what_a_model_uses_is_part_of_its_program(house, text, wanted):
    house(
        {
            MODEL: text,
            "glta/far/__init__.py": "from glta.far.away import g\n",
            "glta/far/away.py": "g = 1\n",
            "glta/constants/__init__.py": "ALPHA = 0.5\n",
            "glta/methods/mine/helper.py": "g = 1\n",
            "glta/methods/shared/__init__.py": "",
            "glta/methods/shared/tool.py": "",
            "glta/methods/mine/words.json": "{}",
            "glta/methods/mine/tables/deep/words.json": "{}",
        }
    )
    assert wanted in modules_of(MODEL)


def test_what_a_model_does_not_use_is_no_part_of_its_program(house):
    house(
        {
            MODEL: "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import glta.far\n",
            "glta/far.py": "",
            "glta/__init__.py": '"""The library."""\n\n__version__ = "1.0"\n',
            "glta/config.py": "",
            "glta/methods/other/model.py": "",
            "glta/methods/other/words.json": "",
            "glta/methods/mine/.model.py.swp": "",
            "glta/methods/mine/model.py~": "",
            "glta/methods/mine/package/__init__.py": "",
            "glta/methods/mine/package/words.json": "",
        }
    )
    assert modules_of(MODEL) == [MODEL]


REFUSED = {
    "a computed name": (
        "import importlib\nname = 'x'\nm = importlib.import_module(f'glta.{name}')\n",
        f"{MODEL} line 3: runs a module by a computed name, .*; use import statements",
    ),
    "a path": (
        "import runpy\nrunpy.run_path('x.py')\n",
        f"{MODEL} line 2: runs a module by a computed name",
    ),
    "code outside": (
        "import tools\n",
        f"{MODEL} line 1: imports tools.py, which lies outside of glta/, .*; move it into",
    ),
    "a package outside": (
        "def f():\n    from mine.deep import g\n",
        f"{MODEL} line 2: imports mine/deep.py, which lies outside of glta/",
    ),
    "wrong syntax": ("x = (\n", f"{MODEL} line 1: '\\(' was never closed"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=list(REFUSED))
def test_an_import_that_cannot_be_followed_is_named(house, text, said):
    house({MODEL: text, "tools.py": "", "mine/deep.py": "g = 1\n"})
    with pytest.raises(ValueError, match=said):
        modules_of(MODEL)


SPEC = '''"""A method."""

from typing import Annotated

from pydantic import Field, field_validator

from glta.config import Search, Section
from glta.methods.spec import MethodSpec, StepSpec

Rate = Annotated[float, Search(0.1, 1.0)]


class Base(Section):
    """Settings."""

    rate: Rate = Field(0.5, description="a rate")


class Settings(Base):
    """Settings."""

    width: int = Field(3, ge=1, description="a width")

    @field_validator("width")
    def _odd(cls, width):
        return width


SPEC = MethodSpec(name="mine", steps=(StepSpec("mine", "glta.methods.mine.model:Fit"),))
'''


def test_settings_are_no_code(house):
    """Their values are recorded one by one."""
    house({"glta/methods/mine/spec.py": SPEC})
    assert rest_of("glta/methods/mine/spec.py") == ""


@pytest.mark.parametrize(
    "more",
    [
        "TEMPERATURE = 0.2\n",
        "def scale(x):\n    return 2 * x\n",
        "class Settings2(Settings):\n    @property\n    def twice(self):\n        return 2\n",
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Own:\n    x: int = 3\n",
    ],
)
def test_other_code_in_a_spec_is_part_of_the_program(house, more):
    spec = "glta/methods/mine/spec.py"
    house({MODEL: "from glta.methods.mine.spec import Settings\n", spec: SPEC})
    assert code._hashed(MODEL)["settings"] == {}
    forget()
    Path(spec).write_text(SPEC + more)
    first = code._hashed(MODEL)
    assert [*first["settings"]] == [spec] and spec not in first["files"]
    forget()
    Path(spec).write_text(SPEC.replace("Field(3", "Field(4") + "\n# a comment\n" + more)
    assert code._hashed(MODEL) == first
    forget()
    Path(spec).write_text(SPEC + more.replace("2", "4").replace("3", "4"))
    assert code._hashed(MODEL) != first
    program = code.code_file("mine")
    house({program: code.written(first)})
    assert code.edited(program) == [spec]
    Path(spec).unlink()
    assert code.edited(program) == [spec]


def test_code_that_was_added_edited_or_removed_is_named():
    before = {"files": {"a.py": "1", "b.py": "1"}, "settings": {"spec.py": "1"}}
    after = {"files": {"b.py": "2", "c.py": "1"}, "settings": {"spec.py": "2"}}
    assert code.changes(before, after) == [
        "a.py was removed",
        "b.py was edited",
        "c.py was added",
        "spec.py was edited",
    ]
    assert code.changes({"settings": {"ease": {"l2": 1}}}, {"settings": {"ease": {"l2": 2}}}) == [
        "params.yaml settings.ease.l2 1 -> 2"
    ]
    old, new = ({"specs": {"ease": {"title": title}}} for title in ("EASE", "Ease"))
    assert code.changes(old, new) == ["the spec of ease: title EASE -> Ease"]
    assert code.values_of({"seeds": 1} | new) == {"seeds": 1}
    assert code.changes({"files": {}, "changes": {}}, {"files": {}, "changes": {"a": 1}}) == [
        "its spec changed"
    ]


def test_a_value_that_moves_for_another_dataset_is_no_change_of_it():
    one = {"datasets": ["sample"], "evaluate": {"cold": 12, "k": 3}, "overrides": {}}
    two = {
        "datasets": ["sample", "books"],
        "evaluate": {"k": 3},
        "overrides": {"sample": {"evaluate": {"cold": 12}}, "books": {"evaluate": {"cold": 5}}},
    }
    added = "params.yaml datasets ['sample'] -> ['sample', 'books']"
    assert code.changes(one, two) == [added]
    assert code.changes(two, one) == ["params.yaml datasets ['sample', 'books'] -> ['sample']"]
    assert code.changes(one | {"evaluate": {"cold": 12, "k": 4}}, two) == [
        added,
        "params.yaml evaluate.k 4 -> 3",
    ]
    apart = two["overrides"] | {"books": {"evaluate": {"cold": 6}}}
    assert code.changes(two, two | {"overrides": apart}) == [
        "params.yaml overrides.books.evaluate.cold 5 -> 6"
    ]
    # both are changed alike, and so they are in one place again
    alike = two | {"evaluate": {"k": 3, "cold": 5}, "overrides": {}}
    assert code.changes(two, alike) == ["params.yaml overrides.sample.evaluate.cold 12 -> 5"]
    assert code.changes(one, one | {"datasets": ["books"]}) == [
        "params.yaml datasets ['sample'] -> ['books']"
    ]


@pytest.mark.parametrize(
    ("read", "fix"),
    [
        ("data/books/0/profile/items.parquet", "name the stage or step that writes it in `reads`"),
        ("glta/methods/mine/late.py", "import it with an import statement"),
        ("my/words.txt", "put the file into the folder of the module that reads it"),
    ],
)
def test_a_file_that_no_stage_would_miss_is_named(house, read, fix):
    program = code.code_file("mine")
    house(
        {
            MODEL: "",
            program: code.written({"files": {MODEL: ""}, "settings": {}}),
            "glta/params/check.py": "",
        }
    )
    passed = ["params.yaml", MODEL, "data/books/0/prepare/train.parquet", ".cache/x", program]
    known = [program, "data/books/0/prepare", "model"]
    assert code.unnoticed([*passed, "model/config.json", "glta/config.py"], known) == ""
    said = code.unnoticed([*passed, read], known)
    assert said.startswith(f"it reads {read}, whose edits no stage would notice; {fix}")
