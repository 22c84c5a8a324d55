"""Stage 2 of GLTA: align items with the texts that describe them."""

from glta.data.prepared import Prepared
from glta.methods.glta.item_stage import run_item_stage
from glta.params.model import Params
from glta.progress import record_epoch
from glta.storage.cell import folder
from glta.storage.files import whole_folder
from pipeline.stages.script import checkpoint_folder, run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/align_items: item projector and head."""
    source = folder(dataset, seed)
    prepared = Prepared.load(source / "prepare")
    items = run_item_stage(source, prepared, params, seed, checkpoint_folder(), record_epoch)
    with whole_folder(source / "align_items") as out:
        items.save(out)


if __name__ == "__main__":
    run(main)
