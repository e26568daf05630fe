"""Wrong wiring that would draw a wrong picture in silence: each is refused or reported, with a remedy."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from portrait import portrait_frames
from torch import Tensor

from nodes import SetLatentNoiseMask, VAEEncode, VAEEncodeForInpaint

FRAMES = 6
SIZE = 192
GUIDANCE = {"audio_guidance": 5.0, "identity_guidance": 2.0}

pytestmark = pytest.mark.usefixtures("inference")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def small(extension: ModuleType) -> Iterator[dict[str, Any]]:
    """The built-in models."""
    load, built_in = part("nodes.host.model").load_model, part("nodes.host.model").BUILT_IN
    models = {
        part_of: load(path) for part_of, path in zip(("keyframe", "interpolation"), built_in.values(), strict=True)
    }
    vae = part("nodes.vae").LoadKeySyncVAE.execute("keysync-small-vae").args[0]
    yield {**models, "vae": vae}
    comfy.model_management.unload_all_models()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.from_numpy(np.stack(list(portrait_frames(FRAMES, SIZE)))).float() / 255


@pytest.fixture(scope="module")
def tracked(extension: ModuleType, images: Tensor) -> Any:
    return part("nodes.face").TrackFace.execute(images, "mediapipe", "largest", 0, 0, 0).args[0]


@pytest.fixture(scope="module")
def cropped(images: Tensor, tracked: Any, small: dict[str, Any]) -> tuple[Tensor, Any, Tensor]:
    """Crops, their track and their masks."""
    crops, track = part("nodes.face").CropFace.execute(images, tracked, small["keyframe"]).args
    return crops, track, part("nodes.mask").MouthMask.execute(track, "box").args[0]


@pytest.fixture(scope="module")
def latent(small: dict[str, Any], cropped: tuple[Tensor, Any, Tensor]) -> dict[str, Tensor]:
    crops, _, masks = cropped
    (encoded,) = VAEEncode().encode(small["vae"], crops)
    return masked(encoded, masks)


def masked(latent: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    result: dict[str, Tensor]
    (result,) = SetLatentNoiseMask().set_mask(latent, mask)
    return result


def speech(model: Any, frames: int = FRAMES) -> Any:
    spec = model.model.spec
    rows = torch.randn(2 * frames, spec.audio_channels, generator=torch.Generator().manual_seed(3))
    features = part("keysync.speech.features").SpeechFeatures(rows, spec.speech_encoder)
    return part("nodes.host.sockets").Speech(features, 25.0)


def sample(model: Any, latent: dict[str, Tensor]) -> Tensor:
    sigmas = part("keysync.network.schedule").ays_sigmas(10).float()[-3:]
    node = part("nodes.sampling").SampleKeyframes
    out = node.execute(model, speech(model), latent, 0, **GUIDANCE, sigmas=sigmas).args[0]["samples"]
    assert isinstance(out, Tensor)
    return out


def test_what_is_wired_as_it_should_be(small: dict[str, Any], latent: dict[str, Tensor]) -> None:
    assert sample(small["keyframe"], latent).isfinite().all()


def test_a_mask_of_whole_frames_where_crops_are_masked(
    small: dict[str, Any], tracked: Any, latent: dict[str, Tensor], error: type[Exception]
) -> None:
    (whole,) = part("nodes.mask").MouthMask.execute(tracked, "box").args
    height, width = small["keyframe"].model.spec.image_size
    with pytest.raises(error) as caught:
        sample(small["keyframe"], masked(latent, whole))
    assert str(caught.value) == (
        f"the noise mask is {SIZE}x{SIZE} but the crops are {width}x{height}: connect the track of Crop Face to Mouth "
        "Mask, or cut and scale the mask to the crops"
    )


def test_masks_at_the_size_of_the_latents_are_masks_of_crops(
    small: dict[str, Any], latent: dict[str, Tensor], cropped: tuple[Tensor, Any, Tensor]
) -> None:
    spec = small["keyframe"].model.spec
    fine = part("keysync.face.masks").to_latent(cropped[2][:, None], spec.latent_size)
    assert torch.equal(sample(small["keyframe"], masked(latent, fine)), sample(small["keyframe"], latent))


def test_a_mask_of_whole_frames_in_paste_face(
    images: Tensor, tracked: Any, cropped: tuple[Tensor, Any, Tensor], error: type[Exception]
) -> None:
    crops, track, masks = cropped
    (whole,) = part("nodes.mask").MouthMask.execute(tracked, "box").args
    paste = part("nodes.paste").PasteFace.execute
    height, width = track.crop_size
    with pytest.raises(
        error, match=f"the mask is {SIZE}x{SIZE} but the crops are {width}x{height}: connect the mask of"
    ):
        paste(images, crops, track, whole, 0.04)
    larger = torch.nn.functional.interpolate(masks[:, None], scale_factor=2)[:, 0]
    restored = torch.nn.functional.interpolate(crops.movedim(-1, 1), scale_factor=2).movedim(1, -1)
    assert paste(images, restored, track, masks, 0.04).args
    assert paste(images, restored, track, larger, 0.04).args


def test_crops_that_are_no_longer_square(
    images: Tensor, small: dict[str, Any], cropped: tuple[Tensor, Any, Tensor], error: type[Exception]
) -> None:
    crops, track, masks = cropped
    side = crops.shape[1]
    with pytest.raises(
        error, match=f"the crops are {side}x{side // 2} but Crop Face cuts {side}x{side}: keep the aspect"
    ):
        part("nodes.paste").PasteFace.execute(images, crops[:, : side // 2], track, masks, 0.04)
    (encoded,) = VAEEncode().encode(small["vae"], crops[:, : side // 2])
    with pytest.raises(error, match=rf"the shape of latents is .* encode crops of {side}x{side} pixels"):
        sample(small["keyframe"], masked(encoded, masks))


def test_no_noise_mask(small: dict[str, Any], latent: dict[str, Tensor], error: type[Exception]) -> None:
    with pytest.raises(error, match="the latents have no noise mask: expected one that marks the mouth; connect Mouth"):
        sample(small["keyframe"], {"samples": latent["samples"]})
    white = torch.ones(1, *small["keyframe"].model.spec.image_size)
    assert sample(small["keyframe"], masked(latent, white)).isfinite().all()


@pytest.mark.parametrize("kind", ["box", "mouth"])
def test_vae_encode_for_inpainting(
    small: dict[str, Any], cropped: tuple[Tensor, Any, Tensor], error: type[Exception], kind: str
) -> None:
    crops, track, _ = cropped
    (masks,) = part("nodes.mask").MouthMask.execute(track, kind).args
    (grey,) = VAEEncodeForInpaint().encode(small["vae"], crops, masks)
    with pytest.raises(
        error, match=r"the latents are grey inside the noise mask, as from VAE Encode \(for Inpainting\)"
    ):
        sample(small["keyframe"], grey)
    (real,) = VAEEncode().encode(small["vae"], crops)
    assert sample(small["keyframe"], masked(real, grey["noise_mask"])).isfinite().all()


@pytest.mark.parametrize("kind", ["box", "mouth"])
@pytest.mark.parametrize("side", [64, 128])
def test_latents_of_any_vae_that_sees_the_face_are_taken(
    cropped: tuple[Tensor, Any, Tensor], side: int, kind: str
) -> None:
    """Of VAEs with random weights, in the layout of Stable Video Diffusion's; of one frame, and of several."""
    from diffusers import AutoencoderKLTemporalDecoder

    crops, track, _ = cropped
    (masks,) = part("nodes.mask").MouthMask.execute(track, kind).args
    pictures = part("keysync.face.crop").resize(crops.movedim(-1, 1), (side, side))
    cells = torch.nn.functional.interpolate(masks[:, None], (side // 8, side // 8), mode="area")
    for seed in range(4):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vae = AutoencoderKLTemporalDecoder(
                down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(32,) * 4, layers_per_block=2
            )
        latents = vae.encoder(2 * pictures - 1)[:, :4]
        for frames in (1, len(latents)):
            part("nodes.host.checks").want_mouths(latents[:frames], (cells > 0.5)[:frames].float())


def test_a_small_mask_on_small_latents_is_no_grey_patch(extension: ModuleType) -> None:
    """Its middle is one cell or two, which differ little from each other."""
    for height, width in ((3, 3), (3, 4), (4, 3), (4, 4), (5, 5)):
        mask = torch.zeros(1, 1, 8, 8)
        mask[..., 1 : 1 + height, 1 : 1 + width] = 1
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        part("nodes.host.checks").want_mouths(latents, mask)


def test_a_point_far_from_every_face(images: Tensor, tracked: Any, error: type[Exception]) -> None:
    track = part("nodes.face").TrackFace.execute
    points = tracked.track.landmarks[0]
    x, y = (int(at) for at in points.mean(0))
    report = track(images, "mediapipe", "coordinates", 0, x, y).args[2]
    assert "far from" not in report
    wide = torch.nn.functional.pad(images, (0, 0, 0, SIZE))
    with pytest.raises(error) as caught:
        track(wide, "mediapipe", "coordinates", 0, 2 * SIZE - 2, y)
    assert str(caught.value).startswith(f"face_x {2 * SIZE - 2}, face_y {y} is ")
    assert str(caught.value).endswith(": choose a point on the face")


def test_a_shot_whose_nearest_face_is_far_from_the_point(extension: ModuleType) -> None:
    face, Tracker = part("keysync.face.face").Face, part("keysync.face.track").Tracker
    choice = part("keysync.face.track").FaceChoice(point=(20.0, 20.0))
    points = np.random.default_rng(0).uniform(10, 30, (68, 2)).astype(np.float32)
    points[36:42], points[42:48] = (15, 15), (25, 15)
    tracker, dark, light = Tracker(), np.zeros((200, 200, 3), np.uint8), np.full((200, 200, 3), 255, np.uint8)
    for frame in range(8):
        tracker.add(dark if frame < 4 else light, [face.of(points + (0 if frame < 4 else 150), 1.0)])
    followed = tracker.finish(choice)
    assert list(part("nodes.face").check_distance(choice, followed)) == [
        "the nearest face is far from face_x 20.0, face_y 20.0: frames 4-7"
    ]


REPLACED = [
    ("ModelSamplingDiscrete", ("v_prediction", False), "ModelSamplingDiscrete"),
    ("ModelSamplingDiscrete", ("lcm", False), "ModelSamplingDiscrete"),
    ("ModelSamplingSD3", (3.0,), "ModelSamplingDiscreteFlow"),
    ("ModelSamplingAuraFlow", (1.73,), "ModelSamplingDiscreteFlow"),
    ("ModelSamplingFlux", (1.15, 0.5, 512, 512), "ModelSamplingFlux"),
    ("ModelSamplingContinuousEDM", ("v_prediction", 700.0, 0.002), "ModelSamplingContinuousEDM"),
    ("ModelSamplingContinuousV", ("v_prediction", 500.0, 0.03), "ModelSamplingContinuousV"),
    ("ModelSamplingStableCascade", (2.0,), "StableCascadeSampling"),
]


@pytest.mark.parametrize(("node", "settings", "schedule"), REPLACED)
def test_a_noise_schedule_of_another_family(
    small: dict[str, Any], latent: dict[str, Tensor], error: type[Exception],
    node: str, settings: tuple[Any, ...], schedule: str,
) -> None:  # fmt: skip
    kind = getattr(importlib.import_module("comfy_extras.nodes_model_advanced"), node)
    patch = getattr(kind(), kind.FUNCTION)
    (patched,) = patch(small["keyframe"], *settings)
    message = (
        f"the noise schedule of the keyframe model was replaced by {schedule}: expected the one that it was trained "
        "with; remove the ModelSampling node after Load KeySync Model"
    )
    with pytest.raises(error) as caught:
        sample(patched, latent)
    assert str(caught.value) == message
    (interpolation,) = patch(small["interpolation"], *settings)
    (encoder,) = part("nodes.speech").LoadSpeechEncoder.execute("keysync-small-hubert").args
    with pytest.raises(error, match="the noise schedule of the interpolation model was replaced"):
        part("nodes.host.models").core_models(
            small["keyframe"], interpolation, small["vae"], encoder, encoder, lambda _: None
        )


@pytest.mark.parametrize("loudness", [0.0, 5e-5])
def test_silence_is_reported(extension: ModuleType, caplog: pytest.LogCaptureFixture, loudness: float) -> None:
    (encoder,) = part("nodes.speech").LoadSpeechEncoder.execute("keysync-small-hubert").args
    tone = loudness * torch.sin(torch.arange(16_000) / 5)[None, None]
    with caplog.at_level(logging.WARNING):
        assert part("nodes.speech").EncodeSpeech.execute(encoder, {"waveform": tone, "sample_rate": 16_000}, 25.0).args
    assert "the audio is silent: the lips have no speech to follow" in caplog.text


@pytest.mark.usefixtures("temporary")
def test_a_dub_of_silence_and_a_node_without_effect_are_reported(small: dict[str, Any], images: Tensor) -> None:
    (encoder,) = part("nodes.speech").LoadSpeechEncoder.execute("keysync-small-hubert").args
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(25)))
    silent = {"waveform": torch.zeros(1, 1, 16_000), "sample_rate": 16_000}
    rope = importlib.import_module("comfy_extras.nodes_rope").ScaleROPE  # of transformers
    (patched,) = rope.execute(small["keyframe"], 2.0, 0.0, 1.0, 0.0, 1.0, 0.0).args
    models = (patched, small["interpolation"], small["vae"], encoder, encoder)
    settings = ("cut_off", "as trained", 0, 10, 0.0, 0.0, "mediapipe", 0)
    _, report, summary = part("nodes.dub").DubVideo.execute(video, silent, *models, *settings).args
    assert "the audio is silent: the lips have no speech to follow" in report
    assert report.count("Scale ROPE has no effect on a KeySync model, which has no rotary embeddings") == 1
    assert "Note: Scale ROPE has no effect on a KeySync model" in summary


