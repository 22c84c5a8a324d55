"""Make an ablation of GLTA; only what its changes reach is computed again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from glta.ablations import ABLATIONS, ablated
from glta.data.prepared import Prepared
from glta.methods.glta.item_alignment import ItemStage
from glta.methods.glta.item_stage import run_item_stage
from glta.methods.glta.model import GLTA
from glta.methods.glta.user_stage import UserStage, run_user_stage
from glta.params.model import Params
from glta.progress import record_epoch
from glta.storage.cell import folder
from glta.storage.files import read_json, whole_folder, write_json
from pipeline.stages.script import checkpoint_folder, run

ITEM_STAGE, USER_STAGE = {"align", "align_items", "language"}, {"align", "align_users", "language"}


def main(params: Params, dataset: str, seed: int, method: str) -> None:
    """Write data/DATASET/SEED/models/METHOD. params: of GLTA itself, less the ablation."""
    if method not in ABLATIONS:
        raise ValueError(f"--method {method}: this stage makes {', '.join(ABLATIONS)}")
    source, changes, changed = folder(dataset, seed), ABLATIONS[method], ablated(params, method)
    sections = {key.partition(".")[0] for key in changes}
    made = align(source, changed, seed, sections) if sections & (ITEM_STAGE | USER_STAGE) else None
    with whole_folder(source / "models" / method) as out:
        if made:
            made.save(out, changed)
        else:  # another reading of the very same model
            for name in ("aligner.safetensors", "newcomers.safetensors", "model.json"):
                shutil.copyfile(source / "models" / "glta" / name, out / name)
        model = made.model if made else GLTA.load(source / "models" / "glta")
        model.mode = changes.get("recommend.mode")
        model.save(out)
        write_json(out / "model.json", read_json(out / "model.json") | {"ablation": changes})


def align(source: Path, changed: Params, seed: int, sections: set[str]) -> UserStage:
    """Run stage 3 with the changed parameters, and before it stage 2 where these belong to it."""
    prepared, checkpoint = Prepared.load(source / "prepare"), checkpoint_folder()

    def within(stage: str) -> tuple[Path | None, Callable[[dict], None]]:
        """Keep checkpoint and curves of two trainings apart."""
        return checkpoint and checkpoint / stage, lambda record: record_epoch(
            {key if key == "epoch" else f"{stage}/{key}": value for key, value in record.items()}
        )

    if sections & ITEM_STAGE:
        items = run_item_stage(source, prepared, changed, seed, *within("align_items"))
    else:
        items = ItemStage.load(source / "align_items")
    return run_user_stage(source, prepared, changed, seed, items, *within("align_users"))


if __name__ == "__main__":
    run(main)
