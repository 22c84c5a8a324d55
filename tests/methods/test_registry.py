"""Methods are found by their specs, and a step sees what its spec names and nothing else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import glta.methods
from glta.methods import registry
from glta.methods.base import Job
from glta.methods.chain import run_unit
from glta.methods.ease.spec import EASESettings
from glta.methods.lightgcn.spec import LightGCNSettings
from glta.methods.registry import models, needed, recommender_class, specs, title, units
from glta.nn.language.settings import LanguageSettings
from glta.params.model import Params

SPEC = """\
from pydantic import Field

from glta.config import Section
from glta.methods.spec import Ablation, MethodSpec, StepSpec


class Part(Section):
    size: int = Field(3, description="of it")


class Settings(Section):
    first: Part = Part()
    second: Part = Part()
    third: Part = Part()


SPEC = MethodSpec(
    name="{name}",
    title="{title}",
    paper="none",
    settings=Settings,
    recommender="glta.methods.ease.model:EASE",
    steps=({steps},),
    ablations={{{ablations}}},
    place={place},
)
"""
RUN = "glta.methods.ease.model:SolveEASE"
THREE = ", ".join(
    [
        f'StepSpec("made-first", "{RUN}", settings=("first",))',
        f'StepSpec("made-second", "{RUN}", reads=("prepare", "profile", "made-first"), '
        'settings=("first", "second"), shared=("language",))',
        f'StepSpec("made", "{RUN}", reads=("pretrain-all", "made-second"), settings=("third",))',
    ]
)

Add = Callable[..., None]


@pytest.fixture
def add(tmp_path, monkeypatch) -> Add:
    """Put method folders beside those of the package."""
    monkeypatch.setattr(glta.methods, "__path__", [*glta.methods.__path__, str(tmp_path)])
    before = set(sys.modules)

    def forget() -> None:
        for cached in (registry.specs, registry.units):
            cached.cache_clear()

    def write(folder="made", name="made", place=1, steps=THREE, ablations="", title="Made"):
        (tmp_path / folder).mkdir()
        text = SPEC.format(name=name, title=title, place=place, steps=steps, ablations=ablations)
        (tmp_path / folder / "spec.py").write_text(text)
        forget()

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("glta.methods."):
            del sys.modules[name]
    monkeypatch.undo()
    forget()


def step(name: str, *reads: str) -> str:
    return f'StepSpec("{name}", "{RUN}", reads={reads!r})'


def test_every_folder_with_a_spec_is_a_method():
    root = Path(glta.methods.__path__[0])
    folders = {path.parent.name for path in root.glob("*/spec.py")}
    assert {name.replace("-", "_") for name in specs()} == folders
    assert len(folders) >= 13


def test_lists_are_in_the_order_of_places_then_names(add):
    add("later", "later", steps=step("later"), place=41, title="Later")
    add("b", "b", steps=step("b"), place=40)
    names = list(specs())
    assert [name for name in names if name in ("b", "ease", "later")] == ["b", "ease", "later"]
    assert names[0] == "popularity"
    assert names.index("later") < names.index("lightgcn")
    assert [name for name in units() if name in names] == names


def test_specs_import_nothing_heavy():
    code = (
        "import sys; from glta.methods.registry import models, title;"
        "[title(name) for name in models()];"
        "assert not {'numpy', 'polars', 'scipy', 'torch'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_read_that_nobody_writes_is_refused(add):
    add(steps=step("made", "prepare", "pretrain-some"))
    with pytest.raises(ValueError, match="step made: reads pretrain-some, which no step writes"):
        specs()


def test_an_ablations_read_that_nobody_writes_is_refused(add):
    add(steps=step("made"), ablations='"less": Ablation({"first.size": 1}, reads=("nothing",))')
    with pytest.raises(ValueError, match="ablation made-less: reads nothing, which no step writes"):
        specs()


@pytest.mark.parametrize(
    "taken", ["pretrain-all", "ease", "glta-tied-head", "profile", "report", "made"]
)
def test_two_steps_of_one_name_are_refused(add, taken):
    add(steps=f"{step(taken)}, {step('made')}")
    with pytest.raises(ValueError, match=f"{taken}: two stages, steps or methods have this name"):
        specs()


def test_the_last_step_has_the_methods_name(add):
    add(steps=f"{step('made')}, {step('made-last')}")
    with pytest.raises(ValueError, match="method made: its last step must be called made"):
        specs()


@pytest.mark.parametrize("read", ["made-late", "made-early"])
def test_a_step_reads_earlier_steps_alone(add, read):
    early, late = step("made-early", read), step("made-late")
    add(steps=f"{early}, {late}, {step('made', 'made-late')}")
    with pytest.raises(ValueError, match=f"step made-early: reads {read}, which does not come"):
        specs()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("glta.methods.ease.model.SolveEASE", r'run is ".*SolveEASE"; write "module:class"'),
        ("glta.methods.easy.model:SolveEASE", r"there is no glta/methods/easy/model\.py"),
        ("glta.methods.ease.modell:SolveEASE", r"there is no glta/methods/ease/modell\.py"),
        ("glta.methods.ease.model:SolveEas", r"ease/model\.py defines no class SolveEas$"),
    ],
)
def test_a_class_that_is_not_there_is_refused(add, run, message):
    add(steps=f'StepSpec("made", "{run}")')
    with pytest.raises(ValueError, match=f"step made: .*{message}"):
        specs()


def test_settings_that_the_method_does_not_have_are_refused(add):
    add(steps=f'StepSpec("made", "{RUN}", settings=("fourth",))')
    with pytest.raises(ValueError, match="step made: settings names fourth, which Settings does"):
        specs()


def test_an_unknown_capability_is_refused(add):
    add(steps=f"{step('made')},), capabilities=frozenset(('history',)")
    with pytest.raises(ValueError, match="capability history is unknown; valid are histories, seq"):
        specs()


def test_a_folder_with_another_name_than_its_method_is_refused(add):
    add(folder="made-up", name="made-up", steps=step("made-up"))
    with pytest.raises(ValueError, match=r"made-up: holds method made-up; call the folder made_up"):
        specs()


def test_a_units_reads_sections_and_folder(add):
    add()
    first, second, last = (units()[name] for name in ("made-first", "made-second", "made"))
    assert (first.reads, second.reads) == (("prepare",), ("prepare", "profile", "made-first"))
    assert second.sections == ["settings.made.first", "settings.made.second", "language"]
    assert units()["ease"].sections == ["settings.ease"]
    assert (first.model, second.model, last.model) == (False, False, True)
    assert (first.folder, last.folder) == (("made-first",), ("models", "made"))
    assert "made" in models()
    assert "made-first" not in models()


@pytest.mark.parametrize(
    ("changed", "steps", "reads"),
    [
        ("third.size", ["made"], ["pretrain-all", "made-second"]),
        (
            "second.size",
            ["made-second", "made"],
            ["prepare", "profile", "made-first", "pretrain-all"],
        ),
        (
            "first.size",
            ["made-first", "made-second", "made"],
            ["prepare", "profile", "pretrain-all"],
        ),
    ],
)
def test_an_ablation_runs_again_from_the_first_step_that_reads_what_changes(
    add, changed, steps, reads
):
    add(ablations=f'"less": Ablation({{"{changed}": 1}}, reads=("pretrain-graph",))')
    unit = units()["made-less"]
    assert [step.name for step in unit.steps] == steps
    assert list(unit.reads) == [*reads, "pretrain-graph"]
    assert unit.changes == {changed: 1}
    assert unit.values == {f"settings.made.{changed}": 1}
    assert unit.folder == ("models", "made-less")
    assert "made-less" in models()
    assert title("made-less") == "Made less"
    assert unit.ablation.text == f"{changed} = 1"


def test_an_ablation_that_no_step_reads_is_refused(add):
    add(ablations='"less": Ablation({"frist.size": 1})')
    with pytest.raises(ValueError, match=r"made-less: no step of made reads \['frist'\]"):
        units()


def test_the_ablations_of_glta_change_its_settings():
    for name, unit in units().items():
        if unit.ablation:
            assert Params().with_values(unit.values) != Params(), name
            assert unit.steps[-1].name == unit.method.name
    assert [step.name for step in units()["glta-autoregressive"].steps] == ["glta"]
    leaky = units()["glta-leaky-targets"]
    assert [step.name for step in leaky.steps] == ["align_items", "align_users", "glta"]
    assert leaky.reads == ("prepare", "profile", "pretrain-graph", "pretrain-all")


def test_needed_is_what_methods_are_made_by_each_after_what_it_reads(add):
    assert needed([]) == []
    assert needed(["ease", "popularity"]) == ["ease", "popularity"]
    assert needed(["glta"]) == ["profile", "pretrain-graph", "align_items", "align_users", "glta"]
    add("early", "early", place=1, steps=step("early", "pretrain-all"))  # listed before LightGCN
    for methods in (["early", "lightgcn-text-knn"], models()):
        found = needed(methods)
        assert len(set(found)) == len(found)
        assert set(methods) <= set(found)
        for name in found:
            reads = set(units()[name].reads) - {"prepare"} if name in units() else set()
            assert reads <= set(found[: found.index(name)]), name
    assert "pretrain-graph" not in needed(["early", "lightgcn-text-knn"])
    with_leak = needed(["glta-leaky-targets"])
    assert {"pretrain-all", "pretrain-graph"} <= set(with_leak)
    assert "align_items" not in with_leak


def test_titles_and_classes():
    assert title("glta-without-profile") == "GLTA without profile"
    assert title("no-method") == "no-method"
    assert recommender_class("glta-tied-head") is recommender_class("glta")
    for name in models():
        assert recommender_class(name).__module__.startswith("glta.methods.")
    with pytest.raises(KeyError):
        recommender_class("nothing")


STEP = """\
from glta.methods.base import Step
from glta.methods.ease.spec import EASESettings
from glta.nn.language.settings import LanguageSettings


