"""Record trained models in MLflow.

Each model is a LoggedModel, each dataset a registered model. The alias `best` names the version
that is best on validation. DVC keeps the files; MLflow gets hashes, parameters, metrics, and the
command that restores the files.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline.engine.snapshot import ModelValue
from pipeline.tracking.store import local_place

BEST = "best"


def copy_file(path: Path, folder: Path) -> None:
    """Copy a file into a folder of MLflow's, and make that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / path.name)


def log_model(
    client: MlflowClient,
    experiment: str,
    run_id: str,
    *,
    path: str,
    digest: str,
    params: dict[str, Any],
    tags: dict[str, str],
) -> str:
    """Make the LoggedModel of a stage's output and link it to the run. Returns its id."""
    where = {"dvc.path": path, "dvc.md5": digest}
    values = {k: str(v) for k, v in params.items()}
    model = client.create_logged_model(experiment, Path(path).name, run_id, where | tags, values)
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "README.md"
        commit = tags.get("git.commit", "")
        note.write_text(
            f"DVC keeps the files of this model: `{path}`, md5 {digest}, made at commit "
            f"{commit}.\n\n"
            f"`dvc checkout {path}` brings back the current one, `dvc get . {path} --rev COMMIT` "
            "the one of a commit whose\n"
            "dvc.lock holds it; `dvc pull --run-cache` first, where the cache is remote.\n"
        )
        if place := local_place(model.artifact_location):
            copy_file(note, place)
        else:
            client.log_model_artifact(model.model_id, str(note))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    return model.model_id


def register(client: MlflowClient, measured: ModelValue, model_id: str, run_id: str | None) -> None:
    """Give a model a version in the registry, once for each content.

    model_id, run_id: of the stage that made the model.
    """
    version = _versions(client, measured.registered).get((measured.path, measured.digest))
    if version is None:
        try:
            client.create_registered_model(
                measured.registered, description=f"Models for the dataset {measured.registered}."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {
            "method": measured.method,
            "seed": str(measured.seed),
            "dvc.path": measured.path,
            "dvc.md5": measured.digest,
        }
        # the registry looks up models:/ there
        mlflow.set_tracking_uri(client.tracking_uri)
        version = client.create_model_version(
            measured.registered, f"models:/{model_id}", run_id, tags, model_id=model_id
        )
        shown = json.dumps([{"name": measured.registered, "version": version.version}])
        # the UI reads this tag for its link from the model to the version
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": shown})
    client.set_model_version_tag(
        measured.registered,
        version.version,
        measured.metric.replace("@", "_at_"),
        f"{measured.value:.6f}",
    )


def set_best(client: MlflowClient, model_values: Iterable[ModelValue]) -> None:
    """Set the alias `best` of each registered model to the method that is best on validation.

    model_values: of all current results. A method's value is its mean over the seeds. The version
    is that of its lowest seed. Test metrics are not used.
    """
    by_name: dict[str, list[ModelValue]] = defaultdict(list)
    for measured in model_values:
        by_name[measured.registered].append(measured)
    for name, group in by_name.items():
        values: dict[str, list[float]] = defaultdict(list)
        for measured in group:
            values[measured.method].append(measured.value)
        best = max(values, key=lambda method: sum(values[method]) / len(values[method]))
        winner = min(
            (measured for measured in group if measured.method == best),
            key=lambda measured: measured.seed,
        )
        version = _versions(client, name).get((winner.path, winner.digest))
        if version is not None and BEST not in version.aliases:
            client.set_registered_model_alias(name, BEST, version.version)


def _versions(client: MlflowClient, name: str) -> dict[tuple[str | None, str | None], ModelVersion]:
    """Return the versions of a registered model by path and hash; empty when it does not exist."""
    quoted = name.replace("'", "''")
    found = client.search_model_versions(f"name='{quoted}'")
    return {(v.tags.get("dvc.path"), v.tags.get("dvc.md5")): v for v in found}
