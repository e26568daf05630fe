"""Uploads, to a hub of this machine that speaks as much of the protocol as they need."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from keysync.errors import KeySyncError
from training.run.hub import check_hub, push


class Hub(BaseHTTPRequestHandler):
    """Takes files of any size within the commit."""

    seen: list[tuple[str, Any]]
    refuse = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/repos/create"):
            asked = json.loads(body)
            self.seen.append(("create", asked))
            self._answer({"url": f"{self._home}/{asked['name']}", "name": asked["name"]})
        elif "/preupload/" in self.path:
            files = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in files]})
        elif self.path.endswith("/validate-yaml"):
            self._answer({"errors": [], "warnings": []})
        elif self.refuse:
            self._answer({"error": "no space"}, 403)
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            self.seen.append(("commit", lines))
            self._answer({"commitUrl": f"{self._home}/my_K/commit/1", "commitOid": "1", "success": True})

    @property
    def _home(self) -> str:
        return f"http://{self.headers['Host']}/me"

    def _answer(self, content: Any, status: int = 200) -> None:
        told = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("OneHub", (Hub,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setenv("HF_TOKEN", "hf_ours")
        yield handler
        server.shutdown()


@pytest.mark.parametrize("public", [False, True])
def test_a_file_and_its_card_are_one_commit(public: bool, hub: type[Hub], tmp_path: Path) -> None:
    file = tmp_path / "my_K.safetensors"
    file.write_bytes(b"weights")
    assert push(file, "# A card", "me/my_K", public=public).endswith("/me/my_K/commit/1")
    (_, created), (_, lines) = hub.seen
    assert (created["name"], created["organization"]) == ("my_K", "me")
    hidden = created["visibility"] == "private" if "visibility" in created else created["private"]
    assert hidden is not public
    files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
    assert {name: base64.b64decode(content) for name, content in files.items()} == {
        "my_K.safetensors": b"weights",
        "README.md": b"# A card",
    }


def test_a_refusal_is_told(hub: type[Hub], tmp_path: Path) -> None:
    hub.refuse = True
    (tmp_path / "my_K.safetensors").write_bytes(b"weights")
    with pytest.raises(KeySyncError, match=r"cannot upload .*my_K\.safetensors to me/my_K \(.*\): the file is written"):
        push(tmp_path / "my_K.safetensors", "# A card", "me/my_K")


def test_what_is_missing_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_ours")
    for name in ("my_K", "me/", "a/b/c"):
        with pytest.raises(KeySyncError, match="is not a repository: expected OWNER/NAME"):
            check_hub(name)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(KeySyncError, match="uploading needs an account"):
        check_hub("me/my_K")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(KeySyncError, match="uploading needs huggingface_hub"):
        check_hub("me/my_K")
