"""Where results lie: `Cell` alone knows the folders of a dataset and a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glta.storage.shard import Shard

DATA = Path("data")


def folder(*parts: str | int) -> Path:
    """Return data/PART/PART/..."""
    return DATA.joinpath(*map(str, parts))


@dataclass(frozen=True)
class Cell:
    """Name the folders of one dataset and seed. data: above all datasets; None: data/ here."""

    dataset: str
    seed: int
    data: Path | None = None

    def _folder(self, *parts: str) -> Path:
        return (self.data or DATA).joinpath(self.dataset, str(self.seed), *parts)

    @property
    def prepare(self) -> Path:
        return self._folder("prepare")

    def step(self, name: str) -> Path:
        """Return the folder of a stage or step that makes no recommender."""
        return self._folder(name)

    def model(self, method: str) -> Path:
        """Return the folder of a recommender."""
        return self._folder("models", method)

    def lists(self, method: str) -> Path:
        """Return the folder of a method's top-K lists."""
        return self._folder("recommend", method)

    def shard(self, stage: str, shard: Shard, *method: str) -> Path:
        """Return the folder of one shard of a stage, of one method where the stage has methods.

        Their number is part of the name, so that shards of different divisions are never joined.
        """
        return self._folder("shards", f"{stage}-of-{shard.of}", *method, str(shard.part))

    def store(self, method: str) -> Path:
        """Return the folder of a method's store of all users' lists (`glta cache`)."""
        return self._folder("cache", method)

    def bundle(self, method: str) -> Path:
        """Return the folder of a method's bundle (`glta export`, or `serve` of params.yaml)."""
        return self._folder("bundles", method)

    def evaluated(self, method: str) -> Path:
        """Return the folder of a method's metrics. It lies outside, so that one folder has all."""
        return (self.data or DATA).joinpath("evaluate", self.dataset, str(self.seed), method)
