"""dvc.yaml must name what the scripts really use, or results would go stale unseen."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import glta.storage.cell
import pipeline.stages.code
from glta.methods.registry import METHODS, TRAINED_ELSEWHERE, method_class
from glta.params.model import SECTIONS, MethodSettings, Params
from glta.storage.files import read_json, sha256_of
from pipeline.engine.imports import UNTRACKED, modules_of

STAGES = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
SECTION = re.compile(r"\bparams\.(\w+)")


@pytest.mark.parametrize("stage", STAGES)
def test_dependencies_are_the_imports(stage):
    script = f"pipeline/stages/{stage}.py"
    code = {dep for dep in STAGES[stage]["deps"] if not dep.startswith("data/")}
    needed = {script, "pipeline/stages/script.py", *modules_of(script)}
    if stage == "code":
        needed.add("pipeline/engine/imports.py")
    assert code == needed, (
        f"dvc.yaml {stage}: add {sorted(needed - code)}, remove {sorted(code - needed)}"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_command_passes_the_whole_matrix(stage):
    keys = list(STAGES[stage].get("matrix", {}))
    arguments = "".join(f" --{key} ${{item.{key}}}" for key in keys)
    assert (
        STAGES[stage]["cmd"]
        == f"python -m pipeline.tracking.runner -- python -m pipeline.stages.{stage}{arguments}"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_are_the_sections_read(stage):
    """The script and the functions that are handed all parameters read no section that is not
    declared.
    """
    listed = {name.partition(".")[0] for name in STAGES[stage].get("params", [])}
    script = f"pipeline/stages/{stage}.py"
    code = {*modules_of(script), *(modules_of("pipeline/stages/code.py") if stage == "fit" else ())}
    files = [script, *(f for f in code if f.endswith(".py"))]
    whole = [
        f for f in files if re.search(r"params: Params\b", Path(f).read_text(encoding="utf-8"))
    ]
    if stage in {
        "recommend",
        "align_users",
        "ablate",
        "code",
    }:  # these load, save or hash a method; its `fit` is not called
        whole = [f for f in whole if not f.startswith("glta/methods/")]
    read = {
        name for f in whole for name in SECTION.findall(Path(f).read_text(encoding="utf-8"))
    } & set(Params.model_fields)
    read -= {"mirror"}  # the checksum of a file is the same wherever it comes from
    if stage == "prepare":
        read |= {"tables"}
    assert read <= listed, f"dvc.yaml {stage}: add {sorted(read - listed)} to params"


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(TRAINED_ELSEWHERE)))
def test_methods_read_their_own_settings_alone(method):
    """A stage `fit` depends on one entry of `settings` only, so a method's class must not read
    another's.
    """
    assert method in MethodSettings().model_dump()
    code = inspect.getsource(method_class(method))
    assert set(re.findall(r"settings\.(\w+)", code)) <= {method.replace("-", "_")}


@pytest.mark.parametrize("stage", STAGES)
def test_overrides_go_with_their_section(stage):
    params = STAGES[stage].get("params", [])
    by_dataset = "dataset" in STAGES[stage].get("matrix", {})
    own = [name for name in params if by_dataset and name.partition(".")[0] in SECTIONS]
    expected = {
        f"overrides.${{item.dataset}}.{name}" for name in own
    }  # one method's settings alone, where only those are read
    assert {name for name in params if name.startswith("overrides.")} == expected


def test_the_choice_of_methods_is_read_by_the_report_alone():
    """Another entry of a list makes new stages, and must not make the others stale."""
    chosen = {"datasets", "seeds", "methods", "baselines", "ablations"}
    assert [stage for stage in STAGES if chosen & set(STAGES[stage].get("params", []))] == [
        "report"
    ]


def test_baselines_do_not_depend_on_the_alignment():
    deps = " ".join([*STAGES["fit"]["deps"], *STAGES["code"]["deps"]])
    assert "align" not in deps and "models/" not in deps and "ablat" not in deps


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(TRAINED_ELSEWHERE)))
def test_the_code_of_a_method_is_all_that_it_imports(method, tmp_path, monkeypatch):
    monkeypatch.setattr(glta.storage.cell, "DATA", tmp_path)
    pipeline.stages.code.main(Params(), method)
    found, module = read_json(tmp_path / "code" / f"{method}.json"), METHODS[method].module
    ask = (
        "import importlib, sys; importlib.import_module(sys.argv[1]); print(*(m for m in "
        "sys.modules if m.startswith('glta.')))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", ask, module], capture_output=True, text=True, check=True
    ).stdout.split()
    files = {file for name in loaded if Path(file := f"{name.replace('.', '/')}.py").is_file()}
    assert found["class"] == METHODS[method].where
    assert files - UNTRACKED <= found["files"].keys() <= set(STAGES["code"]["deps"])
    assert found["files"] == {file: sha256_of(file) for file in found["files"]}


def test_a_method_leaves_the_code_of_others_alone():
    """Neither the list of methods nor what only others import is part of a method's code."""
    of = {name: set(modules_of(METHODS[name].file)) for name in ("ease", "hccf", "glta-plus")}
    assert all("glta/methods/registry.py" not in files for files in of.values())
    assert "glta/methods/ease/model.py" not in of["glta-plus"]
    assert "glta/methods/glta_plus/model.py" not in of["ease"]
    assert not {"glta/methods/ease/model.py", "glta/methods/glta_plus/model.py"} & of["hccf"]
    assert "glta/nn/graph/terms.py" in of["hccf"] - of["glta-plus"]


def test_folders_are_declared_as_folders():
    """Snakemake must know before the first run what is a directory."""
    for stage, definition in STAGES.items():
        for out in definition["outs"]:
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            is_file = path.endswith((".json", ".parquet", ".html"))
            assert is_file != (options.get("type") == "dir"), f"dvc.yaml {stage}: {path}"


def test_untracked_files_exist():
    assert all(Path(path).is_file() for path in UNTRACKED)
