"""Printing never costs a job its result, whatever the terminal is."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest

from keysync.progress import DRAWING, FOLLOWING, Moment, clock_time
from keysync.terminal import PatientStream, ProgressLine, patient_streams

WORDS = "日本 ß caf\udce9\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "日本 ß caf?\n"), ("cp1252", "?? ß caf?\n"), ("ascii", "?? ? caf?\n"), ("shift_jis", "日本 ? caf?\n")],
)
def test_what_an_encoding_lacks_becomes_a_question_mark(encoding: str, shown: str) -> None:
    held = io.BytesIO()
    stream = PatientStream(io.TextIOWrapper(held, encoding=encoding, newline="\n"))
    assert stream.write(WORDS) == len(WORDS)
    assert held.getvalue().decode(encoding) == shown
    assert not stream.lost
    assert stream.encoding == encoding


def closed_pipe() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def full_disk() -> TextIO:
    return Path("/dev/full").open("w")


def closed_file() -> TextIO:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("make", [closed_pipe, full_disk, closed_file])
def test_a_stream_that_takes_nothing(make: type[TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    target = make()
    monkeypatch.setattr(sys, "stdout", target)
    with patient_streams() as output:
        print("a line")
        print("another", flush=True)
        assert output.lost
    target.close()  # what it holds goes nowhere, without an error


def test_no_stream_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with patient_streams() as output:
        assert not output.lost
        output.flush()
        assert not output.lost  # nothing was to be printed
        print("a line")
        print("a line", file=sys.stderr, flush=True)
        assert output.lost
        assert not output.isatty()
        with pytest.raises(OSError, match="no file"):
            output.fileno()
    assert sys.stdout is None


INSPECT = [sys.executable, "-m", "keysync.cli", "inspect"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_process_with_any_encoding(encoding: str, tmp_path: Path) -> None:
    missing = tmp_path / os.fsdecode(b"\xe6\x97\xa5 caf\xe9.pt")
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([*INSPECT, missing], capture_output=True, env=environment, timeout=120)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") == 1


LOST = "keysync: the standard output cannot be written to: what is printed there is lost\n"


def test_a_process_whose_product_is_lost(tiny_files: dict[str, Path]) -> None:
    with full_disk() as full:
        done = subprocess.run([*INSPECT, tiny_files["keyframe"]], stdout=full, stderr=subprocess.PIPE, timeout=120)
    assert (done.returncode, done.stderr.decode()) == (1, LOST)


@pytest.mark.skipif(os.name == "nt", reason="a shell's >&-")
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_process_that_has_no_output(options: tuple[str, ...], tiny_files: dict[str, Path]) -> None:
    line = ["sh", "-c", '"$@" >&-', "sh", *INSPECT, str(tiny_files["keyframe"]), *options]
    done = subprocess.run(line, stderr=subprocess.PIPE, timeout=120)
    assert (done.returncode, done.stderr.decode()) == (1, LOST)


@pytest.mark.skipif(os.name == "nt", reason="a shell's >&-")
def test_a_conversion_that_has_no_output_succeeds(tiny_files: dict[str, Path], tmp_path: Path) -> None:
    """Its result is a file."""
    line = [sys.executable, "-m", "keysync", "convert", str(tiny_files["keyframe"]), str(tmp_path / "out.safetensors")]
    line += ["--head-dim", "16", "--latent-size", "8x8"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *line], stderr=subprocess.PIPE, timeout=120)
    assert (done.returncode, done.stderr.decode()) == (0, LOST)
    assert (tmp_path / "out.safetensors").is_file()


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def moments() -> list[Moment]:
    """Two phases: the first of 30 % of a job."""
    phases = [FOLLOWING] * 30 + [DRAWING] * 70
    return [Moment(phase, phase, n, 100, n / 100, (100 - n) * 0.9) for n, phase in enumerate(phases)] + [
        Moment(DRAWING, DRAWING, 100, 100, 1.0, 0.0)
    ]


def test_progress_is_one_line_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, now = Terminal(), 0.0
    monkeypatch.setattr(sys, "stderr", stream)
    line = ProgressLine(clock=lambda: now)
    for moment in moments():
        now += 0.03
        line.show(moment)
    line.say("a line of its own")
    line.say("and another")
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().count("\n") == 1
    states = [state.rstrip() for state in stream.getvalue().split("\r")[1:]]
    assert states[0] == "following the face: 0 %, 1:30 left"
    assert states[-1] == "drawing: 100 %"
    assert 20 < len(states) < 40  # ten a second
    # What the longer line before left is painted over.
    painted = stream.getvalue().split("\r")
    first = next(number for number, state in enumerate(painted) if state.startswith("drawing"))
    assert len(painted[first].rstrip()) < len(painted[first]) == len(painted[first - 1])
    assert capsys.readouterr().out == "keysync: a line of its own\nkeysync: and another\n"


def test_progress_in_a_file_is_a_line_for_each_tenth_and_each_phase(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    line = ProgressLine(clock=lambda: 0.0)
    for moment in moments():
        line.show(moment)
    line.close()
    assert stream.getvalue().splitlines() == [
        *(f"following the face: {n} %, {clock_time((100 - n) * 0.9)} left" for n in (0, 10, 20)),
        *(f"drawing: {n} %, {clock_time((100 - n) * 0.9)} left" for n in range(30, 100, 10)),
        "drawing: 100 %",
    ]
    assert capsys.readouterr().out == ""


def test_a_time_left_that_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    ProgressLine().show(Moment(FOLLOWING, FOLLOWING, 3, None, 0.0, None))
    assert stream.getvalue() == "following the face: 0 %\n"
