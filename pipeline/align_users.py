"""Stage 3 of GLTA: align users with items through the language model, and keep what serves."""

import polars as pl
import torch

from glta.align.items import new_aligner
from glta.align.nodes import load_nodes
from glta.align.users import align_users, user_prompts
from glta.data.prepared import Prepared
from glta.files import read_json, whole_folder, write_json
from glta.methods.arrays import load_arrays
from glta.methods.glta import GLTA, save_aligner
from glta.models.language import load_language
from glta.params import Params
from glta.training import load_tensors
from pipeline.stage import checkpoint_folder, folder, record_epoch, run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/models/glta."""
    source = folder(dataset, seed)
    prepared = Prepared.load(source / "prepare")
    nodes = load_nodes(source / "pretrain", prepared, params.align_users)
    states = load_arrays(source / "profile" / "states.safetensors")[0]["item"]
    aligner = new_aligner(load_language(params.language), nodes.training, states, params.align_users, seed)
    tensors, about = load_tensors(source / "align_items" / "model.safetensors")
    aligner.load(tensors)
    profile = pl.read_parquet(source / "profile" / "users.parquet")
    prompts = user_prompts(aligner, prepared, profile["tags"], profile["interests"], params.align_users)
    read_outs, history = align_users(
        aligner,
        prepared,
        nodes.training,
        nodes.serving,
        prompts,
        params.align_users,
        train_item_projector=not about["enabled"],
        seed=seed,
        batch_tokens=params.language.batch_tokens,
        checkpoint=checkpoint_folder(),
        on_epoch=record_epoch,
    )
    device = aligner.language.device
    with torch.inference_mode():
        weight, bias = aligner.head.factors(aligner.item_projector(nodes.serving.item.to(device)))
    with whole_folder(source / "models" / "glta") as out:
        GLTA(read_outs.numpy(), weight.cpu().numpy(), bias.cpu().numpy()).save(out)
        about = {"language_sha256": aligner.language.sha256, "item_alignment": about["enabled"]}
        save_aligner(out, aligner, prompts.serving(prepared.train, seed), nodes.serving, params, about)
        histories = {"align_items": read_json(source / "align_items" / "history.json"), "align_users": history}
        write_json(out / "history.json", histories)


if __name__ == "__main__":
    run(main)
