"""FlashLips' nodes give the library's numbers; the core manages its networks. Weights are random, untrained."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
FRAMES, SHOWN = 40, 12
NAME = "flashlips.safetensors"
# Levels of 0..1: the core's VAE computes in another order than the library's.
CLOSE = 4e-3

pytestmark = pytest.mark.usefixtures("inference", "temporary")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def file(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flashlips")
    # In a process of its own: it imports the library by its own name, which here is a part of the extension.
    subprocess.run([sys.executable, "-m", "tests.tiny_flashlips", str(folder)], cwd=ROOT, check=True)
    return folder / NAME


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.flashlips")


@pytest.fixture
def flashlips(node: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(node, "model_path", lambda name: file.with_name(name))
    (loaded,) = node.LoadFlashLips.execute(NAME).args
    return loaded


def test_flashlips_small_is_built_in(node: Any, extension: ModuleType) -> None:
    name = "flashlips-small.safetensors"
    assert node.LoadFlashLips.define_schema().inputs[0].options[0] == name
    (small,) = node.LoadFlashLips.execute(name).args
    assert small.spec.image_size == (128, 128)
    assert small.encoders.keys() == {"hubert"}
    assert node.LoadFlashLips.fingerprint_inputs(name)


@pytest.fixture(scope="module")
def library(file: Path) -> Any:
    """The same file, loaded without the core."""
    return part("keysync.systems.flashlips.models").load_flashlips(file)


@pytest.fixture
def crops(flashlips: Any, images: Tensor) -> tuple[Tensor, Any, Tensor]:
    """Crops of the demo, their track and their masks."""
    face, some = part("nodes.face"), images[:SHOWN]
    track = face.TrackFace.execute(some, "mediapipe", "largest", 0, 0, 0).args[0]
    cut, placed = face.CropFace.execute(some, track, flashlips).args
    (mask,) = part("nodes.mask").MouthMask.execute(placed, "mouth").args
    return cut, placed, mask


def test_crops_are_as_the_file_needs_them(crops: tuple[Tensor, Any, Tensor]) -> None:
    cut, placed, mask = crops
    assert cut.shape == (SHOWN, 64, 64, 3)
    assert placed.crop_size == (64, 64)
    assert mask.shape == (SHOWN, 64, 64)


def test_vectors_from_speech_are_the_librarys(
    node: Any, flashlips: Any, library: Any, crops: Any, speech: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = comfy.model_management.load_models_gpu

    def record(models: Any, **how: Any) -> None:
        loaded.extend(models)
        load(models, **how)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", record)
    (vectors,) = node.LipsVectorsFromSpeech.execute(flashlips, speech, 25.0, crops[0], 7, 3).args
    assert any(list(patcher.model) == [flashlips.editor, flashlips.reader, flashlips.speech] for patcher in loaded)
    rows = library.encoders["whisper"].encode(speech["waveform"][0, 0]).at(np.arange(FRAMES) / 25)
    told = part("keysync.systems.flashlips.steps").vectors_of_speech(library, rows, 25.0, crops[0], 7, 3)
    np.testing.assert_allclose(vectors.values, told.values, atol=1e-5)
    assert (vectors.model, vectors.fps) == (library.key, 25.0)
    (other,) = node.LipsVectorsFromSpeech.execute(flashlips, speech, 25.0, crops[0], 8, 0).args
    assert (other.values != vectors.values).any()


def test_edited_crops_are_the_librarys(node: Any, flashlips: Any, library: Any, crops: Any, file: Path) -> None:
    cut, placed, mask = crops
    (vectors,) = node.LipsVectorsFromVideo.execute(flashlips, cut, 25.0).args
    assert len(vectors.values) == SHOWN
    edited, report, latents = node.FlashLipsEdit.execute(flashlips, cut, vectors, "hidden", 3, mask, placed).args
    settings = part("keysync.systems.flashlips.settings").Drawing(references=3, mask_free=False)
    told = part("keysync.systems.flashlips.steps").edit_crops(library, cut, mask, vectors, settings, placed.track)
    torch.testing.assert_close(edited, torch.stack([one.picture for one in told]), atol=CLOSE, rtol=0)
    assert report.splitlines()[0] == f"{SHOWN} of {SHOWN} frames have a new mouth"
    assert "into a hidden mouth; references of the clip, at most: 3; given lips vectors" in report
    assert "untrained" in report
    decoded = part("nodes.vae").DecodeFrames.execute(latents, core_vae(file)).args[0]
    torch.testing.assert_close(edited, decoded, atol=CLOSE, rtol=0)
    over, *_ = node.FlashLipsEdit.execute(flashlips, cut, vectors, "drawn over", 3).args
    assert float((over - edited).abs().max()) > CLOSE
    others, *_ = node.FlashLipsEdit.execute(flashlips, cut, vectors, "drawn over", 3, reference_crops=1 - cut[:2]).args
    assert float((over - others).abs().max()) > CLOSE


def core_vae(file: Path) -> Any:
    return part("nodes.host.vae").core_vae(part("keysync.vae.vae").read_vae(file))


def test_latents_are_edited_as_their_crops_are(
    node: Any, flashlips: Any, crops: Any, file: Path, error: type[Exception]
) -> None:
    """Encoded by ComfyUI's own node, which paints the mouth grey."""
    from nodes import VAEEncode, VAEEncodeForInpaint

    cut, placed, mask = crops
    (vectors,) = node.LipsVectorsFromVideo.execute(flashlips, cut, 25.0).args
    (inpaint,) = VAEEncodeForInpaint().encode(core_vae(file), cut, mask, 0)
    own = 1 - cut[:3]
    made, report, _ = node.FlashLipsEdit.execute(
        flashlips, inpaint, vectors, "hidden", 3, None, placed, reference_crops=own
    ).args
    told, _, latents = node.FlashLipsEdit.execute(
        flashlips, cut, vectors, "hidden", 3, mask, placed, reference_crops=own
    ).args
    torch.testing.assert_close(made, told, atol=CLOSE, rtol=0)
    assert latents["samples"].shape == (SHOWN, 4, 8, 8)
    assert f"{SHOWN} of {SHOWN} frames have a new mouth" in report
    (whole,) = VAEEncode().encode(core_vae(file), cut)
    over, *_ = node.FlashLipsEdit.execute(flashlips, whole, vectors, "drawn over", 3, reference_crops=own).args
    assert float((over - made).abs().max()) > CLOSE
    with pytest.raises(error, match="latents show no person: connect crops to reference_crops"):
        node.FlashLipsEdit.execute(flashlips, whole, vectors, "drawn over", 3)


