"""Register bundles in MLflow as pyfunc models, which its own server and clients can load.

The models that the stages record have their files in DVC (pipeline/tracking/models.py). A bundle
has its files in MLflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

from glta.serving.bundle import Bundle, load
from glta.storage.cell import Cell
from pipeline.tracking.bundle_flavor import DEFAULT_K
from pipeline.tracking.models import BEST
from pipeline.tracking.records import experiment_id
from pipeline.tracking.store import check_store, make_portable, open_client

EXPERIMENT = "glta-bundles"
FLAVOR = "pipeline.tracking.bundle_flavor"

SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.string, "user_id", required=False),
            ColSpec(Array(DataType.string), "items", required=False),
        ]
    ),
    outputs=Schema(
        [
            ColSpec(DataType.string, "way"),
            ColSpec(Array(DataType.string), "items"),
            ColSpec(Array(DataType.double), "scores"),
        ]
    ),
    params=ParamSchema([ParamSpec("k", DataType.integer, DEFAULT_K)]),
)


def options_of(bundle: Bundle) -> dict[str, Any]:
    """Return the arguments by which MLflow saves or logs a bundle as a pyfunc model."""
    first_user = bundle.served.prepared.users["user_id"][:1].to_list()
    about = bundle.about
    return {
        "loader_module": FLAVOR,
        "data_path": str(bundle.folder),
        "signature": SIGNATURE,
        "input_example": pd.DataFrame({"user_id": first_user, "items": [bundle.item_ids[:1]]}),
        "pip_requirements": [f"glta=={about.versions['glta']}"],
        "metadata": {"method": about.method, "dataset": about.dataset, "digest": about.digest},
    }


def register_bundle(folder: Path, alias: str = "") -> tuple[str, str]:
    """Log a bundle in MLflow and register it. Returns the registered model and its version.

    The registered model is DATASET-bundle. A bundle that it has already is not logged again.
    alias: of the version; "" gives it `best`, if the method is the one that is best on validation
    (the version `best` of the registered model DATASET, which the stages record).
    Raises ValueError for a store that cannot be used.
    """
    check_store()
    bundle = load(folder)
    about = bundle.about
    client = open_client()
    name = f"{about.dataset}-bundle"
    version = _known(client, name, about.digest)
    if version is None:
        mlflow.set_tracking_uri(client.tracking_uri)
        mlflow.set_experiment(experiment_id=experiment_id(client, EXPERIMENT))
        logged = mlflow.pyfunc.log_model(name=f"{about.method}-{about.seed}", **options_of(bundle))
        if not client.search_registered_models(f"name = '{name}'"):
            words = f"Bundles of models for the dataset {about.dataset}."
            client.create_registered_model(name, description=words)
        tags = {
            "method": about.method,
            "seed": str(about.seed),
            "bundle.digest": about.digest,
            "git.commit": about.commit,
            # `glta lineage trace` leads from there to the raw bytes
            "dvc.path": Cell(about.dataset, about.seed).model(about.method).as_posix(),
        }
        source = f"models:/{logged.model_id}"
        made = client.create_model_version(name, source, tags=tags, model_id=logged.model_id)
        version = made.version
        make_portable()
    chosen = alias or (BEST if _is_best(client, bundle) else "")
    if chosen:
        client.set_registered_model_alias(name, chosen, version)
    return name, str(version)


def _known(client: Any, name: str, digest: str) -> Any:
    """Return the version of a bundle that is registered already; None without one."""
    found = client.search_model_versions(f"name = '{name}'")
    return next((v.version for v in found if v.tags.get("bundle.digest") == digest), None)


def _is_best(client: Any, bundle: Bundle) -> bool:
    """Tell whether the method of a bundle is the one that is best on validation."""
    try:
        best = client.get_model_version_by_alias(bundle.about.dataset, BEST)
    except MlflowException:
        return False
    return best.tags.get("method") == bundle.about.method
