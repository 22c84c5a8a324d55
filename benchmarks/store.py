"""Look up lists in the top-K store, open it, and write it.

A look-up is compared with scoring a user of the sample by EASE. Both must give the same lists.
"""

# U users, I items, K list length
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, clock, in_turns
from glta.data.histories import history_matrix
from glta.data.prepare import prepare
from glta.data.prepared import Prepared
from glta.datasets.catalogue import REGISTRY
from glta.datasets.readers.own_tables import read_sample
from glta.datasets.sample import write as write_sample
from glta.evaluation.top_k_store import Ids, StoreAbout, TopKStore, row_checks
from glta.methods.ease.model import EASE, item_weights
from glta.methods.shared.stored_lists import write_store
from glta.params.model import Params
from glta.storage.arrays import load_arrays

K = 100
ITEMS = 20_000


def made_up(num_users: int, k: int, num_items: int = ITEMS) -> TopKStore:
    """Make a store of random lists, not written yet."""
    rng = np.random.default_rng(0)
    users = Ids.of([f"user-{user:09}" for user in range(num_users)])
    # a step that shares no factor with the number of items never comes back to an item
    start = rng.integers(num_items, size=(num_users, 1))
    items = ((start + 7919 * np.arange(k)) % num_items).astype(np.int32)
    scores = -np.sort(-rng.random((num_users, k), np.float32), axis=1)
    nothing = np.empty(0, np.int32)
    about = {"method": "none", "dataset": "none", "seed": 0, "k": k}
    about |= {"fitted": "train", "histories": "train", "masked": "seen"}
    about |= dict.fromkeys(("model", "catalogue", "data"), "")
    return TopKStore(
        StoreAbout.model_validate(about),
        users,
        Ids.of([f"item-{item:09}" for item in range(num_items)]),
        items=items,
        scores=scores,
        popular=np.arange(num_items, dtype=np.int32),
        num_users=np.zeros(num_items, np.float32),
        added_user=nothing,
        added_item=nothing,
        checks=row_checks(users, items, scores),
    )


def sample(folder: Path) -> tuple[Prepared, EASE]:
    """Make the sample, and solve EASE on it."""
    write_sample(folder)
    params = Params()
    raw = read_sample(folder, REGISTRY["sample"], params.prepare.max_bad_share)
    prepare(raw, params.prepare, seed=0).save(folder)
    prepared = Prepared.load(folder)
    history = history_matrix(prepared.train)
    return prepared, EASE(history, item_weights(history, l2=100.0), 1.0)


def milliseconds(run, wanted: list) -> np.ndarray:
    """Time one call for each of the wanted values."""
    times = []
    for one in wanted:
        begin = clock()
        run(one)
        times.append(clock() - begin)
    return 1e3 * np.array(times)


def beside_ease(folder: Path, quick: bool) -> Row:
    """Compare the look-up of a user of the sample with scoring them."""
    prepared, model = sample(folder)
    (folder / "model").mkdir()
    model.save(folder / "model")
    names = {"method": "ease", "dataset": "sample", "seed": 0}
    write_store(model, prepared, folder, K, model=folder / "model", **names)
    store = TopKStore.open(folder)
    users = prepared.users["user_id"].to_list()
    item_ids = np.array(prepared.items["item_id"].to_list())

    def live(user: int) -> tuple[np.ndarray, np.ndarray]:
        items, scores = model.recommend(np.array([user]), K, prepared.seen)
        return items[0], scores[0]

    asked = np.random.default_rng(0).permutation(len(users))[: 20 if quick else 400].tolist()
    for user in asked:
        items, scores = live(user)
        found = store.lookup(users[user])
        np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-6)
        apart = np.array(found.items) != item_ids[items]
        # items of equal scores may be exchanged, as batches of other sizes differ in the last bits
        assert apart.mean() < 0.1, f"user {user} has another list"
    looked_up = np.median(milliseconds(lambda user: store.lookup(users[user]), asked))
    scored = np.median(milliseconds(live, asked))
    case = f"look-up, sample, {len(users):,} users x {K}, median"
    return Row(case, looked_up, "EASE, live", scored, target=None if quick else 1, unit="ms")


def run(quick: bool) -> list[Row]:
    """Measure look-ups in 100,000 x 100 lists (quick: 1,000), and writing of 1,000,000 x 20."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [beside_ease(folder, quick)]
        made = made_up(1_000 if quick else 100_000, K)
        made.save(folder)
        size = len(made.users)
        store = TopKStore.open(folder)
        asked = np.random.default_rng(1).integers(size, size=100 if quick else 20_000).tolist()
        users = store.users.named(asked)
        for row, user in zip(asked[:50], users, strict=False):
            found = store.lookup(user)
            assert found.items == made.catalogue.named(made.items[row].tolist())
            assert found.scores == made.scores[row].tolist()
        times = milliseconds(store.lookup, users)
        median, high = np.quantile(times, [0.5, 0.99])
        case = f"{size:,} users x {K}"
        note = f"median {median:.3f} ms"
        target = None if quick else 1
        rows.append(
            Row(f"look-up, {case}, p99", high, "1 ms", 1.0, target=target, unit="ms", note=note)
        )
        seconds = in_turns(
            {
                "open": lambda: TopKStore.open(folder),
                "read": lambda: load_arrays(store.path),
            },
            rounds=2 if quick else 9,
        )
        note = f"{store.path.stat().st_size / 2**20:.0f} MiB"
        opened = 1e3 * seconds["open"]
        read = 1e3 * seconds["read"]
        rows.append(Row(f"opening, {case}", opened, "reading", read, unit="ms", note=note))
        num_users = 1_000 if quick else 1_000_000
        begin = clock()
        made_up(num_users, 20).save(folder)
        taken = clock() - begin
        case = f"writing {num_users:,} users x 20"
        rows.append(Row(case, taken, "60 s", 60.0, target=target, note="lists given"))
        return rows
