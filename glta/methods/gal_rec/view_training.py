"""Train GAL-Rec: cross-entropy over the catalogue, and three contrastive losses over hops."""

# B examples, U users, I items, H language width, C width of compared representations
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from glta.data.histories import history_matrix
from glta.data.prepared import Prepared
from glta.evaluation.validation import embeddings_ndcg, measured_users
from glta.methods.gal_rec.contrast import nce, weighted_means
from glta.methods.gal_rec.key_queue import KeyQueue
from glta.methods.gal_rec.neighbours import Neighbours
from glta.methods.gal_rec.score_start import part_weights, solved_map
from glta.methods.gal_rec.spec import GALRecSettings
from glta.methods.gal_rec.view_examples import START, Examples, StepBatch, ViewExample
from glta.methods.gal_rec.view_network import ViewNetwork
from glta.methods.gal_rec.view_prompts import VIEWS, Side, View, ViewTemplates
from glta.methods.shared.graph_nodes import GraphNodes, Nodes
from glta.nn.language.node_prompts import Prompt
from glta.progress import track
from glta.training.gradients import add_gradient
from glta.training.rates import move_rates
from glta.training.seeds import Stream, seed_torch
from glta.training.trainer import Task

START_EXAMPLES = 256

PAIRS: tuple[tuple[View, View], ...] = (
    ((Side.USERS, 2), (Side.USERS, 0)),
    ((Side.ITEMS, 2), (Side.ITEMS, 0)),
    ((Side.USERS, 2), (Side.USERS, 1)),
    ((Side.ITEMS, 2), (Side.ITEMS, 1)),
    ((Side.USERS, 2), (Side.ITEMS, 2)),
    ((Side.ITEMS, 2), (Side.USERS, 2)),
)
"""Anchor and key of each contrastive loss; two for each of the three weights."""


MEANS = ((Side.USERS, 1, 0), (Side.ITEMS, 1, 0), (Side.USERS, 2, 1), (Side.ITEMS, 2, 2))
"""Side, hop and loss of each comparison of a node with its neighbours, in the older reading."""


