"""A ComfyUI server on the CPU, in folders of its own, with this repository, or a copy, as its one extension."""

from __future__ import annotations

import functools
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .find_comfyui import ROOT, ComfyUI
from .websocket import WebSocket

# With one arena of glibc's for all threads, memory that grows is memory that is held.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "1"}
START_LIMIT = 180  # seconds
PROXIES = urllib.request.ProxyHandler({})  # 127.0.0.1 is never behind one


@dataclass(frozen=True)
class Run:
    """What a server said while one prompt ran, up to its end."""

    prompt_id: str
    messages: list[dict[str, Any]]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all messages of one type."""
        return [message["data"] for message in self.messages if message["type"] == kind]

    @property
    def error(self) -> str | None:
        """What went wrong, as ComfyUI shows it; None where nothing did."""
        return next((f"{e['node_type']}: {e['exception_message']}" for e in self.of("execution_error")), None)

    @property
    def executed(self) -> list[str]:
        """The ids of the nodes that ran. Who connects again is told the last node once more, without a prompt's id."""
        return [data["node"] for data in self.of("executing") if data["node"] and "prompt_id" in data]


class Server:
    """A running ComfyUI: `base` holds its folders models, input and output; `log` is what it wrote.

    `extension` is the folder of the one extension, this repository by default.
    """

    def __init__(self, comfyui: ComfyUI, base: Path, extension: Path = ROOT) -> None:
        self.comfyui, self.base = comfyui, base
        ours = base / "custom_nodes" / "keysync"
        if not ours.exists():  # a server that is started again finds it there
            ours.parent.mkdir()
            ours.symlink_to(extension, target_is_directory=True)
        self.port = _free_port()
        self.client = uuid.uuid4().hex
        self._log = (base / "server.log").open("wb")
        options = ["--cpu", "--listen", "127.0.0.1", "--port", self.port, "--base-directory", base]
        options += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
        options += ["--preview-method", "latent2rgb"]
        self.process = subprocess.Popen(
            [str(word) for word in (comfyui.python, "main.py", *options)],
            cwd=comfyui.folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | ENVIRONMENT,
        )
        self._wait_until_it_answers()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.base / "server.log").read_text(errors="replace")

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.get("/system_stats")
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.3)
            else:
                return
        self.stop()
        raise RuntimeError(f"ComfyUI {self.comfyui.version} did not start:\n{self.log}")

    @functools.cached_property
    def info(self) -> dict[str, Any]:
        """What ComfyUI says of every node: `/object_info`."""
        described: dict[str, Any] = self.get("/object_info")
        return described

    def get(self, path: str) -> Any:
        """The JSON at `path`."""
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        """What is at `path`."""
        answer: bytes = self._ask(urllib.request.Request(self.url + path))
        return answer.decode()

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that ComfyUI answers to `body`, or None for an empty answer."""
        request = urllib.request.Request(self.url + path, json.dumps(body or {}).encode())
        request.add_header("Content-Type", "application/json")
        answer = self._ask(request)
        return json.loads(answer) if answer else None

    def _ask(self, request: urllib.request.Request) -> bytes:
        with urllib.request.build_opener(PROXIES).open(request, timeout=60) as answer:
            body: bytes = answer.read()
        return body

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queues an API-format prompt; returns its id. Any node that ComfyUI finds fault with fails the test."""
        try:
            answer = self.post("/prompt", {"prompt": prompt, "client_id": self.client})
        except urllib.error.HTTPError as error:
            raise AssertionError(f"ComfyUI refused the prompt: {error.read().decode()}") from error
        assert answer["node_errors"] == {}, answer["node_errors"]
        return str(answer["prompt_id"])

    def run(self, prompt: dict[str, Any], *, interrupt_at: str | None = None) -> Run:
        """Runs a prompt to its end; with `interrupt_at`, interrupts it at the first message of that type."""
        listener = WebSocket(self.port, f"/ws?clientId={self.client}")
        try:
            return self._follow(self.queue(prompt), listener, interrupt_at)
        finally:
            listener.close()

    def _follow(self, prompt_id: str, listener: WebSocket, interrupt_at: str | None) -> Run:
        run = Run(prompt_id, [])
        ends = ("execution_success", "execution_error", "execution_interrupted")
        while not run.messages or run.messages[-1]["type"] not in ends:
            message = listener.receive()
            if message["data"].get("prompt_id", prompt_id) == prompt_id:
                run.messages.append(message | {"at": time.monotonic()})
                if message["type"] == interrupt_at:
                    self.post("/interrupt")
                    run.messages.append({"type": "interrupt_sent", "data": {}, "at": time.monotonic()})
                    interrupt_at = None
        return run

    def saved(self, run: Run) -> list[Path]:
        """The files that the save nodes of a run wrote."""
        files = [file for data in run.of("executed") for kind in (data["output"] or {}).values() for file in kind]
        named = [file for file in files if isinstance(file, dict) and file.get("type") == "output"]
        return [self.base / "output" / file["subfolder"] / file["filename"] for file in named]

    def resident_memory(self) -> int | None:
        """Bytes of memory that the server holds; None where the system does not say."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return None
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    def stop(self) -> None:
        """Ends the server."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
