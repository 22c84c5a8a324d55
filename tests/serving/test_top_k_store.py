"""The store of all users' lists: what it holds, how it is looked up, and what it refuses."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.sequences import Sequences
from glta.evaluation.top_k_store import FILE, Ids, StoreAbout, TopKStore
from glta.methods.base import Recommender
from glta.methods.hccf.model import HCCF
from glta.methods.registry import specs
from glta.methods.shared.stored_lists import write_store
from glta.serving.refresh import FOLD_IN, KEPT, Refreshed, refresh
from glta.storage.arrays import load_arrays, save_arrays
from glta.testing.blocks import LONER, NUM_ITEMS, NUM_USERS, World, block_embeddings

EVERYONE = np.arange(NUM_USERS)
FOLDING = ["popularity", "ease", "lightgcn", "transitions", "text-knn", "cease"]
METHODS = [*FOLDING, "hccf"]
K = 8


@dataclass(frozen=True)
class Shelf:
    """Hold a model, the folder of its files, and the folder of its store."""

    world: World
    method: str
    model: Recommender
    files: Path
    folder: Path

    @classmethod
    def of(cls, world: World, method: str, folder: Path) -> "Shelf":
        # training HCCF would take seconds, and how it is trained does not count here
        model = HCCF(**block_embeddings()) if method == "hccf" else world.train(method)
        assert isinstance(model, Recommender)
        files = folder / "model"
        files.mkdir(parents=True)
        model.save(files)
        shelf = cls(world, method, model, files, folder / "store")
        shelf.write()
        return shelf

    def write(self, k: int = K) -> TopKStore:
        names = {"method": self.method, "dataset": "blocks", "seed": 3}
        return write_store(
            self.model, self.world.prepared, self.folder, k, model=self.files, **names
        )

    def open(self, ids: list[str] | None = None) -> TopKStore:
        ids = ids or self.world.prepared.items["item_id"].to_list()
        return TopKStore.open(self.folder, model=self.files, item_ids=ids)

    def refresh(self, *pairs: tuple[str, str]) -> Refreshed:
        return refresh(
            self.folder,
            self.model,
            self.world.prepared,
            pl.DataFrame(pairs, {"user_id": pl.String, "item_id": pl.String}, orient="row"),
            model=self.files,
            capabilities=specs()[self.method].capabilities,
        )

    @property
    def bytes(self) -> bytes:
        return (self.folder / FILE).read_bytes()


@pytest.fixture
def shelf(world, tmp_path, request) -> Shelf:
    return Shelf.of(world, getattr(request, "param", "ease"), tmp_path / "shelf")


def each(*methods: str):
    return pytest.mark.parametrize("shelf", methods, indirect=True)


def rows_of(store: TopKStore) -> dict[str, bytes]:
    """Return the bytes of every row by the user's id."""
    names = store.users.named(range(len(store.users)))
    return {
        name: store.items[row].tobytes() + store.scores[row].tobytes()
        for row, name in enumerate(names)
    }


@each(*METHODS)
def test_lists_are_those_of_the_recommender(shelf):
    prepared, store = shelf.world.prepared, shelf.open()
    assert len(store.users) == NUM_USERS
    items, scores = shelf.model.recommend(EVERYONE, K, prepared.seen)
    for user in EVERYONE:
        found = store.lookup(f"u{user}")
        assert not {int(item[1:]) for item in found.items} & {*prepared.seen.items_of(user)}
        if user != LONER:
            assert found.items == [f"i{item}" for item in items[user]]
            assert found.scores == scores[user].tolist()
            assert store.lookup(f"u{user}", 3) == (found.items[:3], found.scores[:3])
    popular = np.lexsort((np.arange(NUM_ITEMS), -prepared.train.item_degree))
    assert store.lookup(f"u{LONER}").items == [f"i{item}" for item in popular[:K]]
    assert store.lookup(f"u{LONER}") == store.most_popular()


@each("ease", "lightgcn")
def test_two_writes_have_equal_bytes(shelf):
    before = shelf.bytes
    shelf.write()
    assert shelf.bytes == before


