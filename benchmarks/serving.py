"""Ask `glta serve` and `mlflow models serve` for lists: 8 clients on this machine, each a thread.

python -m benchmarks --only serving --minutes 5
python -m benchmarks.serving LOAD      the clients alone; LOAD: see `Load`, as JSON
"""

# U users, I items, D width of embeddings, K length of a list
from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from benchmarks.timing import Row, child, report
from glta.data.histories import history_matrix
from glta.data.interactions import Interactions
from glta.data.made_from import note_data
from glta.data.prepared import Prepared, PreparedTables
from glta.methods.base import Recommender
from glta.methods.ease.model import EASE
from glta.methods.lightgcn.model import LightGCN
from glta.methods.shared.stored_lists import write_store
from glta.params.file import render_params
from glta.params.model import Params
from glta.serving.export import export
from glta.storage.cell import Cell

CLIENTS = 8
RATE = 200
"""Requests a second, of all clients together."""

K = 20
NAME = "sample"
Kind = Literal["user", "items", "both"]


@dataclass(frozen=True)
class Load:
    """Describe what the clients ask for.

    address: HOST:PORT. kind: `user`: lists of users of the data; `items`: lists by 20 items;
    `both`: by turns. requests: of each client. pause: seconds between the starts of two requests of
    a client; 0: the next one begins when the last one is answered. num_users, num_items: of the
    data. mlflow: the server is that of MLflow.
    """

    address: str
    kind: Kind
    requests: int
    pause: float
    num_users: int
    num_items: int
    mlflow: bool = False

    def wanted(self, number: int) -> dict[str, Any]:
        """Return what request `number` asks for."""
        by_items = self.kind == "items" or (self.kind == "both" and number % 2 == 1)
        if not by_items:
            return {"user": f"user-{number % self.num_users}"}
        # other strides than those of the users of the data
        items = (number + 4099 % self.num_items * np.arange(20)) % self.num_items
        return {"items": [f"item-{item}" for item in dict.fromkeys(items.tolist())]}

    def sent(self, number: int) -> tuple[str, str]:
        """Return the path and the body of request `number`."""
        wanted = self.wanted(number)
        if not self.mlflow:
            return "/recommend", json.dumps(wanted | {"k": K})
        row = {"user_id": wanted.get("user"), "items": wanted.get("items")}
        body = {"dataframe_records": [row], "params": {"k": K}}
        return "/invocations", json.dumps(body)

    def items_of(self, content: bytes) -> list[str]:
        """Return the items of an answer."""
        found = json.loads(content)
        if self.mlflow:
            return found["predictions"][0]["items"]
        return [row["item_id"] for row in found["items"]]


def ease(prepared: Prepared) -> EASE:
    """Make EASE with random weights."""
    size = prepared.train.num_items
    weights = np.random.default_rng(1).standard_normal((size, size), dtype=np.float32)
    return EASE(history_matrix(prepared.train), weights, 1.0)


def lightgcn(prepared: Prepared, width: int = 64) -> LightGCN:
    """Make LightGCN with random embeddings."""
    rng = np.random.default_rng(1)
    sizes = (prepared.train.num_users, prepared.train.num_items, prepared.train.num_items)
    return LightGCN(*(rng.standard_normal((n, width), dtype=np.float32) for n in sizes))


