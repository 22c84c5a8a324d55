"""`glta tune`: make what a method builds on, run its study, show and log it, write the best values
into params.yaml.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from glta.methods.registry import needed, specs
from glta.params.check import load_params
from glta.params.file import locked_params, override
from glta.params.model import Params
from glta.params.plan import sync_plan
from glta.progress import quiet
from glta.storage.cell import Cell
from glta.storage.files import write_whole
from glta.tuning.objective import objective, programs_of, sources, study_key
from glta.tuning.space import Values, present_values, space
from glta.tuning.study import Budget, Study, Trial, best_of, in_words, latest_trials, tune
from pipeline.engine.imports import modules_of
from pipeline.tuning.board import board
from pipeline.tuning.log import StudyLog

PARAMS, STUDIES = Path("params.yaml"), Path(".pipe/tune")


def main(
    method: str, dataset: str, budget: Budget, seed: int, write: bool, like: Sequence[str] = ()
) -> None:
    """Tune a method on one dataset and seed. Raises ValueError for what the user has to change
    first.

    like: datasets whose parameters are measured too, before anything is proposed.
    """
    if not space(method):
        tunable = ", ".join(name for name in specs() if space(name))
        raise ValueError(
            f"{method} has nothing to tune: its settings declare no ranges; those of {tunable} do"
        )
    params = load_params(PARAMS)
    for key, value, known in (
        ("datasets", dataset, params.datasets),
        ("seeds", seed, params.seeds),
    ):
        if value not in known:
            raise ValueError(
                f"{PARAMS} {key} = {known}: does not name {value}, so no stage prepares it; add it"
            )
    if strangers := [name for name in like if name not in params.overrides]:
        raise ValueError(
            f"--like {strangers[0]}: {PARAMS} has no overrides of that dataset, only of "
            f"{', '.join(params.overrides)}"
        )
    wanted = [name for name in sources(method) if name not in needed(params.methods)]
    if wanted:
        raise ValueError(
            f"{PARAMS} methods: none of them needs {wanted[0]}, on which {method} is trained; add "
            f"{method} to methods"
        )
    sync_plan(params)
    others = [present_values(method, params.for_dataset(name)) for name in like]
    make_sources(method, dataset, seed)
    done = search(method, dataset, params.for_dataset(dataset), budget, seed, others)
    finish(method, dataset, done, present_values(method, params.for_dataset(dataset)), write)


def make_sources(method: str, dataset: str, seed: int) -> None:
    """Let DVC bring up to date what the method builds on; where nothing is stale that takes
    seconds.

    One command at a time: DVC waits for its repository's lock, but refuses when another process
    makes the same stage.
    """
    stages = [f"{name}@{dataset}-{seed}" for name in ("prepare", *sources(method))]
    # dvc and python are those beside this interpreter, also when its environment is not activated
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["dvc", "--wait-for-lock", "repro", *stages]
    STUDIES.mkdir(parents=True, exist_ok=True)
    with (STUDIES / "sources.lock").open("a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        done = subprocess.run(command, stdout=sys.stderr, env=os.environ | {"PATH": path})
    if done.returncode:
        raise ValueError(
            f"what {method} builds on could not be made (above is why): `{' '.join(command)}`"
        )


def search(
    method: str,
    dataset: str,
    params: Params,
    budget: Budget,
    seed: int,
    others: Sequence[Values] = (),
) -> list[Trial]:
    """Spend the budget, less what earlier runs of this study have spent, on `others` first.

    Returns all its trials.
    """
    cell = Cell(dataset, seed)
    present = present_values(method, params)
    name = f"{dataset}-{seed}-{method}"
    code = modules_of(*programs_of(method), "glta/evaluation/validation.py")

    with alone(STUDIES / f"{name}.lock", f"{method} on {dataset}"):
        key = study_key(method, cell, params, code)
        study = Study(STUDIES / f"{name}.db", key, space(method), seed)
        measure = objective(method, cell, params)

        def evaluate(values: Values) -> float:
            with quiet():
                found = measure(values)
            if study_key(method, cell, params, code) != key:
                raise ValueError(
                    f"data or code of {method} changed while it was tuned; run again, for a new "
                    "study"
                )
            return found

        about = {
            "method": method,
            "dataset": dataset,
            "seed": seed,
            "study": key,
            "present": json.dumps(present),
        }
        with StudyLog(name, about) as log, board(name, budget, present, study.finished()) as shown:

            def on_trial(done: list[Trial]) -> None:
                log.update(done)
                shown.update(done)

            log.update(study.finished())
            try:
                return tune(study, present, evaluate, budget, shown.start, on_trial, others)
            except KeyboardInterrupt:
                count = len(study.finished())
                raise ValueError(
                    f"stopped; {count} trials are kept: the same command goes on, `--trials "
                    f"{max(count, 1)}` ends it here"
                ) from None


def finish(method: str, dataset: str, done: list[Trial], present: Values, write: bool) -> None:
    """Say what was found, and put it into params.yaml if it is better than what is there."""
    best, now = best_of(done), next(trial for trial in done if trial.values == present)
    if best is None:
        raise ValueError(f"every training of {method} diverged, the last with: {done[-1].error}")
    print(
        f"{method} on {dataset}: {len(done)} trials, validation NDCG@20 of the present parameters "
        f"{shown_value(now)}"
    )
    if best is now or best.value == now.value:
        print("none is better; nothing to write")
        return
    print(f"the best, trial {best.number}: {shown_value(best)}, with {in_words(best.values)}")
    with locked_params():
        old = PARAMS.read_text(encoding="utf-8")
        new = override(old, dataset, best.values)
        print(*difference(old.splitlines(), new.splitlines()), sep="\n")
        if write:
            write_whole(PARAMS, new)
    print(
        f"{PARAMS}: written; `dvc repro` or `snakemake` makes the results"
        if write
        else "nothing written (--dry-run)"
    )


def overview(dataset: str = "") -> str:
    """List what was tuned, as a Markdown table: of each dataset, seed and method the study that was
    worked on last.
    """
    lines = ["| study | trials | minutes | NDCG@20 before | best |", "|---|---|---|---|---|"]
    for path in sorted(STUDIES.glob(f"{dataset}-*.db" if dataset else "*.db")):
        done = latest_trials(path)
        best = best_of(done)
        if best:
            minutes = sum(trial.seconds for trial in done) / 60
            lines.append(
                f"| {path.stem} | {len(done)} | {minutes:.1f} | {shown_value(done[0])} | "
                f"{shown_value(best)} |"
            )
    if len(lines) == 2:
        raise ValueError(
            f"{STUDIES}: nothing was tuned here{f' on {dataset}' if dataset else ''}; see `glta "
            "tune --help`"
        )
    return "\n".join(lines)


def difference(old: list[str], new: list[str]) -> list[str]:
    """List the lines from the first to the last that differ; `difflib` loses its way among so many
    equal ones.
    """
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return [f"-{line}" for line in old] + [f"+{line}" for line in new]


def shown_value(trial: Trial) -> str:
    return "none (it diverged)" if trial.value is None else f"{trial.value:.4f}"


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Refuse a second process. The kernel lets go of the lock if this one dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            f.seek(0)
            raise ValueError(
                f"{what} is being tuned already, by process {f.read() or 'unknown'}"
            ) from None
        f.truncate(0)
        f.write(str(os.getpid()))
        f.flush()
        yield
