"""`keysync animate`: pictures of all kinds, emotions, the report, and one line for what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keysync.animate import open_picture, squashed, whole_picture
from keysync.cli import main
from keysync.errors import KeySyncError
from keysync.face.crop import crop_boxes
from keysync.media.reader import VideoReader
from keysync.plot import ABOVE, BELOW, COLOURS, SOUND

from .clips import read_frames, write_speech
from .portrait import PORTRAIT
from .tiny_keyface import write_tiny_keyface

SECONDS = 0.6


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_tiny_keyface(tmp_path_factory.mktemp("keyface"))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_speech(tmp_path / "speech.wav", SECONDS)


def words(files: dict[str, Path], picture: Path, speech: Path, output: Path, *options: object) -> list[str]:
    given = [f"--{name}-model" if name in ("keyframe", "interpolation", "weak") else f"--{name}" for name in files]
    models = [word for pair in zip(given, files.values(), strict=True) for word in pair]
    return [*map(str, ["animate", picture, speech, "-o", output, *models, "--steps", 10, *options])]


def test_a_portrait_talks(files: dict[str, Path], speech: Path, tmp_path: Path) -> None:
    output, report = tmp_path / "out.mp4", tmp_path / "out.json"
    assert main(words(files, PORTRAIT, speech, output, "--emotion", "sad,happy", "--report", report)) == 0
    assert {frame.shape for frame in read_frames(output)} == {(64, 64, 3)}
    assert VideoReader(output).info.has_audio
    told = json.loads(report.read_text())
    assert (told["frames"], told["frame_rate"], told["system"]) == (15, "25", "keyface")
    assert told["curves"]["valence"][0] == pytest.approx(-0.85)
    assert told["curves"]["arousal"][-1] == pytest.approx(0.75)
    assert told["provenance"]["synthetic"] == "picture"
    assert told["network_evaluations"] == 10 * (3 + 2 * 2)
    assert told["estimate"]["memory"]
    with Image.open(tmp_path / "out.emotion.png") as plot:
        colours = np.array(plot)
    assert colours.shape == (320, 960, 3)
    for colour in (SOUND, *COLOURS[:2]):
        assert (colours[ABOVE:-BELOW] == colour).all(-1).sum() > 200


def test_the_plot_beside_the_report_replaces_no_input(
    files: dict[str, Path], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "face.emotion.png"
    with Image.open(PORTRAIT) as portrait:
        portrait.save(picture)
    before = picture.read_bytes()
    assert main(words(files, picture, speech, tmp_path / "out.mp4", "--report", tmp_path / "face.json")) == 1
    assert "face.emotion.png: it is another file of this job; choose another file (--report)" in capsys.readouterr().err
    assert picture.read_bytes() == before


def test_without_the_weaker_copy_it_is_said(
    files: dict[str, Path], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {name: path for name, path in files.items() if name != "weak"}
    assert main(words(some, PORTRAIT, speech, tmp_path / "out.mp4", "--as-original")) == 0
    assert "the interpolation was not guided" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_pictures_of_all_modes(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with Image.open(PORTRAIT) as portrait:
        portrait.convert(mode).save(path)
    (_, frame), *more = open_picture(path).frames()
    assert not more
    assert (frame.ndim, frame.shape[-1]) == (3, 3)
    assert frame.dtype == np.uint8


def test_transparency_is_white_and_turned_pictures_are_upright(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    picture = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(path, exif=exif)
    _, frame = next(open_picture(path).frames())
    assert frame.shape == (4, 2, 3)
    assert (frame == 255).all()


def test_as_the_original_all_of_the_picture_is_squashed(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.fromarray(np.arange(6 * 12 * 3, dtype=np.uint8).reshape(6, 12, 3)).save(path)
    shown = squashed(open_picture(path), (64, 64))
    assert (shown.info.width, shown.info.height) == (64, 64)
    boxes = crop_boxes(whole_picture((64, 64)), 0, 1, 2.4)
    assert boxes.tolist() == [[0, 0, 64]]


def test_no_face(files: dict[str, Path], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (200, 100), "green").save(tmp_path / "green.png")
    output = tmp_path / "out.mp4"
    assert main(words(files, tmp_path / "green.png", speech, output)) == 1
    assert "no face was found" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--emotion", "joyful"], "unknown emotion 'joyful'"),
        (["--emotion-curve", "none.csv"], "(--emotion-curve)"),
        (["--steps", "3"], "3 steps are too few"),
    ],
)
def test_what_goes_wrong_is_one_line(
    options: list[str],
    message: str,
    files: dict[str, Path],
    speech: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(files, PORTRAIT, speech, tmp_path / "out.mp4", *options)) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_file_names_its_option(
    files: dict[str, Path], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, option in (("keyframe", "--keyframe-model"), ("beats", "--beats")):
        some = {other: path for other, path in files.items() if other != name}
        assert main(words(some, PORTRAIT, speech, tmp_path / "out.mp4")) == 1
        assert f"({option})" in capsys.readouterr().err


def test_a_text_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(KeySyncError):
        open_picture(tmp_path / "text.png")
