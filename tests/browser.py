"""A headless Chromium, driven over its debugging pipe: no driver program, no network, no further library."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--headless --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-background-networking "
    "--disable-component-update --disable-sync "
    "--disable-dev-shm-usage --no-first-run --remote-debugging-pipe"
).split()
PATIENCE = 60.0
_START = (
    "import os, sys; a, b, *words = sys.argv[1:]; os.dup2(int(a), 3); os.dup2(int(b), 4); os.execv(words[0], words)"
)


def chromium() -> str:
    """The path of an installed Chromium; the test is skipped where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    return found


class Browser:
    """One page of one browser.

    Attributes:
        complaints: console errors, warnings and uncaught exceptions of the page, in order.
        requests: addresses that the page asked for.
    """

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        their_in, my_out = os.pipe()
        my_in, their_out = os.pipe()
        switches = [*SWITCHES, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        # Chromium reads commands from descriptor 3 and answers on 4.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (their_in, their_out)]
        command = [sys.executable, "-c", _START, *map(str, high), chromium(), *switches]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, pass_fds=high, stdin=quiet, stdout=quiet, stderr=quiet)
        for end in (their_in, their_out, *high):
            os.close(end)
        self._in, self._out, self._buffer, self._count, self._session = my_in, my_out, b"", 0, None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        os.close(self._out)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        os.close(self._in)

    def call(self, method: str, **params):
        """Send a command and wait for its answer; events that come in between are noted."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict:
        ends = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(ends - time.monotonic(), 0))
            assert ready, "the browser is silent"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        whole, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(whole)
        self._note(message)
        return message

    def _note(self, message: dict) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path) -> None:
        """Open a file from disk and wait until it is drawn."""
        self.visit(path.absolute().as_uri())

    def visit(self, address: str) -> None:
        """Open an address and wait until it is drawn."""
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._receive()
        self.settle()

    def settle(self) -> None:
        """Wait for two frames."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def wait(self, condition: str) -> None:
        """Wait until an expression in the page is true; an error where it never is."""
        self.run(
            f"new Promise((done, lost) => {{ const ends = Date.now() + {1000 * PATIENCE / 2}; const look = () =>"
            f" ({condition}) ? done(1) : Date.now() > ends ? lost({condition!r}) : setTimeout(look, 25); look() }})"
        )

    def run(self, script: str):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def drag(self, x: float, y: float, dx: float, dy: float) -> None:
        """Press at (x, y) of the window, move, let go."""
        self._mouse("mousePressed", x, y, 1)
        for share in (0.25, 0.5, 0.75, 1.0):
            self._mouse("mouseMoved", x + share * dx, y + share * dy, 1)
        self._mouse("mouseReleased", x + dx, y + dy, 0)
        self.settle()

    def hover(self, x: float, y: float) -> None:
        self._mouse("mouseMoved", x, y, 0)
        self.settle()

    def _mouse(self, kind: str, x: float, y: float, buttons: int) -> None:
        pressed = kind != "mouseMoved"
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            buttons=buttons,
            button="left" if pressed else "none",
            clickCount=1,
        )

    def picture(self, path: Path, whole: bool = False) -> Path:
        """A screenshot of the window, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path
