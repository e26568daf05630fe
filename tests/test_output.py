"""An output that cannot be written is known before anything is loaded; nothing of a dub is held after it."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import keysync.job
from keysync.cli import main
from keysync.dub import Settings
from keysync.errors import KeySyncError
from keysync.job import FaceSource, check_job, dub_file
from keysync.media.writer import check_output
from keysync.report import check_report
from keysync.systems.keysync.models import load_models

from .clips import CheapStages, picture, write_landmarks, write_speech, write_video
from .synthetic_face import face_points

FAULTS = {
    errno.EACCES: "out is read-only; choose another folder",
    errno.EROFS: "out is read-only; choose another folder",
    errno.ENOSPC: "the disk of .*out is full; free some space or choose another place",
    errno.EDQUOT: "the quota on the disk of .*out is used up; free some space or choose another place",
    errno.EIO: "Input/output error; free some space or choose another place",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "out").mkdir()
    return {
        "video": write_video(tmp_path / "in.mp4", [picture(n) for n in range(20)]),
        "audio": write_speech(tmp_path / "speech.wav", 0.8),
        "landmarks": write_landmarks(tmp_path / "face.json", [face_points((46, 36), 30)] * 20),
    }


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test in which models are loaded, or a face is followed, fails."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("work began before the output was checked")

    monkeypatch.setattr("keysync.systems.keysync.models.load_models", refuse)
    monkeypatch.setattr(keysync.job, "survey", refuse)


Says = Callable[..., str]


@pytest.fixture
def says(files: dict[str, Path], capsys: pytest.CaptureFixture[str], nothing_runs: None) -> Says:
    """The one line of a dub that must be refused."""

    def run(output: Path, *options: object) -> str:
        line = ["dub", files["video"], files["audio"], "--landmarks", files["landmarks"], "-o", output, *options]
        assert main([str(word) for word in line]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err.removeprefix("keysync: error: ").rstrip()

    return run


@pytest.mark.parametrize("number", list(FAULTS))
def test_a_folder_that_takes_no_file(number: int, says: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened = os.open

    def fail(path: Any, *how: Any, **named: Any) -> int:
        if Path(os.fsdecode(path)).parent.name == "out" and Path(os.fsdecode(path)).name.startswith(".keysync-"):
            raise OSError(number, os.strerror(number))
        return opened(path, *how, **named)

    monkeypatch.setattr(os, "open", fail)
    pattern = FAULTS[number]
    assert re.search(rf"out\.mp4 cannot be written: .*{pattern} \(--output\)$", says(tmp_path / "out" / "out.mp4"))
    said = says(tmp_path / "ok.mp4", "--report", tmp_path / "out" / "report.json")
    assert re.search(rf"cannot write the report .*report\.json: .*{pattern} \(--report\)$", said)
    assert list((tmp_path / "out").iterdir()) == []


def test_names_that_are_none(says: Says, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 300 + ".mp4")
    assert says(long).endswith("cannot be written: the name is too long; choose a shorter one (--output)")
    said = says(tmp_path / "in.mp4" / "out.mp4")
    assert said.endswith(
        f"cannot be written: the folder {tmp_path / 'in.mp4'} does not exist; create it first (--output)"
    )
    (tmp_path / "folder.mp4").mkdir()
    assert says(tmp_path / "folder.mp4").endswith(
        "folder.mp4 is a folder: choose another name for the result (--output)"
    )
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "pipe.mp4 cannot be written: it is a device or a pipe; choose another file" in says(tmp_path / "pipe.mp4")
    assert says(tmp_path / "ok.mp4", "--report", tmp_path / "out").endswith(
        "it is a folder; choose another file (--report)"
    )
    assert not (tmp_path / "ok.mp4").exists()


def test_a_disk_too_small_for_the_result(
    files: dict[str, Path], says: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    size = files["video"].stat().st_size

    def free(count: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=int(count)))

    free(size * 0.6)
    said = says(tmp_path / "out" / "out.mp4")
    assert "out.mp4 needs about " in said
    assert said.endswith("free: free some space or choose another folder (--output)")
    # A result as long as ten times the video's length needs ten times as much.
    free(size * 1.5 + 10_000)
    check_job(files["video"], files["audio"], tmp_path / "out.mp4", Settings())
    write_speech(files["audio"], 8.0)
    check_job(files["video"], files["audio"], tmp_path / "out.mp4", Settings())  # cut off with the video
    with pytest.raises(KeySyncError, match=r"needs about .* but the disk of"):
        check_job(files["video"], files["audio"], tmp_path / "out.mp4", Settings(sync_mode="bounce"))
    with pytest.raises(KeySyncError, match=r"needs about .* but the disk of"):
        check_job(files["video"], files["audio"], tmp_path / "out.mkv", Settings(), lossless=True)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a file system on Linux")
@pytest.mark.parametrize(("how", "pattern"), [("ro", "is read-only; choose"), ("size=4k", "(is full|needs about)")])
def test_real_file_systems(how: str, pattern: str, says: Says, files: dict[str, Path], tmp_path: Path) -> None:
    where = tmp_path / "mounted"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", how, "tmpfs", str(where)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.strip()}")
    try:
        write_speech(files["audio"], 8.0)
        assert re.search(pattern, says(where / "out.mp4", "--sync-mode", "bounce"))
    finally:
        subprocess.run(["umount", str(where)], check=True)


def test_outputs_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "older.mp4").write_text("older")
    before = sorted(tmp_path.iterdir())
    for name in ("new.mp4", "older.mp4"):
        assert check_output(tmp_path / name) == tmp_path / name
    check_report(tmp_path / "report.json", [tmp_path / "new.mp4"])
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_goes_during_the_dub(
    files: dict[str, Path], models: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cheap = CheapStages()

    def sample(*given: Any) -> Any:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        return cheap.sample(*given)

    monkeypatch.setattr("keysync.systems.keysync.windows.sample", sample)
    face = FaceSource(landmarks=files["landmarks"])
    with pytest.raises(
        KeySyncError, match=r"out\.mp4 cannot be written \(the folder .*out does not exist\): create it"
    ):
        dub_file(files["video"], files["audio"], tmp_path / "out" / "out.mp4", models, Settings(), face)


# Nothing held


@pytest.mark.parametrize("fails", [False, True])
def test_a_dub_holds_no_model(
    fails: bool, files: dict[str, Path], tiny_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even while its exception is kept."""
    cheap = CheapStages()

    def sample(*given: Any) -> Any:
        if fails:
            raise RuntimeError("out of something")
        return cheap.sample(*given)

    monkeypatch.setattr("keysync.systems.keysync.windows.sample", sample)
    models = load_models(*tiny_files.values())
    parts = (models.keyframe, models.interpolation, models.vae, *models.encoders.values())
    living: list[Callable[[], Any]] = [weakref.ref(part) for part in (models, *parts)]
    kept: list[BaseException] = []
    try:
        face = FaceSource(landmarks=files["landmarks"])
        dub_file(files["video"], files["audio"], tmp_path / "out.mp4", models, Settings(), face)
    except RuntimeError as error:
        kept.append(error)
    assert bool(kept) == fails
    del models, parts, face
    if kept:
        assert "in sample" in "".join(traceback.format_exception(kept[0]))  # where it happened is still said
    gc.collect()
    assert [model() for model in living] == [None] * len(living)


HELD = """
import gc, json, sys, weakref
from pathlib import Path

class Keeper:
    kept = []

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("diffusers", "transformers"):
            self.kept.append(sys._getframe())

sys.meta_path.insert(0, Keeper())
from keysync import load_models

def load():
    models = load_models(*sys.argv[1:])
    parts = {"keyframe": models.keyframe, "vae": models.vae, "hubert": models.encoders["hubert"]}
    return {name: weakref.ref(part) for name, part in parts.items()}

living = load()
gc.collect()
print(json.dumps({"kept": len(Keeper.kept), **{name: part() is not None for name, part in living.items()}}))
"""


def test_a_kept_traceback_of_an_import_holds_no_model(tiny_files: dict[str, Path]) -> None:
    """In a process of its own, in which diffusers and transformers are imported for the first models."""
    line = [sys.executable, "-c", HELD, *map(str, tiny_files.values())]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("kept") > 10  # or the test shows nothing
    assert told == {"keyframe": False, "vae": False, "hubert": False}
