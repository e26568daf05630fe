"""The command as a person meets it: what it says, its defaults, one clear line for what goes wrong, real clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keysync.face import detectors
from keysync.systems.keysync.small import BUILT_IN, CROP_SCALE, RESOLUTION
from tests.training.data.preparation.small_videos import FACE, NO_FACE, BrightnessDetector, write_talk
from training import prepare
from training.data.index import SPLITS, EncoderInfo
from training.data.preparation.quality import LEAST as LEAST_QUALITY
from training.data.preparation.settings import Settings
from training.data.preparation.speaker import LEAST as LEAST_AGREEMENT
from training.data.shards import Shards


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(detectors.DETECTORS, "mediapipe", BrightnessDetector)


@pytest.mark.usefixtures("detector")
def test_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_talk(tmp_path / "talk.mp4", [(FACE, 20)])
    write_talk(tmp_path / "bright.mp4", [(NO_FACE, 20)])
    data = tmp_path / "data"
    options = [str(tmp_path), "-o", str(data), "--least-quality", "0", "--least-agreement", "-1"]
    assert prepare.main(options) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"prepare: {BUILT_IN}: vae, hubert; ")
    assert "bright.mp4: 0.80 s (20 of 20 frames)" in said
    assert "this run: 1.6 s of video in" in said
    assert f"prepare: {data / 'index.json'} is ready" in said
    shards = Shards(data)
    assert (shards.resolution, shards.info.crop_scale) == ((128, 128), 1.4)
    assert shards.info.encoders == {"hubert": EncoderInfo(128, BUILT_IN)}


@pytest.mark.usefixtures("detector")
def test_all_discarded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_talk(tmp_path / "bright.mp4", [(NO_FACE, 20)])
    assert prepare.main([str(tmp_path), "-o", str(tmp_path / "data")]) == 1
    said = capsys.readouterr()
    assert "discarded: no face" in said.out
    error = said.err.splitlines()[-1]
    assert (
        error == f"prepare: error: all 1 videos were discarded: see {tmp_path / 'data' / 'report.json'} for the reasons"
    )


def test_ctrl_c(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "prepare", stop)
    assert prepare.main([str(tmp_path), "-o", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "prepare: stopped; the same command resumes\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["gone.mp4"], "gone.mp4 does not exist"),
        ([".", "--vae", "gone"], "/gone"),
        ([".", "--resolution", "100"], "crops of 100 pixels"),
        ([".", "--validation", "1"], "expected a number between 0 and 1"),
    ],
)
def test_errors_in_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main([*options, "-o", str(tmp_path / "data")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prepare: error: ")
    assert message in line


@pytest.mark.parametrize("options", [["--workers", "0"], ["--quality", "best"], ["--engine", "spark"], []])
def test_wrong_usage(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        prepare.main([".", *options, *(["-o", "data"] if options else [])])
    assert "usage: python -m training.prepare" in capsys.readouterr().err


def test_defaults(tmp_path: Path) -> None:
    def settings(*options: str) -> Settings:
        return prepare._settings(prepare._parser().parse_args(["in", "-o", "data", *options]))

    model = tmp_path / "model"
    model.write_text("weights")
    small, given = settings(), settings("--vae", str(model))
    assert (small.resolution, small.crop_scale) == (RESOLUTION, CROP_SCALE)
    assert (given.resolution, given.crop_scale) == (512, 2.0)
    assert settings("--vae", str(model), "--resolution", "256").resolution == 256
    assert settings("--crop-scale", "1.7").crop_scale == 1.7
    assert (small.vae.origin, given.vae.origin) == (BUILT_IN, str(model))
    assert {name: file.origin for name, file in small.encoders.items()} == {"hubert": BUILT_IN}
    assert small.encoders == given.encoders
    assert list(settings("--wavlm", str(model)).encoders) == ["hubert", "wavlm"]
    assert settings().least_quality == LEAST_QUALITY["sharpness"]
    assert settings("--quality", "hyperiqa").least_quality == LEAST_QUALITY["hyperiqa"]
    assert settings("--quality", "none", "--speaker", "my.own:scorer").least_agreement == 0
    assert settings().least_agreement == LEAST_AGREEMENT["agreement"]
    assert settings("--least-quality", "0").least_quality == 0


def test_real_clips(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk, mute = "aniportrait_pose_ref_512_25fps.mp4", "derived_hamilton_mic_hand_occlusion_512_2997.mp4"
    assert prepare.main([str(media / talk), str(media / mute), "-o", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["videos"], report["videos_kept"], report["seconds_kept"]) == (2, 1, 5.0)
    assert list(report["discarded"]) == ["no sound"]
    assert list(report["discarded"]["no sound"]["videos"]) == [mute]
    assert f"{mute}: 3.94 s (it has no audio track)" in capsys.readouterr().out
    shards = Shards(tmp_path)
    for split in SPLITS:  # one clip alone is in both
        assert [clip.frames for clip in shards.clips(split)] == [125]
