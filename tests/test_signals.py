"""Signals over all phases of a dub: nothing is left that the next start does not sweep, no older result is harmed."""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import keysync.job
from keysync.cli import RESUMES, main
from keysync.errors import KeySyncError
from keysync.media.writer import VideoWriter, check_output
from keysync.report import Report
from keysync.resume import Work
from keysync.signals import ENDING, PATIENCE, STOPPED, Stop, StoppedError, leave_at_once, listening
from keysync.systems.keysync.models import Models
from keysync.whole import FORGOTTEN, HOST, SETTLED, sweep, whole_file

from .clips import CheapStages, picture, read_frames, write_landmarks, write_speech, write_video
from .synthetic_face import face_points

PHASES = ("start", "survey", "encode", "keyframes", "interpolation", "decode", "write", "report")
ROUNDS = 5  # of all phases: 40 signals
HELD_ROUNDS = 3  # in which a dub waits in its phase for the signal; in the others it goes on
SLOW = 0.02  # seconds that each phase takes at the least
LIMIT = 60  # seconds
THREADED, WAITED = ("survey", "write"), 2  # seconds: what a thread does with a frame is waited for


def old(path: Path, seconds: float) -> Path:
    """The file as if it had not been written for some time."""
    past = time.time() - seconds
    os.utime(path, (past, past))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "video": write_video(tmp_path / "in.mp4", [picture(n) for n in range(20)]),
        "audio": write_speech(tmp_path / "speech.wav", 0.8),
        "landmarks": write_landmarks(tmp_path / "face.json", [face_points((46, 36), 30)] * 20),
        "output": tmp_path / "out.mp4",
        "report": tmp_path / "report.json",
    }


@pytest.fixture
def held() -> set[str]:
    """The phases in which a dub waits for a signal."""
    return set()


