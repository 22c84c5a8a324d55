"""Make an ablation of GLTA; only what its changes reach is computed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from glta.ablations import ABLATIONS, ablated
from glta.methods.glta.artefacts import AlignedItems
from glta.methods.glta.model import GLTA
from glta.methods.glta.settings import ServeSettings
from glta.methods.glta.steps import align_items, align_users, serve
from glta.params.model import Params
from glta.progress import record_epoch
from glta.storage.cell import folder
from glta.storage.files import read_json, whole_folder, write_json
from pipeline.stages.align_items import inputs_of
from pipeline.stages.script import checkpoint_folder, run

ITEM_STAGE, USER_STAGE = {"align", "align_items", "language"}, {"align", "align_users", "language"}


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write data/DATASET/SEED/models/METHOD. params: of GLTA itself, less the ablation."""
    if method not in ABLATIONS:
        raise ValueError(f"--method {method}: this stage makes {', '.join(ABLATIONS)}")
    source, changes, changed = folder(dataset, seed), ABLATIONS[method], ablated(params, method)
    sections = {key.partition(".")[0] for key in changes}
    trained = bool(sections & (ITEM_STAGE | USER_STAGE))
    if trained:
        model = align(dataset, changed, seed, sections)
    else:  # another reading of the very same model
        model = replace(GLTA.load(source / "models" / "glta"), mode=changed.recommend.mode)
    with whole_folder(source / "models" / method) as out:
        model.save(out)
        if not trained:
            (out / "history.json").unlink()
        write_json(out / "model.json", read_json(out / "model.json") | {"ablation": changes})


def align(dataset: str, changed: Params, seed: int, sections: set[str]) -> GLTA:
    """Run stage 3 with the changed parameters, and before it stage 2 where these belong to it."""
    inputs, checkpoint = inputs_of(changed, dataset, seed), checkpoint_folder()

    def within(stage: str) -> tuple[Path | None, Callable[[dict], None]]:
        """Keep checkpoint and curves of two trainings apart."""
        return checkpoint and checkpoint / stage, lambda record: record_epoch(
            {key if key == "epoch" else f"{stage}/{key}": value for key, value in record.items()}
        )

    if sections & ITEM_STAGE:
        items = align_items(inputs, changed.align_items, seed, *within("align_items"))
    else:
        items = AlignedItems.load(folder(dataset, seed, "align_items"))
    settings = changed.align_users, changed.profile
    aligned = align_users(inputs, items, *settings, seed, *within("align_users"))
    mode = ServeSettings(mode=changed.recommend.mode)
    return serve(aligned, inputs.prepared, inputs.profile, mode)


if __name__ == "__main__":
    run(main)
