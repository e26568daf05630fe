"""Nothing is lost: a dub that was killed goes on, and its result is, bit for bit, that of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from keysync.cli import main
from keysync.demo import SPEECH
from keysync.report import Report
from keysync.resume import FORGOTTEN, SUFFIX, Work, sweep_work
from keysync.systems.keyface.models import load_keyface
from keysync.systems.keysync.generate import sample
from keysync.systems.keysync.models import Models
from keysync.whole import SETTLED

from .clips import picture, write_landmarks, write_speech, write_video
from .portrait import PORTRAIT
from .synthetic_face import face_points
from .test_speakers import TWO
from .tiny_keyface import write_tiny_keyface

FRAMES = 40
KEY = b"k" * 64
RANDOM = torch.Generator().manual_seed(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clip")
    return {
        "video": write_video(folder / "in.mp4", [picture(n) for n in range(FRAMES)]),
        "audio": write_speech(folder / "speech.wav", FRAMES / 25),
        "landmarks": write_landmarks(folder / "face.json", [face_points((46, 36), 30)] * FRAMES),
    }


def line(files: dict[str, Path], output: Path, *more: str | Path) -> list[str]:
    words = [
        "dub",
        files["video"],
        files["audio"],
        "--landmarks",
        files["landmarks"],
        "-o",
        output,
        "--system",
        "keysync",
    ]
    words += ["--preset", "fast"]
    return [str(word) for word in (*words, "--report", output.with_suffix(".json"), *more)]


def report_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.with_suffix(".json").read_text())
    return found


class Sampled:
    """Counts what the networks sample, and kills the process instead of going beyond `most`."""

    def __init__(self, most: int = 1000) -> None:
        self.most, self.count = most, 0

    def __call__(self, *given: Any) -> Any:
        if self.count == self.most:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1
        return sample(*given)


@pytest.fixture
def sampled(models: Models, monkeypatch: pytest.MonkeyPatch) -> Sampled:
    """The command line with tiny models, which counts."""
    counter = Sampled()
    monkeypatch.setattr("keysync.systems.keysync.models.load_models", lambda *_, **__: models)
    monkeypatch.setattr("keysync.systems.keysync.windows.sample", counter)
    monkeypatch.setattr("keysync.systems.keysync.windows.windows_at_once", lambda *_: 1)
    return counter


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that animates a portrait with tiny models, which are loaded once; windows are drawn one by one."""
    folder = tmp_path_factory.mktemp("heads")
    files = write_tiny_keyface(folder)
    models = load_keyface(**files, device="cpu", dtype=None)
    monkeypatch.setattr("keysync.systems.keyface.models.load_keyface", lambda *_, **__: models)
    monkeypatch.setattr("keysync.systems.keyface.generate.windows_at_once", lambda *_: 1)
    given = [
        *("--keyframe-model", files["keyframe"], "--interpolation-model", files["interpolation"]),
        *("--emotion", "sad,happy", "--steps", 10),
    ]
    return [*map(str, ["animate", PORTRAIT, write_speech(folder / "speech.wav", FRAMES / 25), *given])]


