"""Compare a training step of SASRec with textbook code, RePlay's and RecTools'.

All have the same start, batches, width, blocks and length, and must have the same losses without
dropout. Times are with dropout. RePlay and RecTools pin other versions of numpy and polars than
this package, and work with these all the same. They take part where they are installed:

    pip install --no-deps replay-rec==0.22.0 rectools==0.19.0 lightning pytorch-lightning \
        lightning-utilities torchmetrics typeguard 'pandas<3' pytz python-dateutil implicit
"""

# I items, D width, B windows, L longest window
from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import cycle

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.timing import Row, in_turns
from glta.data.sequences import Sequences
from glta.nn.sequence.next_item import NextItemTask
from glta.nn.sequence.self_attention import SelfAttention
from glta.nn.sequence.settings import SequenceTraining
from glta.training.devices import keep_freed_memory

BEAUTY = 12_101
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Maps items, targets and the mask of a batch, each (B, L) and padded on the left, to the mean
cross-entropy of the targets. Items are 1..I-1; 0 stands in empty places, and is never a target."""


def histories(num_users: int, num_items: int, longest: int, full: bool) -> Sequences:
    """Draw histories with the lengths of Amazon Beauty, or all of them as long as a window."""
    rng = np.random.default_rng(0)
    length = np.minimum(3 + rng.geometric(0.25, num_users), longest + 1)
    if full:
        length[:] = longest + 1
    return Sequences.of_lists(
        (1 + rng.choice(num_items - 1, size, replace=False) for size in length), num_items
    )


class Runner:
    """Train one form of the network on one batch at a time."""

    def __init__(
        self, name: str, train: Sequences, params: SequenceTraining, dropout: float
    ) -> None:
        self.losses: list[float] = []
        params = params.model_copy(update={"dropout": dropout})
        network = SelfAttention(train.num_items, params, seed=0)
        with torch.no_grad():
            network.item[0] = 0  # as the rivals have it
        task = NextItemTask(network, train, params, 0, section="")
        self.optimizer = task.optimizer()
        batches = list(task.batches(0))
        if name == "this package":
            self.batches = cycle(batches)
            self.loss = lambda batch: task.backward(batch)["loss"]
            return
        loss, parameters = FORMS[name](network, params)
        # Adam as in `NextItemTask`
        self.optimizer = torch.optim.Adam(
            parameters, lr=params.learning_rate, betas=(0.9, 0.98), fused=True
        )
        self.batches = cycle([padded(task, order, params.max_length) for _, order, _ in batches])

        def backward(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
            value = loss(*batch)
            value.backward()
            return value

        self.loss = backward

    def step(self) -> None:
        self.optimizer.zero_grad()
        value = self.loss(next(self.batches))
        self.optimizer.step()
        self.losses.append(value.item())


def padded(task: NextItemTask, order: torch.Tensor, longest: int) -> tuple[torch.Tensor, ...]:
    """Make the items, the targets and the mask of a batch, each (B, L), padded on the left."""
    empty = longest - task.length[order][:, None]
    step = torch.arange(longest) - empty
    mask = step >= 0
    place = (task.begin[order][:, None] + step).clamp(min=0)
    return task.item[place] * mask, task.item[place + 1] * mask, mask


class Textbook(nn.Module):
    """Compute SASRec by torch's modules, with a mask for the empty places, as published code does.

    Scores of all items are computed after every place, and the loss leaves out the empty ones.
    """

    def __init__(self, network: SelfAttention, params: SequenceTraining):
        super().__init__()
        width = params.embedding_dim
        self.scale = width**0.5
        self.heads = params.heads
        self.item = nn.Embedding.from_pretrained(network.item.detach().clone(), freeze=False)
        self.position = nn.Parameter(network.position.detach().clone())
        self.dropout = nn.Dropout(params.dropout)
        self.attention, self.layers = nn.ModuleList(), nn.ModuleList()
        self.query_norm, self.layer_norm = nn.ModuleList(), nn.ModuleList()
        for block in network.blocks:
            attention = nn.MultiheadAttention(width, params.heads, params.dropout, batch_first=True)
            copy_attention(attention, block)
            self.attention.append(attention)
            drop = nn.Dropout(params.dropout)
            parts = (copied(block.first), nn.ReLU(), drop, copied(block.second), drop)
            self.layers.append(nn.Sequential(*parts))
            self.query_norm.append(copied(block.query_norm))
            self.layer_norm.append(copied(block.layer_norm))
        self.norm = copied(network.norm)

    def forward(
        self, item_BL: torch.Tensor, target_BL: torch.Tensor, mask_BL: torch.Tensor
    ) -> torch.Tensor:
        x = self.dropout(self.item(item_BL) * self.scale + self.position)
        longest = item_BL.shape[1]
        hidden = ~torch.ones(longest, longest, dtype=torch.bool).tril() | ~mask_BL[:, None]
        # an empty place sees itself, as a softmax over nothing is no number
        hidden &= ~torch.eye(longest, dtype=torch.bool)
        hidden = hidden.repeat_interleave(self.heads, 0)
        parts = zip(self.query_norm, self.attention, self.layer_norm, self.layers, strict=True)
        for query_norm, attention, layer_norm, layers in parts:
            query = query_norm(x)
            mixed, _ = attention(query, x, x, attn_mask=hidden, need_weights=False)
            y = layer_norm(query + mixed)
            x = y + layers(y)
        logits = self.norm(x) @ self.item.weight.T
        target = target_BL.masked_fill(~mask_BL, -100)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())


def copied(module: nn.Module) -> nn.Module:
    """Copy a layer with its weights."""
    from copy import deepcopy

    return deepcopy(module)


@torch.no_grad()
def copy_attention(attention: nn.MultiheadAttention, block: nn.Module) -> None:
    """Give torch's attention the weights of a block."""
    for kind in ("weight", "bias"):
        whole = torch.cat([getattr(block.query, kind), getattr(block.key_value, kind)])
        getattr(attention, f"in_proj_{kind}").copy_(whole)
        getattr(attention.out_proj, kind).copy_(getattr(block.output, kind))


