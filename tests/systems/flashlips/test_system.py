"""FlashLips on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keysync.cli import main


def words(clip: dict[str, Path], output: Path, *more: str) -> list[str]:
    return ["dub", *map(str, (clip["video"], clip["speech"], "-o", output, "--landmarks", clip["landmarks"])), *more]


def test_a_dub_from_the_command_line(clip: dict[str, Path], tiny: Path, tmp_path: Path) -> None:
    """The file names the system."""
    more = ("--flashlips", str(tiny), "--references", "2", "--steps", "3", "--mask-free", "--lossless")
    assert main(words(clip, tmp_path / "out.mkv", *more, "--report", str(tmp_path / "report.json"))) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["system"] == "flashlips"
    said = "drawn without a mask; references of the clip, at most: 2; lips made in steps: 3"
    assert said in report["notes"]


def test_the_built_in_file_says_what_it_is_for(
    clip: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(clip, tmp_path / "out.mp4", "--system", "flashlips")) == 0
    said = capsys.readouterr().out
    assert "FlashLips small is trained on rendered faces only: real faces need a FlashLips of your own training" in said
    assert "published weights" not in said  # there are none of FlashLips


def test_auto_draws_with_a_file_that_is_given(clip: dict[str, Path], tiny: Path, tmp_path: Path) -> None:
    """And says why; its work can be resumed."""
    more = ("--system", "auto", "--flashlips", str(tiny), "--report", str(tmp_path / "report.json"))
    assert main(words(clip, tmp_path / "out.mp4", *more)) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["system"] == "flashlips"
    assert "drawn by flashlips: its file is given; without it, rewrite or keysync is chosen" in report["notes"]
    assert report["work"]["run"] == "from the beginning"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--system", "auto", "--vae", "{tiny}"), "auto uses vae with the file of another system only"),
        (("--system", "auto", "--keyframe-model", "{tiny}"), "the system auto does not use --keyframe-model"),
        (("--flashlips", "{tiny}", "--mask-free", "--masked"), "choose one of masked and mask-free"),
        (("--flashlips", "{tiny}", "--references", "9"), "9 references: expected 1 to 4 (--references)"),
        (("--flashlips", "{tiny}", "--keyframe-model", "{tiny}"), "does not use --"),
        (("--system", "rewrite", "--flashlips", "{tiny}"), "the system rewrite does not use --flashlips"),
        (("--flashlips", "{tiny}", "--vae", "{tiny}", "--whisper", "{tiny}"), "is a FlashLips file"),
    ],
)
def test_what_is_wrong_is_said_with_its_option(
    clip: dict[str, Path],
    tiny: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(words(clip, tmp_path / "out.mp4", *(word.format(tiny=tiny) for word in more))) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
