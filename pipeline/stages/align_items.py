"""Stage 2 of GLTA: align items with the texts that describe them."""

from glta.data.prepared import Prepared
from glta.methods.glta.steps import AlignInputs, align_items
from glta.params.model import Params
from glta.progress import record_epoch
from glta.storage.cell import folder
from glta.storage.files import whole_folder
from pipeline.stages.script import checkpoint_folder, run


def inputs_of(params: Params, dataset: str, seed: int) -> AlignInputs:
    """Find what the alignments read."""
    return AlignInputs(
        Prepared.load(folder(dataset, seed, "prepare")),
        folder(dataset, seed, "profile"),
        folder(dataset, seed, "pretrain", params.align.edges),
        params.language,
        params.align,
    )


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/align_items: item projector and head."""
    inputs = inputs_of(params, dataset, seed)
    items = align_items(inputs, params.align_items, seed, checkpoint_folder(), record_epoch)
    with whole_folder(folder(dataset, seed, "align_items")) as out:
        items.save(out)


if __name__ == "__main__":
    run(main)
