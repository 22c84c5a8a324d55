"""Train small graph models in several processes; see test_two_processes.

    accelerate launch --multi_gpu --num_processes 2 -m tests.training.two_processes FOLDER

Each process writes FOLDER/NAME-RANK.safetensors, its weights and history. With --stop-in, the main
process stops for ever in epoch 3 of that model, after it has written FOLDER/stopped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch

from glta.nn.graph.encoders import HypergraphEncoder, LightGCNEncoder, MaskedEncoder
from glta.nn.graph.ranker import Ranker, train_ranker
from glta.nn.graph.settings import GraphTraining
from glta.nn.graph.terms import LocalGlobal, ProfileContrast, Reconstruction, TextContrast
from glta.storage.tensors import save_tensors
from glta.training.devices import Devices, find_devices
from glta.training.trainer import Trained
from tests.nn.graph.test_lightgcn import random_graph

NUM_USERS, NUM_ITEMS, WIDTH, SEED = 40, 30, 6, 3
GRAPH = random_graph(NUM_USERS, NUM_ITEMS, 0.15)
PARAMS = GraphTraining(
    embedding_dim=8,
    num_layers=2,
    steps=18,
    evaluate_every=3,  # a pass
    learning_rate=0.01,
    batch_size=(len(GRAPH) - 1) // 2,  # the last batch has one triple, so one process has none
)
STATES = torch.randn(NUM_USERS + NUM_ITEMS, WIDTH, generator=torch.Generator().manual_seed(5))


def lightgcn() -> Ranker:
    return Ranker(LightGCNEncoder(GRAPH, PARAMS, SEED), PARAMS)


def lightgcn_softmax() -> Ranker:
    return Ranker(
        LightGCNEncoder(GRAPH, PARAMS, SEED, keep=0.8),
        PARAMS.model_copy(update={"loss": "softmax"}),
    )


def hccf_plus() -> Ranker:
    text = TextContrast(
        STATES[NUM_USERS:], STATES[:NUM_USERS], NUM_USERS, PARAMS.embedding_dim, 0.2, SEED
    )
    terms = {"contrast": (0.1, LocalGlobal(NUM_USERS, 0.2)), "text": (0.1, text)}
    return Ranker(HypergraphEncoder(GRAPH, PARAMS, SEED, 0.8, 5, True), PARAMS, terms)


def rlmrec_con() -> Ranker:
    term = ProfileContrast(STATES, NUM_USERS, PARAMS.embedding_dim, 0.2, SEED)
    return Ranker(LightGCNEncoder(GRAPH, PARAMS, SEED, 0.8), PARAMS, {"contrast": (0.1, term)})


def rlmrec_gen() -> Ranker:
    term = Reconstruction(STATES, PARAMS.embedding_dim, 0.2, SEED)
    encoder = MaskedEncoder(GRAPH, PARAMS, SEED, 0.8, 0.2)
    return Ranker(encoder, PARAMS, {"reconstruction": (0.1, term)})


MODELS: dict[str, Callable[[], Ranker]] = {
    "lightgcn": lightgcn,
    "lightgcn-softmax": lightgcn_softmax,
    "rlmrec-con": rlmrec_con,
    "hccf-plus": hccf_plus,
    "rlmrec-gen": rlmrec_gen,
}


def trained(
    name: str,
    checkpoint: Path | None = None,
    on_epoch: Callable[[dict], None] = lambda record: None,
) -> tuple[Trained, dict[str, torch.Tensor]]:
    """Train one model. Returns what `train` does, and the weights."""
    model = MODELS[name]()
    found = train_ranker(
        model,
        GRAPH,
        SEED,
        lambda user, item: float((user @ item.T).std()),
        section=f"settings.{name}",
        checkpoint=checkpoint,
        on_epoch=on_epoch,
    )
    return found, model.state_dict()


def check_exchange(devices: Devices) -> None:
    """Check what two processes tell each other."""
    assert devices.num_processes == 2
    assert devices.agreed(0.1 + devices.rank) == 0.1
    rows = torch.arange(10.0).view(5, 2)
    assert torch.equal(devices.gather_rows(rows[devices.share(5)], 5), rows)
    mixed = [
        torch.tensor([1.5, 2.5]),
        torch.tensor([[1], [2]]),
        torch.tensor(0.1, dtype=torch.float64),
    ]
    devices.add_up(mixed)
    assert [tensor.tolist() for tensor in mixed] == [[3, 5], [[2], [4]], 0.2]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stop-in", choices=MODELS)
    wanted = parser.parse_args()
    rank = find_devices().rank
    check_exchange(find_devices())

    for name in MODELS:

        def on_epoch(record: dict, name: str = name) -> None:
            assert rank == 0  # the main process alone reports
            if name == wanted.stop_in and record["epoch"] == 3:
                (wanted.folder / "stopped").touch()
                time.sleep(1000)

        found, weights = trained(name, wanted.folder / name, on_epoch)
        save_tensors(wanted.folder / f"{name}-{rank}.safetensors", weights, found._asdict())


if __name__ == "__main__":
    main()
