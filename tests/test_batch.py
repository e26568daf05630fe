"""A list of dubs: one after another, whatever fails; what is done is not done again."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from keysync.batch import _key
from keysync.cli import main
from keysync.systems.keysync.models import Models

from .clips import CheapStages, picture, read_frames, write_landmarks, write_speech, write_video
from .synthetic_face import face_points

FRAMES = 20
OPTIONS = ["--system", "keysync"]


@pytest.fixture
def folder(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two clips; models are cheap."""
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", [picture(n) for n in range(FRAMES)])
        write_speech(tmp_path / f"{name}.wav", FRAMES / 25)
    write_landmarks(tmp_path / "face.json", [face_points((46, 36), 30)] * FRAMES)
    CheapStages().install(monkeypatch)
    monkeypatch.setattr("keysync.systems.keysync.models.load_models", lambda *_, **__: models)
    return tmp_path


@pytest.fixture
def batch(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[dict[str, object]]]]:
    """Runs a list of jobs; returns the exit code and the table."""

    def run(*more: str, jobs: Path | None = None) -> tuple[int, list[dict[str, object]]]:
        capsys.readouterr()
        code = main(["batch", str(jobs or folder / "jobs.csv"), "--json", *OPTIONS, *more])
        return code, json.loads(capsys.readouterr().out)

    return run


def write_jobs(folder: Path, *lines: str) -> Path:
    path = folder / "jobs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_job_that_fails_stops_no_other(folder: Path, batch: Callable[..., tuple[int, list[dict[str, str]]]]) -> None:
    write_jobs(
        folder,
        "video,audio,output,landmarks,seed,lossless",
        "a.mp4,a.wav,one.mp4,face.json,3,",
        "gone.mp4,a.wav,two.mp4,face.json,,no",
        "b.mp4,b.wav,three.mkv,face.json,,yes",
    )
    code, rows = batch()
    assert code == 1
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert "gone.mp4" in rows[1]["error"]
    assert len(read_frames(folder / "one.mp4")) == len(read_frames(folder / "three.mkv")) == FRAMES
    assert not (folder / "two.mp4").exists()
    write_video(folder / "gone.mp4", [picture(n) for n in range(FRAMES)])
    code, rows = batch()
    assert (code, [row["state"] for row in rows]) == (0, ["already done", "done", "already done"])


def test_what_has_changed_is_done_again(folder: Path, batch: Callable[..., tuple[int, list[dict[str, str]]]]) -> None:
    write_jobs(folder, "video,audio,output,landmarks", "a.mp4,a.wav,one.mp4,face.json", "b.mp4,b.wav,two.mp4,face.json")
    assert batch()[0] == 0
    assert [row["state"] for row in batch()[1]] == ["already done"] * 2
    (folder / "one.mp4").unlink()
    os.utime(folder / "b.wav", (1, 1))
    assert [row["state"] for row in batch()[1]] == ["done"] * 2
    assert [row["state"] for row in batch("--seed", "7")[1]] == ["done"] * 2
    assert [row["state"] for row in batch("--seed", "7", "--fresh")[1]] == ["done"] * 2


def test_a_folder_pairs_files_of_one_name(folder: Path, batch: Callable[..., tuple[int, list[dict[str, str]]]]) -> None:
    (folder / "b.wav").rename(folder / "c.wav")
    landmarks = folder / "face.json"
    code, rows = batch("--landmarks", str(landmarks), jobs=folder)
    assert (code, [row["output"] for row in rows]) == (0, [str(folder / "dubbed" / "a.mp4")])
    code, rows = batch("--landmarks", str(landmarks), "-o", str(folder / "x"), jobs=folder)
    assert (code, [row["output"] for row in rows]) == (0, [str(folder / "x" / "a.mp4")])


