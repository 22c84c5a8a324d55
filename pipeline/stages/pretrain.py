"""Train the graph encoder on all training edges, or on the alignment's part of them."""

import torch

from glta.data.prepared import Prepared
from glta.evaluation.validation import embeddings_ndcg
from glta.nn.graph.node_embeddings import train
from glta.params.model import Params
from glta.progress import epochs
from glta.storage.cell import folder
from glta.storage.files import whole_folder
from pipeline.stages.script import checkpoint_folder, run


def main(params: Params, dataset: str, seed: int, edges: str) -> None:
    """Write data/DATASET/SEED/pretrain/EDGES; edges: "all", or "graph" (training edges that are no
    alignment targets).
    """
    if edges not in ("all", "graph"):
        raise ValueError(f"--edges {edges}: must be all or graph")
    prepared = Prepared.load(folder(dataset, seed, "prepare"))

    with epochs(params.pretrain.epochs, f"pretrain {edges}") as on_epoch:
        model = train(
            prepared.train if edges == "all" else prepared.graph,
            params.pretrain,
            seed,
            embeddings_ndcg(prepared),
            serve=prepared.train,
            checkpoint=checkpoint_folder(),
            on_epoch=on_epoch,
            device="cuda" if torch.cuda.is_available() else "cpu",
        )
    with whole_folder(folder(dataset, seed, "pretrain", edges)) as out:
        model.save(out)


if __name__ == "__main__":
    run(main)
