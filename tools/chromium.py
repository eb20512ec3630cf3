# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven over its debugging pipe with the standard library.

    with Browser() as browser:
        page = browser.open(path, width=1280, height=800)
        page.evaluate("document.title")

For the tests of the report page, its benchmark and its pictures.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Browser", "BrowserError", "Page", "find_browser"]

# The browser reads commands on descriptor 3 and writes answers on 4.
_LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class BrowserError(Exception):
    """The browser does not start, does not answer, or a script in it failed."""


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, None without one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """A browser process of its own; it ends with the context."""

    def __init__(self, seconds: float = 60.0) -> None:
        path = find_browser()
        if path is None:
            raise BrowserError(f"none of {', '.join(_NAMES)} is on PATH")
        self.seconds = seconds
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            f"--user-data-dir={self._folder.name}",
            "--remote-debugging-pipe",
        ]
        # None of the ends may be 3 or 4 before the launcher puts them there.
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]
        os.close(to_read)
        os.close(to_write)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCHER, *map(str, high), path, *options, "about:blank"],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in high:
            os.close(end)
        self._buffer = b""
        self._next = 0
        self.events: list[dict[str, Any]] = []
        try:
            self.send("Browser.getVersion")
        except BrowserError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove what it wrote."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._folder.cleanup()

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that arrive meanwhile are kept."""
        self._next += 1
        message: dict[str, Any] = {"id": self._next, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        try:
            os.write(self._write, json.dumps(message).encode() + b"\0")
        except OSError as error:
            raise BrowserError(f"{method}: the browser has ended ({error})") from None
        while True:
            answer = self._receive(method)
            if answer.get("id") != self._next:
                self.events.append(answer)
                continue
            if "error" in answer:
                raise BrowserError(f"{method}: {answer['error']['message']}")
            result: dict[str, Any] = answer["result"]
            return result

    def _receive(self, method: str) -> dict[str, Any]:
        deadline = time.monotonic() + self.seconds
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise BrowserError(f"{method}: no answer within {self.seconds} s")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise BrowserError(f"{method}: the browser has ended")
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def open(
        self, path: Path, *, width: int = 1280, height: int = 800, scheme: str = "light"
    ) -> Page:
        """Open a file in a page of that size that prefers ``light`` or ``dark``."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        page.prefer(scheme)
        page.send("Page.navigate", url=path.absolute().as_uri())
        page.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        return page


class Page:
    """A page in the browser."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser, self.target, self.session = browser, target, session

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command to this page."""
        return self.browser.send(method, self.session, **params)

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression; a promise is awaited.

        Raises
        ------
        BrowserError
            If the script throws.
        """
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details["text"]
            raise BrowserError(f"{script}: {text}")
        return answer["result"].get("value")

    def frame(self) -> Page:
        """Return the sandboxed frame in this page, which runs in a process of its own."""
        deadline = time.monotonic() + self.browser.seconds
        while time.monotonic() < deadline:
            for found in self.browser.send("Target.getTargets")["targetInfos"]:
                if found["type"] == "iframe":
                    target = found["targetId"]
                    session = self.browser.send(
                        "Target.attachToTarget", targetId=target, flatten=True
                    )["sessionId"]
                    inner = Page(self.browser, target, session)
                    for domain in ("Runtime", "Log", "Network"):
                        inner.send(f"{domain}.enable")
                    return inner
            time.sleep(0.05)
        raise BrowserError("no sandboxed frame")

    def wait(self, condition: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise BrowserError(f"not true within {seconds} s: {condition}")
            time.sleep(0.02)

    def prefer(self, scheme: str) -> None:
        """Let the page believe that the reader prefers ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Press and release the left button."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.send("Input.insertText", text=text)

    def key(self, name: str) -> None:
        """Press and release a key such as ``Enter`` or ``ArrowDown``."""
        codes = {"Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "Tab": 9, "Escape": 27}
        text = {"text": "\r"} if name == "Enter" else {"text": name} if len(name) == 1 else {}
        code = codes.get(name, 0)
        self.send(
            "Input.dispatchKeyEvent", type="keyDown", key=name, windowsVirtualKeyCode=code, **text
        )
        self.send("Input.dispatchKeyEvent", type="keyUp", key=name, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path, *, whole: bool = False, of: str = "") -> None:
        """Write a PNG of what is in view, of the whole page, or of the element that a selector finds."""
        more: dict[str, Any] = {}
        if of:
            box = self.evaluate(
                f"(b => ({{x: b.x + scrollX, y: b.y + scrollY, width: b.width, height: b.height, scale: 1}}))"
                f"(document.querySelector({json.dumps(of)}).getBoundingClientRect())"
            )
            more["clip"] = box
        data = self.send(
            "Page.captureScreenshot", format="png", captureBeyondViewport=whole or bool(of), **more
        )
        path.write_bytes(base64.b64decode(data["data"]))

    def pdf(self, path: Path) -> None:
        """Print to a PDF file."""
        data = self.send("Page.printToPDF", printBackground=False)
        path.write_bytes(base64.b64decode(data["data"]))

    def close(self) -> None:
        """Close the page."""
        self.browser.send("Target.closeTarget", targetId=self.target)

    def complaints(self) -> list[str]:
        """Return errors and warnings of the console so far, refused resources among them."""
        self.evaluate("1")  # lets pending events arrive
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in (
                "error",
                "warning",
                "assert",
            ):
                found.append(str([argument.get("value") for argument in params["args"]]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in (
                "error",
                "warning",
            ):
                found.append(params["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """Return the addresses that were asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("sessionId") == self.session
            and event["method"] == "Network.requestWillBeSent"
        ]
