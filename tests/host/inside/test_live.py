"""Dub Live: frames come in some at a time, and go out with their sound. Weights are random, untrained."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
NAME = "flashlips.safetensors"
SHOWN, BATCH = 26, 4
RATE = 25

pytestmark = pytest.mark.usefixtures("inference", "temporary")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.live")


@pytest.fixture(scope="module")
def file(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flashlips")
    subprocess.run([sys.executable, "-m", "tests.tiny_flashlips", str(folder)], cwd=ROOT, check=True)
    return folder / NAME


@pytest.fixture
def flashlips(file: Path, node: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    nodes = part("nodes.flashlips")
    monkeypatch.setattr(nodes, "model_path", lambda name: file.with_name(name))
    (loaded,) = nodes.LoadFlashLips.execute(NAME).args
    return loaded


@pytest.fixture
def run(node: Any, flashlips: Any) -> Any:
    def execute(images: Tensor, audio: Any, piece: str = "next", name: str = "a", batch: int = BATCH) -> Any:
        choices = ("as trained", 2, 3, 0, "mediapipe", 0)
        return node.DubLive.execute(images, flashlips, float(RATE), name, piece, batch, *choices, audio).args

    return execute


def piece_of(speech: dict[str, Any], first: int, stop: int) -> dict[str, Any]:
    rate = speech["sample_rate"]
    samples = speech["waveform"][..., first * rate // RATE : stop * rate // RATE]
    return {"waveform": samples, "sample_rate": rate}


def test_frames_come_out_as_they_can_be_drawn(run: Any, images: Tensor, speech: dict[str, Any]) -> None:
    """The same in one run or in several, with the sound that belongs to them; without any, nothing behind runs."""
    whole, sound, report = run(images[:SHOWN], piece_of(speech, 0, SHOWN), "whole")
    assert whole.shape == images[:SHOWN].shape
    assert report.splitlines()[0] == f"{SHOWN} frames out, {SHOWN} dubbed; 0 wait for later frames and sound"
    assert (whole != images[:SHOWN]).any()
    assert torch.equal(sound["waveform"], piece_of(speech, 0, SHOWN)["waveform"])
    made, heard, pieces = [], [], [("first", 0, 5), ("next", 5, 17), ("next", 17, 18), ("last", 18, SHOWN)]
    for piece, first, stop in pieces:
        pictures, said, _ = run(images[first:stop], piece_of(speech, first, stop), piece)
        if isinstance(pictures, ExecutionBlocker):
            assert isinstance(said, ExecutionBlocker)
            assert first in (0, 17)  # too few frames, and too few more
        else:
            made.append(pictures)
            heard.append(said["waveform"])
    assert [len(one) for one in made] == [8, SHOWN - 8]  # of 17 frames 9 wait
    assert torch.equal(torch.cat(made), whole)
    assert torch.equal(torch.cat(heard, -1), sound["waveform"])


def test_frames_wait_for_their_sound(run: Any, images: Tensor, speech: dict[str, Any]) -> None:
    pictures, _, report = run(images[:20], None, "first", "b")
    assert isinstance(pictures, ExecutionBlocker)
    assert report == "0 frames out, 0 dubbed; 20 wait for later frames and sound"
    pictures, sound, _ = run(images[20:21], piece_of(speech, 0, SHOWN), "next", "b")
    assert len(pictures) == 12
    assert sound["waveform"].shape[-1] == 12 * speech["sample_rate"] // RATE
    pictures, _, report = run(images[21:22], None, "last", "b")
    assert len(pictures) == 10


def test_an_interrupt_loses_no_frame_and_the_detector_is_closed(
    run: Any, node: Any, images: Tensor, speech: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was drawn until then comes out of the next run; the end of a session closes what finds its faces."""
    closed: list[Any] = []
    make = node.make_detector

    def made(*words: Any, **options: Any) -> Any:
        found = make(*words, **options)
        monkeypatch.setattr(found, "close", lambda: closed.append(found))
        return found

    def interrupt() -> None:
        raise InterruptedError

    monkeypatch.setattr(node, "make_detector", made)
    with monkeypatch.context() as patch:
        patch.setattr(node, "alive", interrupt)
        with pytest.raises(InterruptedError):
            run(images[:SHOWN], piece_of(speech, 0, SHOWN), "first", "d")
    assert not closed
    pictures, _, report = run(images[:1], None, "last", "d")
    assert len(pictures) == SHOWN + 1
    assert report.startswith(f"{SHOWN + 1} frames out")
    assert len(closed) == 1


def test_what_does_not_go_on_is_refused(run: Any, node: Any, images: Tensor, error: type[Exception]) -> None:
    run(images[:2], None, "first", "c")
    with pytest.raises(error, match="the session 'c' was begun with other settings"):
        run(images[2:4], None, "next", "c", batch=5)
    with pytest.raises(error, match="expected one size throughout"):
        run(images[2:4, :40], None, "next", "c")
    run(images[:2], None, "first", "c", batch=5)
    assert node.DubLive.fingerprint_inputs() != node.DubLive.fingerprint_inputs()
    sessions = part("nodes.host.sessions")
    for number in range(sessions.MOST - 1):
        run(images[:1], None, "first", f"many {number}")
    with pytest.raises(error, match="8 sessions are open"):
        run(images[:1], None, "first", "one more")
    for number in range(sessions.MOST - 1):
        run(images[:1], None, "last", f"many {number}")
    run(images[:1], None, "last", "c", batch=5)