def textbook(network: SelfAttention, params: SequenceTraining) -> tuple[Loss, list[nn.Parameter]]:
    model = Textbook(network, params)
    return model, list(model.parameters())


def with_replay(
    network: SelfAttention, params: SequenceTraining
) -> tuple[Loss, list[nn.Parameter]]:
    """Use replay.nn.sequential.SasRec with its cross-entropy over all items.

    Its padding is the item after the last one, and is no candidate.
    """
    from replay.data import FeatureHint, FeatureSource, FeatureType
    from replay.data.nn import TensorFeatureInfo, TensorFeatureSource, TensorSchema
    from replay.nn.sequential import SasRec

    num_items, width = network.item.shape
    source = TensorFeatureSource(FeatureSource.INTERACTIONS, "item")
    info = TensorFeatureInfo(
        "item",
        is_seq=True,
        feature_type=FeatureType.CATEGORICAL,
        embedding_dim=width,
        padding_value=num_items,
        cardinality=num_items,
        feature_hint=FeatureHint.ITEM_ID,
        feature_sources=[source],
    )
    model = SasRec.from_params(
        TensorSchema([info]),
        embedding_dim=width,
        num_heads=params.heads,
        num_blocks=params.num_blocks,
        max_sequence_length=params.max_length,
        dropout=params.dropout,
    )
    body, encoder = model.body, model.body.encoder
    with torch.no_grad():
        (table,) = (p for p in body.embedder.parameters() if p.shape[1:] == (width,))
        table[:num_items].copy_(network.item)
        body.embedding_aggregator.pe.weight.copy_(network.position)
        body.output_normalization.load_state_dict(network.norm.state_dict())
        for number, block in enumerate(network.blocks):
            copy_attention(encoder.attention_layers[number], block)
            encoder.attention_layernorms[number].load_state_dict(block.query_norm.state_dict())
            encoder.forward_layernorms[number].load_state_dict(block.layer_norm.state_dict())
            layers = encoder.forward_layers[number]
            for theirs, ours in ((layers.conv1, block.first), (layers.conv2, block.second)):
                theirs.weight.copy_(ours.weight[..., None])
                theirs.bias.copy_(ours.bias)

    def loss(item_BL, target_BL, mask_BL):
        empty = item_BL.masked_fill(~mask_BL, num_items)
        target, mask = target_BL[..., None], mask_BL[..., None]
        return model.forward_train({"item": empty}, mask_BL, target, target, mask)["loss"]

    return loss, list(model.parameters())


