"""Ask `glta serve` for lists in its store: 8 clients on this machine, each in a thread.

python -m benchmarks.serving ADDRESS REQUESTS SECONDS     the clients alone: SECONDS between the
                                                          requests of a client; 0: none
"""

# U users, I items
from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import Row, child, report
from glta.data.interactions import Interactions
from glta.data.prepared import Prepared, PreparedTables
from glta.methods.popularity.model import Popularity
from glta.methods.shared.stored_lists import write_store
from glta.params.file import render_params
from glta.params.model import Params
from glta.serving.export import export
from glta.storage.cell import Cell

CLIENTS = 8
RATE = 200
"""Requests a second, of all clients together."""

NAME = "sample"


def make_bundle(folder: Path, num_users: int, num_items: int, k: int) -> Path:
    """Export a bundle with a store of random users, below a folder. Returns the bundle's folder."""
    (folder / "params.yaml").write_text(render_params(Params()))
    with chdir(folder):
        cell = Cell(NAME, 0)
        cell.prepare.mkdir(parents=True)
        _tables(num_users, num_items).save(cell.prepare)
        prepared = Prepared.load(cell.prepare)
        model = Popularity(prepared.train.item_degree.astype(np.float32), num_users)
        files = cell.model("popularity")
        files.mkdir(parents=True)
        model.save(files)
        names = {"method": "popularity", "dataset": NAME, "seed": 0}
        write_store(model, prepared, cell.store("popularity"), k, model=files, **names)
        return export("popularity", NAME).resolve()


def _tables(num_users: int, num_items: int) -> PreparedTables:
    """Make 20 random items of every user, as the stage `prepare` writes them."""
    rng = np.random.default_rng(0)
    start = rng.integers(num_items, size=(num_users, 1))
    item = (start + 7919 % num_items * np.arange(20)) % num_items
    user = np.repeat(np.arange(num_users), 20)
    pairs = Interactions.of(user, item.ravel(), num_users, num_items)
    train = pl.DataFrame(
        {
            "user": pairs.user,
            "item": pairs.item,
            "rating": 1.0,
            "timestamp": 0,
            "position": np.tile(np.arange(20), num_users),
            "target": False,
        },
        schema_overrides={"user": pl.Int32, "item": pl.Int32, "position": pl.Int32},
    )
    none = train.drop("target").clear()
    users = pl.DataFrame({"user": range(num_users)}).with_columns(
        user_id=pl.format("user-{}", "user")
    )
    items = pl.DataFrame({"item": range(num_items)}).with_columns(
        item_id=pl.format("item-{}", "item"),
        title=pl.format("Title of item {}", "item"),
        description=pl.lit(""),
        categories=pl.lit([], pl.List(pl.String)),
    )
    return PreparedTables(train, none, none, users, items, {"split": "random"})


@contextmanager
def served(bundle: Path) -> Iterator[str]:
    """Serve a bundle in a process of its own. Yields its address, HOST:PORT."""
    code = "import sys; sys.argv[0] = 'glta'; from pipeline.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", str(bundle), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().partition("http://")[2].partition(";")[0]
        finally:
            process.send_signal(signal.SIGTERM)


def ask(address: str, requests: int, seconds: float) -> np.ndarray:
    """Ask for lists from all clients. Returns the milliseconds of each request.

    requests: of each client. seconds: between the starts of two requests of a client; 0: the next
    one begins when the last one is answered.
    """
    times: list[list[float]] = [[] for _ in range(CLIENTS)]

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(address)
        # the clients take turns
        due = time.perf_counter() + seconds * number / CLIENTS
        for turn in range(requests):
            time.sleep(max(0.0, due - time.perf_counter()))
            due += seconds
            body = json.dumps({"user": f"user-{number * requests + turn}", "k": 20})
            begin = time.perf_counter()
            connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            times[number].append(1e3 * (time.perf_counter() - begin))
            assert answer.status == 200, content
            assert json.loads(content)["way"] == "store"

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(len(of_client) == requests for of_client in times), "a client has failed"
    return np.concatenate(times)


def run(quick: bool) -> list[Row]:
    """Measure look-ups in 20,000 lists of 12,000 items (quick: 200 lists)."""
    num_users, num_items = (200, 500) if quick else (20_000, 12_000)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        bundle = make_bundle(Path(name), num_users, num_items, k=100)
        with served(bundle) as address:
            for pace, requests in ((CLIENTS / RATE, 1000), (0.0, 2000)):
                requests = 5 if quick else requests
                found = child("benchmarks.serving", address, requests, pace)
                load = f"{RATE} requests/s" if pace else "without a pause"
                note = f"median {found['median']:.2f} ms, {found['rate']:.0f} requests/s"
                target = 1 if pace and not quick else None
                case = f"look-up over HTTP, {CLIENTS} clients, {load}, p99"
                rows.append(
                    Row(case, found["high"], "5 ms", 5.0, target=target, unit="ms", note=note)
                )
    return rows


if __name__ == "__main__":
    began = time.perf_counter()
    measured = ask(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    median, high = np.quantile(measured, [0.5, 0.99])
    rate = measured.size / (time.perf_counter() - began)
    report(median=median, high=high, rate=rate)
