"""Train user alignment (GLTA section 2.3, stage 3).

The user projector and the head learn to predict each user's held-out items.
"""

# U users, I items, K read-outs, H language width
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.evaluation.validation import validation_loss, validation_ndcg
from glta.methods.glta.aligner import Aligner
from glta.methods.glta.alignment import START_PROMPTS, Alignment
from glta.methods.glta.evidence import Evidence, beside, widened_head
from glta.methods.glta.heads import FreeHead, Space, matched
from glta.methods.glta.settings import AlignUsersSettings
from glta.methods.glta.user_prompts import SERVING, UserPrompts, candidates
from glta.methods.shared.graph_nodes import GraphNodes, Nodes
from glta.methods.shared.text_space import text_vectors
from glta.nn.language.node_prompts import Prompt, token_projector
from glta.training.seeds import Stream, epoch_rng

# tried for the text part of a matched start; the unit is the spread of the graph part
TEXT_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
# read-outs without a target: cross_entropy leaves them out
IGNORE = -100
# candidates of a user, from which those of a training prompt are drawn
NUM_CANDIDATES = 100


class UserExample(NamedTuple):
    """Hold one training example.

    target: (K,) int64, the item that each read-out should predict; IGNORE where there is none.
    """

    user: int
    prompt: Prompt
    target: np.ndarray


