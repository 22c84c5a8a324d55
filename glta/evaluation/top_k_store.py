"""The top-K store: the best items of every user in one file, for look-ups in under a millisecond.

The file is mapped into memory, so opening it does not read the lists. A look-up reads one row.
Ids are those of the user's files.
"""

# U users, I items, K list length, N ids, A added pairs
from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, NoReturn, Self

import numpy as np

from glta.config import Section
from glta.storage.arrays import map_arrays, save_arrays
from glta.storage.digests import digest_of_arrays, digest_of_folder, visible_files

FILE = "lists.safetensors"
SCHEMA = 1
"""Version of the format. A file of another version is refused."""

NO_ITEM = -1
"""Fills a row when fewer than K items are left to recommend."""

Pairs = Literal["train", "seen", "all"]
"""Training pairs; training and validation pairs together; these and the test pairs."""


class StoreAbout(Section):
    """Describe a store.

    k: length of the lists.
    fitted: the pairs that the model was fitted on. Popularity is counted in them.
    histories: the pairs that users were scored by. masked: the pairs that are not shown.
    model: digest of the files of the model. catalogue: of the item ids in their order. data: of the
        user ids and of the masked pairs.
    refreshes: how many rows each refresh made anew: "known" users, "new" users, and by which "way".
    """

    method: str
    dataset: str
    seed: int
    k: int
    fitted: Pairs
    histories: Pairs
    masked: Pairs
    model: str
    catalogue: str
    data: str
    refreshes: tuple[dict[str, int | str], ...] = ()


class StoredList(NamedTuple):
    """Hold items, by their ids, and their scores, best first."""

    items: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Ids:
    """Hold N ids in one array. Id n is the UTF-8 text in the bytes starts[n]:starts[n+1].

    text: uint8. starts: (N+1,) int64.
    """

    text: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, ids: Sequence[str]) -> Self:
        """Put texts into one array."""
        encoded = [one.encode() for one in ids]
        size = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.concatenate([[0], size.cumsum()]))

    def __len__(self) -> int:
        return self.starts.size - 1

    def encoded(self, n: int) -> bytes:
        """Return one id in UTF-8."""
        return self._whole[self.starts[n] : self.starts[n + 1]].tobytes()

    def named(self, places: Sequence[int]) -> list[str]:
        """Return the ids at some places."""
        return [self.encoded(n).decode() for n in places]

    def find(self, wanted: str) -> int | None:
        """Return the place of an id, None without it. The ids must ascend by their bytes."""
        key = wanted.encode()
        place = bisect_left(range(len(self)), key, key=self.encoded)
        return place if place < len(self) and self.encoded(place) == key else None

    @property
    def digest(self) -> str:
        """SHA-256 digest of the ids in their order."""
        parts = [("starts", self.starts), ("text", self.text)]
        return digest_of_arrays([(name, a.dtype, a.shape, a.data) for name, a in parts], None)

    @cached_property
    def _whole(self) -> memoryview:
        return self.text.data


