"""Write data/DATASET/SEED/bundles/METHOD: one folder with all that serves a trained model.

It has no store of `glta cache` and no commit, because no stage depends on these: equal inputs give
equal bytes.
"""

from glta.params.model import Params
from glta.serving.export import export
from glta.storage.cell import Cell
from pipeline.stages.script import run


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Raises ValueError for an unknown method, and as `export` does."""
    place = Cell(dataset, seed).bundle(method)
    export(method, dataset, seed, out=place, params=params, with_store=False)


if __name__ == "__main__":
    run(main)
