"""The command line as a person meets it: what it says, what it leaves, and one clear line for whatever goes wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import keysync.cli
import keysync.job
from keysync.cli import main
from keysync.face.face import Face
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.systems.keysync.models import Models
from keysync.systems.keysync.small import BUILT_IN, SMALL
from keysync.weights.files import read_tensors

from .clips import CheapStages, picture, read_frames, write_landmarks, write_speech, write_video
from .media.test_audio import tones, write_sound
from .synthetic_face import face, face_points

Fails = Callable[..., str]
CLI = [sys.executable, "-m", "keysync.cli"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A video of 20 frames, its face, and speech; nothing else is in the folder."""
    return {
        "video": write_video(tmp_path / "in.mp4", [picture(n) for n in range(20)]),
        "audio": write_speech(tmp_path / "speech.wav", 0.8),
        "landmarks": write_landmarks(tmp_path / "face.json", [face_points((46, 36), 30)] * 20),
        "output": tmp_path / "out.mp4",
    }


@pytest.fixture
def dub(files: dict[str, Path]) -> Callable[..., int]:
    """Runs `keysync dub` on these files; names take another file's place, the rest goes on the command line."""

    def run(*options: object, **instead: object) -> int:
        return main(arguments(files, *options, **instead))

    return run


def arguments(files: dict[str, Path], *options: object, **instead: object) -> list[str]:
    given = {**files, **instead}
    line = [given["video"], given["audio"], "-o", given["output"], "--landmarks", given["landmarks"], *options]
    if "--system" not in line:
        line += ["--system", "keysync"]
    return ["dub", *map(str, line)]


