"""Stage 3 of GLTA: align users with items through the language model, and keep what serves."""

from glta.data.prepared import Prepared
from glta.methods.glta.item_alignment import ItemStage
from glta.methods.glta.user_stage import run_user_stage
from glta.params.model import Params
from glta.progress import record_epoch
from glta.storage.cell import folder
from glta.storage.files import whole_folder
from pipeline.stages.script import checkpoint_folder, run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/models/glta."""
    source = folder(dataset, seed)
    prepared, items = Prepared.load(source / "prepare"), ItemStage.load(source / "align_items")
    users = run_user_stage(source, prepared, params, seed, items, checkpoint_folder(), record_epoch)
    with whole_folder(source / "models" / "glta") as out:
        users.save(out, params)


if __name__ == "__main__":
    run(main)