def training_examples(
    prompts: UserPrompts,
    prepared: Prepared,
    targets: str,
    rng: np.random.Generator,
    to_choose: Sequence[np.ndarray] | None = None,
) -> list[UserExample]:
    """Draw one example for each user with a target. Context and targets are disjoint.

    targets "held_out": the context comes from the edges of the graph, the targets from the training
    edges kept out of it, so that no target leaks into a node embedding. targets "all": both come
    from all training edges; this leaky variant is kept for comparison. Raises ValueError when no
    user has a target.

    to_choose: items (n,) of each user to choose from, without items of the user. The prompt then
    shows the targets among candidates drawn from them, and no history.
    """
    read_outs = prompts.params.read_outs
    examples = []
    for user in range(prepared.train.num_users):
        if targets == "held_out":
            context = rng.permutation(prepared.graph.items_of(user))
            pool = rng.permutation(prepared.target.items_of(user))[:read_outs]
        else:
            items = rng.permutation(prepared.train.items_of(user))
            cut = min(read_outs, items.size // 2)
            context, pool = items[cut:], items[:cut]
        if not pool.size:
            continue
        target = np.full(read_outs, IGNORE, np.int64)
        target[: pool.size] = pool
        if to_choose is not None:
            room = max(prompts.params.context_items - pool.size, 0)
            others = np.setdiff1d(to_choose[user], prepared.train.items_of(user))
            context = rng.permutation(np.concatenate([pool, rng.permutation(others)[:room]]))
        examples.append(UserExample(user, prompts.one(user, context), target))
    if not examples:
        raise ValueError(
            "no user has a training item to serve as target: raise prepare.target_share or "
            "prepare.user_core"
        )
    return examples


def add_user_projector(aligner: Aligner, nodes: Nodes, seed: int) -> None:
    """Give the aligner an untrained user projector, from the seed alone. nodes: of training."""
    # the generator of the item projector (`new_aligner`), on purpose: users and items live in one
    # space, and one random map keeps users near their items among the tokens
    generator = torch.Generator().manual_seed(seed)
    project = token_projector(nodes.user, aligner.language, generator)
    aligner.user_projector = project.to(aligner.language.device)


@dataclass(eq=False)
class UserAlignment(Alignment[UserExample]):
    """Train user projector and head of an aligner that item alignment has trained.

    prompts: for training; their words come from the graph's items. serving_prompts: one for each
    user, from all training items. states_IH: unit-length states of the item texts, for the start of
    a free head. That start is the given head, or one that is matched to the users' neighbourhoods
    in graph and text, whichever has the better validation value. evidence: of the users, which the
    head then reads beside each read-out; None as published.

    Loss: cross-entropy over all items at each read-out that has a target. Validation: NDCG@20 of
    the first read-out's logits.
    """

    section = "settings.glta.align_users"
    prepared: Prepared
    nodes: GraphNodes
    prompts: UserPrompts
    serving_prompts: Sequence[Prompt]
    states_IH: np.ndarray
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        device = self.aligner.language.device
        self.nodes = GraphNodes(*(nodes.to(device) for nodes in self.nodes))
        if self.evidence:
            self.evidence = Evidence(*(table.to(device) for table in self.evidence))
            self.aligner.head = widened_head(self.aligner.head, self.evidence.serving.shape[1])
        self._candidates = None
        if self.prompts.from_candidates:
            linked = self.graph.item_degree > 0
            self._candidates = candidates(
                self.nodes.training, self.graph, NUM_CANDIDATES, linked_I=linked
            )
        # reading all users takes a third of an epoch, so the states of the best epoch are kept
        self._best = -1.0
        self._kept: dict[int, torch.Tensor] = {}

    @property
    def settings(self) -> AlignUsersSettings:
        return self.prompts.params

    @property
    def graph(self) -> Interactions:
        """Return the pairs that training prompts may show."""
        prepared = self.prepared
        return prepared.graph if self.shared.targets == "held_out" else prepared.train

    def drawn(self, epoch: int) -> list[list[UserExample]]:
        rng = epoch_rng(self.seed, epoch, Stream.USER_PROMPTS)
        return self.batched(self._examples(rng), rng)

    def _examples(self, rng: np.random.Generator) -> list[UserExample]:
        """Draw one example for each user with a target."""
        return training_examples(
            self.prompts, self.prepared, self.shared.targets, rng, self._candidates
        )

    def num_targets(self, examples: Sequence[UserExample]) -> int:
        return sum(int((e.target != IGNORE).sum()) for e in examples)

    def nats(self, examples: Sequence[UserExample]) -> torch.Tensor:
        nodes = self.nodes.training
        target = torch.from_numpy(np.stack([e.target for e in examples])).to(nodes.item.device)
        states = self._with_evidence(
            self.aligner.states([e.prompt for e in examples], nodes), examples
        )
        logits = self.aligner.logits(states, nodes)
        if self.settings.mask_known:
            users = np.array([e.user for e in examples]).repeat(target.shape[1])
            others = self._other_items(users, target.flatten())
            logits = logits.masked_fill(others.view_as(logits), -torch.inf)
        return F.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=IGNORE, reduction="sum"
        )

    def _with_evidence(self, states: torch.Tensor, examples: Sequence[UserExample]) -> torch.Tensor:
        """Put the evidence of the examples' users beside their read-outs, where there is any."""
        if not self.evidence:
            return states
        return beside(states, self.evidence.training[[e.user for e in examples]])

    def _other_items(self, users: np.ndarray, target: torch.Tensor) -> torch.Tensor:
        """Return (R, I) bool: the training items of each read-out's user but its own target.

        Otherwise the loss would push down items that the user has, which lists leave out anyway.
        users, target: of the read-outs, (R,).
        """
        row, item = (torch.from_numpy(a) for a in self.prepared.train.rows(users))
        known = torch.zeros(len(users), self.prepared.train.num_items, dtype=torch.bool)
        known[row, item] = True
        return known.to(target.device).scatter_(1, target.clamp_min(0)[:, None], False)

    def start(self) -> None:
        """Standardise the head's states anew, and with head_init "matched" choose its start."""
        head = self.aligner.head
        rng = epoch_rng(self.seed, SERVING, Stream.START_PROMPTS)
        examples = self._examples(rng)
        rng.shuffle(examples)
        by_match = self.shared.head_init == "matched"
        free = head if isinstance(head, FreeHead) and by_match else None
        if free is None:
            examples = examples[:START_PROMPTS]
        prompts = [e.prompt for e in examples]
        shown = self.aligner.read(prompts, self.nodes.training, "prompts read", self.devices)
        shown = self._with_evidence(shown.to(self.nodes.serving.item.device), examples)
        head.calibrate(shown)
        if free is None:
            return
        states = self.read_users()
        values = []
        starts = [free.linear_copy(), *self._matched(free, examples, shown)]
        for start in starts:
            free.set(*start)
            values.append(self._ndcg(states))
        free.set(*starts[int(np.argmax(values))])
        self._kept[-1] = states

    def _matched(
        self, head: FreeHead, examples: Sequence[UserExample], states: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Solve for starts of the head, one for each weight of the text part.

        states: of the examples' prompts, (N, K, H).
        """
        nodes = self.nodes
        shown = np.array([e.user for e in examples]).repeat(states.shape[1])
        vectors = text_vectors(self.states_IH, self.graph)
        users, items = (torch.from_numpy(v).to(states.device) for v in vectors[:2])
        spaces = [
            Space(nodes.training.user[shown], nodes.serving.item),
            Space(users[shown], items),
        ]
        observed = torch.from_numpy(np.concatenate([e.target for e in examples])).to(states.device)
        states = states.flatten(0, 1)

        def left_out(rest: torch.Tensor) -> torch.Tensor:
            """Leave out what the loss leaves out."""
            mask = torch.zeros(len(rest), len(items), dtype=torch.bool, device=rest.device)
            if self.settings.mask_known:
                mask |= self._other_items(shown[rest.cpu().numpy()], observed[rest])
            return mask if self.aligner.known is None else mask | ~self.aligner.known

        return [
            matched(
                head,
                states,
                spaces,
                weights=(1.0, weight),
                observed_N=observed,
                left_out=left_out,
            )
            for weight in TEXT_WEIGHTS
        ]

    def validate(self, epoch: int) -> float:
        states = self._kept[epoch] if epoch in self._kept else self.read_users()
        value = self.devices.agreed(self._ndcg(states))
        self._loss = self.devices.agreed(validation_loss(self.prepared, self._scorer(states)))
        if value > self._best:
            self._best = value
            self._kept = {epoch: states}
        return value

    def measured(self) -> dict[str, float]:
        """Return the cross-entropy of the validation pairs, which shows over-fitting."""
        return {"valid_loss": self._loss}

    def _ndcg(self, states: torch.Tensor) -> float:
        """Compute the validation NDCG@20 of the head. states: of all users, (U, K, H)."""
        return validation_ndcg(self.prepared, self._scorer(states))

    def _scorer(self, states: torch.Tensor) -> Callable[[np.ndarray], torch.Tensor]:
        """Return how the head scores users by their first read-outs."""
        aligner = self.aligner
        with torch.inference_mode():
            factors = aligner.head.factors(aligner.item_projector(self.nodes.serving.item))
            weight, bias = (t.cpu() for t in factors)
        # new items have no rows of the head yet
        if aligner.known is not None:
            bias = bias.masked_fill(~aligner.known.cpu(), -torch.inf)
        return lambda users: states[users, 0] @ weight.T + bias

    def read_users(self) -> torch.Tensor:
        """Read the serving prompts of all users: (U, K, H)."""
        nodes = self.nodes.serving
        states = self.aligner.read(self.serving_prompts, nodes, "users read", self.devices)
        return beside(states, self.evidence.serving.cpu()) if self.evidence else states

    def users_at(self, best_epoch: int) -> torch.Tensor:
        """Return the states of all users (U, K, H) at the best epoch.

        The aligner has the weights of that epoch. The prompts are read again when the epoch was
        before an interruption.
        """
        kept = self._kept.get(best_epoch)
        return self.read_users() if kept is None else kept
