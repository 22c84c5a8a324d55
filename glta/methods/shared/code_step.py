"""The step of methods that name items by codes: it makes the codes and shows how good they are."""

# I items, D width of the vectors, W width of the text states
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from glta.features.profiles import Profiles
from glta.methods.base import Job, Step
from glta.methods.exhibit import Exhibit
from glta.methods.shared.code_health import code_exhibit
from glta.methods.shared.settings import VectorCodes
from glta.nn.quantize.item_codes import ItemCodes, make_codes


@dataclass(frozen=True)
class CodedItems:
    """Hold the codes of a catalogue, and the exhibit of their health."""

    codes: ItemCodes
    exhibit: Exhibit | None

    def save(self, folder: Path) -> None:
        """Write codes.safetensors, history.json and exhibit.json."""
        self.codes.save(folder)
        if self.exhibit is not None:
            self.exhibit.save(folder)

    @classmethod
    def load(cls, folder: Path, num_items: int) -> Self:
        """Read what `save` wrote. Raises ValueError for codes of another catalogue."""
        return cls(ItemCodes.load(folder, num_items), Exhibit.load(folder))


PENALTIES = 10.0 ** np.arange(-3, 4)
"""Tried for the ridge regression of vectors on text states, which have length 1."""


def with_estimates(vectors_ID: np.ndarray, text_IW: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Give items without training users the vectors that their texts predict.

    A graph model leaves such items at their random start. Codes of these rows would be shared with
    no known item, and no list would ever have them. known: (I,) bool, items with training users.
    The map is a ridge regression on the known items; its penalty is chosen by leave-one-out error.
    """
    if known.all() or not known.any():
        return vectors_ID
    from sklearn.linear_model import RidgeCV

    ridge = RidgeCV(PENALTIES).fit(text_IW[known], vectors_ID[known])
    vectors = vectors_ID.copy()
    vectors[~known] = ridge.predict(text_IW[~known])
    return vectors


class MakeItemCodes(Step):
    """Quantise the vectors of the items (`with_estimates`).

    The step reads the stages prepare and profile, the step pretrain-all, and the section "codes" of
    the method's settings, a `VectorCodes`.
    """

    def run(self, job: Job) -> CodedItems:
        # imported here, so that loading the codes does without torch
        from glta.methods.shared.graph_nodes import load_nodes

        settings = job.own(VectorCodes, "codes")
        prepared = job.prepared
        profiles = Profiles.load(job.source("profile"), prepared.train)
        text = profiles.item_states
        vectors = text
        if settings.vectors == "graph":
            nodes = load_nodes(job.source("pretrain-all"), prepared, held_out=False)
            known = prepared.train.item_degree > 0
            vectors = with_estimates(nodes.training.item.numpy(), text, known)
        codes = make_codes(
            vectors,
            text,
            settings,
            job.seed,
            section=f"{job.step}: codes",
            checkpoint=job.checkpoint,
            on_epoch=job.on_epoch,
        )
        titles = prepared.items["title"].to_list()
        return CodedItems(codes, code_exhibit(codes, vectors, text, titles))
