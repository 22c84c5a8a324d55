"""`glta serve` as a process: its address, its signals, and its page in a browser."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.browser import CHROMIUM, Browser

ROOT = Path(__file__).parents[2]


@contextmanager
def served(folder: Path, *options: str):
    """Serve a bundle from an empty folder. Yields the process and its address."""
    code = "import sys; sys.argv[0] = 'glta'; from pipeline.cli.main import main; main()"
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(folder), "--port", "0", *options],
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


def test_mistakes_end_in_one_line(place, tmp_path):
    code = "import sys; sys.argv[0] = 'glta'; from pipeline.cli.main import main; main()"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-c", code, "serve", str(place), "--port", port],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    said = f"error: --host 127.0.0.1 --port {port}: Address already in use; name another one\n"
    assert done.stderr == said


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium found")
def test_the_page_shows_a_list_with_reasons(place, tmp_path):
    def type_in(browser: Browser, text: str) -> None:
        browser.evaluate(
            f"(t => {{ t.value = {json.dumps(text)}; t.dispatchEvent(new Event('input')); }})"
            "(document.getElementById('title'))"
        )

    with served(place) as (_, address), Browser(tmp_path) as browser:
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
def test_the_documentation_is_shown_without_another_server(place, tmp_path):
    with served(place) as (_, address), Browser(tmp_path) as browser:
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=BLOCKED)
        browser.open(f"{address}/docs", "/recommend", "RecommendRequest")
        loaded = browser.evaluate(LOADED + ".join(' ')").split()
        assert f"{address}/openapi.json" in loaded
        assert [one for one in loaded if not one.startswith((address, "data:"))] == []
        # nor is anything tried that the policy forbids
        assert browser.evaluate("(window.blocked ?? []).join(' ')") == ""
