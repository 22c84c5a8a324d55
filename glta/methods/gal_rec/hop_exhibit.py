"""What the representations of the hops look like: GAL-Rec's part of the report."""

# N nodes, C width of a representation
from __future__ import annotations

import numpy as np
import torch

from glta.methods.exhibit import Exhibit, ExhibitTable
from glta.methods.gal_rec.view_prompts import VIEWS, Side, View
from glta.methods.gal_rec.view_training import ViewTraining
from glta.training.seeds import Stream, epoch_rng

MOST = 1000
"""Users that are looked at, each with one item of theirs."""

NAMES = {Side.USERS: "user", Side.ITEMS: "item"}
HOP_NAMES = ("alone", "1 hop", "2 hops")

TEXT = (
    "The language model reads each node three times: alone, with its direct neighbours (1 hop), "
    "and with neighbours over a shared node too (2 hops). Uniformity is log mean exp(-2 |x - y|^2) "
    "over pairs of different nodes, and alignment the mean of |x - y|^2 over pairs that belong "
    "together "
    "(Wang and Isola, ICML 2020); both are better when lower. Similarity is the cosine. Training "
    "should make the similarity of pairs that belong together much larger than that of strangers."
)


def uniformity(rows_NC: torch.Tensor) -> float:
    """Compute log mean exp(-2 |x - y|^2) over pairs of different rows of length 1."""
    cosine_NN = rows_NC @ rows_NC.T
    kernel_NN = torch.exp(-4 * (1 - cosine_NN))
    count = len(rows_NC)
    return float(((kernel_NN.sum() - kernel_NN.trace()) / (count * (count - 1))).log())


def similarity_within(rows_NC: torch.Tensor) -> float:
    """Average the cosine over pairs of different rows of length 1."""
    count = len(rows_NC)
    return float((rows_NC.sum(0).square().sum() - count) / (count * (count - 1)))


def compared(first_NC: torch.Tensor, second_NC: torch.Tensor) -> tuple[float, float, float]:
    """Compare rows of length 1 that belong together.

    Returns the mean squared distance, the mean cosine, and the mean cosine of rows with other
    numbers.
    """
    count = len(first_NC)
    own = (first_NC * second_NC).sum(1)
    strangers = ((first_NC.sum(0) * second_NC.sum(0)).sum() - own.sum()) / (count * (count - 1))
    return float(2 - 2 * own.mean()), float(own.mean()), float(strangers)


def hop_exhibit(task: ViewTraining) -> Exhibit | None:
    """Describe the representations of a trained network. Returns None for fewer than two users.

    They are those of the serving prompts of at most `MOST` users and of one training item of each.
    """
    train = task.prepared.train
    rng = epoch_rng(task.seed, 0, Stream.EXHIBIT)
    users = rng.permutation(np.flatnonzero(train.user_degree))[:MOST]
    # an item once: the pairs of a table are of different nodes
    items = np.array([rng.choice(train.items_of(user)) for user in users], np.int64)
    _, first = np.unique(items, return_index=True)
    users, items = users[np.sort(first)], items[np.sort(first)]
    if users.size < 2:
        return None
    seen = {view: _represented(task, view, users, items) for view in VIEWS}
    return Exhibit(
        title="Representations of the hops", text=TEXT, tables=(_within(seen), _between(seen))
    )


def _represented(
    task: ViewTraining, view: View, users: np.ndarray, items: np.ndarray
) -> torch.Tensor:
    ids = users if view[0] == Side.USERS else items
    states = task.read_view(view, ids, f"{named(view)} read")
    with torch.inference_mode():
        found = task.network.representations(states.to(task.network.centre.device), view)
    return found.double().cpu()


def named(view: View) -> str:
    """Name a view, such as "user, 2 hops"."""
    side, hop = view
    return f"{NAMES[side]}, {HOP_NAMES[hop]}"


def _within(seen: dict[View, torch.Tensor]) -> ExhibitTable:
    rows = [(named(v), uniformity(rows), similarity_within(rows)) for v, rows in seen.items()]
    return ExhibitTable(
        title="Within each view",
        columns=("view", "uniformity", "similarity of different nodes"),
        rows=tuple(rows),
    )


def _between(seen: dict[View, torch.Tensor]) -> ExhibitTable:
    pairs = [((s, a), (s, b)) for s in Side for a, b in ((2, 0), (2, 1), (1, 0))]
    pairs.append(((Side.USERS, 2), (Side.ITEMS, 2)))
    rows = [(f"{named(a)} - {named(b)}", *compared(seen[a], seen[b])) for a, b in pairs]
    return ExhibitTable(
        title="Between views",
        columns=("views", "alignment", "similarity", "similarity of strangers"),
        rows=tuple(rows),
        note="The last row compares a user with an item that they have.",
    )
