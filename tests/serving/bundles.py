"""A trained model on the small dataset, exported into a bundle, for the tests of serving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glta.data.made_from import note_data
from glta.methods.base import Recommender
from glta.methods.shared.stored_lists import write_store
from glta.params.check import whole_overrides
from glta.params.file import render_params
from glta.params.model import Params
from glta.serving.export import export
from glta.storage.files import write_json
from glta.testing.blocks import World

SOURCE = {
    "dataset": "blocks",
    "synthetic": True,
    "licence": "CC0 1.0: made for tests",
    "citation": "Nobody, A dataset, 2020",
    "homepage": "https://example.org/blocks",
    "files": {"pairs.csv": {"sha256": "1" * 64, "bytes": 3, "address": "", "expected": ""}},
}


@dataclass(frozen=True)
class Shop:
    """Hold a project with trained models, in the working folder."""

    world: World

    @classmethod
    def open(cls, world: World, folder: Path, values: dict | None = None) -> Shop:
        """Write params.yaml, and what the stage download says of the data."""
        params = Params(
            datasets=["blocks"],
            tables={"blocks": {"interactions": "none.csv"}},
            overrides={"blocks": whole_overrides({})},
            **(values or {}),
        )
        (folder / "params.yaml").write_text(render_params(params))
        write_json(world.data / "blocks/download/source.json", SOURCE)
        return cls(world)

    def train(self, method: str) -> Recommender:
        """Train a method and save it where its stage does."""
        model = self.world.train(method)
        assert isinstance(model, Recommender)
        self.save(method, model)
        return model

    def save(self, method: str, model: Recommender) -> None:
        files = self.world.cell.model(method)
        files.mkdir(parents=True, exist_ok=True)
        model.save(files)
        note_data(files, self.world.prepared.digest)

    def store(self, method: str, model: Recommender, k: int = 6) -> None:
        """Write the top-K store of a model, as `glta cache` does."""
        names = {"method": method, "dataset": "blocks", "seed": 0}
        cell = self.world.cell
        write_store(
            model, self.world.prepared, cell.store(method), k, model=cell.model(method), **names
        )

    def export(self, method: str, out: Path | None = None, **options) -> Path:
        return export(method, "blocks", out=out, **options)