def test_a_list_ends_with_the_catalogue(shelf):
    shelf.write(k=NUM_ITEMS + 5)
    left = NUM_ITEMS - shelf.world.prepared.seen.user_degree[0]
    found = shelf.open().lookup("u0")
    assert len(found.items) == len(set(found.items)) == len(found.scores) == left
    assert len(shelf.open().lookup(f"u{LONER}").items) == NUM_ITEMS


def test_it_knows_what_it_was_made_of(shelf):
    about = shelf.open().about
    assert (about.method, about.dataset, about.seed, about.k) == ("ease", "blocks", 3, K)
    assert (about.fitted, about.histories, about.refreshes) == ("train", "train", ())


def test_only_users_with_a_row_are_found(shelf):
    for user in ("", "u", "u00", "u24", "v", "\u00fc1"):
        assert shelf.open().lookup(user) is None
        assert shelf.open().added(user) == []


@pytest.mark.parametrize("k", [0, K + 1])
def test_a_longer_list_is_refused(shelf, k):
    for look in (lambda: shelf.open().lookup("u1", k), lambda: shelf.open().most_popular(k)):
        with pytest.raises(ValueError, match=rf"k = {k}: must be 1\.\.8, the length of the lists"):
            look()


def test_any_ids_are_found():
    names = sorted(["", "a", "ab", "b", "\u00e9", "\u6f22\u5b57", "\U0001f600", "a b\n", "\x7f"])
    ids = Ids.of(names)
    assert ids.named(range(len(ids))) == names
    assert [ids.find(name) for name in names] == list(range(len(names)))
    assert ids.find("aa") is None
    assert Ids.of(["ab", "c"]).digest != Ids.of(["a", "bc"]).digest


def test_an_edited_model_is_refused(shelf):
    about = shelf.files / "model.json"
    about.write_text(about.read_text().replace("}", " }"))
    said = r"lists\.safetensors: was made from another model than the one in .*model; make it "
    with pytest.raises(ValueError, match=f"{said}again: `glta cache ease blocks --seed 3`"):
        shelf.open()
    with pytest.raises(ValueError, match=said):
        shelf.refresh(("u0", "i1"))


def test_a_store_beside_the_model_is_none_of_its_files(shelf):
    beside = replace(shelf, folder=shelf.files)
    beside.write()
    assert rows_of(beside.open()) == rows_of(shelf.open())


def test_another_catalogue_is_refused(shelf):
    ids = shelf.world.prepared.items["item_id"].to_list()
    for other in ([ids[1], ids[0], *ids[2:]], ids[:-1], [*ids, "i20"]):
        with pytest.raises(ValueError, match=r"was made for another catalogue: .*make it again"):
            shelf.open(other)


def test_other_data_are_not_refreshed(shelf):
    prepared = shelf.world.prepared
    valid = Interactions.of([0], [1], NUM_USERS, NUM_ITEMS)
    other = replace(shelf, world=replace(shelf.world, prepared=replace(prepared, valid=valid)))
    with pytest.raises(ValueError, match="was made for other users, or for other interactions"):
        other.refresh(("u0", "i3"))