def test_vectors_are_edited_in_order(node: Any, flashlips: Any, crops: Any) -> None:
    (vectors,) = node.LipsVectorsFromVideo.execute(flashlips, crops[0], 25.0).args
    same = node.EditLipsVectors.execute(vectors, 0.5, 0.0, 0, 0, 0.0).args[0]
    assert np.array_equal(same.values, vectors.values)
    (later,) = node.EditLipsVectors.execute(vectors, 0.5, 0.0, 2, 3, 1.0).args
    assert np.array_equal(later.values[3], later.values[5])
    assert np.array_equal(later.values[1], vectors.values[0])
    (blend,) = node.EditLipsVectors.execute(vectors, 0.25, 0.0, 0, 0, 0.0, later).args
    np.testing.assert_allclose(blend.values, 0.75 * vectors.values + 0.25 * later.values, atol=1e-6)


def test_vectors_are_drawn_over_a_timeline(
    flashlips: Any, crops: Any, node: Any, speech: dict[str, Any], error: type[Exception]
) -> None:
    """With a picture of the openings, which is shown in the node."""
    draw, cut = part("nodes.lips_vectors").DrawLipsVectors, crops[0]
    made = draw.execute(flashlips, cut, "0:0, 0.2:1", 1.0, 25.0, 6)
    vectors, plot = made.args
    assert (vectors.values.shape, vectors.fps, vectors.model) == ((6, 12), 25.0, flashlips.key)
    line = part("keysync.systems.flashlips.opening").OpeningLine.of(flashlips, cut)
    np.testing.assert_allclose(line.read(vectors), np.arange(6) / 5, atol=1e-4)
    assert plot.shape == (1, 320, 960, 3)
    assert made.ui is not None
    (read,) = node.LipsVectorsFromVideo.execute(flashlips, cut, 25.0).args
    over, other = draw.execute(flashlips, cut, "0.08:1,0.2:1", 1.0, 1.0, 1, read, speech).args
    assert np.array_equal(over.values[:2], read.values[:2])
    np.testing.assert_allclose(line.read(over)[2:6], 1, atol=1e-4)
    assert not torch.equal(plot, other)
    with pytest.raises(error, match=r"the keys are 'wide': expected seconds .* \(set keys\)"):
        draw.execute(flashlips, cut, "wide", 1.0, 25.0, 6)


def test_what_does_not_fit_is_refused(
    node: Any, flashlips: Any, crops: Any, images: Tensor, error: type[Exception]
) -> None:
    cut, placed, mask = crops
    (vectors,) = node.LipsVectorsFromVideo.execute(flashlips, cut, 25.0).args
    with pytest.raises(error, match=r"expected one or more RGB crops of 64x64 pixels \(connect Load FlashLips"):
        node.LipsVectorsFromVideo.execute(flashlips, images[:2], 25.0)
    with pytest.raises(error, match="there is no mask"):
        node.FlashLipsEdit.execute(flashlips, cut, vectors, "hidden", 4)
    with pytest.raises(error, match="there are 3 masks of 64x64 but 12 crops"):
        node.FlashLipsEdit.execute(flashlips, cut, vectors, "hidden", 4, mask[:3])
    with pytest.raises(error, match="there are 5 crops but the track covers 12 frames"):
        node.FlashLipsEdit.execute(flashlips, cut[:5], vectors, "drawn over", 4, None, placed)
    stranger = type(vectors)(vectors.values, 25.0, "another")
    with pytest.raises(error, match=r"of another FlashLips file: .* \(make the lips vectors with this FlashLips"):
        node.FlashLipsEdit.execute(flashlips, cut, stranger, "drawn over", 4)
    with pytest.raises(error, match="the speech encoder is hubert but FlashLips was trained with whisper"):
        node.LoadFlashLips.execute(NAME, None, part("nodes.host.encoder").load(part(SMALL).SMALL["hubert"]))


SMALL = "keysync.systems.keysync.small"


def test_a_dub_in_one_node(
    node: Any, flashlips: Any, images: Tensor, crops: Any, speech: dict[str, Any], error: type[Exception]
) -> None:
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images[:SHOWN], frame_rate=Fraction(25)))
    inputs = (flashlips, "as trained", 2, 3, 0, "cut_off", "mediapipe", 0)
    dubbed, report, summary = node.DubWithFlashLips.execute(video, speech, *inputs).args
    told = json.loads(report)
    assert told["system"] == "flashlips"
    assert told["models"] == {"flashlips": NAME}
    assert told["mask"] == "mouth"
    frames = dubbed.get_components().images
    assert len(frames) == SHOWN
    assert "12" in summary
    (vectors,) = node.LipsVectorsFromVideo.execute(flashlips, crops[0], 25.0).args
    _, report, _ = node.DubWithFlashLips.execute(video, speech, *inputs, vectors=vectors).args
    assert json.loads(report)["models"] == {"flashlips": NAME, "lips": "given lips vectors"}
