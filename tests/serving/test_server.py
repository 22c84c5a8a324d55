"""`glta serve` as a process: its address, its signals, and its page in a browser."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import polars as pl
import pytest

from glta.serving.bundle import load
from glta.testing.blocks import NUM_USERS
from tests.browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[2]


AS_JSON = {"Content-Type": "application/json"}
START = "import sys; sys.argv[0] = 'glta'; from pipeline.cli.main import main; main()"


@contextmanager
def served(folder: Path, *options: str):
    """Serve a bundle from an empty folder. Yields the process and its address."""
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", START, "serve", str(folder), "--port", "0", *options],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        yield process, line.split(" on ")[1].split(";")[0]
    finally:
        process.kill()
        process.communicate()


def until(condition) -> None:
    """Wait for a condition. Fails after 10 seconds."""
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it does not happen")


@pytest.fixture
def place(box, tmp_path) -> Path:
    return shutil.copytree(box / "box", tmp_path / "served")


@pytest.fixture(scope="module")
def address(box) -> Iterator[str]:
    """A server that no test stops or changes."""
    with served(box / "box") as (_, address):
        yield address


def test_it_reloads_under_load_and_ends_gracefully(place, box):
    with served(place) as (process, address), httpx.Client(base_url=address) as client:
        assert address.startswith("http://127.0.0.1:")
        first = client.get("/health").json()
        assert (first["method"], first["store"]) == ("ease", True)
        times = [client.get("/health").elapsed.total_seconds() for _ in range(20)]
        assert min(times) < 0.03, "every answer waits for a receipt (TCP_NODELAY)"
        ways: list[str] = []
        end = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=address) as own:
                while not end.is_set():
                    answer = own.post("/recommend", json={"user": "u3", "k": 3})
                    ways.append(answer.json()["way"] if answer.is_success else answer.text)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for one in threads:
            one.start()
        until(lambda: len(ways) > 20)
        shutil.rmtree(place)
        shutil.copytree(box / "plain", place)
        process.send_signal(signal.SIGHUP)
        until(lambda: not client.get("/health").json()["store"])
        here = len(ways)
        until(lambda: len(ways) > here + 20)
        end.set()
        for one in threads:
            one.join()
        # not one request failed; the old bundle answered, and then the new one
        assert {*ways} == {"store", "live"}
        # a damaged bundle is not taken
        (place / "NOTICES.md").write_text("")
        process.send_signal(signal.SIGHUP)
        until(lambda: 'glta_reloads_total{result="failed"} 1.0' in client.get("/metrics").text)
        assert client.post("/recommend", json={"user": "u3", "k": 3}).is_success
        # a request that has begun is answered after the signal to stop
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            body = json.dumps({"user": "u3", "k": 3}).encode()
            head = f"POST /recommend HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
            slow.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body[:5])
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            slow.sendall(body[5:])
            slow.settimeout(10)
            assert slow.recv(100).startswith(b"HTTP/1.1 200 OK")
        process.wait(10)
        assert process.returncode in (0, -signal.SIGTERM)
        with pytest.raises(httpx.ConnectError):
            client.get("/health")


def said(*command: object, room: int | None = None) -> tuple[int, str]:
    """Run `glta` in a process. Returns its exit status and what it says on stderr.

    room: bytes that a file may have, at most; None: any number.
    """
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room})); "
    done = subprocess.run(
        [sys.executable, "-c", (limit if room is not None else "") + START, *map(str, command)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_mistakes_end_in_one_line(place, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = said("serve", place, "--port", port)
    assert found == (
        1,
        f"error: --host 127.0.0.1 --port {port}: Address already in use; name another one\n",
    )
    # a disk that is full
    users, out = tmp_path / "users.parquet", tmp_path / "lists.parquet"
    pl.DataFrame({"user_id": ["u3"]}).write_parquet(users)
    status, words = said("bundle", "batch", place, users, out, room=150)
    assert status == 1
    [line] = [line for line in words.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the disk is full, or a limit is reached (")
    assert "Traceback" not in words and not out.exists()
    # a bundle that is copied half
    (place / "NOTICES.md").unlink()
    assert said("serve", place, "--port", "0") == (
        1,
        f"error: {place}/NOTICES.md: no such file: the bundle is not copied whole; copy the bundle "
        "again, or export it again\n",
    )


class Clients:
    """Ask one server for the lists of all users, again and again, until the end of the block.

    lost: requests without an answer. wrong: answers that are not those of the bundle.
    """

    def __init__(self, address: str, folder: Path, count: int = 4):
        self.address, self.right, self.lost = address, 0, 0
        self.wrong: list[str] = []
        bundle = load(folder)
        users = [f"u{user}" for user in range(NUM_USERS)]
        # half of them are looked up, and half are scored
        bodies = [{"user": user, "k": k} for user in users for k in (4, 9)]
        self._cases = [(body, bundle.recommend(body["user"], k=body["k"]).items) for body in bodies]
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(count)]

    def _ask(self, number: int) -> None:
        while not self._end.is_set():
            try:
                with httpx.Client(base_url=self.address) as client:
                    for body, expected in self._cases[number:] + self._cases[:number]:
                        self._note(client.post("/recommend", json=body), expected)
                        if self._end.is_set():
                            return
            except httpx.TransportError:
                self.lost += 1
                time.sleep(0.1)

    def _note(self, answer: httpx.Response, expected: list[str]) -> None:
        if answer.status_code != 200:
            self.wrong.append(answer.text)
        elif (found := [row["item_id"] for row in answer.json()["items"]]) != expected:
            self.wrong.append(f"{found} instead of {expected}")
        else:
            self.right += 1

    def __enter__(self):
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        for one in self._threads:
            one.join()


def test_a_kill_and_a_restart_under_load_serve_nothing_wrong(place):
    with served(place) as (first, address), Clients(address, place) as clients:
        until(lambda: clients.right > 50)
        assert clients.lost == 0
        first.kill()
        first.wait(10)
        until(lambda: clients.lost > 4)
        before = clients.right
        with served(place, "--port", address.rpartition(":")[2]):
            until(lambda: clients.right > before + 50)
            assert not clients.wrong
    assert clients.wrong == []


def test_a_thousand_malformed_requests_leave_it_as_it_was(address, box):
    rng = random.Random(0)
    valid = json.dumps({"user": "u3", "items": ["i1", "i4"], "k": 3, "reasons": 1}).encode()
    host, port = address.removeprefix("http://").split(":")
    before = httpx.get(f"{address}/health").json()
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    found: dict[int, int] = {}
    for _ in range(1000):
        body = bytearray(valid[: rng.randrange(len(valid) + 1)])
        for _ in range(rng.randrange(4)):
            body.insert(rng.randrange(len(body) + 1), rng.randrange(256))
        connection.request("POST", "/recommend", bytes(body), AS_JSON)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        found[answer.status] = found.get(answer.status, 0) + 1
        assert [*content] == (["way", "items"] if answer.status == 200 else ["error"])
    assert {*found} == {200, 400, 422}
    assert found[400] > 700
    # and what is no HTTP at all, or ends too early
    for raw in (
        b"\x16\x03\x01\x02\x00" * 100,
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{",
    ):
        with socket.create_connection((host, int(port))) as raw_client:
            raw_client.sendall(raw)
    connection.request("POST", "/recommend", json.dumps({"user": "u3", "k": 3}), AS_JSON)
    items = json.loads(connection.getresponse().read())["items"]
    assert [row["item_id"] for row in items] == load(box / "box").recommend("u3", k=3).items
    assert httpx.get(f"{address}/health").json() == before
    assert "glta_pending 0.0" in httpx.get(f"{address}/metrics").text


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium found")
def test_the_page_shows_a_list_with_reasons(address, tmp_path):
    def type_in(browser: Browser, text: str) -> None:
        browser.evaluate(
            f"(t => {{ t.value = {json.dumps(text)}; t.dispatchEvent(new Event('input')); }})"
            "(document.getElementById('title'))"
        )

    with Browser(tmp_path) as browser:
        browser.open(address, "EASE, trained on blocks: 20 items", "the most popular ones")
        type_in(browser, "soil number4")
        browser.click("garden roses soil number4")
        browser.read("garden roses soil number4 \u00d7", "Scored by the model from your titles.")
        type_in(browser, "soil number0")
        browser.click("garden roses soil number0")
        text = browser.read(
            "garden roses soil number0 \u00d7", "because you have garden roses soil"
        )
        first = text.partition("Scored by the model from your titles.")[2].split("\n\n")[0]
        assert "robot" not in first
        assert browser.evaluate("document.querySelectorAll('#list li').length") == 10
        type_in(browser, "no such title")
        browser.read("No title has this text.")
        # taking titles out brings the popular ones back
        for name in ("4", "0"):
            browser.click(f"garden roses soil number{name} \u00d7")
        browser.read("the most popular ones")


LOADED = "performance.getEntriesByType('resource').map(one => one.name)"
BLOCKED = """
document.addEventListener(
    'securitypolicyviolation', event => (window.blocked ??= []).push(event.blockedURI)
)
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium found")
def test_the_documentation_is_shown_without_another_server(address, tmp_path):
    with Browser(tmp_path) as browser:
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=BLOCKED)
        browser.open(f"{address}/docs", "/recommend", "RecommendRequest")
        loaded = browser.evaluate(LOADED + ".join(' ')").split()
        assert f"{address}/openapi.json" in loaded
        assert [one for one in loaded if not one.startswith((address, "data:"))] == []
        # nor is anything tried that the policy forbids
        assert browser.evaluate("(window.blocked ?? []).join(' ')") == ""
