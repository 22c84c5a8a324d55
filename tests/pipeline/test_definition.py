"""Test that dvc.yaml follows the specs, and names everything that each program really uses.

A dependency that is missing there would leave stale results unnoticed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from glta.methods.base import Job
from glta.methods.chain import place_of
from glta.methods.registry import STAGES as BEFORE
from glta.methods.registry import models, units
from glta.methods.spec import file_of
from glta.params.check import load_params
from glta.params.file import render_params
from glta.params.inputs import inputs
from glta.params.model import SECTIONS, Params
from glta.params.plan import render_plan
from glta.storage.cell import Cell
from glta.storage.files import sha256_of
from pipeline.engine import code
from pipeline.engine.definition import render_definition
from pipeline.engine.imports import SETTINGS, UNTRACKED, modules_of
from pipeline.engine.oracle import downstream
from tests.pipeline.repository import REPOSITORY, Toy
from tests.starting import starting_params, starting_text

STAGES = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
BUNDLES = ("bundle", "bundle-with-profile")
PARTS = ("profile-part", "recommend-part")
"""These stages run the program of the stage without -part."""
JOINS = ("profile-join", "recommend-join")
BEFORE_METHODS = ("code", "download", "prepare", "profile", "profile-part", "profile-join")
AFTER_METHODS = ("recommend", "recommend-part", "recommend-join", "evaluate", *BUNDLES, "report")
OTHERS = (*BEFORE_METHODS, *AFTER_METHODS)
SECTION = re.compile(r"\bparams\.(\w+)")
PROGRAMS = code.programs()
VALUES = inputs(Params())


def test_committed_file_is_what_the_code_generates():
    assert Path("dvc.yaml").read_text(encoding="utf-8") == render_definition()


def test_there_is_a_stage_for_every_step_and_ablation():
    assert list(STAGES) == [*BEFORE_METHODS, *units(), *AFTER_METHODS]


def script_of(stage: str) -> str:
    """Return the name of the program of a stage."""
    if stage in BUNDLES:
        return "bundle"
    if stage in PARTS:
        return stage.removesuffix("-part")
    return stage.replace("-", "_") if stage in OTHERS else "train"


def values_of(stage: str) -> str:
    """Return the stage that has the parameter values of a stage."""
    return stage.partition("-")[0] if stage in (*PARTS, *JOINS) else stage


@pytest.mark.parametrize("stage", STAGES)
def test_command_passes_the_whole_matrix(stage):
    keys = list(STAGES[stage].get("matrix", {}))
    arguments = "".join(f" --{key} ${{item.{key}}}" for key in keys)
    script = script_of(stage)
    arguments += "" if stage in OTHERS else f" --step {stage}"
    ran = f"python -m pipeline.tracking.start -- python -m pipeline.stages.{script}{arguments}"
    assert STAGES[stage]["cmd"] == ran
    assert Path(f"pipeline/stages/{script}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_code_and_values_are_files_that_the_stage_code_writes(stage):
    """The stage `code` itself depends on all code and parameters, so any edit makes it run."""
    deps = STAGES[stage]["deps"]
    assert "params" not in STAGES[stage]
    if stage == "code":
        assert deps == ["glta", "pipeline", "params.yaml", "plan.yaml"]
        return
    whole = stage.removesuffix("-part")
    name = {"recommend": "recommend-${item.method}", BUNDLES[1]: "bundle"}.get(whole, whole)
    values = "report" if stage == "report" else f"${{item.dataset}}/{values_of(stage)}"
    written = [f"data/code/{name}.json", f"data/params/{values}.json"]
    if stage == "recommend-join":
        # it joins what is there
        written.pop()
    assert [dep for dep in deps if not code.is_data(dep)] == written


def test_every_stage_has_its_values():
    stages = [stage for stage in STAGES if stage not in ("code", "report", *PARTS, *JOINS)]
    assert sorted(VALUES) == sorted(["report", *(f"sample/{stage}" for stage in stages)])


def test_every_program_belongs_to_a_stage():
    without = ("code", "recommend", *PARTS, BUNDLES[1])
    scripts = [name for name in OTHERS if name not in without]
    assert sorted(PROGRAMS) == sorted([*scripts, *units(), *(f"recommend-{m}" for m in models())])


@pytest.mark.parametrize("stage", [s for s in STAGES if s in OTHERS])
def test_parameters_are_the_sections_read(stage):
    """Functions that receive all parameters read only sections that the stage declares."""
    listed = {*VALUES.get("report" if stage == "report" else f"sample/{values_of(stage)}", {})}
    script = f"pipeline/stages/{script_of(stage)}.py"
    files = [script, *(f for f in modules_of(script) if f.endswith(".py"))]
    texts = [Path(f).read_text(encoding="utf-8") for f in files]
    whole = [text for text in texts if re.search(r"params: Params\b", text)]
    assert whole or stage == "code"
    read = {name for text in whole for name in SECTION.findall(text)} & {*Params.model_fields}
    read -= {"mirror"}  # the checksum of a file is the same wherever it comes from
    read -= {"tables"} if stage in ("download", "prepare") else set()  # the sample has no entry
    # the program asks whether `glta export` would overwrite its result, and describes the encoder
    # of a method that reads texts, which are those of the other stage
    read -= {"datasets", "seeds", "serve"} if stage in BUNDLES else set()
    read -= {"profile", "language"} if stage == "bundle" else set()
    assert read <= listed, f"glta/params/inputs.py {stage}: add {sorted(read - listed)}"


@pytest.mark.parametrize("unit", units().values(), ids=list(units()))
def test_parameters_of_a_step_are_what_its_job_holds(unit):
    """A job refuses every other section, so a step cannot read what its stage does not declare."""
    params = Params()
    declared = unit.sections
    own = f"settings.{unit.method.name}"
    for name in declared:
        assert params.section(name)
        assert name.startswith(own) or name in SECTIONS
    for step in unit.steps:
        read = [f"{own}.{part}" for part in step.settings] or [own]
        assert {*read, *step.shared} <= {*declared}
    for key in unit.values:
        assert any(key.startswith(f"{name}.") for name in declared), key
    job = Job(unit.name, {}, {}, 0)
    with pytest.raises(ValueError, match=f"step {unit.name}: does not read align"):
        job.own(type(params.settings.glta.align), "align")
    with pytest.raises(ValueError, match=f"step {unit.name}: does not read language"):
        job.section(type(params.language), "language")
    with pytest.raises(ValueError, match=f"step {unit.name}: does not read profile"):
        job.source("profile")


@pytest.mark.parametrize("unit", units().values(), ids=list(units()))
def test_folders_of_a_step_are_what_its_job_reads(unit):
    """The folders that dvc.yaml names for a step are those that the program reads and writes."""
    cell = Cell("${item.dataset}", "${item.seed}")  # type: ignore[arg-type]
    declared = [dep for dep in STAGES[unit.name]["deps"] if code.is_data(dep)]
    assert declared == [place_of(cell, name).as_posix() for name in unit.reads]
    assert [*STAGES[unit.name]["outs"][0]] == [place_of(cell, unit.name).as_posix()]
    assert {*unit.reads} <= {*BEFORE, *units()}
    assert STAGES[unit.name]["meta"].get("model") == (
        cell.model(unit.name).as_posix() if unit.model else None
    )


def test_the_choice_of_methods_is_read_by_the_report_alone():
    """Another entry of a list makes new stages, and must not make other stages stale."""
    for change in ({"methods": ["ease"]}, {"seeds": [0, 1]}, {"datasets": ["sample", "lastfm"]}):
        changed = inputs(Params.model_validate(change))
        assert {name for name in VALUES if VALUES[name] != changed[name]} == {"report"}, change


def test_the_choice_of_what_is_served_is_read_by_no_stage():
    assert inputs(Params(serve=["ease", "glta"])) == VALUES


def test_baselines_do_not_depend_on_the_alignment():
    for name in ("popularity", "text-knn", "item-knn", "ease", "lightgcn", "lightgcn-text-knn"):
        reads = " ".join([*STAGES[name]["deps"], *PROGRAMS[name]["files"]])
        assert "align" not in reads and "glta/methods/glta/" not in reads and "peft" not in reads


IMPORTED = """
import importlib, json, os, sys
import numpy, polars, pydantic, scipy.sparse, torch, transformers
found = {}
for module in json.loads(sys.argv[1]):
    read, write = os.pipe()
    if not os.fork():
        importlib.import_module(module)
        own = [m for m in sys.modules if m.startswith(("glta.", "pipeline."))]
        os.write(write, " ".join(own).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as f:
        found[module] = f.read().split()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Import each program in its own process: {file: the files that Python has loaded}."""
    starts = {code.script_file(name) for name in (*code.SCRIPTS, "train", "recommend")}
    for unit in units().values():
        starts |= {file_of(unit.method.recommender), *(file_of(s.run) for s in unit.steps)}
    modules = [start.removesuffix(".py").replace("/", ".") for start in sorted(starts)]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, json.dumps(modules)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert all(found.values())
    return {
        f"{module.replace('.', '/')}.py": {
            file for m in loaded if Path(file := f"{m.replace('.', '/')}.py").is_file()
        }
        for module, loaded in found.items()
    }


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_code_of_a_program_is_all_that_it_imports(name, imported):
    program = PROGRAMS[name]
    if name in units():
        starts = ["pipeline/stages/train.py", *(file_of(s.run) for s in units()[name].steps)]
        assert program["steps"] == [step.run for step in units()[name].steps]
        assert program["changes"] == units()[name].changes
    elif name.startswith("recommend-") and name not in code.SCRIPTS:
        recommender = units()[name.removeprefix("recommend-")].method.recommender
        starts = ["pipeline/stages/recommend.py", file_of(recommender)]
        assert program["recommender"] == recommender
    else:
        starts = [code.script_file(name)]
    loaded = {file for start in starts for file in imported[start]}
    ignored = re.compile(f"{UNTRACKED.pattern}|{SETTINGS.pattern}", re.VERBOSE)
    tracked = {file for file in loaded if not ignored.fullmatch(file)}
    # these programs import specs only to read parameters, whose values are recorded
    if name in code.SCRIPTS:
        tracked -= {"glta/methods/registry.py", "glta/methods/spec.py"}
    assert tracked >= {*starts}
    assert tracked <= program["files"].keys()
    assert program["files"] == {file: sha256_of(file) for file in program["files"]}


def test_a_method_leaves_the_code_of_others_alone():
    """Files that only other methods import, and all specs, are not part of a method's code."""
    of = {name: set(PROGRAMS[name]["files"]) for name in PROGRAMS}
    for name, files in of.items():
        assert not any(map(SETTINGS.fullmatch, files)), name
    method = {name: unit.method.name for name, unit in units().items()}
    folder = {name: f"glta/methods/{own.replace('-', '_')}/" for name, own in method.items()}
    for name in units():
        foreign = {where for where in folder.values() if where != folder[name]}
        assert not [file for file in of[name] if file.startswith(tuple(foreign))], name
    assert "glta/nn/graph/terms.py" in of["hccf"] - of["cease"]
    assert "glta/methods/ease/model.py" in of["ease"] & of["recommend-ease"]
    assert not [name for name in of if "report" in name and name != "report"]
    for name in of.keys() - {"report"}:
        assert not any(file.startswith("glta/report/") for file in of[name]), name


def test_an_edit_is_noticed_between_the_hash_and_the_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = Path("glta/one.py")
    file.parent.mkdir()
    file.write_text("1")
    content = {"files": {"glta/one.py": sha256_of(file)}}
    path = Path(code.code_file("ease"))
    assert code.edited(path.as_posix()) == []  # not made yet
    path.parent.mkdir(parents=True)
    path.write_text(code.written(content))
    assert code.edited(path.as_posix()) == []
    file.write_text("2")
    assert code.edited(path.as_posix()) == ["glta/one.py"]
    file.unlink()
    assert code.edited(path.as_posix()) == ["glta/one.py"]
    assert code.edited("data/books/0/prepare") == []


def test_folders_are_declared_as_folders():
    """Snakemake must know before the first run which outputs are folders."""
    for stage, definition in STAGES.items():
        for out in definition["outs"]:
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            is_file = path.endswith((".json", ".parquet", ".html"))
            assert is_file != (options.get("type") == "dir"), f"dvc.yaml {stage}: {path}"


def test_files_that_no_result_depends_on_are_parameters_and_progress():
    files = [p.as_posix() for p in Path("glta").rglob("*.py") if UNTRACKED.fullmatch(p.as_posix())]
    rest = [f for f in files if not f.startswith("glta/params/")]
    assert {Path(f).name for f in rest} == {"config.py", "nearest.py", "progress.py"}
    assert len(rest) < len(files)


class Unrun(Toy):
    """Hold a repository with the real stages and one own dataset, in which nothing has run."""

    @classmethod
    def create(cls, folder: Path, *methods: str) -> Unrun:
        given = {
            "datasets": ["mine"],
            "methods": list(methods),
            "tables": {"mine": {"interactions": "a.csv"}},
        }
        params = Params.model_validate(given)
        (folder / "params.yaml").write_text(render_params(params))
        (folder / "plan.yaml").write_text(render_plan(params))
        for name in ("dvc.yaml", ".dvcignore", "Snakefile"):
            (folder / name).write_bytes((REPOSITORY / name).read_bytes())
        for name in ("glta", "pipeline"):
            (folder / name).symlink_to(REPOSITORY / name)
        unrun = cls(folder)
        unrun("git", "init", "-q")
        unrun("dvc", "init", "-q")
        return unrun

    def listed(self) -> set[str]:
        return {line.split()[0] for line in self("dvc", "stage", "list").splitlines()}


def test_one_method_on_a_new_dataset_has_no_stage_more_than_it_needs(tmp_path, monkeypatch):
    from pipeline.engine.oracle import read_stages

    unrun = Unrun.create(tmp_path, "ease")
    expected = {"code", "download@mine", "prepare@mine-0", "ease@mine-0"}
    expected |= {"recommend@mine-0-ease", "evaluate@mine-0-ease", "report"}
    assert unrun.listed() == expected
    monkeypatch.chdir(tmp_path)
    stages, status = read_stages(ask=False)
    assert {stage.name for stage in stages} == expected
    assert status is None


def test_what_is_served_adds_a_bundle_a_dataset_for_the_first_seed(tmp_path, monkeypatch):
    from pipeline.engine.oracle import read_stages

    Unrun.create(tmp_path, "ease", "text-knn", "item-knn")
    monkeypatch.chdir(tmp_path)
    stages, _ = read_stages(ask=False)
    params = load_params().model_copy(update={"serve": ["text-knn", "ease"], "seeds": [3, 4]})
    (tmp_path / "params.yaml").write_text(render_params(params))
    (tmp_path / "plan.yaml").write_text(render_plan(params))
    served = {stage.name: stage for stage in read_stages(ask=False)[0] if "bundle" in stage.name}
    assert {*served} == {"bundle@mine-3-ease", "bundle-with-profile@mine-3-text-knn"}
    assert not [stage.name for stage in stages if "bundle" in stage.name]
    ease, texts = (served[name] for name in sorted(served, reverse=True))
    assert ease.outs == {"data/mine/3/bundles/ease": True}
    assert ("data/mine/3/profile" in ease.deps, "data/mine/3/profile" in texts.deps) == (
        False,
        True,
    )
    # nothing is made from them
    assert downstream([*served.values()], {"bundle@mine-3-ease"}) == {"bundle@mine-3-ease"}


def test_an_edit_of_one_method_reaches_its_own_stages_alone(tmp_path, monkeypatch):
    """All stages depend on the stage `code`. Unchanged outputs of it make nothing stale."""
    from pipeline.engine.oracle import read_stages

    Unrun.create(tmp_path, "popularity", "ease", "item-knn")
    monkeypatch.chdir(tmp_path)
    stages, _ = read_stages(ask=False)
    assert downstream(stages, {"code"}) == {stage.name for stage in stages}
    for path, content in code.contents(load_params()).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(code.written(content))
    assert code.differences() == {}
    assert code.settled({}) == set() == code.settled(None)
    of_ease = [name for name in PROGRAMS if "glta/methods/ease/model.py" in PROGRAMS[name]["files"]]
    assert of_ease == ["ease", "recommend-ease"]
    for name in of_ease:
        Path(code.code_file(name)).write_text('{"files": {}}')
    changed = {code.code_file(name) for name in of_ease}
    assert code.differences().keys() == changed
    settled = code.settled({"code": []})
    assert settled == {*code.contents(load_params())} - changed
    reached = {"code", "ease@mine-0", "recommend@mine-0-ease", "evaluate@mine-0-ease", "report"}
    assert downstream(stages, {"code"}, settled) == reached


def test_a_stale_stage_waits_for_the_stage_code_even_when_its_files_are_settled(
    tmp_path, monkeypatch
):
    """Snakemake does not look at the key of a job that waits for another one."""
    from pipeline.engine.oracle import Oracle, read_stages

    Unrun.create(tmp_path, "popularity", "ease")
    monkeypatch.chdir(tmp_path)
    stages, _ = read_stages(ask=False)
    settled = {code.code_file(name) for name in PROGRAMS} | {*map(code.values_file, VALUES)}
    settled |= {path for stage in stages for path in stage.deps if not code.is_data(path)}
    oracle = Oracle(stages, {"code": [], "ease@mine-0": ["changed outs"]}, settled=settled)
    by_name = {stage.name: stage for stage in stages}

    def counting(name: str) -> set[str]:
        """Return the inputs whose modification times count."""
        return {*oracle.inputs(by_name[name], lambda path: None)} - {None}

    assert counting("ease@mine-0") == {".pipe/keys/ease@mine-0.json", "data/code", "data/params"}
    assert counting("popularity@mine-0") == set()


def test_the_lock_file_of_the_sample_is_short(tmp_path, monkeypatch):
    """It is read and written for each stage, and its changes are reviewed."""
    from pipeline.engine.oracle import read_stages

    Unrun.create(tmp_path, "ease")
    (tmp_path / "params.yaml").write_text(starting_text())
    (tmp_path / "plan.yaml").write_text(render_plan(starting_params()))
    monkeypatch.chdir(tmp_path)
    stages, _ = read_stages(ask=False)
    assert len(stages) == 44
    # five lines a path, and five for the stage
    assert sum(5 + 5 * len([*s.deps, *s.outs]) for s in stages) < 1650
