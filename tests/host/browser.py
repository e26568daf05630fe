"""A headless Chromium, driven over its DevTools socket: opens a page, runs JavaScript in it, takes pictures."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from .websocket import WebSocket

# The middle of what shows a text or has it as its label: [x, y], or null.
FIND = """(text => {
    const shows = element => element.getAttribute('aria-label') == text
        || [...element.childNodes].some(node => node.nodeType == 3 && node.textContent.trim() == text);
    const boxes = [...document.querySelectorAll('*')].filter(shows).map(element => element.getBoundingClientRect());
    const box = boxes.find(box => box.width && box.height && box.top >= 0);
    return box ? [box.x + box.width / 2, box.y + box.height / 2] : null;
})"""
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--window-size=1600,1000",
    "--hide-scrollbars",
    "--lang=en",
]


def find_chromium() -> str | None:
    """The path of a Chromium; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """A browser with one page; `folder` is its profile and must be empty."""

    def __init__(self, chromium: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [chromium, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = self._port(folder / "DevToolsActivePort")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/json/list"
        ) as answer:
            pages = [target for target in json.loads(answer.read()) if target["type"] == "page"]
        self._socket = WebSocket(port, urllib.parse.urlsplit(pages[0]["webSocketDebuggerUrl"]).path)
        self._count = 0

    def _port(self, file: Path) -> int:
        end = time.monotonic() + 60
        while not (file.exists() and file.read_text().strip()):
            if time.monotonic() > end or self._process.poll() is not None:
                self._process.kill()
                raise RuntimeError("Chromium did not start")
            time.sleep(0.1)
        return int(file.read_text().split()[0])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the DevTools protocol; returns its result."""
        self._count += 1
        self._socket.send({"id": self._count, "method": method, "params": parameters})
        while True:
            message = self._socket.receive()
            if message.get("id") == self._count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, waited for where it is a promise."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Waits until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds} s still not: {condition}")
            time.sleep(0.2)

    def find(self, text: str, seconds: float = 60) -> tuple[float, float]:
        """Waits for what shows a text or has it as its label; returns its middle."""
        wanted = f"{FIND}({json.dumps(text)})"
        self.wait(wanted, seconds)
        x, y = self.run(wanted)
        return x, y

    def click(self, x: float, y: float, times: int = 1) -> None:
        """Presses the mouse's left button at a place, as a person does."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def write(self, text: str) -> None:
        """Types a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def escape(self) -> None:
        """Presses the key Escape."""
        self.press("Escape", 27)

    def press(self, key: str, code: int) -> None:
        """Presses a key by its name and its Windows code."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def screenshot(self) -> bytes:
        """What the page shows, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def picture(self, path: Path) -> None:
        """Saves what the page shows as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.screenshot())

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)
