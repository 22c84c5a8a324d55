"""Stage 3 of GLTA: align users with items through the language model, and keep what serves."""

from glta.methods.glta.artefacts import AlignedItems
from glta.methods.glta.settings import ServeSettings
from glta.methods.glta.steps import align_users, serve
from glta.params.model import Params
from glta.progress import record_epoch
from glta.storage.cell import folder
from glta.storage.files import whole_folder
from pipeline.stages.align_items import inputs_of
from pipeline.stages.script import checkpoint_folder, run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/models/glta."""
    inputs = inputs_of(params, dataset, seed)
    aligned = align_users(
        inputs,
        AlignedItems.load(folder(dataset, seed, "align_items")),
        params.align_users,
        params.profile,
        seed,
        checkpoint_folder(),
        record_epoch,
    )
    settings = ServeSettings(mode=params.recommend.mode)
    model = serve(aligned, inputs.prepared, inputs.profile, settings)
    with whole_folder(folder(dataset, seed, "models", "glta")) as out:
        model.save(out)


if __name__ == "__main__":
    run(main)