def killed(words: Sequence[str]) -> int:
    """Runs a command in a process of its own; how it ended."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            code = main(words)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # torch has threads; the child starts none
def test_a_dub_that_is_killed_again_and_again_ends_as_one_that_is_not(
    files: dict[str, Path], sampled: Sampled, tmp_path: Path
) -> None:
    kill_until_done(lambda output: line(files, output), sampled, tmp_path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_an_animation_that_is_killed_again_and_again_ends_as_one_that_is_not(
    heads: list[str], sampled: Sampled, tmp_path: Path
) -> None:
    """Also where two windows share a frame, which is the mean of what both draw of it."""
    kill_until_done(
        lambda output: [*heads, "-o", str(output), "--report", str(output.with_suffix(".json"))], sampled, tmp_path
    )


def kill_until_done(words: Callable[[Path], list[str]], sampled: Sampled, tmp_path: Path) -> None:
    """Runs a command for an output, killed after each thing that a network makes; its result is the undisturbed one."""
    plain, output = tmp_path / "plain" / "out.mp4", tmp_path / "out.mp4"
    plain.parent.mkdir()
    assert main(words(plain)) == 0
    all_of_them = sampled.count
    assert all_of_them >= 4
    assert report_of(plain)["work"]["run"] == "from the beginning"
    sampled.most = 1  # each run comes one further
    for turn in range(all_of_them):
        sampled.count = 0
        assert killed(words(output)) == -signal.SIGKILL or turn == all_of_them - 1
        assert output.exists() == (turn == all_of_them - 1)
    assert output.read_bytes() == plain.read_bytes()
    found = report_of(output)["work"]
    assert found["run"] == "resumed"
    assert 0 < found["results_taken"] <= found["results_found"]
    assert 0 < found["bytes"] <= found["bytes_at_most"] == report_of(output)["estimate"]["disk"]
    assert not list(tmp_path.glob(f".*{SUFFIX}"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("harm", ["cut", "flipped", "other seed", "fresh"])
def test_only_what_is_whole_and_of_the_same_job_is_taken(
    files: dict[str, Path], sampled: Sampled, tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, work = tmp_path / "out.mp4", Work.beside(tmp_path / "out.mp4").path
    sampled.most = 2
    assert killed(line(files, output)) == -signal.SIGKILL
    held = bytearray(work.read_bytes())
    if harm == "cut":
        del held[-100:]
    elif harm == "flipped":
        held[-100] ^= 1
    work.write_bytes(held)
    sampled.most, sampled.count = 1000, 0
    more = {"other seed": ["--seed", "5"], "fresh": ["--fresh"]}.get(harm, [])
    assert main(line(files, output, *more)) == 0
    again, found = sampled.count, report_of(output)["work"]
    assert found["run"] == {"other seed": "from the beginning", "fresh": "fresh"}.get(harm, "resumed")
    sampled.count = 0
    plain = tmp_path / "plain.mp4"
    assert main(line(files, plain, *more[:2] if harm == "other seed" else [])) == 0
    assert output.read_bytes() == plain.read_bytes()
    assert again == sampled.count - (0 if more else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_dub_of_two_speakers_goes_on_with_the_one_it_was_at(sampled: Sampled, tmp_path: Path) -> None:
    """Also where the first is done: their frames, which are made again, need no network."""
    people = ["--speaker", f"{SPEECH}@0-1.2:face=0", "--speaker", f"{SPEECH}@2-3:face=1"]

    def words(output: Path) -> list[str]:
        options = ["--system", "keysync", "--preset", "fast", "-o", output, "--report", output.with_suffix(".json")]
        return [str(word) for word in ("dub", TWO, *people, *options)]

    plain, output = tmp_path / "plain" / "out.mp4", tmp_path / "out.mp4"
    plain.parent.mkdir()
    assert main(words(plain)) == 0
    all_of_them = sampled.count
    for sampled.most in (1, all_of_them - 2):  # within the first speaker, and before the end of the second
        sampled.count = 0
        assert killed(words(output)) == -signal.SIGKILL
        assert list(tmp_path.glob(f".*{SUFFIX}"))
    (between,) = tmp_path.glob(".keysync-*.mkv")
    past = between.stat().st_mtime - SETTLED - 1
    for left in tmp_path.glob(".keysync-*"):  # of an unfinished file too: the next run may be over before it settles
        os.utime(left, (past, past))
    sampled.most, sampled.count = 1, 0
    assert main(words(output)) == 0
    assert output.read_bytes() == plain.read_bytes()
    found = report_of(output)["work"]
    assert found["run"] == "resumed"
    assert found["results_found"] > all_of_them - 2  # the VAE's encodings too
    assert 0 < found["bytes"] <= found["bytes_at_most"]
    assert {path.name for path in tmp_path.iterdir()} == {"plain", "out.mp4", "out.json"}


def test_work_of_several_dubs_stays_until_the_last_is_finished(tmp_path: Path) -> None:
    work = Work(tmp_path, "a")
    work.share(2, "speech")
    work.open("job")
    work.keep(KEY, torch.ones(3))
    work.close(finished=True)
    assert work.is_open
    work.close()
    again = Work(tmp_path, "a")
    again.share(1, "speech")
    again.open("job")
    assert again.found == 1
    again.close(finished=True)
    assert list(tmp_path.iterdir()) == []


def test_work_is_bounded_and_given_up_where_there_is_no_room(tmp_path: Path) -> None:
    work = Work(tmp_path, "a")
    work.open("job")
    work.expect(4000)
    for number in range(100):
        work.keep(bytes([number]) * 64, torch.ones(100))
    assert work.size <= work.limit
    assert work.path.stat().st_size == work.size
    assert work.find(b"\0" * 64) is not None
    assert work.find(b"\x63" * 64) is None
    work.expect(10**18)
    assert "GB free" in work.problem
    assert not work.path.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_results_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    result = torch.randn(3, 1, 5, generator=RANDOM).to(dtype)
    first = Work(tmp_path, "a")
    first.open("job")
    first.keep(KEY, result)
    first.close()
    second = Work(tmp_path, "a")
    second.open("job")
    found = second.find(KEY)
    assert found is not None
    assert found.dtype == dtype
    assert torch.equal(found, result)
    second.close(finished=True)
    assert not second.path.exists()


def test_one_process_at_a_time_works_with_a_file(tmp_path: Path) -> None:
    first, second = Work(tmp_path, "a"), Work(tmp_path, "a")
    first.open("job")
    second.open("job")
    assert not second.is_open
    assert "another process" in second.problem
    second.close()
    first.close()
    assert list(tmp_path.iterdir()) == []  # nothing was kept


def test_a_folder_that_cannot_be_made_costs_no_dub(files: dict[str, Path], sampled: Sampled, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    output = tmp_path / "out.mp4"
    assert main(line(files, output, "--work-folder", tmp_path / "file" / "work")) == 0
    assert report_of(output)["work"]["problem"]
    assert any("unfinished work is not kept" in note for note in report_of(output)["notes"])


def test_a_work_folder_holds_jobs_of_one_name_apart(tmp_path: Path) -> None:
    paths = {Work.beside(tmp_path / name / "out.mp4", tmp_path).path for name in ("a", "b")}
    assert len(paths) == 2
    assert {path.parent for path in paths} == {tmp_path}


def test_old_work_of_many_jobs_is_swept_and_work_in_use_is_not(tmp_path: Path) -> None:
    old, young, used = (Work(tmp_path, name) for name in ("old", "young", "used"))
    for work in (old, young, used):
        work.open("job")
        work.keep(KEY, torch.ones(3))
        if work is not used:
            work.close()
    for work in (old, used):
        past = work.path.stat().st_mtime - FORGOTTEN - 60
        os.utime(work.path, (past, past))
    sweep_work(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {young.path.name, used.path.name}
    used.close()


def test_threads_of_the_unfinished_run_are_known(tmp_path: Path) -> None:
    work = Work(tmp_path, "a")
    assert work.threads() is None
    work.open("job")
    work.keep(KEY, torch.ones(3))
    work.close()
    assert Work(tmp_path, "a").threads() == torch.get_num_threads()
    assert Work(tmp_path, "a", fresh=True).threads() is None
    work.path.write_bytes(b"nonsense")
    assert Work(tmp_path, "a").threads() is None


def test_a_report_has_work_only_where_something_is_kept() -> None:
    report = Report("a", "b", 1, 1, 1, 1, "25", 1.0, "cut_off", 0)
    assert "work" not in report.to_dict()
