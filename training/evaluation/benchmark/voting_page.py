"""The page to vote on: a server on this machine alone, which shows two results side by side and writes the votes.

Addresses hold the word of a ballot, never a name or a path, so nothing else of the folder can be asked for. Requests
that another site could cause are refused: those for another host, and votes that are not JSON.
"""

from __future__ import annotations

import json
import re
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from threading import Lock
from typing import Any, cast

from keysync.errors import KeySyncError

from .ballots import Ballots
from .votes import SHARES

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("vote.html")
VIDEO = re.compile(r"/video/([\w-]+)/(left|right)")
RANGE = re.compile(r"bytes=(\d+)-(\d*)")
KINDS = {".mp4": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska"}
# Bytes of a vote, and of a video that are sent at once.
LONGEST_VOTE, BLOCK = 1000, 2**18
NO_PAIRS = "no two systems have a result of the same pair: put results of at least two into the folder"
JSON = "application/json"


def serve_page(ballots: Ballots, port: int = 0) -> ThreadingHTTPServer:
    """The server, to be run with `serve_forever`; port 0 is any that is free.

    Raises `KeySyncError` for a port that is taken.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), partial(Page, ballots, Lock()))
    except (OSError, OverflowError) as error:
        raise KeySyncError(f"port {port} cannot be used ({error}): choose another") from error
    server.daemon_threads = True
    return server


def port_of(server: BaseServer) -> int:
    """The port of an open page."""
    _, port = cast("tuple[str, int]", server.server_address)
    return port


class Page(BaseHTTPRequestHandler):  # which names what answers a request: do_GET, do_POST
    """Answers one request; `lock` guards the ballots, since each connection has a thread of its own."""

    def __init__(self, ballots: Ballots, lock: Lock, *words: Any) -> None:
        self._ballots, self._lock = ballots, lock
        super().__init__(*words)

    def do_GET(self) -> None:
        """The page, a new ballot, or a video of an open one."""
        if not self._is_for_here():
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", PAGE.read_bytes())
        elif self.path == "/ballot":
            self._send_ballot()
        elif found := VIDEO.fullmatch(self.path):
            with self._lock:
                video = self._ballots.video(found[1], ("left", "right").index(found[2]))
            if video is None:
                self._refuse(HTTPStatus.NOT_FOUND, "no such ballot: reload the page")
            else:
                self._send_video(video)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")

    def do_POST(self) -> None:
        """A vote; answers with the next ballot."""
        if not self._is_for_here():
            return
        length = self.headers.get("Content-Length", "")
        fits = length.isdecimal() and int(length) <= LONGEST_VOTE
        if self.path != "/vote" or not fits or self.headers.get_content_type() != JSON:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, "expected a vote")
            return
        try:
            content = json.loads(self.rfile.read(int(length)))
            word, choice = content["ballot"], content["choice"]
        except (ValueError, TypeError, KeyError):
            word = choice = None
        if not isinstance(word, str) or choice not in list(SHARES):
            self._refuse(HTTPStatus.BAD_REQUEST, "expected a vote")
            return
        try:
            with self._lock:
                known = self._ballots.vote(word, choice)
        except KeySyncError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        if known:
            self._send_ballot()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "no such ballot: reload the page")

    def log_message(self, format: str, *words: Any) -> None:
        """Requests are not printed."""

    def _is_for_here(self) -> bool:
        """Whether the request names this host: a name that another site gave to it is refused."""
        port = port_of(self.server)
        if self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}"):
            return True
        self._refuse(HTTPStatus.FORBIDDEN, f"open http://{HOST}:{port}/")
        return False

    def _send_ballot(self) -> None:
        with self._lock:
            content = {"ballot": self._ballots.draw(), "votes": self._ballots.votes, "why": NO_PAIRS}
        self._send(HTTPStatus.OK, JSON, json.dumps(content).encode())

    def _send_video(self, path: Path) -> None:
        """A video, or the part of it that is asked for."""
        try:
            size = path.stat().st_size
        except OSError:
            self._refuse(HTTPStatus.NOT_FOUND, "the result is gone: reload the page")
            return
        asked = RANGE.fullmatch(self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2]), size - 1) if asked and asked[2] else size - 1
        if first > last:
            self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the video has {size} bytes")
            return
        self.send_response(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK)
        self.send_header("Content-Type", KINDS.get(path.suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-store")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        with path.open("rb") as file:
            file.seek(first)
            left = last + 1 - first
            try:
                while left and (block := file.read(min(BLOCK, left))):
                    self.wfile.write(block)
                    left -= len(block)
            except ConnectionError:  # the browser has seen enough
                self.close_connection = True

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, "text/plain; charset=utf-8", why.encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)
