"""Stage 3 of GLTA: align users with items through the language model, and keep what serves."""

import polars as pl
import torch

from glta.align.items import new_aligner
from glta.align.nodes import load_nodes
from glta.align.users import UserPrompts, align_users
from glta.data.prepared import Prepared
from glta.files import read_json, whole_folder, write_json
from glta.methods.arrays import load_arrays
from glta.methods.glta import GLTA, save_aligner
from glta.models.language import load_language
from glta.params import Params
from glta.progress import record_epoch
from glta.training import load_tensors
from pipeline.stage import checkpoint_folder, folder, run


def main(params: Params, dataset: str, seed: int) -> None:
    """Write data/DATASET/SEED/models/glta."""
    source = folder(dataset, seed)
    prepared = Prepared.load(source / "prepare")
    nodes = load_nodes(source / "pretrain", prepared, params.align)
    states = load_arrays(source / "profile" / "states.safetensors")[0]["item"]
    language = load_language(params.language)
    aligner = new_aligner(language, nodes.training, params.align, seed)
    tensors, about = load_tensors(source / "align_items" / "model.safetensors")
    aligner.load(tensors)
    profile = pl.read_parquet(source / "profile" / "users.parquet")
    ids = prepared.users["user_id"].to_list()
    prompts, serving = (
        UserPrompts.of(language, ids, profile[f"{words}tags"], profile[f"{words}interests"], params.align_users)
        for words in ("graph_" if params.align.targets == "held_out" else "", "")
    )
    serving = serving.serving(prepared.train, seed)
    read_outs, history = align_users(
        aligner,
        prepared,
        nodes,
        prompts,
        serving,
        params.align,
        states,
        train_item_projector=not about["enabled"],
        seed=seed,
        batch_tokens=params.language.batch_tokens,
        checkpoint=checkpoint_folder(),
        on_epoch=record_epoch,
    )
    device = language.device
    with torch.inference_mode():
        weight, bias = aligner.head.factors(aligner.item_projector(nodes.serving.item.to(device)))
    with whole_folder(source / "models" / "glta") as out:
        GLTA(read_outs.numpy(), weight.cpu().numpy(), bias.cpu().numpy()).save(out)
        about = {"language_sha256": language.sha256, "item_alignment": about["enabled"]}
        save_aligner(out, aligner, serving, nodes.serving, params, about)
        histories = {"align_items": read_json(source / "align_items" / "history.json"), "align_users": history}
        write_json(out / "history.json", histories)


if __name__ == "__main__":
    run(main)
