"""Item-kNN: score items by how many users they share with the user's items."""

from __future__ import annotations

from glta.data.histories import history_matrix
from glta.methods.base import Job, Step
from glta.methods.item_knn.spec import ItemKNNSettings
from glta.methods.shared.item_map import ItemMap, weighed_histories
from glta.methods.shared.similar_items import similar_items


class ItemKNN(ItemMap):
    """Score an item by the similarities of its nearest neighbours that the user has, added up.

    The method is that of Sarwar et al. (WWW 2001). The similarity is the cosine with shrinkage, as
    compared by Ferrari Dacrema et al. (RecSys 2019). Users with long histories may count less in
    it. With recency below 1, the similarities to older items of the user count less.
    weights: sparse; column j has the similarities of the nearest neighbours of item j.
    """

    name = "item-knn"

    @property
    def trainable_parameters(self) -> int:
        return 0


class FindNeighbours(Step):
    """Find the most similar items of every item. Nothing is trained.

    `run` raises ValueError when settings.item-knn.recency is below 1 and an interaction has no
    time.
    """

    def run(self, job: Job) -> ItemKNN:
        settings = job.own(ItemKNNSettings)
        history = weighed_histories("item-knn", job.prepared, settings.recency)
        similar = similar_items(
            history_matrix(job.prepared.train),
            settings.neighbours,
            settings.shrinkage,
            user_power=settings.user_power,
        )
        return ItemKNN(history, similar.T.tocsr(), settings.recency)