def test_free_memory_is_returned_before_each_job(
    folder: Path, batch: Callable[..., tuple[int, list[dict[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    monkeypatch.setattr("keysync.batch.return_memory", lambda: done.append(len(list(folder.glob("*.mkv")))))
    write_jobs(folder, "video,audio,output,landmarks", *(f"a.mp4,a.wav,{n}.mkv,face.json" for n in range(2)))
    assert batch()[0] == 0
    assert done == [0, 1]


def test_models_are_loaded_once(
    folder: Path,
    batch: Callable[..., tuple[int, list[dict[str, str]]]],
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = []

    def load(*_: object, **__: object) -> Models:
        loaded.append(1)
        return models

    monkeypatch.setattr("keysync.systems.keysync.models.load_models", load)
    write_jobs(folder, "video,audio,output,landmarks", *(f"a.mp4,a.wav,{n}.mp4,face.json" for n in range(3)))
    assert batch()[0] == 0
    assert len(loaded) == 1


def test_a_defect_in_one_job_stops_no_other(
    folder: Path, batch: Callable[..., tuple[int, list[dict[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def check(*_: object, **__: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a defect")

    monkeypatch.setattr("keysync.commands.dub.check_job", check)
    write_jobs(folder, "video,audio,output,landmarks", "a.mp4,a.wav,one.mp4,face.json", "b.mp4,b.wav,two.mp4,face.json")
    code, rows = batch()
    assert (code, [(row["state"], row["error"]) for row in rows]) == (1, [("failed", "a defect"), ("done", "")])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["video,audio,output,sede", "a.mp4,a.wav,o.mp4,1"], "unknown column 'sede'"),
        (["video,audio", "a.mp4,a.wav"], "no column output"),
        (["video,audio,output", "a.mp4,a.wav"], "expected 3 cells"),
        (["video,audio,output", "a.mp4,,o.mp4"], "the column audio is empty"),
        (["video,audio,output"], "no jobs"),
        (["video,audio,output,seed", "a.mp4,a.wav,o.mp4,x"], "seed is 'x'"),
        (["video,audio,output,mask", "a.mp4,a.wav,o.mp4,x"], "choose one of"),
        (["video,audio,output,lossless", "a.mp4,a.wav,o.mp4,x"], "expected yes or no"),
        (["video,audio,output", "a.mp4,a.wav,o.mp4", "b.mp4,b.wav,o.mp4"], "also the output of"),
        (["video,audio,output,output", "a.mp4,a.wav,o.mp4,o.mp4"], "two columns"),
    ],
)
def test_a_list_that_is_wrong_anywhere_runs_nothing(
    folder: Path, lines: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["batch", str(write_jobs(folder, *lines))]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (folder / "o.mp4").exists()


def test_the_table_is_for_people_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = write_jobs(folder, "video,audio,output,landmarks", "a.mp4,a.wav,one.mp4,face.json", "x,a.wav,two.mp4,")
    assert main(["batch", str(jobs), *OPTIONS]) == 1
    *_, first, second, sums = capsys.readouterr().out.strip().splitlines()
    assert "one.mp4  done in" in first
    assert "two.mp4  failed: " in second
    assert sums == "1 done, 0 already done, 1 failed"


def test_a_picture_of_the_person_is_a_file_of_the_list(
    folder: Path, batch: Callable[..., tuple[int, list[dict[str, str]]]]
) -> None:
    """Its path starts from the list's folder, as those of all files do; another picture is another job."""
    write_jobs(folder, "video,audio,output,face", "a.mp4,a.wav,one.mp4,anna.png")
    (folder / "anna.png").write_bytes(b"no picture")
    code, rows = batch()
    assert code == 1
    assert f"{folder / 'anna.png'} is not a picture" in rows[0]["error"]


def test_a_picture_that_changes_makes_another_job(folder: Path) -> None:
    face = folder / "anna.png"
    face.write_bytes(b"one")
    job = argparse.Namespace(video=folder / "a.mp4", output=folder / "one.mp4", face=str(face))
    before = _key(job)
    face.write_bytes(b"another")
    assert _key(job) not in (None, before)


def test_a_damaged_list_of_finished_jobs_is_said(
    folder: Path, batch: Callable[..., tuple[int, list[dict[str, str]]]], caplog: pytest.LogCaptureFixture
) -> None:
    write_jobs(folder, "video,audio,output,landmarks", "a.mp4,a.wav,one.mp4,face.json")
    batch()
    (folder / ".jobs.csv.keysync-batch").write_text("[")
    assert [row["state"] for row in batch()[1]] == ["done"]
    assert "finished jobs run again" in caplog.text