@pytest.fixture
def fails(files: dict[str, Path], dub: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Fails:
    """The message of a dub that must fail, and leave everything as it was."""

    def run(*options: object, **instead: object) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert dub(*options, **instead) == 1
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return error_line(capsys.readouterr().err)

    return run


@pytest.fixture
def loaded(models: Models, monkeypatch: pytest.MonkeyPatch) -> Models:
    """Spares a test the loading of the models."""
    monkeypatch.setattr("keysync.systems.keysync.models.load_models", lambda *_, **__: models)
    return models


@pytest.fixture
def cheap(loaded: Models, monkeypatch: pytest.MonkeyPatch) -> CheapStages:
    return CheapStages().install(monkeypatch)


def without_times(text: str) -> str:
    """What is printed, whatever the machine's speed and memory."""
    text = re.sub(r"about \d+ (s|min|h)\b", "about TIME", text)
    text = re.sub(r"^  took \d+\.\d s; busy: .*$", "  took TIME", text, flags=re.MULTILINE)
    return re.sub(r"about \d+\.\d GB of memory, up to \d+ MB of disk", "about SIZE of memory, up to SIZE of disk", text)


def error_line(text: str) -> str:
    """The one line that an error takes, below the progress bars that may stand before it."""
    assert "Traceback" not in text
    *others, last = text.rstrip("\n").split("\n")
    assert last.startswith("keysync: error: ")
    assert not any(line.startswith("keysync:") for line in others)
    return last.removeprefix("keysync: error: ")


def check(message: str, pattern: str) -> None:
    assert re.search(pattern, message), message


# A run


def test_a_dub_with_the_network(
    files: dict[str, Path], dub: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert dub("--steps", 10, "--report", tmp_path / "report.json") == 0
    said = capsys.readouterr()
    report = json.loads((tmp_path / "report.json").read_text())
    assert without_times(said.out).splitlines() == [
        f"keysync: {BUILT_IN}: keyframe, interpolation, vae, hubert; trained on rendered faces, real faces need the "
        "published weights",
        "keysync: 60 network evaluations to run, about TIME, about SIZE of memory, "
        "up to SIZE of disk for unfinished work",
        f"keysync: {files['output']}: 20 frames dubbed, 0 passed through unchanged",
        "  took TIME",
    ]
    assert report["network_evaluations"] == 60  # a batch and two windows, twice a step
    shown = [re.fullmatch(r"([a-z ]+): (\d+) %(?:, [\d:]+ left)?", line) for line in said.err.splitlines()]
    assert list(dict.fromkeys(line and line[1] for line in shown)) == [
        "following the face",
        "hearing the speech",
        "drawing",
    ]
    percents = [int(line[2]) for line in shown if line]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    result, source = VideoReader(files["output"]), VideoReader(files["video"])
    assert result.timestamps().tolist() == source.timestamps().tolist()
    assert (result.info.width, result.info.height) == (source.info.width, source.info.height)
    assert read_speech(files["output"])[0].abs().max() > 0.1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "face.json",
        "in.mp4",
        "out.mp4",
        "report.json",
        "speech.wav",
    ]


@pytest.mark.usefixtures("cheap")
def test_what_was_passed_through_is_said_and_so_are_notes(
    dub: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    points = [None, None, *[face_points((46, 36), 30)] * 18]
    write_landmarks(tmp_path / "face.json", points)
    write_speech(tmp_path / "speech.wav", 0.4)
    output = tmp_path / "out.mkv"
    assert dub("--lossless", "--sync-mode", "silence", "--mask", "jaw", "--seed", 2**64 - 1, output=output) == 0
    assert without_times(capsys.readouterr().out).splitlines() == [
        "keysync: 99 network evaluations to run, about TIME, about SIZE of memory, "
        "up to SIZE of disk for unfinished work",
        f"keysync: {output}: 18 frames dubbed, 2 passed through unchanged",
        "  frames 0-1 unchanged: no face found",
        "  the models were trained with the mask box; this job uses the mask jaw",
        "  the video lasts 0.80 s, the speech 0.40 s, the result 0.80 s",
        "  the lossless result is Matroska, which keeps timestamps to the millisecond",
        "  took TIME",
    ]
    source, result = read_frames(tmp_path / "in.mp4"), read_frames(output)
    assert [np.array_equal(*pair) for pair in zip(source, result, strict=True)] == [True] * 2 + [False] * 18


@pytest.mark.usefixtures("cheap")
def test_occluders_are_found_where_it_is_asked_for(
    dub: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert dub("--occluder", "auto") == 0
    said = capsys.readouterr()
    assert "\n  occluders: " in said.out
    assert "looking for occluders: " in said.err
    assert dub() == 0
    assert "\n  occluders: " not in capsys.readouterr().out
    (tmp_path / "auto").write_bytes(b"no video")
    assert dub("--occluder", tmp_path / "auto") == 1
    assert "(--occluder)" in capsys.readouterr().err


@pytest.mark.usefixtures("cheap")
def test_crops_are_turned_where_it_is_asked_for(
    files: dict[str, Path], dub: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dub("--align") == 0
    assert "\n  align: the crops are turned with the head, by " in capsys.readouterr().out
    assert dub() == 0
    assert "\n  align: " not in capsys.readouterr().out


def test_an_older_result_is_replaced(files: dict[str, Path], dub: Callable[..., int]) -> None:
    files["output"].write_text("older")
    assert dub() == 0
    assert len(read_frames(files["output"])) == 20


@pytest.mark.usefixtures("cheap")
def test_the_sound_of_a_video_is_speech_too(files: dict[str, Path], dub: Callable[..., int], tmp_path: Path) -> None:
    assert dub() == 0
    assert dub(audio=files["output"], output=tmp_path / "again.mp4") == 0


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(command in said for command in ("dub", "demo", "download", "inspect", "convert"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["dub", "a.mp4", "b.wav"], "the following arguments are required: -o"),
        (["dub", "a.mp4", "b.wav", "-o", "c.mp4", "--mask", "beard"], "invalid choice: 'beard'"),
        (["dub", "a.mp4", "b.wav", "-o", "c.mp4", "--steps", "ten"], "invalid int value: 'ten'"),
        (["convert", "a.pt", "b.safetensors", "--latent-size", "64"], "'64' is not HEIGHTxWIDTH, such as 64x64"),
        (["convert", "a.pt", "b.safetensors", "--latent-size", "0x8"], "'0x8' is not HEIGHTxWIDTH, such as 64x64"),
    ],
)
def test_a_line_that_makes_no_sense(line: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(line)
    assert message in capsys.readouterr().err


# Media that is none


def renamed_text(path: Path) -> None:
    path.write_text("This is a text, and nothing else.\n" * 20)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def cut_off(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("which", "spoil", "message"),
    [
        ("video", missing, r"cannot open .*in\.mp4 \(No such file or directory\): check the path"),
        ("audio", missing, r"cannot open .*speech\.wav \(No such file or directory\): check the path"),
        ("video", renamed_text, r"in\.mp4 (cannot be read as video or sound|is text)"),
        ("audio", renamed_text, r"speech\.wav (cannot be read as video or sound|is text)"),
        ("video", empty, r"in\.mp4 is empty \(0 bytes\): copy or export it again"),
        ("audio", empty, r"speech\.wav is empty \(0 bytes\): copy or export it again"),
        ("video", cut_off, r"in\.mp4 is cut off: it has \d+ of \d+ bytes"),
        ("landmarks", missing, r"cannot read the landmarks .*face\.json: No such file or directory"),
        ("landmarks", renamed_text, r"the landmarks .*face\.json are not JSON"),
    ],
)
def test_files_that_are_not_what_they_should_be(
    which: str, spoil: Callable[[Path], None], message: str, files: dict[str, Path], fails: Fails
) -> None:
    spoil(files[which])
    check(fails(), message)


@pytest.mark.usefixtures("loaded")
def test_media_in_each_other_s_place(files: dict[str, Path], fails: Fails, tmp_path: Path) -> None:
    check(fails(video=files["audio"]), r"speech\.wav has no video track \(it contains audio .*\): expected a video")
    check(
        fails(audio=files["video"]), r"in\.mp4 has no audio track \(it contains video .*\): expected a file with speech"
    )
    check(fails(video=tmp_path), r" is a folder: expected a video or sound file")


@pytest.mark.usefixtures("loaded")
def test_a_face_that_is_not_there(
    files: dict[str, Path], fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_landmarks(files["landmarks"], [None] * 20)
    check(fails(), r"no face was found in the 20 frames of .*in\.mp4: nothing to dub; try another detector")
    write_landmarks(files["landmarks"], [face_points()] * 20, size=(80, 96))
    check(fails(), "are for 80x96 pixels but the video has 96x80: use the landmarks of this video")
    write_landmarks(files["landmarks"], [face_points()] * 19)
    check(fails(), "cover 19 frames but the video has 20: add null for frames without a face")


class OneFace:
    def detect(self, *_: object) -> list[Face]:
        return [face((46, 36), 30)]

    def close(self) -> None:
        pass


@pytest.mark.usefixtures("loaded")
def test_a_face_that_nobody_has(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keysync.job, "make_detector", lambda *_, **__: OneFace())
    line = ["dub", str(files["video"]), str(files["audio"]), "-o", str(files["output"]), "--face"]
    for number, message in (
        ("1", r"face 1 was chosen but no shot shows more than 1: choose 0 \(--face\)$"),
        ("-1", r"face -1 does not exist: .* \(--face\)$"),
    ):
        assert main([*line, number]) == 1
        check(error_line(capsys.readouterr().err), message)
    assert not files["output"].exists()


@pytest.mark.usefixtures("loaded")
def test_the_detector_runs_on_the_device(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def make(*_: object, **how: object) -> OneFace:
        made.append(how)
        return OneFace()

    monkeypatch.setattr(keysync.job, "make_detector", make)
    line = ["dub", str(files["video"]), str(files["audio"]), "-o", str(files["output"]), "--face", "9"]
    for device in ("cpu", "cpu:0"):
        assert main([*line, "--device", device]) == 1  # no shot shows ten faces
    assert made == [{"device": "cpu"}, {"device": "cpu:0"}]


@pytest.mark.usefixtures("loaded")
def test_the_detector_finds_none(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dub", str(files["video"]), str(files["audio"]), "-o", str(files["output"])]) == 1
    check(error_line(capsys.readouterr().err), "no face was found in the 20 frames of")
    assert not files["output"].exists()


# Options that cannot be


def refuse(*_: Any, **__: Any) -> Models:
    raise AssertionError("the models are loaded before the options are known to be sound")


def test_options_that_cannot_be_are_refused_before_any_work(
    files: dict[str, Path], fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keysync.systems.keysync.models.load_models", refuse)
    output, nowhere = files["output"], tmp_path / "nowhere"
    avi = output.with_suffix(".avi")
    check(
        fails(output=avi),
        r"out\.avi has an unsupported file extension for a result: expected \.mp4, \.mov, \.mkv \(--output\)$",
    )
    check(fails("--lossless"), r"out\.mp4 has an unsupported file extension for a lossless result: expected \.mkv")
    check(fails(output=nowhere / "out.mp4"), "cannot be written: the folder .*nowhere does not exist; create it first")
    check(fails(output=files["video"]), r"in\.mp4 is also an input: choose another name for the result \(--output\)$")
    check(fails("--steps", 5), r"5 steps are too few: expected at least 10; the published number is 11 \(--steps\)$")
    check(fails("--device", "nonsense"), r"the device 'nonsense' is not available \(.*\): try --device cpu")
    check(fails("--device", "meta"), r"the device 'meta' is not available \(.*\): try --device cpu")
    if not torch.cuda.is_available():
        check(fails("--device", "cuda"), r"the device 'cuda' is not available \(.*\): try --device cpu")
    check(fails("--face", -1), "face -1 does not exist")
    check(
        fails("--occluder", nowhere),
        r"cannot open .*nowhere \(No such file or directory\): check the path \(--occluder\)$",
    )
    check(fails(video=nowhere), r"cannot open .*nowhere \(No such file or directory\): check the path$")


def test_a_report_that_cannot_be_written_is_refused_before_any_work(
    files: dict[str, Path], fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("keysync.systems.keysync.models.load_models", refuse)
    check(
        fails("--report", tmp_path / "no" / "report.json"), r"cannot write the report .*: the folder .*no does not ex"
    )
    check(fails("--report", tmp_path), r"cannot write the report .*: it is a folder; choose another file \(--report\)$")
    for name in ("video", "audio", "landmarks", "output"):
        check(fails("--report", files[name]), r"it is another file of this job; choose another file \(--report\)$")
    check(fails("--report", tmp_path / "." / "in.mp4"), "it is another file of this job")
    if os.getuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        check(fails("--report", locked / "report.json"), r"locked is read-only; choose another file \(--report\)$")


# Checkpoints that are none


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def test_checkpoints_of_another_kind(
    tiny_files: dict[str, Path], fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    models = [part for name, path in tiny_files.items() if name != "keyframe" for part in (_option(name), path)]
    keyframe = [*models, "--keyframe-model"]
    check(
        fails(*keyframe, tiny_files["interpolation"]),
        r"is a KeySync interpolation stage \(.*\): expected a KeySync keyframe stage \(--keyframe-model\)$",
    )
    check(fails(*keyframe, tmp_path / "no.pt"), r"no\.pt: no such file: expected model weights")
    check(fails(*keyframe, tmp_path / "speech.wav"), r"speech\.wav has an unsupported file extension: expected one of ")

    tensors, _ = read_tensors(tiny_files["keyframe"])
    plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("conditioner.")}
    plain["model.diffusion_model.label_emb.0.0.weight"] = torch.zeros(256, 768)
    save_file(plain, tmp_path / "svd.safetensors")
    check(
        fails(*keyframe, tmp_path / "svd.safetensors"),
        r"svd\.safetensors is a plain Stable Video Diffusion model \(label_emb has 768 input channels and there is no "
        r"conditioner\.embedders\.2\.linear\): expected a KeySync keyframe stage",
    )

    content = tiny_files["keyframe"].read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: len(content) // 2])
    check(fails(*keyframe, tmp_path / "cut.safetensors"), r"cut\.safetensors is truncated or not a safetensors file")

    torch.save({"module": tensors, "extra": Evil()}, tmp_path / "evil.pt")
    check(
        fails(*keyframe, tmp_path / "evil.pt"),
        r"evil\.pt is refused: its pickle imports \w+\.mkdir, and code from a weight file is never run",
    )
    assert not (tmp_path / "ran").exists()

    save_file(tensors, tmp_path / "bare.safetensors", {"keysync.head_dim": "48"})
    check(
        fails(*keyframe, tmp_path / "bare.safetensors"),
        r"head dim 48 does not divide the width 64: .* \(keysync convert --head-dim\)$",
    )
    lacking = {name: tensor for name, tensor in tensors.items() if not name.endswith("out.2.bias")}
    save_file(lacking, tmp_path / "lacking.safetensors")
    check(
        fails(*keyframe, tmp_path / "lacking.safetensors"), r"not a complete keyframe stage: .*out\.2\.bias is missing"
    )


def test_models_that_do_not_fit_together(tiny_files: dict[str, Path], fails: Fails, tmp_path: Path) -> None:
    wide = tmp_path / "wide.safetensors"
    assert main(["convert", str(SMALL["keyframe"]), str(wide), "--latent-size", "16x32"]) == 0
    check(
        fails("--keyframe-model", wide),
        "the keyframe model works on 256x128 pixels, 1.4 times the face, in windows of 14 but the interpolation model "
        r"works on 128x128 .*: use two models .* \(--keyframe-model, --interpolation-model\)$",
    )
    check(fails("--vae", SMALL["keyframe"]), r"contains no VAE: expected a Stable Video Diffusion VAE \(--vae\)$")
    check(fails("--hubert", SMALL["vae"]), "vae")
    stages = [part for name in ("keyframe", "interpolation") for part in (_option(name), tiny_files[name])]
    check(fails(*stages), r"expects 32 speech channels but the built-in hubert provides 128: use .* \(--hubert\)$")
    stages += ["--hubert", tiny_files["hubert"]]
    check(fails(*stages), r"needs the wavlm speech encoder, which is missing: load wavlm \(--wavlm\)$")
    stages += ["--wavlm", tiny_files["wavlm"]]
    check(fails(*stages), r"64x64 pixels.* but the built-in VAE was trained with models of 128x128.*\(--vae\)")


def _option(name: str) -> str:
    return f"--{name}-model" if name in ("keyframe", "interpolation") else f"--{name}"


# inspect and convert


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("keyframe", "keyframe", "a KeySync keyframe stage (8 input channels)"),
        ("interpolation", "interpolation", "a KeySync interpolation stage"),
        ("vae/diffusion_pytorch_model", "vae", "a VAE (encoder and decoder in diffusers layout, temporal decoder)"),
        ("hubert/model", "hubert", "a HuBERT speech encoder"),
        ("wavlm/model", "wavlm", "a WavLM speech encoder"),
    ],
)
def test_inspect(
    name: str, kind: str, words: str, tiny_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_files["keyframe"].parent / f"{name}.safetensors"
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{path}: {words}")
    assert ("untrained weights" in text) == (kind in ("keyframe", "interpolation"))
    assert main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["path"]) == (kind, str(path))
    assert told["tensors"] == len(read_tensors(path)[0])


def test_inspect_and_convert_say_what_is_wrong(
    tiny_files: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    vae = str(tiny_files["vae"] / "diffusion_pytorch_model.safetensors")
    target = tmp_path / "out.safetensors"
    for line, message in (
        (["inspect", str(tmp_path / "no.pt")], "no such file"),
        (["convert", str(tmp_path / "no.pt"), str(target)], "no such file"),
        (["convert", vae, str(target)], "is a VAE .*: expected a KeySync keyframe or interpolation stage"),
        (["convert", str(tiny_files["keyframe"]), str(target), "--head-dim", "48"], "head dim 48 does not divide"),
        (["convert", str(tiny_files["keyframe"]), str(tmp_path / "out.pt")], r"weights are written as \.safetensors"),
        (["convert", str(tiny_files["keyframe"]), str(tiny_files["keyframe"])], "is both source and target"),
    ):
        assert main(line) == 1
        check(error_line(capsys.readouterr().err), message)
    assert list(tmp_path.iterdir()) == []


def test_convert_then_dub(
    tiny_files: dict[str, Path],
    dub: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A published-style pickle without metadata: an error that names the way out, and the way out."""
    CheapStages().install(monkeypatch)
    tensors, _ = read_tensors(tiny_files["keyframe"])
    published, converted = tmp_path / "published.pt", tmp_path / "keyframe.safetensors"
    torch.save({"module": {f"_forward_module.{name}": tensor for name, tensor in tensors.items()}}, published)
    line = [part for name, path in tiny_files.items() if name != "keyframe" for part in (_option(name), path)]
    assert dub(*line, "--keyframe-model", published) == 1
    check(capsys.readouterr().err, "the keyframe model works on 512x512 pixels")
    options = ["--head-dim", "32", "--latent-size", "8x8", "--dtype", "bf16"]
    assert main(["convert", str(published), str(converted), *options]) == 0
    assert capsys.readouterr().out == f"keysync: wrote {converted}\n"
    assert {tensor.dtype for tensor in read_tensors(converted)[0].values()} == {torch.bfloat16}
    assert dub(*line, "--keyframe-model", converted) == 0
    said = capsys.readouterr().out
    assert BUILT_IN not in said
    assert "20 frames dubbed" in said


# Names and terminals


@pytest.mark.usefixtures("cheap")
def test_names_that_are_no_text(
    files: dict[str, Path], dub: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def odd(suffix: str) -> Path:
        return tmp_path / os.fsdecode(b"caf\xe9 \xff" + suffix.encode())

    video, audio, output, report = files["video"].rename(odd(".mp4")), odd(".wav"), odd(".mov"), odd(".json")
    files["audio"].rename(audio)
    assert dub("--report", report, video=video, audio=audio, output=output) == 0
    assert "caf? ?.mov: 20 frames dubbed" in capsys.readouterr().out
    assert json.loads(report.read_bytes())["speech"] == str(audio)
    assert len(read_frames(output)) == 20
    output.unlink()
    assert dub(video=audio, audio=audio, output=output) == 1
    assert "has no video track" in capsys.readouterr().err


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class ClosedPipe(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def ascii_stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii")


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize("stream", [FullDisk, ClosedPipe, ascii_stream, lambda: None])
@pytest.mark.parametrize("names", [["stdout"], ["stderr"], ["stdout", "stderr"]], ids="+".join)
def test_printing_never_costs_a_dub(
    names: list[str],
    stream: Callable[[], Any],
    files: dict[str, Path],
    dub: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in names:
        monkeypatch.setattr(sys, name, stream())
    output = tmp_path / "日本.mp4"
    assert dub("--report", tmp_path / "report.json", output=output) == 0
    assert len(read_frames(output)) == 20
    assert json.loads((tmp_path / "report.json").read_text())["frames"] == 20


@pytest.mark.usefixtures("cheap")
def test_what_was_heard_is_said(
    files: dict[str, Path], dub: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    samples = tones(0.8, 16_000)
    both = write_sound(tmp_path / "antiphase.wav", np.concatenate((samples, -samples)), 16_000, "pcm_s16le")
    assert dub("--report", tmp_path / "report.json", audio=both) == 0
    (note,) = json.loads((tmp_path / "report.json").read_text())["notes"]
    assert note.endswith("the network hears the FL channel alone")
    assert note in capsys.readouterr().out
    assert dub(audio=write_sound(tmp_path / "silent.wav", 0 * samples, 16_000, "pcm_s16le")) == 0
    assert "is silent: the lips have no speech to follow" in capsys.readouterr().out


# As a process


def test_an_error_as_a_process(files: dict[str, Path]) -> None:
    files["video"].write_text("This is a text.\n" * 30)
    done = subprocess.run([*CLI, *arguments(files)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    check(error_line(done.stderr), r"in\.mp4 (cannot be read as video or sound|is text)")
    assert not files["output"].exists()


def test_ctrl_c_in_the_network_leaves_the_older_file(files: dict[str, Path], tmp_path: Path) -> None:
    """The first frames show no face, so a part of the result is written when the network begins."""
    write_landmarks(files["landmarks"], [None, None, *[face_points((46, 36), 30)] * 18])
    files["output"] = tmp_path / "out.mkv"
    files["output"].write_text("older")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [*CLI, *arguments(files, "--lossless", "--steps", 1000, "--report", tmp_path / "report.json")]
    with subprocess.Popen(
        line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # A test run in the background ignores Ctrl-C, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        guard = threading.Timer(120, process.kill)
        guard.start()
        assert process.stdout is not None
        assert process.stderr is not None
        said = [process.stdout.readline(), process.stdout.readline()]
        assert without_times(said[1]) == (
            "keysync: 6000 network evaluations to run, about TIME, about SIZE of memory, "
            "up to SIZE of disk for unfinished work\n"
        )
        while not (state := process.stderr.readline()).startswith("drawing: "):
            assert state
        while not any(path.name.startswith(".keysync-") for path in tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate()
        guard.cancel()
    assert process.returncode == 130
    assert rest.rstrip("\n").split("\n")[-1] == "keysync: stopped; no incomplete file is left"
    assert "Traceback" not in rest
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
