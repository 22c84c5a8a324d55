"""A headless Chromium steered through its DevTools protocol: open pages that need JavaScript, read
them, take pictures.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking"
)
FLAGS += " --disable-component-update --disable-sync --hide-scrollbars"


class Browser:
    """Use as `with Browser(folder) as browser`; folder takes the profile."""

    def __init__(self, folder: Path, width: int = 1400, height: int = 900):
        self.folder, self.size = folder, (width, height)

    def __enter__(self) -> Browser:
        import aiohttp

        profile = self.folder / "profile"
        size = ",".join(map(str, self.size))
        command = [
            CHROMIUM,
            *FLAGS.split(),
            f"--user-data-dir={profile}",
            "--remote-debugging-port=0",
            f"--window-size={size}",
        ]
        self._process = subprocess.Popen(
            [*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._loop, self._ids = asyncio.new_event_loop(), itertools.count(1)
        port = wait_for(
            lambda: (profile / "DevToolsActivePort").read_text().splitlines()[0],
            "Chromium to start",
        )

        async def connect():
            self._session = aiohttp.ClientSession()
            async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
                page = next(p for p in await answer.json() if p["type"] == "page")
            return await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)

        self._socket = self._loop.run_until_complete(connect())
        return self

    def __exit__(self, *_) -> None:
        async def close():
            await self._socket.close()
            await self._session.close()

        self._loop.run_until_complete(close())
        self._loop.close()
        self._process.kill()
        self._process.wait()

    def call(self, method: str, **params) -> dict:
        """Send one command and wait for its answer."""

        async def ask():
            number = next(self._ids)
            await self._socket.send_str(
                json.dumps({"id": number, "method": method, "params": params})
            )
            while True:
                answer = json.loads((await self._socket.receive(timeout=60)).data)
                if answer.get("id") == number:
                    return answer.get("result", {})

        return self._loop.run_until_complete(ask())

    def evaluate(self, script: str):
        """Return the value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def open(self, address: str, *expected: str) -> str:
        """Load a page and wait until all expected words can be read in it. Returns its text."""
        self.call(
            "Page.navigate", url="about:blank"
        )  # a mere change of the #fragment would load nothing
        self.call("Page.navigate", url=address)
        return self.read(*expected)

    def read(self, *expected: str) -> str:
        """Wait until all expected words can be read in the page. Returns its text."""
        text = ""

        def complete() -> str | None:
            nonlocal text
            text = self.evaluate("document.body ? document.body.innerText : ''") or ""
            return text if all(word in text for word in expected) else None

        try:
            return wait_for(complete, "the page")
        except AssertionError:
            missing = [word for word in expected if word not in text]
            raise AssertionError(f"{missing} cannot be read in the page:\n{text}") from None

    def click(self, label: str) -> None:
        """Click the innermost element with exactly this text, once it is there."""
        find = f"""[...document.querySelectorAll("a, button, [role=button], span, td")].filter(
            e => e.innerText?.trim() === {json.dumps(label)}).pop()"""
        wait_for(lambda: self.evaluate(f"!!({find})"), f"{label!r} to appear")
        self.evaluate(f"{find}.click()")

    def picture(self, path: Path) -> None:
        """Save what is visible as PNG."""
        path.write_bytes(
            base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        )


def wait_for(attempt, what: str, seconds: float = 60):
    """Call until the result is true; files that are not there yet count as not true."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := attempt():
                return found
        except (FileNotFoundError, IndexError):
            pass
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)
