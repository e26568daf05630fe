"""A dub by FlashLips that was killed goes on, and its result is, bit for bit, that of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keysync.cli import main
from keysync.resume import SUFFIX, Work
from keysync.systems.flashlips.edit import edit
from keysync.systems.flashlips.models import FlashLips
from keysync.systems.flashlips.settings import Drawing
from keysync.systems.renderer import Resumable

from ...test_resume import killed


class Edited:
    """Counts the calls of the editor, and kills the process instead of going beyond `most`."""

    def __init__(self) -> None:
        self.most, self.count = 1000, 0

    def __call__(self, *given: Any, **more: Any) -> Any:
        if self.count == self.most:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        return edit(*given, **more)


@pytest.fixture
def edited(models: FlashLips, monkeypatch: pytest.MonkeyPatch) -> Edited:
    counter = Edited()
    monkeypatch.setattr("keysync.systems.flashlips.models.load_flashlips", lambda *_, **__: models)
    monkeypatch.setattr("keysync.systems.flashlips.render.edit", counter)
    monkeypatch.setattr("keysync.systems.flashlips.render.CPU_FRAMES", 4)
    return counter


def line(clip: dict[str, Path], output: Path, *more: str) -> list[str]:
    words = ["dub", clip["video"], clip["speech"], "--landmarks", clip["landmarks"], "-o", output]
    words += ["--system", "flashlips", "--report", output.with_suffix(".json"), *more]
    return [str(word) for word in words]


def work_of(output: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(output.with_suffix(".json").read_text())["work"]
    return told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # torch has threads; the child starts none
def test_a_dub_that_is_killed_ends_as_one_that_is_not(clip: dict[str, Path], edited: Edited, tmp_path: Path) -> None:
    plain, output = tmp_path / "plain" / "out.mp4", tmp_path / "out.mp4"
    plain.parent.mkdir()
    assert main(line(clip, plain)) == 0
    all_of_them = edited.count
    assert all_of_them == 4  # of 8 and 7 frames
    assert work_of(plain)["run"] == "from the beginning"
    edited.most, edited.count = 3, 0
    assert killed(line(clip, output)) == -signal.SIGKILL
    assert not output.exists()
    edited.most, edited.count = 1000, 0
    assert main(line(clip, output)) == 0
    assert edited.count == 1
    assert output.read_bytes() == plain.read_bytes()
    found = work_of(output)
    assert (found["run"], found["results_taken"]) == ("resumed", 3)
    assert 0 < found["bytes"] <= found["bytes_at_most"]
    assert not list(tmp_path.glob(f".*{SUFFIX}"))
    edited.most, edited.count = 3, 0
    assert killed(line(clip, output)) == -signal.SIGKILL
    edited.most, edited.count = 1000, 0
    assert main(line(clip, output, "--seed", "5")) == 0
    assert edited.count == all_of_them  # another job takes nothing


def test_what_results_follow_from(models: FlashLips, tmp_path: Path) -> None:
    assert isinstance(models, Resumable)
    causes = models.work_causes(None)
    assert causes is not None
    assert causes == models.work_causes(Drawing())
    assert causes != models.work_causes(Drawing(references=1))
    assert causes != replace(models, host="another").work_causes(None)
    assert replace(models, host=None).work_causes(None) is None
    assert replace(models, files={}).work_causes(None) is None
    assert models.bytes_to_keep(10) == 10 * 4 * 4 * 8 * 8
    work = Work(tmp_path, "work")
    assert models.continuing(work).work is work