@pytest.fixture
def phases(models: Models, monkeypatch: pytest.MonkeyPatch, held: set[str]) -> Iterator[int]:
    """Cheap models, and a pipe that tells in which phase a dub is: yields its end to read."""
    read, write = os.pipe()
    said: set[str] = set()

    def enter(phase: str) -> None:
        if phase not in said:
            said.add(phase)
            os.write(write, f"{phase}\n".encode())
        time.sleep((WAITED if phase in THREADED else LIMIT) if phase in held else SLOW)

    def told(phase: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def run(*values: Any, **named: Any) -> Any:
            enter(phase)
            return plain(*values, **named)

        return run

    cheap = CheapStages()

    def sample(stage: Any, *rest: Any) -> Any:
        enter("keyframes" if stage.spec.name == "keyframe" else "interpolation")
        return cheap.sample(stage, *rest)

    monkeypatch.setattr("keysync.systems.keysync.models.load_models", lambda *_, **__: models)
    monkeypatch.setattr("keysync.systems.keysync.windows.sample", sample)
    monkeypatch.setattr(keysync.job, "survey", told("survey", keysync.job.survey))
    monkeypatch.setattr(models.vae, "encode", told("encode", models.vae.encode))
    monkeypatch.setattr(models.vae, "decode", told("decode", models.vae.decode))
    monkeypatch.setattr(VideoWriter, "write", told("write", VideoWriter.write))
    monkeypatch.setattr(Report, "write", told("report", Report.write))
    yield read
    os.close(read)
    os.close(write)


def run_until(phase: str, number: int, delay: float, files: dict[str, Path], read: int, log: Path) -> int:
    """Forks a dub, sends it a signal in a phase; returns how it ended, as `os.waitstatus_to_exitcode` says it."""
    line = ["dub", files["video"], files["audio"], "-o", files["output"], "--landmarks", files["landmarks"]]
    line += ["--report", files["report"]]
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(errors, 1)
            os.dup2(errors, 2)
            sys.stderr = os.fdopen(2, "w", closefd=False)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            for ending in ENDING:  # whoever runs the tests may ignore some, as nohup does
                signal.signal(ending, signal.SIG_DFL)
            leave_at_once()
            os.write(go, b".")
            code = main([str(word) for word in line])
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.read(ready, 1)
    os.close(ready)
    os.close(go)
    if phase != "start":
        seen = b""
        while f"{phase}\n".encode() not in seen:
            part = os.read(read, 100)
            assert part
            seen += part
    time.sleep(delay)
    os.kill(child, number)
    end = time.monotonic() + LIMIT
    while (found := os.waitpid(child, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < end, f"still running {LIMIT} s after {signal.Signals(number).name} in {phase}"
        time.sleep(0.01)
    os.set_blocking(read, False)
    with suppress(BlockingIOError):
        while os.read(read, 1000):  # phases after the one that was waited for
            pass
    os.set_blocking(read, True)
    return os.waitstatus_to_exitcode(found[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # torch has threads; the child starts none
def test_forty_signals_over_eight_phases(files: dict[str, Path], phases: int, held: set[str], tmp_path: Path) -> None:
    chance = random.Random(20)
    inputs = {name: files[name].read_bytes() for name in ("video", "audio", "landmarks")}
    log = tmp_path.parent / f"{tmp_path.name}.log"
    torch.set_num_threads(1)
    left, stopped, work = 0, 0, Work.beside(files["output"]).path
    for turn, phase in product(range(ROUNDS), PHASES):
        held.clear()
        work.unlink(missing_ok=True)
        held.update({phase} if turn < HELD_ROUNDS else ())
        files["output"].write_bytes(b"older")
        files["report"].write_bytes(b"older")
        number = chance.choice(ENDING)
        code = run_until(phase, number, chance.uniform(0, 1.5 * SLOW), files, phases, log)
        said = log.read_text()
        case = f"{signal.Signals(number).name} in {phase}: {said}"
        # 0: it was done when the signal arrived, which one that waits in its phase cannot be.
        waiting = phase in held and phase != "start"
        assert code == 128 + number or (code == 0 and not waiting), case
        assert "Traceback" not in said, case
        if code:
            stopped += 1
            assert said.replace("\r", "\n").strip().split("\n")[-1] == (RESUMES if work.exists() else STOPPED), case
        if files["output"].read_bytes() != b"older":
            assert len(read_frames(files["output"])) == 20, case
        assert files["report"].read_text() == "older" or files["report"].read_text().startswith("{"), case
        for path in tmp_path.glob(".keysync-*"):
            left += 1
            old(path, SETTLED + 1)
        sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir() if path != work} == {path.name for path in files.values()}, (
            case
        )
    assert {name: files[name].read_bytes() for name in inputs} == inputs
    assert stopped >= HELD_ROUNDS * (len(PHASES) - 1)
    print(f"{stopped} stopped, {left} files left to sweep")
    assert left <= 2  # between a file's making and the block that removes it


def test_a_killed_process_leaves_a_file_that_the_next_start_sweeps(files: dict[str, Path], tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from keysync.whole import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as temporary: print(temporary, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(files["output"])], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        temporary = Path(process.stdout.readline().strip())
        old(temporary, FORGOTTEN + 60)
        assert sweep(tmp_path) == []  # it lives, however long it has not written
        process.kill()
        process.wait()
    assert temporary.exists()
    check_output(files["output"])
    assert not temporary.exists()
    temporary.write_bytes(b"")  # younger than the bound: it may not be locked yet
    check_output(files["output"])
    assert temporary.exists()


def test_only_our_own_forgotten_files_are_swept(tmp_path: Path) -> None:
    ours = f".keysync-{HOST}-{secrets.token_hex(8)}.part"
    foreign, older = f".keysync-{'0' * 8}-{'1' * 16}.part", f".keysync-{'2' * 16}.part"
    others = ("a.part", ".keysync-x.part", ".keysync-notes.txt", f"{ours}.bak", f"x{ours}", "result.mp4")
    for name in (ours, foreign, older, *others):
        old(tmp_path / name, 3600) if (tmp_path / name).write_bytes(b"x") else None
    (tmp_path / f".keysync-{HOST}-{'3' * 16}.part").mkdir()
    kept = tmp_path / "kept"
    kept.write_text("kept")
    old(kept, 2 * FORGOTTEN)
    (tmp_path / f".keysync-{HOST}-{'4' * 16}.part").symlink_to(kept)
    assert [path.name for path in sweep(tmp_path)] == [ours]
    for name in (foreign, older):  # of another machine, whose locks may not be seen here
        old(tmp_path / name, FORGOTTEN + 60)
    assert sorted(path.name for path in sweep(tmp_path)) == sorted((foreign, older))
    assert all((tmp_path / name).exists() for name in others)
    assert kept.read_text() == "kept"
    assert sweep(tmp_path / "nowhere") == []


def test_files_that_cannot_be_locked_wait_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    path = tmp_path / f".keysync-{HOST}-{'5' * 16}.part"
    path.write_bytes(b"")
    old(path, 3600)
    assert sweep(tmp_path) == []
    old(path, FORGOTTEN + 60)
    assert sweep(tmp_path) == [path]


def test_names_are_new_and_links_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    for name in (".report.part", ".report.json.part", ".out.mp4.part", ".keysync.part", "out.mp4.part"):
        (tmp_path / name).symlink_to(target)
    names = set()
    for _ in range(20):
        with whole_file(tmp_path / "report.json") as temporary:
            names.add(temporary.name)
            temporary.write_text("{}")
    assert len(names) == 20
    assert target.read_text() == "precious"
    # Even one who guesses the name.
    monkeypatch.setattr(secrets, "token_hex", lambda _: "6" * 16)
    (tmp_path / f".keysync-{HOST}-{'6' * 16}.part").symlink_to(tmp_path / "new")
    with pytest.raises(FileExistsError), whole_file(tmp_path / "report.json"):
        raise AssertionError("it was opened")
    assert not (tmp_path / "new").exists()


def test_a_second_signal_does_not_interrupt_the_cleaning_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stop = Stop()
    stop.check()
    with pytest.raises(StoppedError) as caught:
        stop.handle(signal.SIGTERM, None)
    assert caught.value.code == 143
    stop.handle(signal.SIGINT, None)
    with pytest.raises(StoppedError):  # one that got lost in a callback
        stop.check()
    now[0] += PATIENCE + 1
    with pytest.raises(StoppedError):
        stop.handle(signal.SIGINT, None)


def test_an_error_in_the_place_of_a_signal_is_the_signal() -> None:
    """As safetensors does: what the handler raises while it asks torch for a type becomes an error of its own."""

    def read() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LIMIT)
        except StoppedError as error:
            raise KeySyncError("lips.safetensors is truncated") from error

    with pytest.raises(StoppedError) as caught, listening():
        read()
    assert caught.value.code == 143
    with pytest.raises(KeySyncError, match="truncated"), listening():
        raise KeySyncError("lips.safetensors is truncated")


def test_signals_that_are_ignored_stay_ignored() -> None:
    before = {number: signal.getsignal(number) for number in ENDING}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(StoppedError):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_while_the_program_starts(number: int, files: dict[str, Path], tmp_path: Path) -> None:
    """Before torch is there: no traceback of an import, one line, the exit code of the signal."""
    line = [sys.executable, "-m", "keysync.cli", "dub", str(files["video"]), str(files["audio"]), "-o"]
    with subprocess.Popen(
        [*line, str(files["output"])],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in ENDING],
    ) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        while "libtorch" not in maps.read_text():
            assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=LIMIT)
    assert (process.returncode, said) == (128 + number, f"{STOPPED}\n")
    assert not files["output"].exists()


def test_an_error_is_an_error_and_no_signal(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeySyncError):
        check_output(files["output"].with_suffix(".avi"))
    assert main(["dub", str(files["video"]), str(files["audio"]), "-o", "x.avi"]) == 1
    assert STOPPED not in capsys.readouterr().err
