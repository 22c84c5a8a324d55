"""Write the top-K store of a recommender: every user's list, as at test time."""

# U users, I items, K list length
from __future__ import annotations

from pathlib import Path

import numpy as np

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared
from glta.data.sequences import Sequences
from glta.evaluation.top_k_store import (
    Ids,
    Pairs,
    StoreAbout,
    TopKStore,
    digest_of_model,
    row_checks,
)
from glta.methods.base import Recommender
from glta.methods.shared.without_history import recommend_to_all
from glta.storage.digests import digest_of_arrays


def write_store(
    recommender: Recommender,
    prepared: Prepared,
    folder: Path,
    k: int,
    *,
    model: Path,
    method: str,
    dataset: str,
    seed: int,
    fitted: Pairs = "train",
    histories: Pairs = "train",
    masked: Pairs = "seen",
) -> TopKStore:
    """Compute the best k items of every user, write them into a folder, and open the store.

    Users without one of the `scored_pairs` get the most popular items. Equal arguments give equal
    bytes.
    recommender: as it is to rank; see `Recommender.with_histories`.
    folder: it may be that of the model; the store does not count as one of the model's files.
    model: the folder of the saved recommender. Its files must be complete.
    fitted, histories, masked: see `StoreAbout`. The default of `masked` is that of test time.
    """
    user_ids = prepared.users["user_id"].to_list()
    pairs = pairs_of(prepared, fitted)
    everyone = np.arange(len(user_ids))
    known = pairs_of(prepared, masked)
    scored = scored_pairs(prepared, fitted, histories)
    items, scores = recommend_to_all(
        recommender, everyone, k, fitted=pairs, exclude=known, scored=scored
    )
    order = sorted(everyone.tolist(), key=user_ids.__getitem__)
    popular = np.argsort(-pairs.item_degree, kind="stable")
    catalogue = Ids.of(prepared.items["item_id"].to_list())
    about = StoreAbout(
        method=method,
        dataset=dataset,
        seed=seed,
        k=k,
        fitted=fitted,
        histories=histories,
        masked=masked,
        model=digest_of_model(model),
        catalogue=catalogue.digest,
        data=digest_of_data(prepared, masked),
    )
    users = Ids.of([user_ids[user] for user in order])
    items = items[order].astype(np.int32)
    scores = scores[order].astype(np.float32)
    TopKStore(
        about,
        users,
        catalogue,
        items=items,
        scores=scores,
        popular=popular.astype(np.int32),
        num_users=pairs.item_degree[popular].astype(np.float32),
        added_user=np.empty(0, np.int32),
        added_item=np.empty(0, np.int32),
        checks=row_checks(users, items, scores),
    ).save(folder)
    return TopKStore.open(folder)


def pairs_of(prepared: Prepared, name: Pairs) -> Interactions:
    """Return the pairs of some parts of the data."""
    if name == "all":
        return prepared.seen.union(prepared.test)
    return prepared.seen if name == "seen" else prepared.train


def scored_pairs(prepared: Prepared, fitted: Pairs, histories: Pairs) -> Interactions:
    """Return the pairs of which a user must have one to be scored by the model.

    They are the pairs that the model was fitted on, as in measured lists. Where the histories have
    the test pairs, too, they are all pairs: then the method scores users by their items, and a user
    with a test pair alone has items.
    """
    return pairs_of(prepared, "all" if histories == "all" else fitted)


def histories_of(prepared: Prepared, name: Pairs) -> Sequences:
    """Return the same pairs in their order. Raises ValueError for data without an order."""
    if name == "all":
        return prepared.ordered("train", "valid", "test")
    return prepared.seen_sequences if name == "seen" else prepared.sequences


def digest_of_data(prepared: Prepared, masked: Pairs) -> str:
    """Return the digest of the user ids and of the masked pairs."""
    key = pairs_of(prepared, masked).key
    parts = [("pairs", key.dtype, key.shape, key.data)]
    return digest_of_arrays(parts, {"users": prepared.users["user_id"].to_list()})
