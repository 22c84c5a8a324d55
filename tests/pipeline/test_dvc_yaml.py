"""dvc.yaml must name what the scripts really use, or results would go stale unseen."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from glta.methods.registry import METHODS, TRAINED_ELSEWHERE, method_class
from glta.params import SECTIONS, Params, Settings
from pipeline.engine.imports import UNTRACKED, modules_of

STAGES = YAML(typ="safe").load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
SECTION = re.compile(r"\bparams\.(\w+)")


@pytest.mark.parametrize("stage", STAGES)
def test_dependencies_are_the_imports(stage):
    script = f"pipeline/{stage}.py"
    code = {dep for dep in STAGES[stage]["deps"] if not dep.startswith("data/")}
    needed = {script, "pipeline/stage.py", *modules_of(script)}
    assert code == needed, f"dvc.yaml {stage}: add {sorted(needed - code)}, remove {sorted(code - needed)}"


@pytest.mark.parametrize("stage", STAGES)
def test_command_passes_the_whole_matrix(stage):
    keys = list(STAGES[stage].get("matrix", {}))
    arguments = "".join(f" --{key} ${{item.{key}}}" for key in keys)
    assert STAGES[stage]["cmd"] == f"python -m pipeline.engine.runner -- python -m pipeline.{stage}{arguments}"


@pytest.mark.parametrize("stage", STAGES)
def test_parameters_are_the_sections_read(stage):
    """The script and the functions that are handed all parameters read no section that is not declared."""
    listed = {name.partition(".")[0] for name in STAGES[stage].get("params", [])}
    files = [f"pipeline/{stage}.py", *(f for f in modules_of(f"pipeline/{stage}.py") if f.endswith(".py"))]
    whole = [f for f in files if re.search(r"params: Params\b", Path(f).read_text(encoding="utf-8"))]
    if stage in {"recommend", "align_users", "ablate"}:  # these load or save a method; its `fit` is not called
        whole = [f for f in whole if not f.startswith("glta/methods/")]
    read = {name for f in whole for name in SECTION.findall(Path(f).read_text(encoding="utf-8"))} & set(Params.model_fields)
    read -= {"mirror"}  # the checksum of a file is the same wherever it comes from
    if stage == "prepare":
        read |= {"tables"}
    assert read <= listed, f"dvc.yaml {stage}: add {sorted(read - listed)} to params"


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(TRAINED_ELSEWHERE)))
def test_methods_read_their_own_settings_alone(method):
    """A stage `fit` depends on one entry of `settings` only, so a method's class must not read another's."""
    assert method in Settings().model_dump()
    code = inspect.getsource(method_class(method))
    assert set(re.findall(r"settings\.(\w+)", code)) <= {method.replace("-", "_")}


@pytest.mark.parametrize("stage", STAGES)
def test_overrides_go_with_their_section(stage):
    params = STAGES[stage].get("params", [])
    by_dataset = "dataset" in STAGES[stage].get("matrix", {})
    own = [name for name in params if by_dataset and name.partition(".")[0] in SECTIONS]
    expected = {f"overrides.${{item.dataset}}.{name}" for name in own}  # one method's settings alone, where only those are read
    assert {name for name in params if name.startswith("overrides.")} == expected


def test_the_choice_of_methods_is_read_by_the_report_alone():
    """Another entry of a list makes new stages, and must not make the others stale."""
    chosen = {"datasets", "seeds", "methods", "baselines", "ablations"}
    assert [stage for stage in STAGES if chosen & set(STAGES[stage].get("params", []))] == ["report"]


def test_baselines_do_not_depend_on_the_alignment():
    deps = " ".join(STAGES["fit"]["deps"])
    assert "align" not in deps and "models/" not in deps and "ablat" not in deps


def test_folders_are_declared_as_folders():
    """Snakemake must know before the first run what is a directory."""
    for stage, definition in STAGES.items():
        for out in definition["outs"]:
            path, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            is_file = path.endswith((".json", ".parquet", ".html"))
            assert is_file != (options.get("type") == "dir"), f"dvc.yaml {stage}: {path}"


def test_untracked_files_exist():
    assert all(Path(path).is_file() for path in UNTRACKED)