def with_rectools(
    network: SelfAttention, params: SequenceTraining
) -> tuple[Loss, list[nn.Parameter]]:
    """Use the torch model of rectools.models.SASRecModel, and the softmax loss of its module.

    The padding is a candidate here, as item 0 is for the others.
    """
    from rectools.models.nn.item_net import IdEmbeddingsItemNet, SumOfEmbeddingsConstructor
    from rectools.models.nn.transformers.lightning import TransformerLightningModule
    from rectools.models.nn.transformers.net_blocks import LearnableInversePositionalEncoding
    from rectools.models.nn.transformers.sasrec import SASRecTransformerLayers
    from rectools.models.nn.transformers.similarity import DistanceSimilarityModule
    from rectools.models.nn.transformers.torch_backbone import TransformerTorchBackbone

    num_items, width = network.item.shape
    ids = IdEmbeddingsItemNet(width, num_items, dropout_rate=0.0)
    model = TransformerTorchBackbone(
        n_heads=params.heads,
        dropout_rate=params.dropout,
        item_model=SumOfEmbeddingsConstructor(num_items, [ids]),
        pos_encoding_layer=LearnableInversePositionalEncoding(
            True, params.max_length, width, use_scale_factor=True
        ),
        transformer_layers=SASRecTransformerLayers(
            params.num_blocks, width, params.heads, params.dropout
        ),
        similarity_module=DistanceSimilarityModule(),
        use_key_padding_mask=True,
    )
    with torch.no_grad():
        ids.ids_emb.weight.copy_(network.item)
        model.pos_encoding_layer.pos_emb.weight.copy_(network.position.flip(0))
        model.transformer_layers.last_layernorm.load_state_dict(network.norm.state_dict())
        layers = model.transformer_layers.transformer_blocks
        for theirs, block in zip(layers, network.blocks, strict=True):
            copy_attention(theirs.multi_head_attn, block)
            theirs.q_layer_norm.load_state_dict(block.query_norm.state_dict())
            theirs.ff_layer_norm.load_state_dict(block.layer_norm.state_dict())
            theirs.feed_forward.ff_linear_1.load_state_dict(block.first.state_dict())
            theirs.feed_forward.ff_linear_2.load_state_dict(block.second.state_dict())

    def loss(item_BL, target_BL, mask_BL):
        logits = model({"x": item_BL})
        return TransformerLightningModule._calc_softmax_loss(logits, target_BL, mask_BL.float())

    return loss, list(model.parameters())


FORMS = {"textbook": textbook}
if importlib.util.find_spec("replay"):
    FORMS["replay-rec 0.22"] = with_replay
if importlib.util.find_spec("rectools"):
    FORMS["rectools 0.19"] = with_rectools


def compare(case: str, train: Sequences, params: SequenceTraining, rounds: int) -> list[Row]:
    """Time steps of all forms in turns. Raises AssertionError when their losses differ."""
    names = ("this package", *FORMS)
    keep_freed_memory()
    checked = {name: Runner(name, train, params, dropout=0.0) for name in names}
    for one in checked.values():
        for _ in range(3):
            one.step()
    own = checked["this package"].losses
    for name, one in checked.items():
        np.testing.assert_allclose(one.losses[0], own[0], rtol=1e-5, err_msg=name)
        # RecTools does not train item 0, which is a candidate all the same
        np.testing.assert_allclose(one.losses, own, rtol=2e-3, err_msg=name)
    timed = {name: Runner(name, train, params, params.dropout) for name in names}
    seconds = in_turns({name: one.step for name, one in timed.items()}, rounds)
    return [
        Row(
            f"SASRec step of {params.batch_size} {case}",
            1e3 * seconds["this package"],
            name,
            1e3 * seconds[name],
            target=1 / 1.2 if rounds > 2 else None,
            unit="ms",
            note=f"{torch.get_num_threads()} threads; 3 equal losses without dropout",
        )
        for name in FORMS
    ]


def run(quick: bool) -> list[Row]:
    """Time steps of width 64 with 2 blocks of 2 heads, windows of at most 50, Beauty's catalogue.

    quick: a small network, no targets.
    """
    if quick:
        small = SequenceTraining(
            embedding_dim=8, max_length=6, batch_size=8, steps=3, evaluate_every=3, init_std=0.2
        )
        return compare("short histories", histories(24, 20, 6, full=False), small, rounds=1)
    rows = []
    for case, batch_size, full in (
        ("histories as long as in Beauty", 128, False),
        ("full windows", 32, True),
    ):
        # embeddings of this size make the losses differ from log I, so that errors show
        params = SequenceTraining(batch_size=batch_size, steps=8, evaluate_every=8, init_std=0.2)
        train = histories(8 * batch_size, BEAUTY, params.max_length, full)
        rows += compare(case, train, params, rounds=5)
    return rows
