"""Test the command line: it is fast, and every mistake ends in one line and status 1."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from glta.datasets.catalogue import REGISTRY
from glta.methods.registry import specs, units
from glta.params.check import load_params
from glta.params.file import render_params
from glta.params.model import SECTIONS, Params
from glta.params.plan import render_plan
from pipeline.engine.definition import render_definition

GLTA = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]


@pytest.fixture
def glta(tmp_path):
    """Run the command in an empty folder. The fixture returns (status, output, errors)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        plain = os.environ | {
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        done = subprocess.run(
            [*GLTA, *arguments], cwd=tmp_path, capture_output=True, text=True, env=plain
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def file(tmp_path):
    """Write a complete, valid params.yaml."""
    path = tmp_path / "params.yaml"
    path.write_text(render_params(Params()), encoding="utf-8")
    return path


def test_help_takes_less_than_a_second_of_processor_time(glta):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status, output, _ = glta("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert status == 0
    assert "params" in output
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("command", ["['params', 'check']", "['datasets']", "['methods']"])
def test_commands_import_nothing_heavy(file, command):
    code = (
        f"import sys; from pipeline.cli.main import app; app({command}, standalone_mode=False);"
        "heavy = {'torch', 'transformers', 'peft', 'mlflow', 'dvc', 'snakemake', 'scipy'} & "
        "set(sys.modules);"
        "assert not heavy, heavy"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=file.parent,
        env=env,
        stdout=subprocess.DEVNULL,
    )


def test_check_says_what_is_valid(glta, file):
    status, output, _ = glta("params", "check")
    assert (status, output.startswith("params.yaml: valid; datasets sample")) == (0, True)


def test_check_ends_in_one_line(glta, file):
    file.write_text(file.read_text().replace("num_layers: 3", "num_layers: -1", 1))
    status, output, errors = glta("params", "check")
    assert (status, output) == (1, "")
    assert errors == "error: params.yaml settings.lightgcn.num_layers = -1: must be >= 0\n"


@pytest.mark.parametrize(
    "command", [("params", "check"), ("params", "check", "--file", "other.yaml")]
)
def test_missing_file_ends_in_one_line(glta, command):
    status, output, errors = glta(*command)
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert "no such file; `glta params sync`" in errors


def test_sync_writes_the_defaults_where_there_is_no_file(glta, tmp_path):
    assert glta("params", "sync")[0] == 0
    params = load_params(tmp_path / "params.yaml")
    assert params.model_dump(exclude={"overrides"}) == Params().model_dump(exclude={"overrides"})


def test_sync_adds_missing_keys_and_keeps_values(glta, file):
    text = file.read_text()
    shorter = "".join(line for line in text.splitlines(True) if "num_layers" not in line).replace(
        "epochs: 200", "epochs: 7"
    )
    file.write_text(shorter)
    assert glta("params", "sync")[0] == 0
    assert file.read_text() == text.replace("epochs: 200", "epochs: 7")


def test_sync_adds_overrides_for_own_tables(glta, file):
    text = file.read_text().replace("datasets: [sample]", "datasets: [sample, mine]")
    file.write_text(text.replace("tables: {}", "tables:\n  mine:\n    interactions: a.csv"))
    assert glta("params", "check")[0] == 1
    assert glta("params", "sync")[0] == 0
    assert set(load_params(file).overrides["mine"]) == set(SECTIONS)
    assert glta("params", "check")[0] == 0


def test_sync_names_the_files_that_are_not_there(glta, file):
    (file.parent / "here.csv").touch()
    text = file.read_text().replace("datasets: [sample]", "datasets: [sample, mine]")
    tables = "tables:\n  mine:\n    interactions: here.csv\n    items: gone.csv"
    file.write_text(text.replace("tables: {}", tables))
    status, _, errors = glta("params", "sync")
    assert status == 0
    assert errors.count("\n") == 1
    assert errors.startswith("params.yaml tables.mine.items: gone.csv: no such file; it has no new")


def test_sync_writes_the_plan_and_the_stages_too(glta, file):
    assert glta("params", "sync")[0] == 0
    plan, definition = file.with_name("plan.yaml"), file.with_name("dvc.yaml")
    assert plan.read_text() == render_plan(load_params(file))
    assert definition.read_text() == render_definition()
    file.write_text(file.read_text().replace("methods: [popularity, ", "methods: ["))
    status, output, errors = glta("params", "sync", "--check")
    assert (status, errors) == (1, "error: plan.yaml: is not up to date; run `glta params sync`\n")
    assert "-  popularity: [sample]" in output and "+  popularity: []" in output
    assert glta("params", "sync")[1] == "plan.yaml: written\n"
    definition.write_text("stages: {}\n")
    assert glta("params", "sync", "--check")[2].startswith("error: dvc.yaml: is not up to date")


def test_sync_check_shows_the_difference_and_writes_nothing(glta, file):
    assert glta("params", "sync")[0] == 0
    assert glta("params", "sync", "--check") == (0, "", "")
    stale = file.read_text().replace(
        "# EASE: a linear item-item model, solved in closed form.", "# Old words."
    )
    file.write_text(stale)
    status, output, errors = glta("params", "sync", "--check")
    assert status == 1
    assert "-  ease:  # Old words." in output
    assert "+  ease:  # EASE: a linear item-item model, solved in closed form." in output
    assert errors == "error: params.yaml: is not up to date; run `glta params sync`\n"
    assert file.read_text() == stale


def test_sync_leaves_a_wrong_file_alone(glta, file):
    wrong = file.read_text().replace("epochs: 200", "epochs: none", 1)
    file.write_text(wrong)
    status, _, errors = glta("params", "sync")
    assert (status, errors.count("\n")) == (1, 1)
    assert "settings.lightgcn.epochs = 'none'" in errors
    assert file.read_text() == wrong


@pytest.mark.parametrize(
    "text", ["a: [", "- a\n", "overrides: 3\n", "datasets: 3\n", "overrides: {sample: 3}\n"]
)
def test_sync_explains_an_unreadable_file(glta, file, text):
    file.write_text(text)
    status, _, errors = glta("params", "sync")
    assert status == 1
    assert errors.startswith("error: params.yaml")
    assert "Traceback" not in errors
    assert file.read_text() == text


def test_use_writes_an_experiment_and_says_what_changed(glta, file):
    small, usual = file.with_name("small.yaml"), ", ".join(Params().methods)
    small.write_text("seeds: [3]\nmethods: [ease, glta-tied-head]\n")
    assert glta("params", "sync")[0] == 0
    assert glta("params", "use", "small.yaml") == (
        0,
        f"seeds: [0] -> [3]\nmethods: [{usual}] -> [ease, glta-tied-head]\n",
        "",
    )
    assert load_params(file).seeds == [3]
    plan = YAML(typ="safe").load(file.with_name("plan.yaml"))["plan"]
    assert (plan["ease"], plan["glta-tied-head"], plan["glta"]) == (["sample"], ["sample"], [])
    assert glta("params", "use", "small.yaml") == (
        0,
        "params.yaml: has all these values already\n",
        "",
    )
    before = file.read_text()
    small.write_text("seed: [3]\n")
    status, output, errors = glta("params", "use", "small.yaml")
    assert (status, output, file.read_text()) == (1, "", before)
    assert errors == "error: small.yaml seed = [3]: unknown key; nearest is seeds\n"
    assert "no such file; experiments/ has examples" in glta("params", "use", "other.yaml")[2]


def test_lists_datasets_also_of_tables(glta, file):
    assert glta("params", "sync")[0] == 0
    file.write_text(
        file.read_text().replace(
            "tables: {}", "tables:\n  mine:\n    interactions: a.csv\n    licence: ours"
        )
    )
    status, output, _ = glta("datasets")
    assert status == 0
    for name in (*REGISTRY, "mine"):
        assert f"{name} " in output
    assert "ours" in output
    lines = glta("datasets", "mi")[1].splitlines()[1:]
    assert [line.split()[0] for line in lines if line[1] != " "] == [
        name for name in (*REGISTRY, "mine") if "mi" in name
    ]


def test_lists_methods(glta):
    status, output, _ = glta("methods")
    assert status == 0
    assert [line.split()[0] for line in output.splitlines()] == list(specs())


def test_lists_ablations(glta):
    status, output, _ = glta("ablations")
    expected = [name for name, unit in units().items() if unit.ablation]
    assert status == 0
    assert [line.split()[0] for line in output.splitlines()] == expected
    assert "align_users.tag_tokens = 0" in output


def test_unknown_command_is_refused(glta):
    assert glta("parms")[0] == 2