class ReadsTooMuch(Step):
    def run(self, job):
        return {what}
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            'job.source("profile")',
            "step made: does not read profile; its spec names prepare; add profile to its `reads`",
        ),
        (
            'job.section(LanguageSettings, "language")',
            "step made: does not read language; its spec names no such section; add language to "
            "its `shared`",
        ),
        (
            'job.own(EASESettings, "first")',
            "step made: does not read first; its spec names second; add first to its `settings`",
        ),
        (
            "job.own(EASESettings)",
            "step made: does not read all of its settings; its spec names second; ask for one of "
            "them",
        ),
    ],
)
def test_a_step_that_reads_what_its_spec_leaves_out_is_stopped(add, world, tmp_path, what, said):
    run = "glta.methods.made.model:ReadsTooMuch"
    add(steps=f'StepSpec("made", "{run}", settings=("second",))')
    (tmp_path / "made/model.py").write_text(STEP.format(what=what))

    def section(name: str):
        assert name == "settings.made.second"
        return specs()["made"].settings().second

    with pytest.raises(ValueError) as caught:
        run_unit(units()["made"], world.cell, section)
    assert str(caught.value) == said


def test_a_section_of_another_class_is_refused():
    job = Job(
        step="made",
        sources={},
        settings={"": EASESettings()},
        seed=0,
        shared={"language": LanguageSettings()},
    )
    assert job.own(EASESettings) == EASESettings()
    with pytest.raises(TypeError, match="step made: settings is a EASESettings"):
        job.own(LightGCNSettings)
    with pytest.raises(TypeError, match="step made: language is a LanguageSettings"):
        job.section(EASESettings, "language")


def test_two_methods_with_one_title_are_refused(add):
    """The report could not tell them apart."""
    add(title="EASE")
    with pytest.raises(ValueError, match='methods made and ease have the same title, "EASE"'):
        specs()
