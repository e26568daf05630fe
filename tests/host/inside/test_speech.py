"""Load Speech Encoder, Encode Speech and Fit Audio: the library's features and timelines, on ComfyUI's sockets."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.speech")


@pytest.fixture(scope="module")
def fit_audio(extension: ModuleType) -> Any:
    return part("nodes.audio").FitAudio


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """The mode that ComfyUI's executor runs nodes in."""
    with torch.inference_mode():
        yield


@pytest.fixture
def folder(extension: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models/audio_encoders."""
    kind = "audio_encoders"
    extensions = folder_paths.folder_names_and_paths[kind][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, kind, ([str(tmp_path)], extensions))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def sound(seconds: float, rate: int = 16_000, channels: int = 1) -> dict[str, Any]:
    samples = torch.rand(1, channels, round(seconds * rate), generator=torch.Generator().manual_seed(0)) - 0.5
    return {"waveform": samples, "sample_rate": rate}


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_a_folder_or_a_file_of_either_kind(node: Any, folder: Path, tiny: Path, name: str) -> None:
    shutil.copytree(tiny / name, folder / name)
    shutil.copy(tiny / name / "model.safetensors", folder / "alone.safetensors")
    (schema_input,) = node.LoadSpeechEncoder.define_schema().inputs
    assert schema_input.options == ["keysync-small-hubert", name, "alone.safetensors"]
    (encoder,) = node.LoadSpeechEncoder.execute(name).args
    assert encoder.name == name
    audio = sound(0.5, rate=44_100, channels=2)
    (speech,) = node.EncodeSpeech.execute(encoder, audio, 25.0).args
    library = part("keysync.speech.encoders").load_encoder(name, tiny / name)
    waveform = part("keysync.media.resample").resample(audio["waveform"][0].mean(0)[None], 44_100, 16_000)[0]
    assert torch.equal(speech.features.rows, library.encode(waveform).rows)
    assert (speech.features.encoder, speech.fps) == (name, 25.0)
    assert speech.for_frames(12).shape == (12, 2, encoder.channels)


def test_the_built_in_encoder_comes_first(node: Any, folder: Path) -> None:
    (schema_input,) = node.LoadSpeechEncoder.define_schema().inputs
    assert schema_input.options == ["keysync-small-hubert"]
    (encoder,) = node.LoadSpeechEncoder.execute("keysync-small-hubert").args
    assert (encoder.name, encoder.channels) == ("hubert", 128)
    assert node.LoadSpeechEncoder.fingerprint_inputs("keysync-small-hubert")


def golden_encoder(golden_folder: Path, name: str, folder: Path) -> Path:
    """HuBERT as transformers keeps it, in a folder; WavLM as Microsoft does, in one file."""
    weights, facts = (golden_folder / f"{name}_tiny{suffix}" for suffix in (".safetensors", ".json"))
    config = json.loads(facts.read_text()).get("config")
    if config is None:
        return weights
    shutil.copy(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_golden_features(node: Any, golden_folder: Path, tmp_path: Path, name: str) -> None:
    tensors = load_file(golden_folder / "audio.safetensors")
    encoder = part("nodes.host.encoder").load(golden_encoder(golden_folder, name, tmp_path))
    compared = 0
    for case in json.loads((golden_folder / "audio.json").read_text())["cases"]:
        pcm, expected = (tensors.get(f"{case['i']}.{what}") for what in ("pcm_int16", name))
        # The reference splits speech of more than 20 s, and then is not right.
        if pcm is None or expected is None or pcm.shape[-1] > 20 * case["sample_rate"]:
            continue
        audio = {"waveform": pcm.float()[None] / 32768, "sample_rate": case["sample_rate"]}
        (speech,) = node.EncodeSpeech.execute(encoder, audio, 25.0).args
        frames = speech.for_frames(len(speech.features.frames))[: len(expected)]
        assert (frames - expected).abs().max() / expected.abs().max() < 1e-4
        compared += 1
    assert compared


def test_comfyui_moves_the_encoder(node: Any, tiny: Path) -> None:
    encoder = part("nodes.host.encoder").load(tiny / "wavlm")
    waveform = sound(0.4)["waveform"][0, 0]
    before = encoder.encode(waveform).rows
    assert any(loaded.model is encoder.patcher for loaded in comfy.model_management.current_loaded_models)
    assert encoder.patcher.model_size() > 0
    comfy.model_management.unload_all_models()
    assert not comfy.model_management.current_loaded_models
    assert torch.equal(encoder.encode(waveform).rows, before)


def test_a_whisper_of_comfyui(node: Any, folder: Path) -> None:
    """ComfyUI's own audio encoder files of this family: the encoder alone, with transformers' names."""
    ours = load_file(part("keysync.speech.whisper").WEIGHTS)
    save_file({f"model.{name}": tensor for name, tensor in ours.items()}, folder / "whisper.safetensors")
    (encoder,) = node.LoadSpeechEncoder.execute("whisper.safetensors").args
    assert (encoder.name, encoder.channels) == ("whisper", 384)
    audio = sound(1.0)
    (speech,) = node.EncodeSpeech.execute(encoder, audio, 25.0).args
    library = part("keysync.speech.encoders").load_encoder("whisper", part("keysync.speech.whisper").WEIGHTS)
    assert torch.equal(speech.features.rows, library.encode(audio["waveform"][0, 0]).rows)


def test_what_is_no_speech_encoder(node: Any, tiny: Path, tmp_path: Path, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=r"is a KeySync keyframe stage .*: expected a HuBERT speech encoder or a WavLM .* or a Whisper"
    ):
        part("nodes.host.encoder").load(tiny / "keyframe.safetensors")
    weights = load_file(tiny / "hubert" / "model.safetensors")
    weights.pop(next(name for name in weights if "final_layer_norm" in name))
    shutil.copy(tiny / "hubert" / "config.json", tmp_path)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(error, match="final_layer_norm"):
        part("nodes.host.encoder").load(tmp_path)


def test_frame_rates_that_the_method_does_not_work_at(node: Any, tiny: Path, error: type[Exception]) -> None:
    encoder = part("nodes.host.encoder").load(tiny / "hubert")
    for fps in (12.0, 60.0):
        with pytest.raises(error, match=f"the frame rate is {fps:g} fps but the method works at 20 to 33: convert"):
            node.EncodeSpeech.execute(encoder, sound(0.4), fps)
    for fps in (20.0, 23.976, 29.97, 33.0):
        node.check_rate(fps)


def test_audio_that_is_not_one_sound(node: Any, tiny: Path, error: type[Exception]) -> None:
    encoder = part("nodes.host.encoder").load(tiny / "hubert")
    two = {"waveform": torch.zeros(2, 1, 16_000), "sample_rate": 16_000}
    with pytest.raises(
        error, match=r"the audio has shape \[2, 1, 16000\], not \[1, channels, samples\]: use one sound"
    ):
        node.EncodeSpeech.execute(encoder, two, 25.0)
    with pytest.raises(error, match="no audio: connect the new speech"):
        node.EncodeSpeech.execute(encoder, None, 25.0)


def test_audio_that_is_not_sound(node: Any, fit_audio: Any, tiny: Path, error: type[Exception]) -> None:
    encoder = part("nodes.host.encoder").load(tiny / "hubert")
    spoken = sound(0.5)["waveform"]
    broken = spoken.clone()
    broken[0, 0, 100] = torch.nan
    for waveform, rate, message in (
        (broken, 16_000, "the audio contains samples that are not finite numbers"),
        (spoken * 32_768, 16_000, r"the audio has samples up to [\d.e+]+, expected -1 to 1"),
        (spoken, 0, "the audio has 0 samples a second, expected 1000 to 768000"),
        (spoken, 1_000_000, "the audio has 1000000 samples a second, expected 1000 to 768000"),
        (spoken, float("nan"), "the sample rate of the audio is nan, not a number"),
    ):
        audio = {"waveform": waveform, "sample_rate": rate}
        with pytest.raises(error, match=message):
            node.EncodeSpeech.execute(encoder, audio, 25.0)
        with pytest.raises(error, match=message):
            fit_audio.execute(torch.zeros(4, 2, 2, 3), audio, 25.0, "cut_off")


def test_speech_is_heard_in_each_layout(node: Any, tiny: Path) -> None:
    encoder = part("nodes.host.encoder").load(tiny / "hubert")
    spoken = sound(0.5)["waveform"]

    def rows(*channels: Tensor) -> Tensor:
        audio = {"waveform": torch.cat(channels, 1), "sample_rate": 16_000}
        (speech,) = node.EncodeSpeech.execute(encoder, audio, 25.0).args
        heard: Tensor = speech.features.rows
        return heard

    plain, nothing = rows(spoken), torch.zeros_like(spoken)
    assert torch.equal(rows(spoken, -spoken), plain)
    assert torch.equal(rows(nothing, nothing, spoken, *[nothing] * 3), plain)
    assert torch.equal(rows(nothing, nothing, spoken, *[nothing] * 5), plain)


def fitted(fit_audio: Any, frames: int, seconds: float, mode: str, fps: float = 25.0) -> tuple[list[int], Tensor]:
    images = torch.arange(frames).float()[:, None, None, None].expand(-1, 2, 2, 3)
    images, audio, rate, *_ = fit_audio.execute(images, sound(seconds, rate=1000), fps, mode).args
    assert rate == fps
    assert audio["sample_rate"] == 1000
    return images[:, 0, 0, 0].int().tolist(), audio["waveform"]


def test_every_sync_mode(fit_audio: Any) -> None:
    """4 frames of 40 ms; speech of 6 frames and of 2."""
    longer, shorter = sound(0.24, rate=1000)["waveform"], sound(0.08, rate=1000)["waveform"]
    silent = torch.nn.functional.pad(shorter, (0, 80))
    expected = {
        "bounce": ([0, 1, 2, 3, 2, 1], longer, [0, 1], shorter),
        "loop": ([0, 1, 2, 3, 0, 1], longer, [0, 1], shorter),
        "remap": (None, longer, None, shorter),
        "cut_off": ([0, 1, 2, 3], longer[..., :160], [0, 1], shorter),
        "silence": ([0, 1, 2, 3], longer[..., :160], [0, 1, 2, 3], silent),
    }
    assert expected.keys() == part("keysync.timeline").SYNC_MODES.keys()
    for mode, (frames_longer, audio_longer, frames_shorter, audio_shorter) in expected.items():
        for seconds, frames, audio in ((0.24, frames_longer, audio_longer), (0.08, frames_shorter, audio_shorter)):
            shown, waveform = fitted(fit_audio, 4, seconds, mode)
            assert torch.equal(waveform, audio)
            if frames is None:  # remap: as many frames as the speech has, the first and the last among them
                assert len(shown) == round(seconds * 25)
                assert shown == sorted(shown)
            else:
                assert shown == frames


def test_a_fractional_rate_and_no_copy(fit_audio: Any) -> None:
    shown, waveform = fitted(fit_audio, 30, 1.001, "cut_off", fps=30_000 / 1001)
    assert (shown, waveform.shape[-1]) == (list(range(30)), 1001)
    images = torch.zeros(50, 4, 4, 3)
    fitted_images, *_ = fit_audio.execute(images, sound(1), 25.0, "cut_off").args
    assert fitted_images.shape[0] == 25
    assert fitted_images.data_ptr() == images.data_ptr()


def test_fit_audio_refuses_nothing_to_fit(fit_audio: Any, error: type[Exception]) -> None:
    empty = {"waveform": torch.zeros(1, 1, 0), "sample_rate": 16_000}
    with pytest.raises(error, match="the speech holds no samples"):
        fit_audio.execute(torch.zeros(4, 2, 2, 3), empty, 25.0, "cut_off")
    with pytest.raises(error, match="the video holds no frames"):
        fit_audio.execute(torch.zeros(0, 2, 2, 3), sound(1), 25.0, "cut_off")


def face_track(frames: int) -> Any:
    """A track of so many frames of 2x2: a cut after the second, all points and boxes at their frame's number."""
    library = part("keysync.face.track")
    points = [np.full((68, 2), number, np.float32) for number in range(frames)]
    track = library.from_landmarks(points, (2, 2), [0, 0, *[1] * (frames - 2)])
    boxes = np.arange(frames)[:, None].repeat(3, 1)
    return part("nodes.host.sockets").Faces(track, boxes, (8, 8))


def test_what_was_made_of_the_frames_is_fitted_with_them(fit_audio: Any) -> None:
    """4 frames of 40 ms, speech of 6 frames: in each mode all outputs show the same frames."""
    numbers = torch.arange(4).float()
    images, crops = (numbers[:, None, None, None].expand(-1, side, side, 3) for side in (2, 8))
    mask = numbers[:, None, None].expand(-1, 8, 8)
    latent = {
        "samples": numbers[:, None, None, None].expand(-1, 4, 1, 1),
        "noise_mask": mask[:, None],
        "batch_index": [10, 11, 12, 13],
    }
    for mode in part("keysync.timeline").SYNC_MODES:
        shown, _, _, faces, cut, masks, fitted = fit_audio.execute(
            images, sound(0.24, rate=1000), 25.0, mode, face_track(4), crops, mask, latent
        ).args
        expected = shown[:, 0, 0, 0].int().tolist()
        assert cut[:, 0, 0, 0].int().tolist() == expected
        assert masks[:, 0, 0].int().tolist() == expected
        assert fitted["samples"][:, 0, 0, 0].int().tolist() == expected
        assert fitted["noise_mask"][:, 0, 0, 0].int().tolist() == expected
        assert fitted["batch_index"] == [10 + number for number in expected]
        assert faces.boxes[:, 0].tolist() == expected
        assert faces.track.landmarks[:, 0, 0].tolist() == expected
        assert len(faces.track.found) == len(expected)
        if mode == "loop":  # 0 1 2 3 0 1: where it jumps back, a shot begins
            assert faces.track.shot.tolist() == [0, 0, 1, 1, 2, 2]
        if mode == "bounce":  # 0 1 2 3 2 1
            assert faces.track.shot.tolist() == [0, 0, 1, 1, 1, 2]
    *_, one, alone = fit_audio.execute(
        images, sound(0.24), 25.0, "loop", mask=mask[:1], latent={**latent, "noise_mask": mask[:1, None]}
    ).args
    assert len(one) == len(alone["noise_mask"]) == 1


def test_fit_audio_says_which_input_an_output_lacks(fit_audio: Any, error: type[Exception]) -> None:
    images = torch.zeros(4, 2, 2, 3)
    *_, track, crops, mask, latent = fit_audio.execute(images, sound(0.24), 25.0, "loop").args
    for name, given in {"track": track, "crops": crops, "mask": mask, "latent": latent}.items():
        assert given.message == f"Fit Audio has no {name}: connect {name} to it"
    with pytest.raises(error, match="there are 3 crops but 4 images: connect what was made of the same images, before"):
        fit_audio.execute(images, sound(0.24), 25.0, "loop", crops=torch.zeros(3, 8, 8, 3))
    with pytest.raises(error, match="there are 4 images but the face track covers 5 frames"):
        fit_audio.execute(images, sound(0.24), 25.0, "loop", track=face_track(5))
