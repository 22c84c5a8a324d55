"""Hold all that is recorded of one execution of a stage.

It is complete without the workspace, so that it can be written to MLflow later: results stay when
the store of the runs fails.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from glta.storage.files import write_whole
from pipeline.engine.invocation import Invocation
from pipeline.engine.snapshot import Snapshot
from pipeline.tracking.commit import current_commit
from pipeline.tracking.environment import describe_environment, environment_tags

# options of a stage's command that say what it works on
SUBJECTS = ("dataset", "seed", "method", "step", "part", "of")


@dataclass
class Execution:
    """Hold one execution of a stage.

    params: with the dataset's overrides merged in. deps, outs: {path: hash}. values: {metric file:
    its content}. epochs: the script's records. asked: datasets, seeds and methods of params.yaml.
    run: id of its MLflow run, "" before there is one. started, ended: ms since 1970.
    """

    stage: str
    cmd: list[str]
    params: dict[str, Any]
    deps: dict[str, str]
    meta: dict[str, Any]
    call: dict[str, Any]
    experiment: str
    code: dict[str, str]
    environment: dict[str, str]
    asked: dict[str, list]
    started: int
    ended: int = 0
    outs: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    run: str = ""

    @classmethod
    def begin(
        cls,
        stage: str,
        cmd: list[str],
        before: Snapshot,
        asked: dict[str, list],
        processes: int = 1,
    ) -> Execution:
        """Describe an execution that begins now."""
        return cls(
            stage,
            cmd,
            params=before.effective_params,
            deps=before.deps,
            meta=before.meta,
            call=Invocation.current()._asdict(),
            experiment=os.environ.get("DVC_EXP_NAME", ""),
            code=current_commit().tags,
            environment=describe_environment(before.meta.get("threads", 1), processes),
            asked=asked,
            started=int(time.time() * 1000),
        )

    @property
    def invocation(self) -> Invocation:
        return Invocation(**self.call)

    @property
    def subject(self) -> dict[str, str]:
        """Return what the stage works on, from its command: dataset, seed, method or step."""
        options = dict(zip(self.cmd, self.cmd[1:], strict=False))
        return {name: options[f"--{name}"] for name in SUBJECTS if f"--{name}" in options}

    @property
    def tags(self) -> dict[str, str]:
        return {
            "stage": self.stage,
            "cmd": " ".join(self.cmd),
            **self.subject,
            **self.code,
            **environment_tags(self.environment),
        }

    @property
    def error(self) -> str:
        """Return the script's own error message."""
        return next((each["error"] for each in reversed(self.epochs) if "error" in each), "")

    def read_epochs(self, path: Path) -> list[dict[str, Any]]:
        """Read the complete lines that the script has added to its records since the last call."""
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()[len(self.epochs) :]
        new = [json.loads(line) for line in lines]
        self.epochs += new
        return new

    def finish(self, after: Snapshot, costs: dict[str, float]) -> None:
        """Add what the stage has written."""
        self.ended = int(time.time() * 1000)
        self.outs = after.outs
        self.costs = costs
        self.values = {
            path: json.loads(Path(path).read_text(encoding="utf-8")) for path in after.metrics
        }

    def save(self, folder: Path) -> Path:
        """Write the execution into a folder. Returns its file."""
        path = folder / f"{self.started}-{self.stage}.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(self), indent=1, default=str))
        return path

    @classmethod
    def load(cls, path: Path) -> Execution:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def saved(folder: Path) -> Iterable[Path]:
    """List the files of saved executions, oldest first."""
    return sorted(folder.glob("[0-9]*.json"), key=lambda path: int(path.name.partition("-")[0]))
