"""Checksums of language models in folders of the user's, and a check that they have not changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from glta.methods.registry import needed, units
from glta.nn.language.model_files import PACKAGED, ModelFiles, own_folder
from glta.nn.language.settings import SMALL
from glta.params.model import Params


class ModelKey(NamedTuple):
    """Name the keys of a model and of its checksum in a section of params.yaml."""

    section: str
    model: str
    sha256: str


MODEL_KEYS = (
    ModelKey("language", "model", "sha256"),
    ModelKey("causal", "model", "sha256"),
    ModelKey("profile", "generator", "generator_sha256"),
)


def with_model_checksums(params: Params) -> Params:
    """Return the parameters with the present checksums of the user's own models.

    DVC and Snakemake see a change of a model by its checksum in params.yaml. A folder that is not
    on this machine keeps its checksum. The packaged model needs none, and that of a hub id is the
    user's own to set.
    """
    update: dict[str, Any] = {}
    for key in MODEL_KEYS:
        section = getattr(params, key.section)
        update[key.section] = section.model_copy(update={key.sha256: _checksum(section, key)})
    params = params.model_copy(update=update)
    overrides = dict(params.overrides)
    for dataset, given in params.overrides.items():
        for key in MODEL_KEYS:
            own = given.get(key.section) or {}
            if not {key.model, key.sha256} & own.keys():
                continue
            general = getattr(params, key.section)
            # the checksum of the general model is none of another model
            alone = general.changed({key.sha256: None} | own)
            checksum = _checksum(type(general).model_validate(alone), key)
            if checksum != general.changed(own)[key.sha256]:
                whole = {key.section: own | {key.sha256: checksum}}
                overrides[dataset] = overrides[dataset] | whole
    return params.model_copy(update={"overrides": overrides})


def refuse_other_models(params: Params) -> None:
    """Raise ValueError when a model is not the one of the checksum in the parameters.

    Both engines know of a model by its checksum, so a folder without one is refused too.
    params: those of one dataset, with its overrides applied.
    """
    for where, folder, stated in _used(params):
        if stated is None:
            raise ValueError(
                f"{where} = {folder}: has no checksum in params.yaml; `glta params sync` adds it"
            )
        if ModelFiles.of(folder).sha256 != stated:
            raise ValueError(
                f"{where} = {folder}: the model's files are not those of its checksum in "
                "params.yaml; put the former files back, or run `glta params sync`: the next run "
                "then computes again what depends on the model"
            )


def refuse_other_models_of_all(params: Params) -> None:
    """Raise ValueError as `refuse_other_models`, for each dataset whose texts are encoded."""
    if "profile" in needed(params.methods):
        for dataset in params.datasets:
            refuse_other_models(params.for_dataset(dataset))


def _used(params: Params) -> Iterator[tuple[str, Path, str | None]]:
    """Yield (dotted key, folder, checksum) of the models on this machine that are used."""
    for key in MODEL_KEYS:
        section = getattr(params, key.section)
        if key.section == "profile" and section.provider != "language_model":
            continue
        if key.section == "causal" and not _reads_causal(params):
            continue
        if folder := own_folder(getattr(section, key.model)):
            yield f"{key.section}.{key.model}", folder, getattr(section, key.sha256)


def _reads_causal(params: Params) -> bool:
    """Tell whether a step of the chosen methods reads the section causal."""
    known = units()
    return any("causal" in known[name].sections for name in needed(params.methods) if name in known)


def _checksum(section: Any, key: ModelKey) -> str | None:
    """Return the present checksum of a section's model."""
    model = getattr(section, key.model)
    if folder := own_folder(model):
        return ModelFiles.of(folder).sha256
    return None if model in ("", PACKAGED, SMALL) else getattr(section, key.sha256)
