"""Write a bundle: one folder with all that serves a trained model, for `glta export`."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import polars as pl

from glta import __version__
from glta.data.made_from import NOTE, refuse_result
from glta.evaluation.top_k_store import FILE, Pairs
from glta.features.profiles import Profiles
from glta.methods.chain import REFIT
from glta.methods.registry import needed, title
from glta.params.check import load_params
from glta.params.model import Params
from glta.serving.answers import usable_store
from glta.serving.bundle import ABOUT, BundleAbout, EncoderAbout
from glta.serving.model_card import model_card, notices
from glta.serving.served_model import ServedModel
from glta.storage.cell import Cell, folder
from glta.storage.digests import visible_files
from glta.storage.files import read_json, sha256_of, whole_folder, write_whole
from glta.storage.tables import write_table

KINDS = (".safetensors", ".json", ".parquet")
"""Files of a model that a bundle may have. None of them can run a program when it is read."""

LIBRARIES = ("numpy", "polars", "safetensors", "scipy", "torch")


def export(
    method: str,
    dataset: str,
    seed: int = 0,
    *,
    out: Path | None = None,
    params: Params | None = None,
    with_test: bool = False,
    with_store: bool = True,
    commit: str = "",
) -> Path:
    """Write the bundle of a trained model. Returns its folder.

    The folder is written beside its place and renamed when it is complete. Equal models and data
    give equal bytes.
    out: the folder; None: data/DATASET/SEED/bundles/METHOD. A bundle that is there is replaced.
    params: with the dataset's values; None: those of params.yaml.
    with_test: test items count as the user's, too; see `glta.serving.cached_lists.cache`.
    with_store: whether a top-K store that fits is a part of it.
    commit: of the code, for the record.
    Raises ValueError for unknown names, for a folder with other content or that a stage writes, for
    a model or metrics of other prepared data, and for a model with files that are no safetensors,
    JSON or Parquet; FileNotFoundError when the stages have not run.
    """
    served = ServedModel.of(method, dataset, seed)
    if params is None:
        params = load_params().for_dataset(dataset)
        _refuse_result(served, params, out)
    place = out or served.cell.bundle(method)
    _refuse_content(place)
    measured = _measured(served)
    histories = served.histories_to_score(params.recommend, with_test=with_test)
    masked: Pairs = "all" if with_test else "seen"
    with whole_folder(place) as made:
        inside = Cell(dataset, seed, made)
        _copy_model(served, inside)
        _copy_data(served, inside, with_test)
        if with_store:
            _copy_store(served, inside, histories, masked)
        source = _source(dataset)
        about = BundleAbout(
            method=method,
            title=title(method),
            dataset=dataset,
            seed=seed,
            fitted=served.fitted,
            histories=histories,
            masked=masked,
            encoder=_encoder(served, params),
            measured=measured,
            source=source,
            versions=_versions(),
            commit=commit,
            files={},
        )
        counts = read_json(inside.prepare / "counts.json")
        write_whole(made / "README.md", model_card(about, counts))
        write_whole(made / "NOTICES.md", notices(about))
        digests = {p.relative_to(made).as_posix(): sha256_of(p) for p in visible_files(made)}
        about.model_copy(update={"files": digests}).save(made)
    return place


def _measured(served: ServedModel) -> dict[str, float]:
    """Return the metrics of the stage evaluate; empty without them.

    Raises ValueError when they are of another split.
    """
    folder = served.cell.evaluated(served.method)
    metrics, summary = folder / "metrics.json", folder / "summary.json"
    if not metrics.exists():
        return {}
    if not summary.exists() or read_json(summary).get("prepared") != served.prepared.digest:
        cell = served.cell
        refuse_result(folder, f"evaluate@{cell.dataset}-{cell.seed}-{served.method}")
    return read_json(metrics)


def _refuse_result(served: ServedModel, params: Params, out: Path | None) -> None:
    """Raise ValueError for the folder of a bundle that a stage writes, which DVC would restore."""
    place = served.cell.bundle(served.method)
    is_made = (
        served.method in params.serve
        and served.cell.dataset in params.datasets
        and served.cell.seed == params.seeds[0]
    )
    if is_made and (out is None or out.resolve() == place.resolve()):
        raise ValueError(
            f"{place}: is written by the stages, as serve in params.yaml names {served.method}; "
            "name another folder with --out"
        )


def _refuse_content(place: Path) -> None:
    """Raise ValueError for a place that holds anything but a bundle."""
    is_free = not place.exists() or (place.is_dir() and not any(place.iterdir()))
    if not is_free and not (place / ABOUT).is_file():
        raise ValueError(
            f"--out {place}: is there already, and is no bundle; name a folder that does not exist"
        )


def _files(model: Path) -> Iterator[Path]:
    """Yield the files of a model, without those of its refit and without a store.

    Nor is the note of its data among them: a bundle does not have all of these.
    """
    for path in visible_files(model):
        inner = path.relative_to(model)
        if inner.parts[0] != REFIT and inner.as_posix() not in (FILE, NOTE):
            if path.suffix not in KINDS:
                raise ValueError(f"{path}: a bundle may have {', '.join(KINDS)} files alone")
            yield path


def _copy_model(served: ServedModel, inside: Cell) -> None:
    """Copy the files of the model that serves. A refit stays one: see `ServedModel.fitted`."""
    is_refit = served.fitted == "seen"
    target = inside.model(served.method) / (REFIT if is_refit else "")
    for path in _files(served.folder):
        copy = target / path.relative_to(served.folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _copy_data(served: ServedModel, inside: Cell, with_test: bool) -> None:
    """Copy ids, titles and pairs. The test pairs are left out, unless they count as the user's."""
    inside.prepare.mkdir(parents=True)
    for name in ("users.parquet", "items.parquet", "train.parquet", "valid.parquet", "counts.json"):
        shutil.copyfile(served.cell.prepare / name, inside.prepare / name)
    test = pl.read_parquet(served.cell.prepare / "test.parquet")
    write_table(inside.prepare / "test.parquet", test if with_test else test.clear())


def _copy_store(served: ServedModel, inside: Cell, histories: Pairs, masked: Pairs) -> None:
    """Copy the top-K store, if there is one of the same pairs."""
    store = usable_store(served)
    if store and (store.about.histories, store.about.masked) == (histories, masked):
        copy = inside.store(served.method) / FILE
        copy.parent.mkdir(parents=True)
        shutil.copyfile(store.path, copy)


def _encoder(served: ServedModel, params: Params) -> EncoderAbout | None:
    """Name what encodes texts; None for a method that reads none."""
    if "profile" not in needed([served.method]):
        return None
    language = Profiles.load(served.cell.step("profile")).about["language"]
    return EncoderAbout(
        language=params.language,
        sha256=language["sha256"],
        text=[*params.profile.text],
        max_words=params.profile.max_words,
    )


def _source(dataset: str) -> dict:
    path = folder(dataset, "download", "source.json")
    return read_json(path) if path.exists() else {}


def _versions() -> dict[str, str]:
    found = {"glta": __version__, "python": platform.python_version()}
    return found | {name: version(name) for name in LIBRARIES}
