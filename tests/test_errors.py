"""Errors of the library name the input at fault by a key; the command line appends the option that sets it."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import pytest

from keysync.cli import main, remedies
from keysync.errors import KeySyncError, concerning
from keysync.speech.encoders import ENCODERS
from keysync.systems.keysync.models import load_models
from keysync.systems.keysync.small import SMALL

from .clips import picture, write_speech, write_video
from .conftest import ROOT

LIBRARY = ROOT / "keysync"


def test_an_error_keeps_its_key_between_processes() -> None:
    error = pickle.loads(pickle.dumps(KeySyncError("no VAE", about="vae")))
    assert (str(error), error.about) == ("no VAE", "vae")
    assert KeySyncError("no VAE").about is None


def test_one_error_in_the_library_and_on_the_command_line(
    tiny_files: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keyframe, interpolation = tiny_files["keyframe"], tiny_files["interpolation"]
    with pytest.raises(KeySyncError) as caught:
        load_models(keyframe, interpolation, SMALL["vae"], tiny_files["hubert"])
    message = "the interpolation model needs the wavlm speech encoder, which is missing: load wavlm"
    assert (str(caught.value), caught.value.about) == (message, "wavlm")
    video = write_video(tmp_path / "in.mp4", [picture(0)])
    speech = write_speech(tmp_path / "speech.wav", 0.1)
    line = ["dub", str(video), str(speech), "-o", str(tmp_path / "out.mp4"), "--hubert", str(tiny_files["hubert"])]
    line += ["--keyframe-model", str(keyframe), "--interpolation-model", str(interpolation)]
    assert main(line) == 1
    assert capsys.readouterr().err == f"keysync: error: {message} (--wavlm)\n"


def test_every_key_has_a_remedy_on_the_command_line() -> None:
    keys = set(ENCODERS) | {"keyframe", "interpolation"}  # those that messages take from a variable
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "about" and isinstance(node.value, ast.Constant):
                keys.add(str(node.value.value))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "concerning":
                keys.add(ast.literal_eval(node.args[0]))
    assert {"vae", "report", "stages", "face", "occluder", "sam2"} <= keys
    nodes_alone = {"sam2", "crops", "lips", "mask", "keys", "opening"}
    assert keys - nodes_alone <= remedies().keys()


def test_an_error_keeps_the_input_that_it_names() -> None:
    for about, expected in ((None, "occluder"), ("output", "output")):
        with pytest.raises(KeySyncError, match="wrong") as caught, concerning("occluder"):
            raise KeySyncError("wrong", about=about)
        assert caught.value.about == expected


def test_every_remedy_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = ""
    for command in ("dub", "animate", "live", "measure", "convert", "download"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text += capsys.readouterr().out
    options = set(text.replace(",", " ").split())
    flags = [word.strip(",") for remedy in remedies().values() for word in remedy.split() if word.startswith("--")]
    assert flags
    assert set(flags) <= options