def test_no_store_is_told_how_to_make_one(shelf, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file; `glta cache METHOD DATASET` makes"):
        TopKStore.open(tmp_path)


@pytest.mark.parametrize("size", [0, 5, 300, -1])
def test_a_truncated_file_is_refused(shelf, size):
    (shelf.folder / FILE).write_bytes(shelf.bytes[:size])
    said = r"lists\.safetensors: not a readable safetensors file .*make it again: `glta cache"
    with pytest.raises(ValueError, match=said):
        shelf.open()


def test_every_damaged_byte_is_found(shelf):
    """The lists are read by look-ups alone; all other arrays are checked when it is opened."""
    whole = shelf.bytes
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    for name, about in header.items():
        if name == "__metadata__" or about["data_offsets"][0] == about["data_offsets"][1]:
            continue
        damaged = bytearray(whole)
        damaged[8 + size + about["data_offsets"][1] - 1] ^= 1
        (shelf.folder / FILE).write_bytes(damaged)
        if name in TopKStore.LISTS:
            last = shelf.open().users.named([NUM_USERS - 1])[0]
            assert shelf.open().lookup("u0")
            with pytest.raises(ValueError, match=f"is damaged in the row of user {last}; make it"):
                shelf.open().lookup(last)
        else:
            with pytest.raises(ValueError, match="is damaged; make it again: `glta cache ease"):
                shelf.open()


def test_another_version_and_another_file_are_refused(shelf):
    arrays, meta = load_arrays(shelf.folder / FILE)
    save_arrays(shelf.folder / FILE, arrays, meta | {"schema": 0})
    with pytest.raises(ValueError, match="has schema 0, this version of glta reads 1; make it"):
        shelf.open()
    save_arrays(shelf.folder / FILE, {"a": np.arange(3)}, meta)
    with pytest.raises(ValueError, match="is not the store of a model; make it again"):
        shelf.open()


def test_who_reads_goes_on_reading_the_old_store(shelf):
    reader, before = shelf.open(), rows_of(shelf.open())
    shelf.refresh(("u0", "i1"))
    assert rows_of(reader) == before != rows_of(shelf.open())


def given(shelf: Shelf) -> tuple[list[tuple[str, str]], list[int]]:
    """Return interactions of user 4 and of a new user, and which items they are for user 4.

    They are in the present list of user 4, and come oldest first. One is there twice, of which the
    newer place counts, and user 4 has item 0 already.
    """
    shown = shelf.open().lookup("u4").items
    first, second = shown[0], shown[2]
    user = [("u4", item) for item in (first, second, first, "i0")]
    return [*user[:1], ("new", "i6"), *user[1:], ("new", "i8")], [int(second[1:]), int(first[1:])]


def folded_in(shelf: Shelf, history: list[int]) -> np.ndarray:
    """Return the scores of a user by their items, (I,)."""
    if "sequences" in specs()[shelf.method].capabilities:
        model = shelf.model.with_histories(Sequences.of_lists([history], NUM_ITEMS))
        return model.score(np.array([0]))[0]
    pairs = Interactions.of(np.zeros(len(history)), history, 1, NUM_ITEMS)
    return shelf.model.score_histories(history_matrix(pairs))[0]


def assert_best(found, scores: np.ndarray, masked: set[int]) -> None:
    """Fail unless a list has the K highest of the scores that are not masked.

    Sums of other batches differ in the last bits, which may exchange items of equal scores.
    """
    items = [int(item[1:]) for item in found.items]
    allowed = np.delete(scores, [*masked])
    assert len(set(items)) == len(items) == min(K, allowed.size)
    assert not {*items} & masked
    np.testing.assert_allclose(found.scores, -np.sort(-allowed)[: len(items)], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scores, scores[items], rtol=1e-5, atol=1e-6)


@each(*FOLDING)
def test_refresh_is_a_fresh_computation_with_the_merged_histories(shelf):
    prepared, before = shelf.world.prepared, rows_of(shelf.open())
    pairs, new = given(shelf)
    assert shelf.refresh(*pairs) == Refreshed(known=1, new=1, way=FOLD_IN)
    store = shelf.open()
    after = rows_of(store)
    changed = {user for user in after if after[user] != before.get(user)}
    assert changed == {"u4", "new"}
    assert set(after) == {*before, "new"}
    own = prepared.sequences.of_user(4).item.tolist()
    assert 0 in own
    seen = {*prepared.seen.items_of(4).tolist()}
    assert_best(store.lookup("u4"), folded_in(shelf, [*own, *new]), seen | {*new})
    assert_best(store.lookup("new"), folded_in(shelf, [6, 8]), {6, 8})
    assert (store.added("u4"), store.added("new"), store.added("u5")) == (new, [6, 8], [])
    assert store.about.refreshes == ({"known": 1, "new": 1, "way": FOLD_IN},)


@each("transitions", "text-knn", "hccf")
def test_the_next_refresh_knows_the_earlier_one(shelf):
    shelf.refresh(("u4", "i1"), ("u9", "i2"), ("zoe", "i3"))
    first = rows_of(shelf.open())
    assert shelf.refresh(("u4", "i5"), ("abe", "i4"), ("zoe", "i3"))[:2] == (1, 1)
    second = rows_of(shelf.open())
    assert {user for user in second if second[user] != first.get(user)} == {"u4", "abe"}
    store = shelf.open()
    assert store.added("u4") == [1, 5]
    shelf.write()
    shelf.refresh(("zoe", "i3"), ("u4", "i1"), ("u4", "i5"), ("abe", "i4"), ("u9", "i2"))
    once = shelf.open()
    assert [once.lookup(user).items for user in second] == [
        store.lookup(user).items for user in second
    ]
    assert (len(store.about.refreshes), len(once.about.refreshes)) == (2, 1)


@each("hccf")
def test_a_method_that_cannot_fold_in_says_so(shelf):
    prepared, before = shelf.world.prepared, rows_of(shelf.open())
    pairs, new = given(shelf)
    assert shelf.refresh(*pairs) == Refreshed(known=1, new=1, way=KEPT)
    store = shelf.open()
    after = rows_of(store)
    assert {user for user in after if after[user] != before.get(user)} == {"u4", "new"}
    masked = {*prepared.seen.items_of(4).tolist(), *new}
    assert_best(store.lookup("u4"), shelf.model.score(np.array([4]))[0], masked)
    assert_best(store.lookup("new"), prepared.train.item_degree.astype(float), {6, 8})
    shelf.refresh((f"u{LONER}", "i6"), (f"u{LONER}", "i8"))
    assert shelf.open().lookup(f"u{LONER}") == store.lookup("new")


def test_a_refresh_without_anything_new_leaves_the_file_alone(shelf):
    before = shelf.bytes
    assert shelf.refresh() == (0, 0, FOLD_IN)
    assert shelf.refresh(("u4", "i0")) == (0, 0, FOLD_IN)
    assert shelf.bytes == before


def test_a_refresh_does_not_hide_damage(shelf):
    damaged = bytearray(shelf.bytes)
    size = int.from_bytes(damaged[:8], "little")
    end = json.loads(damaged[8 : 8 + size])["items"]["data_offsets"][1]
    damaged[8 + size + end - 1] ^= 1
    (shelf.folder / FILE).write_bytes(damaged)
    last = shelf.open().users.named([NUM_USERS - 1])[0]
    shelf.refresh(("u4", "i1"), ("aa", "i1"))
    with pytest.raises(ValueError, match=f"is damaged in the row of user {last}"):
        shelf.open().lookup(last)


def test_an_item_outside_of_the_catalogue_is_refused(shelf):
    before = shelf.bytes
    said = r"item i99 of user u4: is not in the catalogue of .*; take its rows out, or train again"
    with pytest.raises(ValueError, match=said):
        shelf.refresh(("u4", "i1"), ("u4", "i99"))
    assert shelf.bytes == before


def test_histories_are_those_that_the_store_names(world, tmp_path):
    """With validation items in the histories, a refresh adds to these."""
    shelf = Shelf.of(world, "transitions", tmp_path / "shelf")
    model = shelf.model.with_histories(world.prepared.seen_sequences)
    names = {"method": "transitions", "dataset": "blocks", "seed": 0}
    write_store(
        model, world.prepared, shelf.folder, K, model=shelf.files, histories="seen", **names
    )
    other = replace(shelf, model=model)
    items, _ = model.recommend(EVERYONE, K, world.prepared.seen)
    assert shelf.open().lookup("u4").items == [f"i{item}" for item in items[4]]
    other.refresh(("u4", "i1"))
    own = world.prepared.seen_sequences.of_user(4).item.tolist()
    scores = folded_in(shelf, [*own, 1])
    assert_best(shelf.open().lookup("u4"), scores, {*own, 1})


def test_about_is_closed():
    with pytest.raises(ValueError, match="k"):
        StoreAbout.model_validate({"method": "ease"})
