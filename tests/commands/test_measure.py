"""The commands `measure` and `compare` write what the library measures, and refuse what cannot work at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keysync.cli import main
from keysync.media.reader import VideoReader
from training.evaluation.film import talk_film

from ..clips import write_video
from ..media.test_audio import write_sound

FRAMES, SIDE = 40, 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, a perfect dub of it and the speech that the dub says."""
    made, film = tmp_path_factory.mktemp("clips"), talk_film(0, 1, FRAMES, SIDE)
    write_video(made / "source.mkv", film.source.frames, lossless=True)
    write_video(made / "good.mkv", film.real.frames, lossless=True)
    write_sound(made / "speech.wav", film.said.waveform[None], 16_000, "pcm_s16le")
    return made


def test_measure_writes_figures_and_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--audio", folder / "speech.wav", "--source", folder / "source.mkv"]
    outputs = ["--json", folder / "good.json", "--plot", folder / "good.svg"]
    assert main(["measure", str(folder / "good.mkv"), *map(str, (*given, *outputs))]) == 0
    found = json.loads((folder / "good.json").read_text(encoding="utf-8"))
    assert {"lag_frames", "lipleak", "correlation", "seam", "identity"} <= found.keys()
    assert found["frames"] == FRAMES
    assert (folder / "good.svg").read_text(encoding="utf-8").startswith("<svg ")
    printed = capsys.readouterr().out
    assert f"good.mkv: {found['verdict']}" in printed
    assert "correlation with what the speech asks for" in printed


def test_compare_prints_a_table_and_shows_all_side_by_side(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = [str(folder / name) for name in ("good.mkv", "source.mkv")]
    output, figures = folder / "both.mp4", folder / "both.json"
    more = ["--audio", str(folder / "speech.wav"), "-o", str(output), "--json", str(figures)]
    assert main(["compare", *videos, *more]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["good", "source"] in [line.split() for line in lines]
    assert json.loads(figures.read_text(encoding="utf-8")).keys() == {"good", "source"}
    info = VideoReader(output).info
    assert (info.width, info.height, info.has_audio) == (2 * SIDE, SIDE, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["measure", "none.mkv"], "cannot open none.mkv (No such file or directory)"),
        (["measure", "good.mkv"], "good.mkv has no sound: name the sound that its mouth should follow (--audio)"),
        (["measure", "good.mkv", "--plot", "a.jpg"], "expected a name that ends in .png or .svg (--plot)"),
        (["measure", "good.mkv", "--json", "none/a.json"], "cannot write none/a.json: the folder none does not exist"),
        (["measure", "good.mkv", "--json", "good.mkv"], "cannot write good.mkv: it is an input; choose another file"),
        (["compare", "good.mkv", "good.mkv", "--audio", "speech.wav"], "a video is named twice"),
        (["compare", "good.mkv", "source.mkv", "-o", "good.mkv"], "good.mkv"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(words) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
