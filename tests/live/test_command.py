"""`keysync live`: a file, pipes and a clip of the person in, a file or a stream out, and what is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from keysync.cli import main
from keysync.face.face import Frame
from keysync.systems.flashlips.models import FlashLips

from ..clips import HEIGHT, WIDTH, read_frames
from .conftest import FRAMES, MISSED

PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.fixture
def loaded(models: FlashLips, monkeypatch: pytest.MonkeyPatch, found: None) -> None:
    """The command line has the tiny models, and the stand-in finds faces."""
    monkeypatch.setattr("keysync.systems.flashlips.models.load_flashlips", lambda *_, **__: models)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("more", [[], ["--real-time", "--wait", "--batch", "5"], ["--person"]])
def test_a_file_is_dubbed(
    clip: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], pictures: list[Frame]
) -> None:
    output = tmp_path / "out.mkv"
    words = [*more, str(clip["video"])] if more == ["--person"] else more
    assert main(["live", str(clip["video"]), str(clip["speech"]), "-o", str(output), *words]) == 0
    lost = len(MISSED) - 4
    said = capsys.readouterr().out
    assert f"{FRAMES} frames, {FRAMES - lost} dubbed, {lost} passed through" in said
    assert "latency: median" in said
    assert "untrained" in said
    frames = read_frames(output)
    assert len(frames) == FRAMES
    apart = [float(np.abs(one.astype(int) - other).mean()) for one, other in zip(frames, pictures, strict=True)]
    assert max(apart[number] for number in range(26, 34)) < min(apart[number] for number in range(5))


@PIPES
@pytest.mark.usefixtures("loaded")
def test_pipes_in_and_out(
    clip: dict[str, Path], tmp_path: Path, pictures: list[Frame], capsys: pytest.CaptureFixture[str]
) -> None:
    """Raw frames and a sound come from named pipes; what is not the face's mouth goes out as it came."""
    frames, sound, output = (tmp_path / name for name in ("frames", "sound", "out.rgb"))
    for path, content in ((frames, b"".join(map(np.ndarray.tobytes, pictures))), (sound, clip["speech"].read_bytes())):
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
    words = ["--raw", f"{WIDTH}x{HEIGHT}@25", "--format", "rawvideo", "--wait", "-o", str(output)]
    assert main(["live", str(frames), str(sound), *words]) == 0
    sent = np.fromfile(output, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    assert len(sent) == FRAMES
    assert (sent[:, :30] == np.stack(pictures)[:, :30]).all()
    assert (sent != np.stack(pictures)).any()
    assert "raw frames cannot say that they are synthetic" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-", "-", "-o", "a.mp4"], "cannot both be the standard input"),
        (["{video}", "{speech}", "-o", "a.mp4", "--raw", "96x80@25"], "raw frames come from pipes (--raw)"),
        (["-", "{speech}", "-o", "a.mp4", "--real-time"], "has its own speed: leave out real-time (--real-time)"),
        (["{video}", "{speech}", "-o", "a.mp4", "--face", "speaking"], "chosen by its number or by a place"),
        (["{video}", "{speech}", "-o", "a.avi"], "unsupported file extension"),
        (["{video}", "{speech}", "-o", "a.mp4", "--real-time", "--latency", "0.5"], "take 0.64 s to arrive"),
        (["none.mp4", "{speech}", "-o", "a.mp4"], "check the path"),
    ],
)
@pytest.mark.usefixtures("loaded")
def test_what_cannot_work_is_refused(
    clip: dict[str, Path], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["live", *(word.format(**clip) for word in words)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--raw", "96x80"], ["--raw", "0x80@25"], ["--latency", "-1"], ["--latency", "x"]])
def test_values_of_another_form_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["live", "a", "b", "-o", "c.mp4", *words])
    assert "is not" in capsys.readouterr().err


def test_a_first_signal_only_says_that_it_came() -> None:
    """And a second one acts as ever."""
    script = (
        "import os, signal\nfrom keysync.signals import gently, listening\n"
        "with listening():\n"
        "    with gently() as came:\n"
        "        assert not came()\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        assert came()\n"
        "        print('gone on', flush=True)\n"
        "        try:\n            os.kill(os.getpid(), signal.SIGTERM)\n"
        "        except KeyboardInterrupt:\n            print('stopped')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.split("\n")[:2] == ["gone on", "stopped"]