@dataclass(frozen=True, eq=False)
class TopKStore:
    """Hold every user's best K items.

    about: see `StoreAbout`.
    users: ascending by their bytes; row u of the lists is that of user u.
    catalogue: the items; an item's number is its place.
    items: (U, K) int32, numbers, best first, then NO_ITEM. scores: (U, K) float32.
    popular: (I,) int32, all items, those with the most users first. num_users: (I,) float32, the
        numbers of users of these.
    added_user: (A,) int32, rows, ascending. added_item: (A,) int32. The pairs that came with
        refreshes, those of a user oldest first.
    checks: (U,) uint32, the CRC-32 of each row with its user's id.
    path: the file that it was read from.

    `open` checks all but the lists: their size, and the digest of everything else. `lookup` checks
    the row that it reads. Equal stores have equal bytes.
    """

    about: StoreAbout
    users: Ids
    catalogue: Ids
    items: np.ndarray
    scores: np.ndarray
    popular: np.ndarray
    num_users: np.ndarray
    added_user: np.ndarray
    added_item: np.ndarray
    checks: np.ndarray
    path: Path = Path(FILE)

    LISTS: ClassVar = ("items", "scores")
    OTHERS: ClassVar = ("popular", "num_users", "added_user", "added_item", "checks")

    def save(self, folder: Path) -> None:
        """Write the store into a folder, whole or not at all. A store in the folder is replaced.

        Who has the old store open goes on reading the old one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        meta = {"about": self.about.model_dump(), "digest": self._digest, "schema": SCHEMA}
        save_arrays(folder / FILE, self._arrays, meta)

    @classmethod
    def open(
        cls, folder: Path, *, model: Path | None = None, item_ids: Sequence[str] | None = None
    ) -> Self:
        """Open the store in a folder, without reading the lists.

        model: the folder of the model that serves. item_ids: the catalogue that is served.
        Raises FileNotFoundError without a store. Raises ValueError when the file is damaged, of
        another version, or made from another model or catalogue than those that are given.
        """
        path = folder / FILE
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such file; `glta cache METHOD DATASET` makes the store of a model"
            )
        try:
            arrays, meta = map_arrays(path)
        except ValueError as error:
            _refuse(path, str(error).removeprefix(f"{path}: ").partition(";")[0])
        if meta.get("schema") != SCHEMA:
            _refuse(path, f"has schema {meta.get('schema')}, this version of glta reads {SCHEMA}")
        try:
            store = cls(
                StoreAbout.model_validate(meta["about"]),
                Ids(arrays.pop("users.text"), arrays.pop("users.starts")),
                Ids(arrays.pop("catalogue.text"), arrays.pop("catalogue.starts")),
                path=path,
                **arrays,
            )
        except (KeyError, TypeError, ValueError):
            _refuse(path, "is not the store of a model")
        if store._digest != meta["digest"]:
            store.refuse("is damaged")
        if model is not None:
            store.refuse_other_model(model)
        if item_ids is not None and store.about.catalogue != Ids.of(item_ids).digest:
            store.refuse("was made for another catalogue: other items, or another order of them")
        return store

    def refuse_other_model(self, folder: Path) -> None:
        """Raise ValueError when the files in the folder of a model are not those it was made from.

        The call reads files that may have changed (`glta.storage.digests.digest_of`).
        """
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; the store {self.path} needs it")
        if digest_of_model(folder) != self.about.model:
            self.refuse(f"was made from another model than the one in {folder}")

    def refuse(self, why: str) -> NoReturn:
        """Raise ValueError that names the file, and the command that makes it anew."""
        _refuse(self.path, why, f"{self.about.method} {self.about.dataset}", self.about.seed)

    def lookup(self, user: str, k: int | None = None) -> StoredList | None:
        """Return the best k items of a user; None for a user without a row.

        k: at most that of the store; None: all. The list is shorter where the catalogue has no
        more items for the user. Raises ValueError when the row is damaged, and for a larger k.
        """
        self.refuse_long(k)
        row = self.users.find(user)
        if row is None:
            return None
        found = row_check(self.users.encoded(row), self.items[row], self.scores[row])
        if found != self.checks[row]:
            self.refuse(f"is damaged in the row of user {user}")
        items = self.items[row, :k].tolist()
        size = items.index(NO_ITEM) if items and items[-1] == NO_ITEM else len(items)
        return StoredList(self.catalogue.named(items[:size]), self.scores[row, :size].tolist())

    def most_popular(self, k: int | None = None, without: Collection[int] = ()) -> StoredList:
        """Return the k items with the most users, and these numbers as scores.

        k: see `lookup`. without: numbers of items to leave out.
        """
        self.refuse_long(k)
        items, scores = self.popular_items(self.about.k if k is None else k, without)
        return StoredList(self.catalogue.named(items.tolist()), scores.tolist())

    def popular_items(self, k: int, without: Collection[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the k most popular items, and their scores."""
        first = slice(k + len(without))
        left = ~np.isin(self.popular[first], list(without))
        return self.popular[first][left][:k], self.num_users[first][left][:k]

    def added(self, user: str) -> list[int]:
        """Return the numbers of the items that a user got with refreshes, oldest first."""
        row = self.users.find(user)
        if row is None:
            return []
        start, stop = np.searchsorted(self.added_user, [row, row + 1])
        return self.added_item[start:stop].tolist()

    def refuse_long(self, k: int | None) -> None:
        """Raise ValueError when lists of k items are longer than those of the store."""
        if k is not None and not 1 <= k <= self.about.k:
            raise ValueError(
                f"k = {k}: must be 1..{self.about.k}, the length of the lists in {self.path}; ask "
                "for fewer items, or make the store again with a larger K"
            )

    @property
    def _arrays(self) -> dict[str, np.ndarray]:
        ids = {"users": self.users, "catalogue": self.catalogue}
        arrays = {f"{name}.{part}": getattr(one, part) for name, one in ids.items() for part in IDS}
        return arrays | {name: getattr(self, name) for name in (*self.LISTS, *self.OTHERS)}

    @property
    def _digest(self) -> str:
        """Digest of all but the lists, and of the size of these."""
        parts = []
        for name, array in sorted(self._arrays.items()):
            content = b"" if name in self.LISTS else array.data
            parts.append((name, array.dtype, array.shape, memoryview(content)))
        return digest_of_arrays(parts, self.about.model_dump())


IDS = ("text", "starts")


def row_check(user: bytes, items: np.ndarray, scores: np.ndarray) -> int:
    """Return the CRC-32 of a row: of a user's id, and of their items and scores, (K,) each."""
    return zlib.crc32(scores.data, zlib.crc32(items.data, zlib.crc32(user)))


def row_checks(users: Ids, items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the check of every row: (U,) uint32. items, scores: see `TopKStore`."""
    rows = range(len(users))
    found = (row_check(users.encoded(row), items[row], scores[row]) for row in rows)
    return np.fromiter(found, np.uint32, len(users))


def digest_of_model(folder: Path) -> str:
    """Return the digest of a model's files. A store in the same folder does not count."""
    files = [path for path in visible_files(folder) if path != folder / FILE]
    return digest_of_folder(folder, files)


def _refuse(path: Path, why: str, names: str = "METHOD DATASET", seed: int = 0) -> NoReturn:
    option = f" --seed {seed}" if seed else ""
    raise ValueError(f"{path}: {why}; make it again: glta cache {names}{option}")
