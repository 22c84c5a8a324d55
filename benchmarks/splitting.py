"""Compare k-core and split of power-law interactions with pandas and with a loop over scipy.

Every contestant runs in a process of its own on the same Parquet file, and must put the same pairs
into the same parts.
"""

# E interactions, U users, I items
from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.timing import Row, child, clock, report

CHUNK = 5_000_000
USER_CORE = ITEM_CORE = 5
VALID_SHARE, TEST_SHARE = 0.1, 0.2


def generate(path: Path, num_rows: int) -> None:
    """Write about num_rows distinct pairs (user, item: int32) with a fixed seed, chunk by chunk.

    Each chunk has its own users, with 15 interactions on average. Activity and popularity are
    powers of the rank.
    """
    num_users, num_items = num_rows // 15, num_rows // 12
    rng = np.random.default_rng([num_rows])
    name = rng.permutation(num_users).astype(np.int32)
    writer = None
    for start in range(0, num_rows, CHUNK):
        rows = min(CHUNK, num_rows - start)
        first, last = start * num_users // num_rows, (start + rows) * num_users // num_rows
        user = first + ((last - first) * rng.random(rows) ** 3).astype(np.int64)
        item = (num_items * rng.random(rows) ** 4).astype(np.int64)
        key = rng.permutation(np.unique(user * num_items + item))
        table = pl.DataFrame(
            {"user": name[key // num_items], "item": (key % num_items).astype(np.int32)}
        ).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def ours(path: Path):
    from glta.data import splits
    from glta.data.prepare import in_order

    frame = pl.read_parquet(path)
    yield
    user, item = (frame[name].to_numpy().astype(np.int64) for name in ("user", "item"))
    keep, passes = splits.core(user, item, USER_CORE, ITEM_CORE)
    frame = frame.filter(keep)
    frame = frame[in_order(frame["user"].to_numpy(), frame["item"].to_numpy())]
    dense = frame["user"].rle_id().to_numpy().astype(np.int64)
    part = splits.random_split(
        dense, VALID_SHARE, TEST_SHARE, fixed=generator(0), generator=generator(1)
    )
    yield frame["user"].to_numpy(), frame["item"].to_numpy(), part, passes


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def cuts(size: np.ndarray, luck: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of test items, and of validation and test items, of each user.

    They are those of `glta.data.splits.random_split`. size, luck: (U,).
    """
    most = np.maximum(size - 1, 0)
    held_out = np.minimum(np.floor((VALID_SHARE + TEST_SHARE) * size + luck), most)
    return np.minimum(np.floor(TEST_SHARE * size + luck), held_out).astype(int), held_out.astype(
        int
    )


def with_pandas(path: Path):
    import pandas as pd

    frame = pd.read_parquet(path)
    yield
    passes = 0
    while True:
        passes += 1
        users = frame.groupby("user")["item"].transform("size")
        items = frame.groupby("item")["user"].transform("size")
        keep = (users >= USER_CORE) & (items >= ITEM_CORE)
        if keep.all():
            break
        frame = frame[keep]
    frame = frame.sort_values(["user", "item"])
    fixed = generator(0)
    size = frame.groupby("user").size()
    test, held_out = cuts(size.to_numpy(), fixed.random(len(size)))
    dense = frame["user"].map(pd.Series(np.arange(len(size)), size.index)).to_numpy()
    frame["key"] = fixed.permutation(len(frame))
    rank = frame.groupby("user")["key"].rank("first").to_numpy() - 1
    part = np.where(rank < test[dense], 2, 0)
    rest = pd.DataFrame({"user": dense[part == 0]})
    rest["key"] = generator(1).permutation(len(rest))
    rank = rest.groupby("user")["key"].rank("first").to_numpy() - 1
    part[part == 0] = np.where(rank < (held_out - test)[rest["user"].to_numpy()], 1, 0)
    yield frame["user"].to_numpy(), frame["item"].to_numpy(), part, passes


def with_scipy(path: Path):
    import scipy.sparse as sp

    frame = pl.read_parquet(path)
    yield
    user, item = frame["user"].to_numpy(), frame["item"].to_numpy()
    matrix = sp.csr_matrix((np.ones(user.size, np.int8), (user, item)))
    user_id, item_id = np.arange(matrix.shape[0]), np.arange(matrix.shape[1])
    passes = 0
    while True:
        passes += 1
        rows, columns = matrix.getnnz(1) >= USER_CORE, matrix.getnnz(0) >= ITEM_CORE
        if rows.all() and columns.all():
            break
        matrix = matrix[rows][:, columns]
        user_id, item_id = user_id[rows], item_id[columns]
    matrix.sort_indices()
    fixed = generator(0)
    size = np.diff(matrix.indptr)
    tests, held_outs = cuts(size, fixed.random(size.size))
    key = fixed.permutation(matrix.nnz)
    part = np.zeros(matrix.nnz, np.int64)
    for test, begin, end in zip(tests, matrix.indptr, matrix.indptr[1:], strict=False):
        part[begin + key[begin:end].argsort()[:test]] = 2
    rest = np.flatnonzero(part == 0)
    key = generator(1).permutation(rest.size)
    ends = np.cumsum(size - tests)
    for count, begin, end in zip(held_outs - tests, ends - size + tests, ends, strict=True):
        part[rest[begin + key[begin:end].argsort()[:count]]] = 1
    yield user_id.repeat(size), item_id[matrix.indices], part, passes


CONTESTANTS = {"ours": ours, "pandas": with_pandas, "scipy": with_scipy}


def compete(name: str, path: Path) -> None:
    """Run one contestant; print its time, its peak memory and a hash of its result."""
    steps = CONTESTANTS[name](path)
    # up to here, the contestant reads the file
    next(steps)
    begin = clock()
    user, item, part, passes = next(steps)
    seconds = clock() - begin
    digest = hashlib.sha256()
    for array, dtype in ((user, np.int32), (item, np.int32), (part, np.int8)):
        digest.update(np.ascontiguousarray(array, dtype))
    report(seconds=seconds, passes=passes, kept=part.size, digest=digest.hexdigest())


def run(quick: bool) -> list[Row]:
    """Compare at 1 and 10 million interactions, and check time and memory at 100 million."""
    rows = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder, "pairs.parquet")
        for num_rows in (20_000,) if quick else (10**6, 10**7):
            generate(path, num_rows)
            results = {name: child("benchmarks.splitting", name, path) for name in CONTESTANTS}
            if len({result["digest"] for result in results.values()}) > 1:
                raise AssertionError(f"different splits: {results}")
            own = results["ours"]
            for name in ("pandas", "scipy"):
                note = (
                    f"{own['passes']} passes, {own['kept']:,} kept; {gib(own)} against "
                    f"{gib(results[name])} GiB"
                )
                target = 5 if name == "pandas" and num_rows == 10**7 else None
                rows.append(
                    Row(
                        f"k-core and split, {num_rows:,}",
                        own["seconds"],
                        name,
                        results[name]["seconds"],
                        target=target,
                        unit="s",
                        note=note,
                    )
                )
        if not quick:
            generate(path, 10**8)
            own = child("benchmarks.splitting", "ours", path)
            note = f"{own['passes']} passes, {own['kept']:,} kept"
            rows.append(
                Row(
                    "k-core and split, 100,000,000",
                    own["seconds"],
                    "10 minutes",
                    600,
                    target=1,
                    unit="s",
                    note=note,
                )
            )
            rows.append(
                Row(
                    "its peak memory", own["peak_bytes"] / 2**30, "12 GiB", 12, target=1, unit="GiB"
                )
            )
    return rows


def gib(result: dict) -> str:
    return f"{result['peak_bytes'] / 2**30:.2f}"


if __name__ == "__main__":
    compete(sys.argv[1], Path(sys.argv[2]))
