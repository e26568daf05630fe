"""A hub on this machine: answers like huggingface.co for the files that it is given, and logs what it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

COMMIT = "c" * 40


@dataclass
class Hub:
    """`files` by their address, `/owner/name/resolve/revision/path`, with the revision as it is.

    `cut` are the bytes after which the next transfers break off, one entry each; `gated` repositories give no file.
    Without `ranges` a part of a file cannot be asked for; without `sums` it states no SHA-256.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    ranges: bool = True
    sums: bool = True
    # Method, address and Range of each request.
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> str:
        """Where the bytes are given: another host, by name."""
        return f"http://localhost:{self.port}"

    def etag(self, content: bytes) -> str:
        return hashlib.sha256(content).hexdigest() if self.sums else hashlib.sha1(content).hexdigest()

    def transfers(self) -> list[str | None]:
        """The Range of each transfer of a file's bytes."""
        return [given for method, path, given in self.asked if method == "GET" and path.startswith("/cdn/")]


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Inside, the hub answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self) -> None:
            path = unquote(self.path)
            hub.asked.append((self.command, path, self.headers.get("Range")))
            if path.startswith("/cdn/"):
                self._transfer(hub.files[path.removeprefix("/cdn")])
            elif "/".join(path.split("/")[1:3]) in hub.gated:
                self._head(403, 0, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
            elif path not in hub.files:
                self._head(404, 0, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            else:
                content = hub.files[path]
                stated = {"X-Linked-Etag": f'"{hub.etag(content)}"', "X-Linked-Size": str(len(content))}
                self._head(302, 0, {**stated, "X-Repo-Commit": COMMIT, "Location": f"{hub.store}/cdn{self.path}"})

        def _transfer(self, content: bytes) -> None:
            start, status, headers = 0, 200, {}
            asked = self.headers.get("Range")
            if asked and hub.ranges:
                start, status = int(asked.removeprefix("bytes=").partition("-")[0]), 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            part = content[start:]
            self._head(status, len(part), headers)
            if hub.cut:
                part = part[: hub.cut.pop(0)]
                self.close_connection = True
            with suppress(ConnectionError):  # who asked has gone
                self.wfile.write(part)

        def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(length), **headers}.items():
                self.send_header(name, value)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
