"""Test the command line: it is fast, and every mistake ends in one line and status 1."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from glta import __version__ as glta_version
from glta.datasets.catalogue import REGISTRY
from glta.methods.registry import specs, units
from glta.params.check import load_params
from glta.params.file import locked_params, override, render_params, use
from glta.params.model import SECTIONS, Params
from glta.params.own_files import with_checksums
from glta.params.plan import render_plan
from pipeline.cli.params_commands import sync
from pipeline.engine.definition import render_definition
from tests.tiny import mark_project

GLTA = [sys.executable, "-c", "from pipeline.cli.main import main; main()"]


@pytest.fixture
def glta(tmp_path, commands, monkeypatch):
    """Run the command in an empty project. The fixture returns (status, output, errors).

    inside: a folder below the project's, in which the user stands; above: "..".
    """
    mark_project(tmp_path)
    monkeypatch.delenv("GLTA_MIRROR", raising=False)  # the user's own would stand in messages

    def run(*arguments: str, inside: str = ".") -> tuple[int, str, str]:
        command = [f"{commands}/glta", *arguments]
        plain = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(
            command, cwd=tmp_path / inside, capture_output=True, text=True, env=plain
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def file(tmp_path):
    """Write a complete, valid params.yaml."""
    path = tmp_path / "params.yaml"
    path.write_text(render_params(Params()), encoding="utf-8")
    return path


def test_help_takes_less_than_a_second_of_processor_time():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.check_output([*GLTA, "--help"], text=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "params" in output
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("command", ["['params', 'check']", "['datasets']", "['methods']"])
def test_commands_import_nothing_heavy(glta, file, command):
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
        "steps: 8000", "steps: 7"
    )
    file.write_text(shorter)
    assert glta("params", "sync")[0] == 0
    assert file.read_text() == text.replace("steps: 8000", "steps: 7")


def test_sync_adds_overrides_for_own_tables(glta, file):
    text = file.read_text().replace("datasets: [sample]", "datasets: [sample, mine]")
    file.write_text(text.replace("tables: {}", "tables:\n  mine:\n    interactions: a.csv"))
    assert glta("params", "check")[0] == 1
    assert glta("params", "sync")[0] == 0
    assert set(load_params(file).overrides["mine"]) == set(SECTIONS)
    assert glta("params", "check")[0] == 0


def test_sync_keeps_what_was_written_while_it_read_the_users_files(file, monkeypatch):
    """Digests of large files take minutes, in which `glta params use` or `glta tune` may end."""
    mark_project(file.parent)
    monkeypatch.chdir(file.parent)
    sync()

    def slow(params: Params) -> Params:
        if load_params().seeds == [0]:
            with locked_params():
                text = file.read_text()
                text = use(text, {"seeds": [3], "methods": ["ease"]}, "small.yaml")
                file.write_text(override(text, "sample", {"settings.ease.l2": 7.0}))
        return with_checksums(params)

    monkeypatch.setattr("glta.params.own_files.with_checksums", slow)
    sync()
    params = load_params()
    assert (params.seeds, params.methods) == ([3], ["ease"])
    assert params.for_dataset("sample").settings.ease.l2 == 7.0
    assert file.with_name("plan.yaml").read_text() == render_plan(params)


def test_sync_of_another_file_writes_that_file_alone(glta, file):
    assert glta("params", "sync")[0] == 0
    before = {path: path.read_text() for path in file.parent.glob("*.yaml")}
    (file.parent / "mine").mkdir()
    other = file.parent / "mine/other.yaml"
    old = file.read_text().replace("methods: [popularity, ", "methods: [")
    other.write_text(old.replace("# EASE: a linear item-item model", "# Old words"))
    assert glta("params", "sync", "--file", "mine/other.yaml")[:2] == (
        0,
        "mine/other.yaml: written\n",
    )
    assert other.read_text() == old
    (file.parent / "small.yaml").write_text("seeds: [3]\n")
    assert glta("params", "use", "small.yaml", "--file", "mine/other.yaml")[0] == 0
    (file.parent / "small.yaml").unlink()
    assert load_params(other).seeds == [3]
    assert [*other.parent.iterdir()] == [other]
    assert {path: path.read_text() for path in file.parent.glob("*.yaml")} == before
    # the project's own file is itself by any name
    file.write_text(old)
    assert glta("params", "sync", "--file", "../params.yaml", inside="mine")[1] == (
        "plan.yaml: written\n"
    )


def test_sync_refuses_a_part_of_a_file(glta, file):
    text = "datasets: [sample]\nseeds: [3]\n"
    file.with_name("small.yaml").write_text(text)
    status, output, errors = glta("params", "sync", "--file", "small.yaml")
    assert (status, output) == (1, "")
    assert errors == (
        "error: small.yaml: has no methods, serve, mirror and 12 more, as an experiment; only a "
        "whole file is regenerated: `glta params use small.yaml` puts an experiment's values into "
        "params.yaml\n"
    )
    assert file.with_name("small.yaml").read_text() == text


def test_sync_can_read_what_it_writes(glta, file):
    tables = 'tables:\n  "1e5":\n    interactions: "my/📚.csv"\n    licence: "CC-BY 😀"'
    text = file.read_text().replace("datasets: [sample]", 'datasets: ["1e5"]')
    file.write_text(text.replace("tables: {}", tables))
    assert glta("params", "sync")[0] == 0
    assert glta("params", "sync", "--check")[0] == 0
    assert f"{tables}\n" in file.read_text()


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


def test_sync_says_that_it_removes_the_users_comments(glta, file):
    before = file.read_text()
    assert (
        "# `glta params sync` adds new keys and writes all comments anew: your own are removed.\n"
        in before
    )
    own = before.replace("seeds: [0]", "# our seeds\nseeds: [0]")
    file.write_text(own)
    assert "\n-# our seeds\n" in glta("params", "sync", "--check")[1]
    assert glta("params", "sync")[0] == 0
    assert file.read_text() == before
    assert "your own are removed" in " ".join(glta("params", "sync", "--help")[1].split())


def test_sync_leaves_a_wrong_file_alone(glta, file):
    wrong = file.read_text().replace("steps: 8000", "steps: none", 1)
    file.write_text(wrong)
    status, _, errors = glta("params", "sync")
    assert (status, errors.count("\n")) == (1, 1)
    assert ".steps = 'none'" in errors
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
    assert [line.split()[0] for line in output.splitlines()] == ["name", *specs()]
    found = json.loads(glta("methods", "--json")[1])
    assert [row["name"] for row in found] == list(specs())
    assert found[0] == {
        "name": "popularity",
        "title": "Popularity",
        "serves": ["new users"],
        "devices": ["cpu"],
        "paper": "a baseline without a paper",
    }


def test_lists_ablations(glta):
    status, output, _ = glta("ablations")
    expected = [name for name, unit in units().items() if unit.ablation]
    assert status == 0
    assert [line.split()[0] for line in output.splitlines()] == ["name", *expected]
    assert "align_users.tag_tokens = 0" in output
    assert [row["name"] for row in json.loads(glta("ablations", "--json")[1])] == expected


def test_the_version_is_that_of_the_package(glta):
    assert glta("--version") == (0, f"glta {glta_version}\n", "")


@pytest.mark.parametrize("command", [[], ["params"], ["lineage"]], ids=str)
def test_a_group_without_a_command_prints_its_help(glta, command):
    status, output, errors = glta(*command)
    assert (status, errors) == (2, "")
    assert "Usage: glta" in output
    assert glta(*command, "-h") == glta(*command, "--help")
    assert glta(*command, "-h")[1].strip() == output.strip()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("parms", "No such command 'parms'. Did you mean 'params'; see `glta --help`"),
        ("xyzzy", "No such command 'xyzzy'; see `glta --help`"),
        ("params xyzzy", "No such command 'xyzzy'; see `glta params --help`"),
        ("tune", "Missing argument 'METHOD'; see `glta tune --help`"),
        ("recommend ease", "Missing argument 'DATASET'; see `glta recommend --help`"),
        (
            "tune ease sample --trails 3",
            "No such option: --trails (Possible options: --trial-minutes, --trials)",
        ),
        ("tune ease sample --trials x", "Invalid value for '--trials'"),
        ("methods ease", "Got unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_ends_in_one_line_and_status_2(glta, command, said):
    status, output, errors = glta(*command.split())
    assert (status, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: {said}")


def test_exchanged_names_are_told_the_order(glta, file):
    for command in ("tune", "recommend", "cache", "export"):
        status, _, errors = glta(command, "sample", "ease")
        assert status == 1
        said = "sample: unknown method; the order is METHOD DATASET: ease sample"
        assert errors == f"error: {said}\n"


def test_a_suggestion_is_near_or_there_is_none(glta, file):
    text = file.read_text()
    for name, said in (
        ("lihgtgcn", "nearest is lightgcn"),
        ("multivae", "`glta methods` lists all"),
    ):
        file.write_text(text.replace("methods: [popularity", f"methods: [{name}"))
        assert f"unknown method {name}; {said}\n" in glta("params", "check")[2]
    for name, near in (("LightGCN", "lightgcn"), ("text_knn", "text-knn")):
        file.write_text(text.replace("methods: [popularity", f"methods: [{name}"))
        said = f"letter or a digit; write {near}\n"
        assert glta("params", "check")[2].endswith(said)


def test_pipes_get_whole_lines(glta):
    """Neither 80 columns nor COLUMNS break the line of an entry."""
    output = glta("datasets")[1]
    assert len(output.splitlines()) == len(REGISTRY) + 1
    assert max(map(len, output.splitlines())) > 120
    assert not any(line.endswith(" ") for line in output.splitlines())
    found = json.loads(glta("datasets", "--json")[1])
    assert {row["name"]: row["licence"] for row in found} == {
        name: entry.licence for name, entry in REGISTRY.items()
    }


def test_a_closed_pipe_is_no_error(tmp_path):
    code = f"{GLTA[2].partition(';')[0]}; import os, sys; os.close(0); main()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", code, "datasets"],
        stdout=write,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_every_command_finds_the_project_from_a_folder_below(glta, file, tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    assert glta("params", "sync", inside="a/b")[1] == "plan.yaml: written\ndvc.yaml: written\n"
    for command in (
        ["params", "sync", "--check"],
        ["params", "check"],
        ["datasets"],
        ["why", "report"],
        ["results"],
        ["tuned"],
        ["table"],
        ["recommend", "ease", "sample", "--items", "1"],
        ["cache", "ease", "sample"],
        ["export", "ease", "sample"],
        ["lineage", "trace", str(tmp_path / "data/x.json")],
        # as documents name it: from the project's folder
        ["lineage", "trace", "params.yaml"],
    ):
        assert glta(*command, inside="a/b") == glta(*command), command
    assert sorted(path.name for path in (tmp_path / "a/b").iterdir()) == []


def test_files_are_named_from_where_the_user_stands(glta, file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/small.yaml").write_text("seeds: [3]\n")
    assert glta("params", "use", "small.yaml", inside="mine")[:2] == (0, "seeds: [0] -> [3]\n")
    assert load_params(file).seeds == [3]
    errors = glta("params", "use", "absent.yaml", inside="mine")[2]
    assert errors == "error: mine/absent.yaml: no such file; experiments/ has examples\n"
    (tmp_path / "mine/other.yaml").write_text(file.read_text())
    assert glta("params", "check", "--file", "other.yaml", inside="mine")[0] == 0


def test_tables_of_no_results_are_one_line(glta, file):
    status, _, said = glta("table")
    assert status == 1 and said.count("\n") == 1
    assert "has no results; run `snakemake --cores all` first" in said


def test_outside_of_a_project_one_line_says_so(glta, file, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    where = f"../{outside.name}"
    for command in (
        "params check",
        "params sync",
        "why",
        "results",
        "tuned",
        "table",
        "ui",
        "push",
    ):
        status, output, errors = glta(*command.split(), inside=where)
        assert (status, output) == (1, ""), command
        assert errors == (
            f"error: {outside}: is not in a project of glta, as no folder above has .dvc and "
            "Snakefile; change to your clone first\n"
        )
    assert list(outside.iterdir()) == []
    for command in ("--version", "--help", "tune --help", "methods", "datasets", "ranges"):
        assert glta(*command.split(), inside=where)[0] == 0, command
    assert glta("params", "check", "--file", str(file), inside=where)[0] == 0


def test_ctrl_c_says_how_to_go_on(tmp_path):
    code = (
        "import os, signal, pipeline.cli.common as c, pipeline.cli.main as m; "
        "m.typer.echo = lambda *_: os.kill(os.getpid(), signal.SIGINT); m.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ranges"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted; nothing is lost: run the same command again\n"


def test_names_are_completed(glta, file):
    """As the shell asks for it, with what typer's script for bash sets."""

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        asked = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "_GLTA_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        done = subprocess.run(GLTA, cwd=file.parent, env=asked, capture_output=True, text=True)
        return done.stdout.split()

    assert offered("glta tu") == ["tune", "tuned"]
    assert offered("glta tune lightgcn-p") == ["lightgcn-plus"]
    assert offered("glta recommend ease ") == ["sample"]
    file.write_text("a: [")
    assert offered("glta recommend ease ") == []
