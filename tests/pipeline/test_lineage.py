"""Test that every number can be traced to its sources by hash, and that a broken chain is found."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.engine import code
from pipeline.lineage.results import Result, Results
from pipeline.lineage.trace import _code_not_known
from tests.pipeline.repository import DOWNSTREAM, TRAINS

REPORT = "data/report/metrics.json"

pytestmark = pytest.mark.engines


def trace(toy, target: str) -> dict:
    return json.loads(toy("glta", "lineage", "trace", target, "--json"))


def check(toy, status: int = 0) -> dict:
    return json.loads(toy("glta", "lineage", "check", "--json", status=status))


def where(found: dict) -> set[str]:
    return {problem["where"] for problem in found["problems"]}


def test_trace_of_a_number_names_its_chain_alone(toy):
    found = trace(toy, f"{REPORT}#popularity/ndcg@20")
    assert found["value"] == 0.21 and found["schema"] == 1
    steps = {step["stage"]: step for step in found["steps"]}
    assert list(steps) == ["prepare", "train@popularity", "evaluate@popularity", "report"]
    assert steps["train@popularity"]["made_from"] == ["prepare"]
    assert steps["train@popularity"]["params"] == {"settings.lightgcn-text-knn.weight_steps": 21}
    assert set(steps["train@popularity"]["code"]) == {"toy/train.py"}
    content = (toy.folder / REPORT).read_bytes()
    assert steps["report"]["outputs"][REPORT] == hashlib.md5(content).hexdigest()
    assert all(
        step["run_id"] and len(step["commit"]) == 40 and step["current"] for step in steps.values()
    )
    assert all(step["pipeline_run"].startswith("snakemake 20") for step in steps.values())

    text = toy("glta", "lineage", "trace", f"{REPORT}#popularity/ndcg@20")
    assert (
        "= 0.21" in text
        and steps["prepare"]["outputs"]["data/prepare"] in text
        and "see above" in text
    )
    chart = toy("glta", "lineage", "trace", f"{REPORT}#popularity/ndcg@20", "--mermaid")
    assert chart.startswith("flowchart LR") and chart.count("-->") == 5


def test_targets(toy):
    """Targets are files, files within folders, and runs by the start of their id.

    Paths may be relative to a folder below. Anything else is refused.
    """
    assert {s["stage"] for s in trace(toy, REPORT)["steps"]} == {*DOWNSTREAM, "prepare"}
    assert [s["stage"] for s in trace(toy, "data/models/popularity/model.txt")["steps"]] == [
        "prepare",
        "train@popularity",
    ]
    toy.folder /= "data"
    assert trace(toy, "prepare")["steps"][-1]["stage"] == "prepare"
    toy.folder = toy.folder.parent
    run = next(run for run in toy.runs() if run.data.tags["stage"] == "train@text-knn")
    assert trace(toy, run.info.run_id[:10])["steps"][-1]["run_id"] == run.info.run_id
    for target, message in {
        f"{REPORT}#nobody/ndcg@20": "no nobody; there are popularity, text-knn",
        "data/evaluate": "it holds the results data/evaluate/popularity",
        "toy/train.py": "no result of a stage",
        "/etc/passwd": "outside of the checkout",
        "ffffffffff": "no finished runs",
    }.items():
        output = toy("glta", "lineage", "trace", target, status=1)
        assert output.startswith("error: ") and message in output and output.count("\n") == 1


def test_restored_results_are_found_by_hash(toy):
    first = {s["stage"]: s["run_id"] for s in trace(toy, REPORT)["steps"]}
    toy.set_steps(31)
    toy.repro()
    second = {s["stage"]: s["run_id"] for s in trace(toy, REPORT)["steps"]}
    assert {stage for stage in first if first[stage] != second[stage]} == DOWNSTREAM
    old = trace(toy, first["report"])
    assert {s["stage"]: s["run_id"] for s in old["steps"]} == first
    assert not old["steps"][-1]["current"] and old["steps"][0]["current"]
    toy.set_steps(21)
    toy.snakemake()
    toy.executed()
    assert {s["stage"]: s["run_id"] for s in trace(toy, REPORT)["steps"]} == first
    assert check(toy)["problems"] == []


def test_check_passes_and_finds_what_was_edited(toy):
    found = check(toy)
    assert found["problems"] == [] and found["results"] == found["runs"] == 6
    assert "all is as recorded: 6 results, 6 with their run" in toy("glta", "lineage", "check")

    metrics = toy.folder / REPORT
    metrics.write_text(metrics.read_text().replace("0.21", "0.99"))
    (toy.folder / "data/models/text-knn/model.txt").write_text("by hand")
    (toy.folder / "data/evaluate/popularity/users.txt").unlink()
    found = check(toy, status=1)
    assert {
        REPORT,
        "data/models/text-knn/model.txt",
        "data/evaluate/popularity/users.txt",
    } <= where(found)
    output = toy("glta", "lineage", "trace", f"{REPORT}#popularity/ndcg@20", status=1)
    assert "is not what its stage wrote" in output and "0.99" not in output
    assert f"problem: {REPORT}: is not what its stage wrote; restore it: `dvc checkout" in toy(
        "glta", "lineage", "check", status=1
    )
    toy.snakemake()
    assert check(toy)["problems"] == []


def test_check_misses_runs_and_names_stale_stages(toy):
    toy.set_steps(31)
    found = check(toy, status=1)
    assert where(found) == set(TRAINS)
    assert (
        found["problems"][0]["what"]
        == "stale: params.yaml settings.lightgcn-text-knn.weight_steps 21 -> 31"
    )
    toy.set_steps(21)
    (toy.folder / "mlflow.db").unlink()
    found = check(toy, status=1)
    assert where(found) == {*DOWNSTREAM, "prepare"} and found["runs"] == 0
    assert "MLFLOW_TRACKING_URI" in found["problems"][0]["fix"]
    step = trace(toy, REPORT)["steps"][-1]
    assert step["run_id"] is None and step["outputs"]
    assert "no run known here" in toy("glta", "lineage", "trace", REPORT)


def test_code_that_git_never_had_is_a_warning(toy):
    toy.edit("toy/train.py", "^import json", "import json  # mine")
    toy.repro()
    found = check(toy)
    assert {w["where"] for w in found["warnings"]} == set(TRAINS)
    assert "toy/train.py" in found["warnings"][0]["what"]
    check(toy, status=0)
    toy("glta", "lineage", "check", "--strict", status=1)
    toy("git", "-c", "user.name=toy", "-c", "user.email=toy@localhost", "commit", "-qam", "mine")
    toy("dvc", "repro", "-f", "-s", *TRAINS)
    assert check(toy)["warnings"] == []


PROGRAM = "data/code/ease.json"
SETTINGS = "glta/evaluation/settings.py"


@pytest.fixture
def warnings(tmp_path, monkeypatch):
    """Return a function that edits committed code, and warns of a result that it has made.

    edits: {path: text}. cached: whether DVC's cache has the list of the code.
    """
    monkeypatch.chdir(tmp_path)

    def write(files: dict[str, str]) -> None:
        for path, text in files.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text)

    write({"glta/model.py": f"from {SETTINGS[:-3].replace('/', '.')} import K\n"})
    write({SETTINGS: "K = 1\n"})
    who = ("-c", "user.name=toy", "-c", "user.email=toy@localhost")
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout

    def warnings(edits: dict[str, str], cached: bool = True) -> list[str]:
        write(edits)
        code.forget()
        code._sha256_of.cache_clear()
        content = code.written(code._hashed("glta/model.py")).encode()
        results = Results.__new__(Results)
        results.content = lambda digest: content if cached else None  # type: ignore[method-assign]
        tags = {"git.commit": head.strip(), "git.dirty": "true"}
        run = SimpleNamespace(data=SimpleNamespace(tags=tags))
        deps = {PROGRAM: "0" * 32}
        result = Result("ease", outs={}, deps=deps, params={}, run=run, current=True)
        return [warning["what"] for warning in _code_not_known(results, result)]

    yield warnings
    code.forget()


def test_code_in_files_of_settings_is_compared_with_git_too(warnings):
    """The values of settings are recorded by themselves; a comment changes nothing."""
    assert warnings({"README.md": "changed"}) == []
    assert warnings({SETTINGS: "K = 1  # as before\n"}) == []
    (warning,) = warnings({SETTINGS: "K = 2\n"})
    assert warning.endswith(f"does not have: {SETTINGS}")
    (warning,) = warnings(
        {SETTINGS: "K = 1\n", "glta/model.py": "import glta.evaluation.settings\n"}
    )
    assert warning.endswith("does not have: glta/model.py")
    new = "glta/evaluation/new/settings.py"
    files = {new: "K = 1\n", "glta/model.py": "from glta.evaluation.new.settings import K\n"}
    (warning,) = warnings(files)
    assert warning.endswith(f"does not have: {new}, glta/model.py")


def test_code_whose_list_is_lost_is_a_warning(warnings):
    (warning,) = warnings({}, cached=False)
    assert warning.endswith(f"DVC's cache does not have {PROGRAM}")


def test_environments_that_differ_are_a_warning(toy):
    """Numbers of one table may then differ in their last digits."""
    assert check(toy)["warnings"] == []
    step = trace(toy, REPORT)["steps"][-1]
    assert step["environment"]["threads"] == "1" and "torch" in step["environment"]
    shown = toy("glta", "lineage", "trace", REPORT)
    assert shown.count("computed with") == 1 and step["environment"]["processor"] in shown
    run = next(run for run in toy.runs() if run.data.tags["stage"] == "train@text-knn")
    toy.mlflow().set_tag(run.info.run_id, "env.torch", "1.0")
    (warning,) = check(toy)["warnings"]
    assert "torch is" in warning["what"] and "1.0 in 1 (train@text-knn)" in warning["what"]
    assert check(toy, status=0)["problems"] == []


def test_a_commit_that_git_did_not_tell_is_a_warning(toy):
    run = next(run for run in toy.runs() if run.data.tags["stage"] == "prepare")
    for key, value in (("commit", ""), ("dirty", "unknown"), ("problem", "dubious ownership")):
        toy.mlflow().set_tag(run.info.run_id, f"git.{key}", value)
    (warning,) = check(toy)["warnings"]
    assert warning["where"] == "prepare"
    assert "whose commit is not known: dubious ownership" in warning["what"]
    step = trace(toy, REPORT)["steps"][0]
    assert step["commit"] is None and step["git_problem"] == "dubious ownership"


def test_archives_are_hashed_again(toy):
    """An archive that source.json names is compared with its sha256, which is printed."""
    raw = b"user,item\n"
    source = {
        "files": {
            "raw.csv": {
                "sha256": hashlib.sha256(raw).hexdigest(),
                "bytes": len(raw),
                "address": "http://x/raw.csv",
            }
        }
    }
    with (toy.folder / "toy/prepare.py").open("a") as f:
        f.write(
            f"(out / 'raw.csv').write_bytes({raw!r})\n(out / "
            f"'source.json').write_text({json.dumps(source)!r})\n"
        )
        f.write(
            '(out / \'model.json\').write_text(\'{"language": {"model": "m"}, "language_sha256": '
            '"53aa"}\')\n'
        )
    toy.repro()
    text = toy("glta", "lineage", "trace", f"{REPORT}#popularity/ndcg@20")
    assert f"raw.csv sha256 {hashlib.sha256(raw).hexdigest()}, 10 bytes, http://x/raw.csv" in text
    assert "m sha256 53aa" in text
    assert check(toy)["archives"] == {"raw.csv": hashlib.sha256(raw).hexdigest()}


@pytest.mark.parametrize(
    ("change", "stage", "words"),
    [
        (lambda t: None, "report", "report: up to date"),
        (
            lambda t: t.set_steps(31),
            "train@popularity",
            "stale: params.yaml settings.lightgcn-text-knn.weight_steps 21 -> 31",
        ),
        (
            lambda t: t.set_steps(31),
            "report",
            "waits for train@popularity and 1 more, which is stale: params.yaml settings.lightgcn-",
        ),
        (
            lambda t: t.edit("toy/train.py", "import json", "import  json"),
            "train",
            "train@text-knn: stale: toy/train.py was edited",
        ),
        (
            lambda t: (t.folder / REPORT).unlink(),
            "report",
            f"stale: its result {REPORT} is missing",
        ),
        (
            lambda t: (t.folder / REPORT).write_text("{}"),
            "report",
            f"stale: its result {REPORT} is not what it wrote",
        ),
        (
            lambda t: t.edit("params.yaml", "^methods: .*", "methods: [popularity, glta]"),
            "train@glta",
            "stale: it has never run",
        ),
        (
            lambda t: t.edit("dvc.yaml", "-m toy.report", "-m  toy.report"),
            "report",
            "stale: its command in dvc.yaml changed",
        ),
    ],
)
def test_why(toy, change, stage, words):
    change(toy)
    assert words in toy("glta", "why", stage)


def test_why_of_no_stage(toy):
    assert "trian: no such stage; nearest is train" in toy("glta", "why", "trian", status=1)
    assert json.loads(toy("glta", "why", "train", "--json")) == dict.fromkeys(TRAINS, "up to date")


def test_outside_of_a_checkout(toy, tmp_path):
    toy.folder = tmp_path
    for command in (["lineage", "check"], ["lineage", "trace", "x"], ["why", "x"]):
        assert "is not in a project of glta" in toy("glta", *command, status=1)