def make_bundle(
    folder: Path,
    method: str,
    make: Callable[[Prepared], Recommender],
    *,
    num_users: int,
    num_items: int,
    store: int = 0,
) -> Path:
    """Export a bundle of random data below a folder. Returns the bundle's folder.

    store: length of the lists of its store; 0: it has none.
    """
    folder.mkdir()
    (folder / "params.yaml").write_text(render_params(Params()))
    with chdir(folder):
        cell = Cell(NAME, 0)
        cell.prepare.mkdir(parents=True)
        _tables(num_users, num_items).save(cell.prepare)
        prepared = Prepared.load(cell.prepare)
        model = make(prepared)
        files = cell.model(method)
        files.mkdir(parents=True)
        model.save(files)
        note_data(files, prepared.digest)
        if store:
            names = {"method": method, "dataset": NAME, "seed": 0}
            write_store(model, prepared, cell.store(method), store, model=files, **names)
        return export(method, NAME).resolve()


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
def served(bundle: Path) -> Iterator[tuple[str, int]]:
    """Serve a bundle in a process of its own. Yields its address, HOST:PORT, and its process id."""
    code = "import sys; sys.argv[0] = 'glta'; from pipeline.cli.main import main; main()"
    command = [sys.executable, "-c", code, "serve", str(bundle), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            yield line.partition("http://")[2].partition(";")[0], process.pid
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def served_by_mlflow(bundle: Path, folder: Path) -> Iterator[str]:
    """Serve a bundle with `mlflow models serve`. Yields its address. folder: takes the model."""
    # MLflow takes seconds to import
    import mlflow

    from glta.serving.bundle import load
    from pipeline.tracking.registered_bundles import options_of

    mlflow.pyfunc.save_model(str(folder), **options_of(load(bundle)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--workers", "1"]
    program = Path(sys.executable).parent / command[0]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [str(program), *command[1:]],
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
        **quiet,
    ) as process:
        try:
            _wait_for(address, process)
            yield address
        finally:
            # its server is a child of the command
            os.killpg(process.pid, signal.SIGTERM)


def _wait_for(address: str, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "mlflow models serve has ended"
        connection = http.client.HTTPConnection(address)
        try:
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.2)
        finally:
            connection.close()
    raise TimeoutError(f"{address} does not answer")


def private_bytes(process: int) -> int:
    """Return the memory that a process has for itself, without files that it maps. Linux only."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def ask(load: Load) -> np.ndarray:
    """Ask for lists from all clients. Returns the milliseconds of each request."""
    # else a client that has its answer may wait 5 ms until another one lets it run
    sys.setswitchinterval(0.0005)
    times: list[list[float]] = [[] for _ in range(CLIENTS)]

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(load.address)
        # the clients take turns
        due = time.perf_counter() + load.pause * number / CLIENTS
        for turn in range(load.requests):
            path, body = load.sent(number * load.requests + turn)
            time.sleep(max(0.0, due - time.perf_counter()))
            due += load.pause
            begin = time.perf_counter()
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            times[number].append(1e3 * (time.perf_counter() - begin))
            assert answer.status == 200, content
            assert len(load.items_of(content)) == K

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(len(of_client) == load.requests for of_client in times), "a client has failed"
    return np.concatenate(times)


def answers(load: Load, count: int = 20) -> list[list[str]]:
    """Return the items of the first answers."""
    connection = http.client.HTTPConnection(load.address)
    found = []
    for number in range(count):
        path, body = load.sent(number)
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        found.append(load.items_of(connection.getresponse().read()))
    return found


def clients(load: Load) -> dict:
    """Ask from a process of its own. Returns median, high (p99) in ms, and rate a second."""
    return child("benchmarks.serving", json.dumps(asdict(load)))


def _row(case: str, found: dict, bound: float, *, is_target: bool) -> Row:
    note = f"median {found['median']:.2f} ms, {found['rate']:.0f} requests/s"
    target = 1 if is_target else None
    return Row(case, found["high"], f"{bound:g} ms", bound, target=target, unit="ms", note=note)


def run(quick: bool, minutes: float = 0.5) -> list[Row]:
    """Measure lists of 12,000 items for 20,000 users (quick: small).

    minutes: of the sustained load, whose memory is watched.
    """
    num_users, num_items = (200, 500) if quick else (20_000, 12_000)
    sizes = {"num_users": num_users, "num_items": num_items}
    paced = 5 if quick else 1000
    minutes = 0.01 if quick else minutes
    pause = CLIENTS / RATE
    at_rate = f"{CLIENTS} clients, {RATE} requests/s, p99"
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        linear = make_bundle(folder / "ease", "ease", ease, **sizes)
        with served(linear) as (address, _):
            load = Load(address, "both", paced, pause, **sizes)
            case = f"ease, scored for users and for lists of items, {at_rate}"
            rows.append(_row(case, clients(load), 50.0, is_target=not quick))
        graph = make_bundle(folder / "graph", "lightgcn", lightgcn, **sizes)
        with served(graph) as (address, _):
            load = Load(address, "both", paced, pause, **sizes)
            case = f"lightgcn, scored for users and for lists of items, {at_rate}"
            rows.append(_row(case, clients(load), 50.0, is_target=not quick))
        stored = make_bundle(folder / "stored", "lightgcn", lightgcn, **sizes, store=100)
        with served(stored) as (address, process):
            load = Load(address, "user", paced, pause, **sizes)
            case = f"lists that are looked up, {at_rate}"
            rows.insert(0, _row(case, clients(load), 5.0, is_target=not quick))
            free = replace(load, pause=0.0, requests=5 if quick else 2000)
            ours = clients(free)
            expected = answers(free)
            rows += sustained(replace(load, kind="both"), process, minutes)
        # its start takes longer than all else of the quick form
        if not quick:
            with served_by_mlflow(stored, folder / "model") as address:
                theirs = replace(free, address=address, mlflow=True, requests=100)
                assert answers(theirs) == expected, "the servers have different lists"
                found = clients(theirs)
            rows.append(_against_mlflow(ours, found))
    return rows


def _against_mlflow(ours: dict, theirs: dict) -> Row:
    case = f"lists that are looked up, {CLIENTS} clients without a pause, p99"
    note = ", ".join(
        f"{who}: median {one['median']:.2f} ms, {one['rate']:.0f} requests/s"
        for who, one in (("ours", ours), ("theirs", theirs))
    )
    against = "mlflow models serve, the same bundle, 1 worker"
    return Row(case, ours["high"], against, theirs["high"], unit="ms", note=note)


def sustained(load: Load, process: int, minutes: float) -> list[Row]:
    """Ask for a time, half looked up and half scored, and watch the memory of the server."""
    requests = max(5, round(60 * minutes / load.pause))
    first = replace(load, requests=max(5, requests // 10))
    clients(first)
    before = private_bytes(process) / 2**20
    found = clients(replace(load, requests=requests))
    after = private_bytes(process) / 2**20
    case = f"{minutes:g} min, half looked up, half scored by items"
    memory = Row(
        f"{case}: memory of the server",
        after,
        "2 % more than before",
        1.02 * before,
        target=1,
        unit="MiB",
        note=f"before, after {CLIENTS * first.requests:,} requests: {before:.1f} MiB",
    )
    count = f"{CLIENTS * requests:,} requests, all answered"
    note = f"median {found['median']:.2f} ms, p99 {found['high']:.2f} ms, {count}"
    rate = Row(
        f"{case}: time between requests",
        1e3 / found["rate"],
        f"{RATE} requests/s",
        # what the clients need to start and to end
        1.02 * 1e3 / RATE,
        target=1 if minutes >= 0.5 else None,
        unit="ms",
        note=note,
    )
    return [rate, memory]


if __name__ == "__main__":
    given = Load(**json.loads(sys.argv[1]))
    began = time.perf_counter()
    measured = ask(given)
    rate = measured.size / (time.perf_counter() - began)
    median, high = np.quantile(measured, [0.5, 0.99])
    report(median=median, high=high, rate=rate)
