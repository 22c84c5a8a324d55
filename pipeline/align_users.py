"""Stage 3 of GLTA: align users with items through the language model, and keep what serves."""

from glta.align.user_stage import run_user_stage
from glta.data.prepared import Prepared
from glta.files import read_json, whole_folder, write_json
from glta.methods.glta import save_aligner
from glta.params import Params
from glta.progress import record_epoch
from glta.training import load_tensors
from pipeline.stage import checkpoint_folder, folder, run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/models/glta."""
    source = folder(dataset, seed)
    prepared = Prepared.load(source / "prepare")
    tensors, about = load_tensors(source / "align_items" / "model.safetensors")
    found = run_user_stage(source, prepared, params, seed, tensors, about["enabled"], checkpoint_folder(), record_epoch)
    with whole_folder(source / "models" / "glta") as out:
        found.model.save(out)
        found.newcomers.save(out)
        about = {"language_sha256": found.aligner.language.sha256, "item_alignment": about["enabled"]}
        save_aligner(out, found.aligner, found.prompts, found.nodes, params, about)
        histories = {"align_items": read_json(source / "align_items" / "history.json"), "align_users": found.history}
        write_json(out / "history.json", histories)


if __name__ == "__main__":
    run(main)
