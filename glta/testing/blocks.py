"""A small dataset with a known answer, on which methods are tested.

Users with even ids have items with even ids, and users with odd ids have items with odd ids. These
are the two blocks. A method that learns anything ranks the items of a user's block first.
"""

# U users, I items, W width of text states
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from glta.data.interactions import Interactions
from glta.data.prepared import Prepared, PreparedTables
from glta.features.profiles import Profiles
from glta.methods.base import Artefact
from glta.methods.chain import REFIT, chain_of, place_of, run_twice, run_unit
from glta.methods.registry import Unit, units
from glta.nn.graph.node_embeddings import NodeEmbeddings
from glta.params.model import Params
from glta.storage.cell import Cell

NUM_USERS = 24
NUM_ITEMS = 20

LONER = NUM_USERS - 1
"""The user without interactions."""

TOPICS = ("garden roses soil", "robot laser space")
"""Words in the titles of the even items, and of the odd ones."""


def checkerboard() -> Interactions:
    """Return all pairs of the dataset. The last user has none."""
    user, item = np.divmod(np.arange(NUM_USERS * NUM_ITEMS), NUM_ITEMS)
    own = (user % 2 == item % 2) & (user != LONER)
    return Interactions.of(user[own], item[own], NUM_USERS, NUM_ITEMS)


