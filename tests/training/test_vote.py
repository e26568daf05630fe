from __future__ import annotations

from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.training.evaluation.benchmark.test_ballots import result
from training.evaluation.benchmark.pairs import CROSS
from training.vote import main


def test_the_page_is_open_until_it_is_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(server: ThreadingHTTPServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", stop)
    for system in ("one", "two"):
        result(tmp_path, system, CROSS, "a+b")
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("vote at http://127.0.0.1:")
    assert f"0 votes in {tmp_path}" in printed


def test_a_folder_without_results_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {tmp_path}: no two systems have a result of the same pair: put ")
    assert printed.count("\n") == 1


def test_a_port_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for system in ("one", "two"):
        result(tmp_path, system, CROSS, "a+b")
    assert main([str(tmp_path), "--port", "70000"]) == 1
    assert "port 70000 cannot be used" in capsys.readouterr().err