@dataclass(eq=False)
class ViewTraining(Task):
    """Train a `ViewNetwork`; one example is an observed pair of user and item.

    Loss 0: cross-entropy over all items at the user's two-hop view. Items that the graph's user is
    known to have are no candidates, as they are never recommended. Items without training users are
    none either: their serving vectors come from their texts. Losses 1 to 3: see `PAIRS` and,
    with `reading: means`, `_means`.
    Validation: NDCG@20 of the two-hop serving prompts of users with validation items, at most
    `validation_users` of the settings.
    nodes: external vectors. part_widths: of their graph part and their text part.
    """

    network: ViewNetwork
    templates: ViewTemplates
    examples: Examples
    nodes: GraphNodes
    settings: GALRecSettings
    part_widths: tuple[int, int]
    seed: int
    section = "settings.gal-rec"
    shows_batches: ClassVar[bool] = True

    def __post_init__(self) -> None:
        device = self.network.language.device
        self.learning_rate = self.settings.learning_rate
        self.nodes = GraphNodes(*(nodes.to(device) for nodes in self.nodes))
        self.known = history_matrix(self.prepared.train).astype(bool)
        width = self.settings.contrast_width
        self.queues = [KeyQueue(self.settings.queue, width, device) for _ in PAIRS]
        self._average: dict[str, torch.Tensor] = {}
        self._new_keys: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in PAIRS]
        self._check()

    def _check(self) -> None:
        """Raise ValueError for settings that exclude each other."""
        parts = self.settings.micro_batch or self.devices.num_processes > 1
        if not self.settings.queue and any(self.settings.weights) and parts:
            raise ValueError(
                "settings.gal-rec.queue = 0: negatives are then the rest of the batch, which one "
                "process must hold as a whole; set a queue, or micro_batch = 0 and one process"
            )

    @property
    def prepared(self) -> Prepared:
        return self.examples.prepared

    def trained(self) -> Mapping[str, torch.nn.Parameter]:
        return self.network.trained()

    def tensors(self) -> Mapping[str, torch.Tensor]:
        return self.network.tensors()

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.network.load(tensors)

    def state(self) -> Mapping[str, torch.Tensor]:
        """Return the queues and the averaged weights."""
        queues = {
            f"queue{place}.{name}": tensor
            for place, queue in enumerate(self.queues)
            for name, tensor in queue.state().items()
        }
        return queues | {f"average.{name}": tensor for name, tensor in self._average.items()}

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for place, queue in enumerate(self.queues):
            names = ("keys", "ids", "place")
            queue.restore({name: tensors[f"queue{place}.{name}"] for name in names})
        device = self.network.language.device
        self._average = {
            name.removeprefix("average."): tensor.to(device)
            for name, tensor in tensors.items()
            if name.startswith("average.")
        }

    def optimizer(self) -> torch.optim.Optimizer:
        heads = ("state_map", "user_map", "item_map", "bias", "own_user", "own_item")
        groups = [
            {
                "params": [parameter],
                "rate": self.settings.head_learning_rate
                if name in heads
                else self.settings.learning_rate,
            }
            for name, parameter in self.trained().items()
        ]
        self._optimizer = torch.optim.AdamW(
            groups, lr=0.0, weight_decay=self.settings.weight_decay, fused=True
        )
        return self._optimizer

    def batches(self, epoch: int) -> Iterable[StepBatch]:
        # LoRA's dropout takes no generator of its own
        seed_torch(self.seed, epoch, Stream.ADAPTER_DROPOUT, self.devices.rank)
        steps = self.settings.steps_of(epoch)
        shown = track(steps, f"{self.section} epoch {epoch + 1}") if self.devices.is_main else steps
        return self._drawn(shown)

    def _drawn(self, steps: Iterable[int]) -> Iterator[StepBatch]:
        for step in steps:
            yield StepBatch(step, self.examples.at(step))

    def backward(self, batch: StepBatch) -> dict[str, float]:
        move_rates(self._optimizer, batch.step, self.settings.steps)
        self._move_average()
        mine = batch.examples[self.devices.share(len(batch.examples))]
        parts = np.zeros(1 + len(self.settings.weights))

        def nats(examples: Sequence[ViewExample]) -> torch.Tensor:
            losses = self.losses(examples)
            parts[:] += [loss.item() for loss in losses]
            weights = (1.0, *self.settings.weights)
            return torch.stack([w * x for w, x in zip(weights, losses, strict=True)]).sum()

        count = len(batch.examples)
        with self.network.language.dropout():
            loss = add_gradient(nats, mine, count, self.settings.micro_batch)
        self._push_keys(count)
        names = ("cross_entropy", "alone", "neighbours", "pairs")
        return {"loss": loss} | dict(zip(names, (parts / count).tolist(), strict=True))

    def losses(self, examples: Sequence[ViewExample]) -> list[torch.Tensor]:
        """Compute loss 0 and the three contrastive losses, each summed over the examples.

        A contrastive loss of weight 0 is not computed; it is 0 here.
        """
        nodes = self.network.nodes(self.nodes.training)
        compared = self._compared()
        if self.settings.reading == "means":
            keys, anchors = set(), {(MEANS[place][0], 0) for place in compared}
        else:
            anchors = {PAIRS[place][0] for place in compared}
            keys = {PAIRS[place][1] for place in compared}
        live = {(Side.USERS, 2)} | anchors | (set() if self._average else keys)
        states = self._states(examples, live, nodes)
        found = [self._cross_entropy(examples, states[Side.USERS, 2], nodes)]
        zero = found[0].new_zeros(())
        found += [zero] * len(self.settings.weights)
        if not compared:
            return found
        seen = {
            view: self.network.representations(states[view], view)
            for view in anchors | (live & keys)
        }
        if self.settings.reading == "means":
            terms = self._means(examples, seen, nodes)
        else:
            known = seen if not self._average else seen | self._averaged(examples, keys, nodes)
            terms = self._hops(examples, seen, known)
        for place, value in terms:
            found[1 + place] = found[1 + place] + value
        return found

    def _compared(self) -> set[int]:
        """Return the places in `PAIRS`, or in `MEANS`, whose weight is not 0."""
        losses = [place // 2 for place in range(len(PAIRS))]
        if self.settings.reading == "means":
            losses = [loss for _, _, loss in MEANS]
        return {place for place, loss in enumerate(losses) if self.settings.weights[loss]}

    def _hops(
        self,
        examples: Sequence[ViewExample],
        anchors: Mapping[View, torch.Tensor],
        keys: Mapping[View, torch.Tensor],
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Compute the losses over hops. Yields the number of the loss, from 0, and its sum."""
        for place in sorted(self._compared()):
            anchor, key = PAIRS[place]
            ids = self._ids(examples, key[0])
            others = self._known_partners(examples, anchor[0]) if anchor[0] != key[0] else None
            losses = nce(
                anchors[anchor],
                keys[key],
                ids,
                temperature=self.settings.temperature,
                queue=self.queues[place],
                others_BI=others,
            )
            self._new_keys[place].append((keys[key].detach(), ids))
            yield place // 2, losses.sum()

    def _means(
        self,
        examples: Sequence[ViewExample],
        seen: Mapping[View, torch.Tensor],
        nodes: Nodes,
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Compute the losses of the older reading: a node alone and the mean of its neighbours.

        Loss 1: user and items, item and users. Loss 2: user and users with the same items. Loss 3:
        item and items of the same users. All nodes are read alone.
        """
        for place in sorted(self._compared()):
            side, hop, loss = MEANS[place]
            with self._key_weights():
                mean = self._mean_of(examples, side, hop, self.network.nodes(nodes))
            ids = self._ids(examples, side)
            losses = nce(
                seen[side, 0],
                mean,
                ids,
                temperature=self.settings.temperature,
                queue=self.queues[place],
            )
            self._new_keys[place].append((mean.detach(), ids))
            # a node without neighbours has no mean
            yield loss, (losses * (mean.detach().abs().sum(1) > 0)).sum()

    def _mean_of(
        self, examples: Sequence[ViewExample], side: Side, hop: int, nodes: Nodes
    ) -> torch.Tensor:
        """Average the representations of the neighbours of one hop, each read alone: (B, C)."""
        around = [example.about(side) for example in examples]
        groups = [near.first if hop == 1 else near.second for _, near in around]
        owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        members = np.concatenate(groups).astype(np.int64)
        other = Side(1 - side) if hop == 1 else side
        graph = self.prepared.graph
        degrees = graph.user_degree, graph.item_degree
        own = np.array([node for node, _ in around])
        product = np.maximum(degrees[side][own][owner] * degrees[other][members], 1)
        device = self.network.language.device
        alone, place = np.unique(members, return_inverse=True)
        if not alone.size:
            return torch.zeros(len(groups), self.settings.contrast_width, device=device)
        nothing = Neighbours(members[:0], members[:0])
        prompts = [self.templates.prompt(other, 0, node, nothing) for node in alone]
        states = self.network.states(prompts, nodes)
        return weighted_means(
            self.network.representations(states, (other, 0))[torch.from_numpy(place).to(device)],
            torch.from_numpy(owner).to(device),
            torch.from_numpy(product**-0.5).float().to(device),
            len(groups),
        )

    def _cross_entropy(
        self, examples: Sequence[ViewExample], states: torch.Tensor, nodes: Nodes
    ) -> torch.Tensor:
        """Compute loss 0, summed over the examples."""
        users, items = self._ids(examples, Side.USERS), self._ids(examples, Side.ITEMS)
        vectors = self.network.users(states, nodes.user[users])
        logits = vectors @ self.network.items(nodes).T + self.network.bias
        logits = logits.masked_fill(self._no_candidates(examples), -torch.inf)
        return F.cross_entropy(logits, items, reduction="sum")

    def _states(
        self, examples: Sequence[ViewExample], views: set[View], nodes: Nodes
    ) -> dict[View, torch.Tensor]:
        """Read the prompts of some views: (B, H) for each."""
        wanted = sorted(views)
        prompts = [self.prompt(example, view) for view in wanted for example in examples]
        states = self.network.states(prompts, nodes).split(len(examples))
        return dict(zip(wanted, states, strict=True))

    def _averaged(
        self, examples: Sequence[ViewExample], views: set[View], nodes: Nodes
    ) -> dict[View, torch.Tensor]:
        """Compute representations by the averaged weights, without gradients."""
        with self._key_weights():
            states = self._states(examples, views, self.network.nodes(nodes))
            return {view: self.network.representations(s, view) for view, s in states.items()}

    def prompt(self, example: ViewExample, view: View) -> Prompt:
        """Build the prompt of one view of an example."""
        side, hop = view
        return self.templates.prompt(side, hop, *example.about(side))

    def _ids(self, examples: Sequence[ViewExample], side: Side) -> torch.Tensor:
        ids = [example.about(side)[0] for example in examples]
        return torch.tensor(ids, device=self.network.language.device)

    def _known_partners(self, examples: Sequence[ViewExample], side: Side) -> torch.Tensor:
        """Return which nodes of the other side an example's node has in training: (B, ...) bool.

        The partner of the example is not among them.
        """
        known = self.known if side == Side.USERS else self.known_by_item
        own, partner = (
            [example.about(each)[0] for example in examples] for each in (side, Side(1 - side))
        )
        others = known[own].toarray()
        others[np.arange(len(own)), partner] = False
        return torch.from_numpy(others).to(self.network.language.device)

    def _no_candidates(self, examples: Sequence[ViewExample]) -> torch.Tensor:
        """Return the items that loss 0 leaves out for each example: (B, I) bool."""
        return self._known_partners(examples, Side.USERS) | self.alone

    @cached_property
    def alone(self) -> torch.Tensor:
        """The items without training users: (I,) bool."""
        alone = self.prepared.train.item_degree == 0
        return torch.from_numpy(alone).to(self.network.language.device)

    @cached_property
    def known_by_item(self) -> csr_array:
        """The training pairs from items to users."""
        return self.known.T.tocsr()

    @contextmanager
    def _key_weights(self) -> Iterator[None]:
        """Use the averaged weights, if there are any, without gradients."""
        if not self._average:
            yield
            return
        trained = self.trained()
        live = {name: parameter.data for name, parameter in trained.items()}
        try:
            for name, parameter in trained.items():
                parameter.data = self._average[name]
            with torch.no_grad():
                yield
        finally:
            for name, parameter in trained.items():
                parameter.data = live[name]

    @torch.no_grad()
    def _move_average(self) -> None:
        """Move the averaged weights towards the present ones, as MoCo does before each step."""
        share = self.settings.average
        if not share or not self._compared():
            return
        for name, parameter in self.trained().items():
            if name in self._average:
                self._average[name].lerp_(parameter, 1 - share)
            else:
                self._average[name] = parameter.detach().clone()

    def _push_keys(self, count: int) -> None:
        """Add the keys of this step, of all processes, to the queues."""
        for place in sorted(self._compared()) if self.settings.queue else ():
            queue, found = self.queues[place], self._new_keys[place]
            # a process without examples has none; the first rows give type and width
            found.append((queue.keys[:0], queue.ids[:0]))
            keys, ids = (torch.cat(part) for part in zip(*found, strict=True))
            queue.push(*(self.devices.gather_rows(part, count) for part in (keys, ids)))
        for found in self._new_keys:
            found.clear()

    def start(self) -> None:
        """Fix the spread of states, and solve the start of the scores on training targets."""
        network = self.network
        examples = self.examples.at(START, min(START_EXAMPLES, self.examples.users.size))
        nodes = network.nodes(self.nodes.training)
        prompts = [self.prompt(example, view) for view in VIEWS for example in examples]
        states = network.read(prompts, nodes, "prompts read", self.devices)
        by_view = dict(
            zip(VIEWS, states.to(network.centre.device).split(len(examples)), strict=True)
        )
        for view, of_view in by_view.items():
            network.calibrate(of_view, view)
        users = self._ids(examples, Side.USERS)
        vectors = nodes.user[users].detach()
        if not self.settings.direct:
            two_hop = (Side.USERS, 2)
            standard = network.standard(by_view[two_hop], two_hop)
            network.state_map.data.copy_(solved_map(standard, vectors))
            vectors = standard @ network.state_map.detach().T
        if self.settings.external != "none":
            weights = part_weights(
                vectors,
                nodes.item,
                widths=self.part_widths,
                target_N=self._ids(examples, Side.ITEMS),
                left_out_NI=self._no_candidates(examples),
            )
            network.part_F.copy_(weights)

    def validate(self, epoch: int) -> float:
        most = self.settings.validation_users
        users = measured_users(self.prepared, most)
        vectors = torch.zeros(self.prepared.train.num_users, len(self.network.part_F))
        vectors[torch.from_numpy(users)] = self.read_users(users)
        nodes = self.network.nodes(self.nodes.serving)
        with torch.inference_mode():
            bias = self.network.bias.masked_fill(self.alone, -torch.inf)
            items = torch.cat([self.network.items(nodes), bias[:, None]], 1).cpu()
        ones = torch.ones(len(vectors), 1)
        ndcg = embeddings_ndcg(self.prepared, most_users=most)
        value = ndcg(torch.cat([vectors, ones], 1).numpy(), items.numpy())
        return self.devices.agreed(value)

    @cached_property
    def served(self) -> list[list[Neighbours]]:
        """The neighbours of all users and of all items in their serving prompts."""
        return [self.examples.served(side) for side in Side]

    def read_users(self, users: np.ndarray) -> torch.Tensor:
        """Read the two-hop serving prompts of users: their vectors for scores, (B, F)."""
        nodes = self.network.nodes(self.nodes.serving)
        states = self.read_view((Side.USERS, 2), users, "users read")
        with torch.inference_mode():
            at = torch.from_numpy(users).to(self.network.centre.device)
            return self.network.users(states.to(at.device), nodes.user[at]).cpu()

    def read_view(self, view: View, ids: np.ndarray, note: str) -> torch.Tensor:
        """Read the serving prompts of some nodes for one view: states (B, H) on the CPU."""
        side, hop = view
        nodes = self.network.nodes(self.nodes.serving)
        near = self.served[side]
        prompts = [self.templates.prompt(side, hop, node, near[node]) for node in ids]
        return self.network.read(prompts, nodes, note, self.devices)