def test_one_mask_stands_for_all_frames(
    small: dict[str, Any], latent: dict[str, Tensor], images: Tensor, cropped: tuple[Tensor, Any, Tensor],
    error: type[Exception],
) -> None:  # fmt: skip
    crops, track, masks = cropped
    one, all_alike = masks[:1], masks[:1].expand(FRAMES, -1, -1)
    assert torch.equal(
        sample(small["keyframe"], masked(latent, one)), sample(small["keyframe"], masked(latent, all_alike))
    )
    with pytest.raises(
        error, match=f"the noise mask has 2 frames but the latents have {FRAMES}: make the mask from the"
    ):
        sample(small["keyframe"], masked(latent, masks[:2]))
    paste = part("nodes.paste").PasteFace.execute
    noise = torch.rand(crops.shape, generator=torch.Generator().manual_seed(0))
    for single in (one, one[0]):
        for ours, theirs in zip(
            paste(images, noise, track, single, 0.04).args,
            paste(images, noise, track, all_alike, 0.04).args,
            strict=True,
        ):
            assert torch.equal(ours, theirs) if isinstance(ours, Tensor) else ours == theirs
    with pytest.raises(
        error, match=f"there are 2 masks but {FRAMES} images: give one for each image, in order, or one"
    ):
        paste(images, crops, track, masks[:2], 0.04)


