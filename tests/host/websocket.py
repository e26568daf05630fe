"""A web socket (RFC 6455) that speaks JSON, by the standard library alone: ComfyUI's messages, a browser's too."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from typing import Any

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


class WebSocket:
    """A connection to `path` of a server on this machine."""

    def __init__(self, port: int, path: str, timeout: float = 180) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self._stream = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        status = self._stream.readline()
        if b" 101 " not in status:
            raise ConnectionError(f"the web socket was refused: {status!r}")
        while self._stream.readline().strip():
            pass

    def receive(self) -> dict[str, Any]:
        """The next message; a binary one (a preview picture) as {"type": "binary", "data": its size}."""
        while True:
            kind, payload = self._message()
            if kind == TEXT:
                message: dict[str, Any] = json.loads(payload)
                return message
            if kind == BINARY:
                return {"type": "binary", "data": {"size": len(payload)}}
            if kind == CLOSE:
                raise ConnectionError("the web socket was closed")

    def send(self, message: dict[str, Any]) -> None:
        payload, mask = json.dumps(message).encode(), os.urandom(4)
        length = struct.pack(">BQ", 0x80 | 127, len(payload))
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | TEXT]) + length + mask + masked)

    def _message(self) -> tuple[int, bytes]:
        kind, payload, last = 0, b"", False
        while not last:
            first, second = self._stream.read(2)
            last, kind = bool(first & 0x80), first & 0x0F or kind
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self._stream.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._stream.read(8))
            payload += self._stream.read(length)
        return kind, payload

    def close(self) -> None:
        self._stream.close()
        self._socket.close()
