"""Run `glta tune`.

It makes the results that a method is trained on, runs the study, shows and logs it, and writes the
best values into params.yaml.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glta.methods.registry import needed, specs
from glta.params.check import load_params, shown
from glta.params.file import locked_params, override
from glta.params.model import Params
from glta.params.plan import profile_stage, sync_plan
from glta.progress import quiet
from glta.storage.cell import Cell
from glta.storage.files import write_whole
from glta.tuning.objective import objective, programs_of, searched, sources, study_key
from glta.tuning.space import Values, present_values, space
from glta.tuning.study import Budget, Study, Trial, best_of, in_words, latest_trials, tune
from pipeline.engine.imports import modules_of
from pipeline.tracking.store import check_store
from pipeline.tuning.board import board
from pipeline.tuning.log import StudyLog

PARAMS = Path("params.yaml")
STUDIES = Path(".pipe/tune")


def main(
    method: str, dataset: str, *, budget: Budget, seed: int, write: bool, like: Sequence[str] = ()
) -> None:
    """Tune a method on one dataset and seed.

    like: datasets whose parameters are tried before any others. write: False to leave params.yaml
    alone. Raises ValueError for what the user has to change first.
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
                f"{PARAMS} {key} = {shown(known)}: {value} is missing, so no stage prepares it; "
                "add it"
            )
    if unknown := [name for name in like if name not in params.overrides]:
        raise ValueError(
            f"--like {unknown[0]}: {PARAMS} has no overrides of that dataset, only of "
            f"{', '.join(params.overrides)}"
        )
    wanted = [name for name in sources(method) if name not in needed(params.methods)]
    if wanted:
        raise ValueError(
            f"{PARAMS} methods: {method} is trained on the result of {wanted[0]}, which none of "
            f"these methods needs; add {method} to methods"
        )
    check_store()
    sync_plan(params)
    others = [present_values(method, params.for_dataset(name)) for name in like]
    make_sources(params, method, dataset, seed)
    done = search(
        method, dataset, params.for_dataset(dataset), budget=budget, seed=seed, others=others
    )
    finish(
        method,
        dataset,
        done,
        present=present_values(method, params.for_dataset(dataset)),
        write=write,
    )


def make_sources(params: Params, method: str, dataset: str, seed: int) -> None:
    """Bring the results that the method is trained on up to date, with DVC.

    This takes seconds when nothing is stale. Only one such command runs at a time: DVC waits for
    its repository's lock, but fails when another process makes the same stage.
    """
    names = ("prepare", *(name for name in sources(method) if name != "profile"))
    stages = [f"{name}@{dataset}-{seed}" for name in names]
    if "profile" in sources(method):
        stages.append(profile_stage(params, dataset, seed))
    # use the dvc and python beside this interpreter, even when its environment is not activated
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["dvc", "--wait-for-lock", "repro", *stages]
    STUDIES.mkdir(parents=True, exist_ok=True)
    with (STUDIES / "sources.lock").open("a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        done = subprocess.run(command, stdout=sys.stderr, env=os.environ | {"PATH": path})
    if done.returncode:
        raise ValueError(
            f"`{' '.join(command)}` failed, so {method} cannot be trained; its message is above"
        )


def search(
    method: str,
    dataset: str,
    params: Params,
    *,
    budget: Budget,
    seed: int,
    others: Sequence[Values] = (),
) -> list[Trial]:
    """Run trials until the budget is spent. Returns all trials of the study.

    Trials of earlier runs of the study count towards the budget. others: values that are tried
    first.
    """
    cell = Cell(dataset, seed)
    ranges = searched(method, cell)
    present = _only(present_values(method, params), ranges)
    others = [_only(values, ranges) for values in others]
    name = f"{dataset}-{seed}-{method}"
    code = modules_of(*programs_of(method), "glta/evaluation/validation.py")

    with alone(STUDIES / f"{name}.lock", f"{method} on {dataset}"):
        key = study_key(method, cell, params, ranges=ranges, code=code)
        study = Study(STUDIES / f"{name}.db", key, ranges, seed)
        measure = objective(method, cell, params)

        def evaluate(values: Values) -> float:
            limit = None if values == present else budget.trial_minutes
            with quiet():
                found = measure(values, minutes=limit)
            if study_key(method, cell, params, ranges=ranges, code=code) != key:
                raise ValueError(
                    f"data or code of {method} changed during tuning; run the same command again, "
                    "which starts a new study"
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
                raise KeyboardInterrupt(
                    f"stopped; {count} trials are kept. The same command continues the study; with "
                    f"`--trials {max(count, 1)}` it only writes the best parameters"
                ) from None


def _only(values: Values, keys: Collection[str]) -> Values:
    """Keep the values of some keys."""
    return {key: value for key, value in values.items() if key in keys}


def finish(method: str, dataset: str, done: list[Trial], *, present: Values, write: bool) -> None:
    """Print the result, and write it into params.yaml when it is better than the present values."""
    best = best_of(done)
    # keys that count for nothing on these data were not searched
    now = next(trial for trial in done if trial.values.items() <= present.items())
    if best is None:
        raise ValueError(f"no training of {method} has a value, the last: {done[-1].error}")
    print(
        f"{method} on {dataset}: {len(done)} trials, validation NDCG@20 of the present parameters "
        f"{shown_value(now.value)}"
    )
    if best is now or best.value == now.value:
        print("no trial is better; nothing to write")
        return
    print(f"the best, trial {best.number}: {shown_value(best.value)}, with {in_words(best.values)}")
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


def studies(dataset: str = "") -> list[dict[str, Any]]:
    """Return the latest study of each dataset, seed and method.

    A row is {"study", "trials", "minutes", "before", "best"}; the last two are NDCG@20 on
    validation, of the first trial and of the best one, None where the training has no value. Raises
    ValueError where there is no study.
    """
    rows = []
    for path in sorted(STUDIES.glob("*.db")):
        if dataset not in ("", _dataset_of(path.stem)):
            continue
        done = latest_trials(path)
        if best := best_of(done):
            minutes = sum(trial.seconds for trial in done) / 60
            values = {"before": done[0].value, "best": best.value}
            rows.append({"study": path.stem, "trials": len(done), "minutes": minutes, **values})
    if not rows:
        raise ValueError(
            f"{STUDIES}: has no study{f' of {dataset}' if dataset else ''}; see `glta tune --help`"
        )
    return rows


def _dataset_of(study: str) -> str:
    """Return the dataset of a study: what is before its last number, which is the seed.

    A dataset may have numbers in its name, and no method has a number alone between two dashes.
    """
    found = re.fullmatch(r"(.+)-\d+-\D.*", study)
    return found[1] if found else ""


def overview(dataset: str = "") -> str:
    """List the studies as a Markdown table."""
    lines = ["| study | trials | minutes | NDCG@20 before | best |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['study']} | {row['trials']} | {row['minutes']:.1f} | "
        f"{shown_value(row['before'])} | {shown_value(row['best'])} |"
        for row in studies(dataset)
    ]
    return "\n".join(lines)


def difference(old: list[str], new: list[str]) -> list[str]:
    """List the lines from the first to the last that differ.

    `difflib` finds poor matches here, because params.yaml has many equal lines.
    """
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return [f"-{line}" for line in old] + [f"+{line}" for line in new]


def shown_value(value: float | None) -> str:
    return "none (no value)" if value is None else f"{value:.4f}"


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Refuse a second process on the same study.

    The kernel releases the lock when this process dies.
    """
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