@pytest.mark.parametrize("count", [1, FRAMES])
def test_one_occluder_stands_for_all_frames(extension: ModuleType, error: type[Exception], count: int) -> None:
    masks = torch.zeros(count, SIZE, SIZE)
    masks[:, 50:70] = 1
    open_occluder, Occluder = part("nodes.host.video").open_occluder, part("keysync.dub").Occluder
    found = list(Occluder.open(open_occluder(masks), SIZE, SIZE, FRAMES).pick([0, 3, 3, FRAMES - 1]))
    assert len(found) == 4
    assert all((frame[50:70] == 255).all() and not frame[:50].any() for frame in found)
    with pytest.raises(
        error, match=f"the occluder has 2 frames but the video has {FRAMES}: give one mask for each frame"
    ):
        Occluder.open(open_occluder(torch.zeros(2, SIZE, SIZE)), SIZE, SIZE, FRAMES)


@pytest.fixture(scope="module")
def clip(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "portrait.mp4"
    like = part("keysync.media.info").PictureFormat(SIZE, SIZE, Fraction(1, 25), Fraction(25))
    with part("keysync.media.writer").VideoWriter(path, like) as writer:
        for pts, frame in enumerate(portrait_frames(FRAMES, SIZE)):
            writer.write(frame, pts)
    return path


class CroppedVideo(InputImpl.VideoFromFile):
    """As Load Video of ComfyUI 0.38 makes one: the file is whole, its size and its frames are not."""

    def get_dimensions(self) -> tuple[int, int]:
        return 96, 64

    def get_components(self) -> Any:
        components = super().get_components()
        components.images = components.images[:, 40:104, 60:156]
        return components


def test_a_video_that_load_video_crops(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_video, whole = part("nodes.host.video").open_video, InputImpl.VideoFromFile(str(clip))
    with caplog.at_level(logging.WARNING):
        assert open_video(whole).info.width == SIZE
        assert not caplog.records
        source = open_video(CroppedVideo(str(clip)))
    assert f"the video is cut or scaled from {SIZE}x{SIZE} to 96x64: its frames are loaded into memory" in caplog.text
    frames = [frame for _, frame in source.frames()]
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * FRAMES
    pictures = [frame for _, frame in open_video(whole).frames()]
    assert np.abs(frames[2].astype(int) - pictures[2][40:104, 60:156].astype(int)).mean() < 2


def test_the_trim_of_load_video(clip: Path) -> None:
    import inspect

    open_video, make = part("nodes.host.video").open_video, InputImpl.VideoFromFile
    if "start_time" not in inspect.signature(make).parameters:  # ComfyUI 0.8.0 does not trim
        assert part("nodes.host.video").trim_window(make(str(clip))) == (0, 0)
        return
    trimmed: Any = make(str(clip), start_time=0.08, duration=0.12)  # type: ignore[call-arg]
    assert len(open_video(trimmed).timestamps()) == len(trimmed.get_components().images) == 3
