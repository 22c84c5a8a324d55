"""Load a bundle: one folder with all that serves a model, which `glta export` writes.

It needs the package glta, and nothing of the project: no params.yaml and no data/.
"""

# J new items
from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, Self

import polars as pl
from pydantic import field_validator

from glta.config import Name, Section, Sha256
from glta.evaluation.top_k_store import FILE, Pairs, TopKStore
from glta.features.settings import ProfileSettings
from glta.methods.registry import models
from glta.nn.language.settings import LanguageSettings
from glta.serving.answers import Answers
from glta.serving.new_items import encode_texts
from glta.serving.served_model import ServedModel
from glta.storage.cell import Cell
from glta.storage.digests import digest_of_arrays, visible_files
from glta.storage.files import sha256_of, write_json

ABOUT = "bundle.json"
AGAIN = "; copy the bundle again, or export it again"
SCHEMA = 1
"""Version of the format. A bundle of another version is refused."""


class EncoderAbout(Section):
    """Name what encodes texts. A bundle does not have the language model itself.

    language: how it is loaded; `model` is the packaged one, a hub id, or a folder of the machine
        that exported the bundle. sha256: digest of its files.
    text, max_words: see `glta.features.settings.ProfileSettings`.
    """

    language: LanguageSettings
    sha256: Sha256
    text: list[str]
    max_words: int


class BundleAbout(Section):
    """Describe a bundle.

    fitted, histories, masked: see `glta.evaluation.top_k_store.StoreAbout`.
    encoder: None where the method reads no texts.
    measured: metrics of the stage evaluate, by name; empty without them.
    source: what is known of the dataset's files: licence, citation, homepage, digests.
    versions: of glta, Python and the libraries that compute. commit: of the code; "" if not known.
    files: SHA-256 digest of every other file of the bundle, by its path.
    """

    method: str
    title: str
    dataset: Name
    seed: int
    fitted: Pairs
    histories: Pairs
    masked: Pairs
    encoder: EncoderAbout | None
    measured: dict[str, float]
    source: dict[str, Any]
    versions: dict[str, str]
    commit: str
    files: dict[str, Sha256]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        """Refuse a path that leads out of the folder."""
        if any(PurePosixPath(name).is_absolute() or ".." in name.split("/") for name in files):
            raise ValueError("a path leads out of the bundle")
        return files

    @property
    def digest(self) -> str:
        """SHA-256 digest of the description, and so of all files that it names."""
        return digest_of_arrays([], self.model_dump())

    def save(self, folder: Path) -> None:
        """Write bundle.json."""
        content = {"schema": SCHEMA, "digest": self.digest, "about": self.model_dump()}
        write_json(folder / ABOUT, content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read bundle.json. Raises as `glta.serving.bundle.load` does."""
        path = folder / ABOUT
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; `glta export` writes a bundle")
        if not path.is_file():
            _refuse(path, "no such file: the folder is no bundle, or is not copied whole")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            schema = found["schema"]
            if schema == SCHEMA:
                about = cls.model_validate(found["about"])
                digest = found["digest"]
        except (ValueError, KeyError, TypeError):
            _refuse(path, "is damaged, or is not that of a bundle")
        if schema != SCHEMA:
            _refuse(path, f"has schema {schema}, this version of glta reads {SCHEMA}")
        if digest != about.digest:
            _refuse(path, "was changed after the export")
        return about


class Bundle(Answers):
    """Answer by what a folder has. Make one with `load`, which checks it.

    folder: of the bundle. about: see `BundleAbout`.
    """

    def __init__(self, folder: Path, about: BundleAbout):
        served = ServedModel(about.method, Cell(about.dataset, about.seed, folder))
        store = None
        place = served.cell.store(about.method)
        if (place / FILE).exists():
            # its model is known to be that of the bundle: both were checked when it was exported
            item_ids = served.prepared.items["item_id"].to_list()
            store = TopKStore.open(place, item_ids=item_ids)
        super().__init__(served, store, histories=about.histories, masked=about.masked)
        self.folder = folder
        self.about = about

    def accept(self, items: pl.DataFrame, *, language: str | None = None) -> Answers:
        """Return answers that may have new items, which are described by their texts.

        items: columns item_id (text), and title, description (text), categories (list of text) as
        far as they are known. language: name or folder of the language model; None: as the bundle
        names it. Raises ValueError for a method that needs interactions to score an item, for an id
        that the bundle has, and when the language model is not there or is another one.
        """
        from glta.nn.language.frozen import load_language

        encoder = self.about.encoder
        if encoder is None or "new_items" not in self.served.capabilities:
            raise ValueError(
                f"{self.about.method} needs interactions to score an item: it cannot take new items"
            )
        settings = encoder.language
        if language is not None:
            settings = settings.model_copy(update={"model": language})
        model = load_language(settings)
        if model.sha256 != encoder.sha256:
            raise ValueError(
                f"{settings.model}: has sha256 {model.sha256}, but the bundle {self.folder} was "
                f"made with a language model of sha256 {encoder.sha256}; name that one"
            )
        profile = ProfileSettings.model_validate(
            {"text": encoder.text, "max_words": encoder.max_words}
        )
        whole = self._empty_columns(items)
        return self.with_new_items(items, encode_texts(whole, profile, model))

    @cached_property
    def size(self) -> dict[str, int]:
        """The numbers of users and of items."""
        prepared = self.served.prepared
        return {"users": prepared.users.height, "items": prepared.items.height}

    @staticmethod
    def _empty_columns(items: pl.DataFrame) -> pl.DataFrame:
        """Add the columns that new items lack."""
        kinds: dict[str, Any] = {
            "title": pl.String,
            "description": pl.String,
            "categories": pl.List(pl.String),
        }
        missing = [pl.lit(None, k).alias(name) for name, k in kinds.items() if name not in items]
        whole = items.with_columns(missing)
        return whole if "item" in whole.columns else whole.with_row_index("item")


def load(folder: Path | str) -> Bundle:
    """Load a bundle from its folder, after a check of every file.

    The model is loaded when it is first needed, or by `Bundle.warm`.
    Raises FileNotFoundError without a folder. Raises ValueError, which names the file, for a bundle
    of another version, and for one that is not copied whole, is damaged, or was changed.
    """
    folder = Path(folder)
    about = BundleAbout.load(folder)
    for name, digest in sorted(about.files.items()):
        path = folder / name
        if not path.is_file():
            _refuse(path, "no such file: the bundle is not copied whole")
        if sha256_of(path) != digest:
            _refuse(path, "is damaged, or was changed after the export")
    known = {ABOUT, *about.files}
    for path in visible_files(folder):
        if (name := path.relative_to(folder).as_posix()) not in known:
            _refuse(path, "is no part of the bundle; take it out", fix="")
    if about.method not in models():
        _refuse(folder / ABOUT, f"names method {about.method}, which this glta does not have")
    return Bundle(folder, about)


def _refuse(path: Path, why: str, fix: str = AGAIN) -> NoReturn:
    raise ValueError(f"{path}: {why}{fix}")