def block_prepared() -> Prepared:
    """Split the checkerboard. Each user has one validation item, one test item and two targets.

    The held-out items differ from user to user, so that every item has training users.
    """
    pairs = checkerboard()
    place = np.arange(len(pairs)) - pairs.indptr[pairs.user]
    turn = (place + pairs.user // 2) % (NUM_ITEMS // 2)

    def part(chosen: np.ndarray) -> Interactions:
        return Interactions.of(pairs.user[chosen], pairs.item[chosen], NUM_USERS, NUM_ITEMS)

    users = pl.DataFrame({"user": range(NUM_USERS), "user_id": [f"u{i}" for i in range(NUM_USERS)]})
    items = pl.DataFrame(
        {
            "item": range(NUM_ITEMS),
            "item_id": [f"i{i}" for i in range(NUM_ITEMS)],
            "title": [f"{TOPICS[i % 2]} number{i}" for i in range(NUM_ITEMS)],
            "description": [""] * NUM_ITEMS,
            "categories": [["Outdoors"], ["Science fiction", "Gadgets"]] * (NUM_ITEMS // 2),
        },
        schema_overrides={"user": pl.Int32, "item": pl.Int32},
    )
    train, valid, test = part(turn >= 2), part(turn == 0), part(turn == 1)
    target = part((turn == 2) | (turn == 3))
    return Prepared(
        train=train,
        valid=valid,
        test=test,
        graph=part(turn >= 4),
        target=target,
        users=users,
        items=items,
        parts={name: frame.lazy() for name, frame in in_order(train, valid, test, target).items()},
    )


def in_order(
    train: Interactions, valid: Interactions, test: Interactions, target: Interactions
) -> dict[str, pl.DataFrame]:
    """Return the tables "train", "valid" and "test" as the stage `prepare` makes them.

    The history of a user is their training items, then the validation items, then the test items.
    Ids ascend within each, from the first one above those of the test items, and begin again at 0
    after the last item. So in the checkerboard all users go round in one circle.
    """
    parts = {"train": train, "valid": valid, "test": test}
    start = np.zeros(train.num_users, np.int64)
    start[test.user] = test.item
    before = np.zeros(train.num_users, np.int64)
    tables = {}
    for name, pairs in parts.items():
        turn = (pairs.item - start[pairs.user]) % train.num_items
        order = np.lexsort((turn, pairs.user))
        place = np.empty(len(pairs), np.int64)
        place[order] = np.arange(len(pairs)) - pairs.indptr[pairs.user] + before[pairs.user]
        before = before + pairs.user_degree
        columns = {"user": pairs.user, "item": pairs.item, "rating": None}
        columns |= {"timestamp": 1000 * place + pairs.user, "position": place}
        types = {"user": pl.Int32, "item": pl.Int32, "rating": pl.Float64, "position": pl.Int32}
        tables[name] = pl.DataFrame(columns, schema_overrides=types)
    marked = pl.Series("target", target.contains(train.user, train.item))
    return tables | {"train": tables["train"].with_columns(marked)}


def write_prepared(prepared: Prepared, folder: Path) -> None:
    """Write the folder of the stage `prepare`. The counts say no more than the split."""
    folder.mkdir(parents=True)
    tables = in_order(prepared.train, prepared.valid, prepared.test, prepared.target)
    counts = {"split": "random"}
    PreparedTables(**tables, users=prepared.users, items=prepared.items, counts=counts).save(folder)


def block_states(size: int = NUM_ITEMS) -> np.ndarray:
    """Make text states of items or users: (size, 8) float32, rows of length 1.

    The two blocks differ clearly. A little noise is added.
    """
    states = np.random.default_rng(0).normal(0, 0.05, (size, 8)) + 1
    states[::2, 0] += 1
    states[1::2, 1] += 1
    return (states / np.linalg.norm(states, axis=1, keepdims=True)).astype(np.float32)


def block_profiles() -> Profiles:
    """Make profiles of users and items; the words of a user are those of their block."""
    items = pl.DataFrame(
        {"item": range(NUM_ITEMS), "text": [TOPICS[i % 2] for i in range(NUM_ITEMS)]}
    )
    words = [TOPICS[user % 2].replace(" ", ", ") for user in range(NUM_USERS)]
    kinds = ("tags", "interests", "graph_tags", "graph_interests")
    users = pl.DataFrame({"user": range(NUM_USERS)} | dict.fromkeys(kinds, words))
    about = {"language": {"model": "made up", "sha256": "0" * 64, "width": 8}}
    return Profiles(items, users, block_states(), block_states(NUM_USERS), about)


def block_embeddings() -> dict[str, np.ndarray]:
    """Make layer-0 embeddings of the two blocks: user (U, 4) and item (I, 4), float32."""
    rng = np.random.default_rng(1)
    side = np.eye(4)[:2]
    return {
        name: (side[np.arange(size) % 2] + rng.normal(0, 0.01, (size, 4))).astype(np.float32)
        for name, size in (("user", NUM_USERS), ("item", NUM_ITEMS))
    }


@dataclass(frozen=True)
class World:
    """Hold the folders of the stages before the methods, for the small dataset.

    data: takes the place of the folder data/.
    cell: dataset `blocks`, seed 0. It has the folders of `prepare`, `profile` and `pretrain-all`.
    prepared: the data in the folder of `prepare`.
    """

    data: Path
    cell: Cell
    prepared: Prepared

    @classmethod
    def write(cls, folder: Path, prepared: Prepared | None = None) -> World:
        """Write the folders below a folder. prepared: the data; None: those of `block_prepared`."""
        prepared = block_prepared() if prepared is None else prepared
        cell = Cell("blocks", 0, folder / "data")
        write_prepared(prepared, cell.prepare)
        profile = cell.step("profile")
        profile.mkdir(parents=True)
        block_profiles().save(profile)
        embeddings = cell.step("pretrain-all")
        embeddings.mkdir(parents=True)
        layer0 = block_embeddings()
        NodeEmbeddings(layer0["user"], layer0["item"], 2, best_epoch=0).save(embeddings)
        return cls(folder / "data", cell, prepared)

    def train(
        self,
        name: str,
        values: Mapping[str, Any] | None = None,
        *,
        prepared: Prepared | None = None,
        checkpoint: Path | None = None,
    ) -> Artefact:
        """Train a method or a step, and return its artefact.

        For a method, its last step runs. If a folder that this step reads is missing, all steps of
        the method run.
        name: of the method, the ablation or the step.
        What it reads of other methods' models is trained first, with the same values and data,
        unless the world has the folder of such a model already.
        values: parameters by dotted keys, such as {"settings.ease.l2": 10}.
        prepared: data in place of those in `prepared`. checkpoint: folder for checkpoints.
        """
        given = self.prepared if prepared is None else prepared
        with TemporaryDirectory() as scratch:
            unit, options = self._ready(name, values, given, Path(scratch))
            return run_unit(unit, self.cell, checkpoint=checkpoint, **options)

    def refit(
        self, name: str, values: Mapping[str, Any] | None = None
    ) -> tuple[Artefact, Artefact]:
        """Train as `train` does, and again on training and validation pairs together."""
        with TemporaryDirectory() as scratch:
            unit, options = self._ready(name, values, self.prepared, Path(scratch), refit=True)
            return run_twice(unit, self.cell, **options)

    def _ready(
        self,
        name: str,
        values: Mapping[str, Any] | None,
        prepared: Prepared,
        scratch: Path,
        *,
        refit: bool = False,
    ) -> tuple[Unit, dict[str, Any]]:
        """Train the other models that a unit reads. Returns the unit to run, and how to run it."""
        unit = units()[name]
        others = [read for read in unit.reads if read in units() and units()[read].model]
        reads = [read for read in unit.reads if read not in others]
        if unit.model and not all(place_of(self.cell, read).exists() for read in reads):
            unit = chain_of(name)
        params = Params().with_values(unit.values | dict(values or {}))
        made = {}
        for other in others:
            if (there := place_of(self.cell, other)).exists():
                made[other] = there
                continue
            made[other] = scratch / other
            made[other].mkdir()
            if refit:
                first, second = self.refit(other, values)
                (made[other] / REFIT).mkdir()
                second.save(made[other] / REFIT)
            else:
                first = self.train(other, values, prepared=prepared)
            first.save(made[other])
        return unit, {"sections": params.section, "prepared": prepared, "made": made}
