"""KeyFace: its networks in the core give the library's numbers, and Animate Portrait the library's frames."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import folder_paths
import numpy as np
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from portrait import portrait_frames
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
SECONDS, FRAMES = 0.6, 15
SIZE = 192
STEPS = 10
# Levels of 255: 2e-3 of the decoded pixels, and rounding.
LEVEL = 1
FILES = {
    "keyframe_name": "keyframe.safetensors",
    "interpolation_name": "interpolation.safetensors",
    "weak_name": "weak.safetensors",
}

pytestmark = pytest.mark.usefixtures("inference", "temporary")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def files(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny models of KeyFace, by name."""
    folder = tmp_path_factory.mktemp("keyface")
    # In a process of its own: it imports the library by its own name, which here is a part of the extension.
    subprocess.run([sys.executable, "-m", "tests.tiny_keyface", str(folder)], cwd=ROOT, check=True)
    names = {"beats": "beats.safetensors", "vae": "vae", "wavlm": "wavlm", "wav2vec2": "wav2vec2"}
    return {name: folder / names.get(name, f"{name}.safetensors") for name in (*names, "keyframe", *STAGES)}


STAGES = ("interpolation", "weak")


@pytest.fixture
def in_folder(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The models lie where ComfyUI looks for KeySync's."""
    part("nodes.host.model")  # registers the folder
    folder = str(files["keyframe"].parent)
    held, suffixes = folder_paths.folder_names_and_paths["keysync"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "keysync", ([folder, *held], suffixes))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})


@pytest.fixture(autouse=True)
def unloaded() -> Iterator[None]:
    yield
    comfy.model_management.unload_all_models()


def load(**names: str) -> tuple[Any, ...]:
    """The MODELs of Load KeyFace Model."""
    loaded: tuple[Any, ...] = (
        part("nodes.keyface").LoadKeyFaceModel.execute(**(FILES | names), weight_dtype="default").args
    )
    return loaded


@pytest.fixture
def models(in_folder: None, files: dict[str, Path]) -> dict[str, Any]:
    """What Animate Portrait is connected to, from the loaders."""
    encoder = part("nodes.host.encoder").load
    return {
        **dict(zip(("keyframe_model", "interpolation_model", "weak_model"), load(), strict=True)),
        "vae": part("nodes.host.vae").core_vae(part("keysync.vae.vae").read_vae(files["vae"])),
        "keyframe_encoder": encoder(files["wavlm"]),
        "interpolation_encoder": encoder(files["wav2vec2"]),
        "sound_encoder": encoder(files["beats"]),
    }


@pytest.fixture(scope="module")
def speech(extension: ModuleType) -> dict[str, Any]:
    """The beginning of the demo's speech as AUDIO."""
    reader = part("keysync.media.audio").AudioReader(part("keysync.demo").SPEECH)
    waveform = torch.from_numpy(np.concatenate(list(reader.blocks()), axis=1))
    return {"waveform": waveform[None, :, : round(SECONDS * reader.rate)], "sample_rate": reader.rate}


@pytest.fixture(scope="module")
def image(extension: ModuleType) -> Tensor:
    """The portrait as IMAGE."""
    return torch.from_numpy(np.stack(list(portrait_frames(1, SIZE)))).float() / 255


SETTINGS: dict[str, Any] = {
    "seed": 7,
    "steps": STEPS,
    "audio_guidance": 4.0,
    "identity_guidance": 1.5,
    "autoguidance": 2.5,
    "detector": "mediapipe",
    "face_index": 0,
    "whole_picture": False,
}


def animate(image: Tensor, speech: dict[str, Any], models: dict[str, Any], **changes: Any) -> tuple[Any, ...]:
    made: tuple[Any, ...] = (
        part("nodes.animate").AnimatePortrait.execute(image, speech, **(models | SETTINGS | changes)).args
    )
    return made


def windows(spec: Any, count: int = 2) -> Any:
    """Windows of random numbers for a stage, and their noise."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    ends = spec.reference == "ends"
    reference = draw(*([2] if ends else []), 4, *spec.latent_size)
    controls = None if ends else draw(spec.window, 2).clamp(-1, 1)
    given = part("keysync.network.stage").Windows.unmasked(
        draw(spec.window, 2, spec.audio_channels), reference, controls
    )
    return given, draw(spec.window, 4, *spec.latent_size)


def close(ours: Tensor, theirs: Tensor) -> bool:
    return float((ours - theirs).abs().max() / theirs.abs().max()) < 2e-4


def test_the_core_gives_the_numbers_of_the_library(in_folder: None, files: dict[str, Path]) -> None:
    """Of whole samplings: emotion in the keyframes, the weaker copy beside the interpolation and without it."""
    hosts, keyface = part("nodes.host.models"), part("keysync.systems.keyface.guided")
    checkpoint = part("keysync.weights.checkpoint")
    keyframe, interpolation, weak = load()
    stages = {
        name: checkpoint.load_stage(files[name], expect=f"keyface_{name}") for name in ("keyframe", "interpolation")
    }
    guided = keyface.Guided(stages["interpolation"], checkpoint.load_weak(files["weak"], stages["interpolation"]))
    sampling = part("keysync.systems.keyface.sampling").KeyFaceSampling(evaluations=STEPS)
    alone = part("keysync.systems.keyface.sampling").KeyFaceSampling(evaluations=STEPS, autoguidance=1.0)
    sample = part("keysync.systems.keysync.generate").sample
    made = {}
    for name, host, own, how in (
        ("keyframe", hosts.CoreStage(keyframe, lambda _: None), stages["keyframe"], sampling),
        ("guided", hosts.CoreStage(interpolation, lambda _: None, weak), guided, sampling),
        ("alone", hosts.CoreStage(interpolation, lambda _: None), stages["interpolation"], alone),
    ):
        counted: list[int] = []
        given, noise = windows(own.spec)
        theirs = sample(own, given, noise, how)
        made[name] = sample(host, given, noise, how, counted.append)
        assert close(made[name], theirs), name
        assert sum(counted) == len(noise) * how.network_evaluations(own.spec)
    assert not close(made["guided"], made["alone"])


def test_both_networks_are_the_memory_managers(in_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    _, interpolation, weak = load()
    loaded: list[set[Any]] = []
    inner = part("nodes.host.weak").WeakNetwork.__call__

    def record(self: Any, *args: Any) -> Any:
        loaded.append({one.model for one in comfy.model_management.loaded_models()})
        return inner(self, *args)

    monkeypatch.setattr(part("nodes.host.weak").WeakNetwork, "__call__", record)
    stage = part("nodes.host.models").CoreStage(interpolation, lambda _: None, weak)
    given, noise = windows(stage.spec, 1)
    stage.sample(given, noise, part("keysync.systems.keyface.sampling").KeyFaceSampling(evaluations=STEPS), None)
    assert len(loaded) == STEPS
    assert all({interpolation.model, weak.model} <= models for models in loaded)
    assert not interpolation.additional_models  # what the graph holds stays as it is


def test_the_same_frames_as_the_command_line(
    image: Tensor, speech: dict[str, Any], models: dict[str, Any], files: dict[str, Path], tmp_path: Path
) -> None:
    emotion = part("keysync.systems.keyface.emotion").Emotion.of("sad,happy")
    images, audio, fps, text = animate(image, speech, models, emotion=emotion)
    assert images.shape == (FRAMES, 64, 64, 3)
    assert audio is speech
    assert fps == 25
    report = json.loads(text)
    assert report["curves"]["valence"][0] == pytest.approx(-0.85)
    assert (report["system"], report["network_evaluations"]) == ("keyface", STEPS * (3 + 2 * 2))

    job, source = part("keysync.job"), part("keysync.media.source")
    own = part("keysync.systems.keyface.models").load_keyface(
        *(files[name] for name in ("keyframe", "interpolation", "vae", "weak")),
        **{name: files[name] for name in ("wavlm", "wav2vec2", "beats")},
    )
    sampling = part("keysync.systems.keyface.sampling").KeyFaceSampling(
        evaluations=STEPS, audio_guidance=4.0, identity_guidance=1.5, autoguidance=2.5
    )
    output = tmp_path / "out.mkv"
    part("keysync.animate").animate_file(
        source.FramesInMemory("the picture", image, Fraction(25)),
        part("nodes.host.video").open_sound(speech),
        output,
        own,
        emotion,
        part("keysync.dub").Settings(seed=SETTINGS["seed"], sampling=sampling),
        job.FaceSource(),
        lossless=True,
    )
    theirs = np.stack([frame for _, frame in part("keysync.media.reader").open_video(output).frames()])
    assert np.abs(images.mul(255).round().numpy() - theirs.astype(int)).max() <= LEVEL


def test_a_sound_that_was_encoded_before(
    image: Tensor, speech: dict[str, Any], models: dict[str, Any], error: type[Exception]
) -> None:
    encode = part("nodes.sound").EncodeSound.execute
    names = ("keyframe_encoder", "interpolation_encoder")
    sounds = {name: encode(models[name], models["sound_encoder"], speech).args[0] for name in names}
    given = models | sounds | {"sound_encoder": None}
    assert torch.equal(animate(image, speech, given)[0], animate(image, speech, models)[0])
    with pytest.raises(error, match=r"interpolation_encoder is a sound encoded with wavlm\+beats but the model was"):
        animate(image, speech, given, interpolation_encoder=sounds["keyframe_encoder"])
    shorter = speech | {"waveform": speech["waveform"][..., :-1600]}
    with pytest.raises(error, match=r"encoded 0\.60 s of sound but audio lasts 0\.5\d s: connect the same audio"):
        animate(image, shorter, given)
    with pytest.raises(error, match="speech_encoder and sound_encoder are both beats"):
        encode(models["sound_encoder"], models["sound_encoder"], speech)


def test_progress_and_nothing_left_behind(
    image: Tensor, speech: dict[str, Any], models: dict[str, Any], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: told.append((value, total))
    )
    animate(image, speech, models, whole_picture=True)
    assert told[-1] == (1000, 1000)
    assert told == sorted(told)
    assert not [*temporary.glob("*.*")]


def test_cancelling(
    image: Tensor, speech: dict[str, Any], models: dict[str, Any], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def hook(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        told.append(value)
        if len(told) == 4:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        animate(image, speech, models)
    assert len(told) == 4
    assert not [*temporary.glob("*.*")]


def test_without_the_weaker_copy_it_is_said(image: Tensor, speech: dict[str, Any], models: dict[str, Any]) -> None:
    report = json.loads(animate(image, speech, models, weak_model=None, autoguidance=0.0)[-1])
    assert "the interpolation was not guided: no weaker copy of its model was loaded" in report["notes"]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_and_transparent_pictures(extension: ModuleType, channels: int) -> None:
    picture = torch.full((1, 4, 6, channels), 0.2)
    if channels in (2, 4):
        picture[..., -1] = 0.0
    ((_, frame),) = part("nodes.animate").open_portrait(picture).frames()
    assert frame.shape == (4, 6, 3)
    assert (frame == (51 if channels == 1 else 255)).all()


def test_what_does_not_fit(
    image: Tensor, speech: dict[str, Any], models: dict[str, Any], error: type[Exception], tiny: Path
) -> None:
    keysync = part("nodes.host.model").load_model(tiny / "keyframe.safetensors")
    interpolation, weak = models["interpolation_model"], models["weak_model"]
    for changes, message in (
        ({"keyframe_model": keysync}, "this is the KeySync keyframe model but the KeyFace keyframe model is needed"),
        ({"keyframe_model": interpolation}, "this is the interpolation model but the keyframe model is needed: choose "
         "the keyframe checkpoint in Load KeyFace Model"),
        ({"interpolation_model": weak}, "weak_model is connected to interpolation_model"),
        ({"weak_model": models["keyframe_model"]}, "this is the keyframe model but the interpolation model is needed"),
        ({"weak_model": None}, "the autoguidance is 2.5 but .* \\(choose it as weak_name in Load KeyFace Model\\)"),
        ({"sound_encoder": None}, "needs the beats speech encoder, .* \\(connect Load Speech Encoder\\)"),
        ({"image": torch.zeros(1, 100, 200, 3)}, "no face was found"),
        ({"image": torch.full((1, 100, 200, 3), float("nan"))}, "not finite"),
        ({"image": torch.zeros(0, 100, 200, 3)}, "holds no frames"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            animate(**({"image": image, "speech": speech, "models": models} | changes))


def test_a_keyface_model_is_no_keysync_model(
    in_folder: None, files: dict[str, Path], error: type[Exception], speech: dict[str, Any]
) -> None:
    with pytest.raises(
        error, match=r"is a KeyFace keyframe stage .* expected a KeySync keyframe or interpolation stage"
    ):
        part("nodes.host.model").load_model(files["keyframe"])
    keyframe, interpolation, _ = load()
    features = part("keysync.speech.features").SpeechFeatures(torch.zeros(100, 32), "hubert")
    said = part("nodes.host.sockets").Speech(features, 25.0)
    with pytest.raises(error, match="this is the KeyFace keyframe model but the KeySync keyframe model is needed"):
        part("nodes.host.clip_guider").ClipGuider(keyframe, said)
    with pytest.raises(
        error, match="the KeyFace interpolation model is connected to a sampler without speech: use Animate"
    ):
        interpolation.model.extra_conds()


def test_files_that_do_not_fit(in_folder: None, error: type[Exception]) -> None:
    with pytest.raises(error, match="is a KeyFace interpolation stage"):
        load(keyframe_name=FILES["interpolation_name"])
    with pytest.raises(error, match=r"are both interpolation\.safetensors"):
        load(weak_name=FILES["interpolation_name"])
    with pytest.raises(error, match="is a KeyFace keyframe stage"):
        load(weak_name=FILES["keyframe_name"])
    with pytest.raises(error, match=r"none\.safetensors is in none of models/keysync"):
        load(keyframe_name="none.safetensors")


def test_no_weaker_copy_and_changes_of_files(in_folder: None, files: dict[str, Path]) -> None:
    node = part("nodes.keyface").LoadKeyFaceModel
    assert load(weak_name="none")[2] is None
    before = node.fingerprint_inputs(**FILES, weight_dtype="default")
    assert before != node.fingerprint_inputs(**(FILES | {"weak_name": "none"}), weight_dtype="default")
    assert set(FILES.values()) <= set(node.GET_SCHEMA().inputs[0].options)


def test_emotion_curve(extension: ModuleType, speech: dict[str, Any], error: type[Exception]) -> None:
    node = part("nodes.emotion").EmotionCurve
    emotion, plot = node.execute("0:neutral,0.4:happy", False, audio=speech).args
    assert emotion.at(np.array([0.0, 0.2, 9.0])).round(4).tolist() == [[0, 0], [0.425, 0.375], [0.85, 0.75]]
    assert plot.shape == (1, 320, 960, 3)
    silent = node.execute("0:neutral,0.4:happy", False).args[1]
    assert not torch.equal(plot, silent)
    strong, _ = node.execute("sad", True).args
    assert strong.values.tolist() == [[-1.0, pytest.approx(-0.525)]]
    table = "seconds,valence,arousal\n0,-1,0\n1,1,0.5\n"
    objects = json.dumps([{"seconds": 0, "valence": -1, "arousal": 0}, {"seconds": 1, "valence": 1, "arousal": 0.5}])
    for curve in (table, objects):
        assert node.execute("happy", False, curve).args[0].at(np.array([0.5])).tolist() == [[0, 0.25]]
    with pytest.raises(error, match="unknown emotion 'joyful'"):
        node.execute("joyful", False)
    with pytest.raises(error, match="curve is not an emotion curve: expected CSV or JSON"):
        node.execute("happy", False, "{")


@pytest.fixture
def split(image: Tensor, speech: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    """What the sampling nodes are connected to: the portrait's latent, and the sound of each stage."""
    face = part("nodes.face")
    track = face.TrackFace.execute(image, "mediapipe", "index", 0, 0, 0).args[0]
    crops, _ = face.CropFace.execute(image, track, models["keyframe_model"]).args
    encode = part("nodes.sound").EncodeSound.execute
    return {
        "portrait": {"samples": models["vae"].encode(crops)},
        "keyframe": encode(models["keyframe_encoder"], models["sound_encoder"], speech).args[0],
        "interpolation": encode(models["interpolation_encoder"], models["sound_encoder"], speech).args[0],
    }


SCALES = {name: SETTINGS[name] for name in ("seed", "audio_guidance", "identity_guidance")}


def sigmas() -> Tensor:
    made: Tensor = part("nodes.sampling").KeySyncSigmas.execute(STEPS).args[0]
    return made


def sample_keyframes(models: dict[str, Any], split: dict[str, Any], **changes: Any) -> dict[str, Tensor]:
    given = {"model": models["keyframe_model"], "speech": split["keyframe"], "latent": split["portrait"], **SCALES}
    made: dict[str, Tensor]
    (made,) = part("nodes.sampling").SampleKeyframes.execute(**(given | {"sigmas": sigmas()} | changes)).args
    return made


def interpolate(
    models: dict[str, Any], split: dict[str, Any], keyframes: dict[str, Tensor], **changes: Any
) -> dict[str, Tensor]:
    given = {"model": models["interpolation_model"], "speech": split["interpolation"], "latent": split["portrait"]}
    given |= {"keyframes": keyframes, "weak_model": models["weak_model"], "autoguidance": 2.5, **SCALES}
    made: dict[str, Tensor]
    (made,) = part("nodes.sampling").InterpolateKeyframes.execute(**(given | {"sigmas": sigmas()} | changes)).args
    return made


def test_the_sampling_nodes_give_the_frames_of_animate_portrait(
    image: Tensor, speech: dict[str, Any], models: dict[str, Any], split: dict[str, Any]
) -> None:
    emotion = part("keysync.systems.keyface.emotion").Emotion.of("sad,happy")
    whole = animate(image, speech, models, emotion=emotion)[0]
    keyframes = sample_keyframes(models, split, emotion=emotion)
    assert len(keyframes["samples"]) == 3
    frames = interpolate(models, split, keyframes)
    assert len(frames["samples"]) == FRAMES + 1  # two windows share a frame
    pictures = part("nodes.vae").DecodeFrames.execute(frames, models["vae"]).args[0]
    images = part("nodes.join").JoinWindows.execute(pictures, models["interpolation_model"]).args[0]
    assert images.shape == whole.shape
    # Animate Portrait's frames went through bytes.
    assert float((images.mul(255).round() - whole.mul(255).round()).abs().max()) <= LEVEL
    assert not close(keyframes["samples"], sample_keyframes(models, split)["samples"]), "the emotion matters"
    alone = interpolate(models, split, keyframes, weak_model=None, autoguidance=0.0)
    assert not close(frames["samples"], alone["samples"]), "the weaker copy matters"


def test_the_sampling_nodes_give_the_numbers_of_the_library(
    models: dict[str, Any], split: dict[str, Any], files: dict[str, Path]
) -> None:
    checkpoint, windows_ = part("keysync.weights.checkpoint"), part("keysync.network.stage").Windows
    noise, guided = part("keysync.network.noise"), part("keysync.systems.keyface.guided").Guided
    keyface, sample = part("keysync.systems.keyface.sampling"), part("keysync.systems.keysync.generate").sample
    plan = part("keysync.systems.keysync.plan").Plan(FRAMES)
    streams = noise.Noise.from_seed(SETTINGS["seed"])
    first, second = (
        checkpoint.load_stage(files[name], expect=f"keyface_{name}") for name in ("keyframe", "interpolation")
    )
    sampling = keyface.KeyFaceSampling(evaluations=STEPS, audio_guidance=4.0, identity_guidance=1.5, autoguidance=2.5)
    identity = split["portrait"]["samples"].float() * 0.18215
    (batch,) = ([plan.index(frame) for frame in frames] for frames in plan.batches)
    given = windows_.unmasked(split["keyframe"].rows()[batch][None], identity, torch.zeros(1, 14, 2))
    drawn = noise.draw(streams.keyframes, given.known.shape[1:])
    keyframes = sample(first, given, drawn[None], sampling)[0, 1:4]
    ours = sample_keyframes(models, split)
    assert close(ours["samples"] * 0.18215, keyframes)

    places = torch.tensor([[plan.index(frame) for frame in range(one, other + 1)] for one, other in plan.windows])
    given = windows_.unmasked(split["interpolation"].rows()[places], torch.stack((keyframes[:-1], keyframes[1:]), 1))
    drawn = torch.stack([noise.draw(streams.windows, given.known.shape[1:]) for _ in places])
    frames = sample(guided(second, checkpoint.load_weak(files["weak"], second)), given, drawn, sampling)
    assert close(interpolate(models, split, ours)["samples"] * 0.18215, frames.flatten(0, 1)[: FRAMES + 1])


def test_a_head_in_sampler_custom_advanced(
    models: dict[str, Any], split: dict[str, Any], error: type[Exception]
) -> None:
    guider = (
        part("nodes.sampling")
        .KeySyncGuider.execute(models["keyframe_model"], split["keyframe"], audio_guidance=4.0, identity_guidance=1.5)
        .args[0]
    )

    def run(latent: dict[str, Tensor]) -> Tensor:
        sampler = comfy.samplers.sampler_object("euler")
        made = SamplerCustomAdvanced.execute(Noise_RandomNoise(1), guider, sampler, sigmas(), latent).args[0]
        samples: Tensor = made["samples"]
        return samples

    portrait = split["portrait"]
    assert len(run({"samples": portrait["samples"].repeat(FRAMES, 1, 1, 1)})) == 3
    with pytest.raises(error, match="there are 1 latents but the sound lasts 15 frames: repeat the portrait 15 times"):
        run(portrait)


def test_sampling_nodes_that_do_not_fit(
    models: dict[str, Any], split: dict[str, Any], speech: dict[str, Any], error: type[Exception], tiny: Path
) -> None:
    keysync = part("nodes.host.model").load_model(tiny / "keyframe.safetensors")
    features = part("keysync.speech.features").SpeechFeatures(torch.zeros(100, 32), "wavlm")
    said = part("nodes.host.sockets").Speech(features, 25.0)
    emotion = part("keysync.systems.keyface.emotion").Emotion.of("happy")
    masked = split["portrait"] | {"noise_mask": torch.ones(1, 64, 64)}
    keyframes = sample_keyframes(models, split)
    for changes, message in (
        ({"model": keysync}, "the KeySync keyframe model hears speech: connect Encode Speech"),
        ({"model": keysync, "emotion": emotion}, "emotion has no effect on the KeySync keyframe model: disconnect it"),
        ({"speech": said}, "the KeyFace keyframe model hears a sound: connect Encode Sound"),
        ({"speech": split["interpolation"]}, r"speech is a sound encoded with wav2vec2\+beats but the model was"),
        ({"latent": masked}, "the latents have a noise mask but KeyFace draws the whole picture"),
        ({"latent": {"samples": torch.zeros(1, 4, 16, 24)}}, "the shape of latents is"),
        ({"model": models["interpolation_model"]}, "this is the interpolation model but the keyframe model is needed"),
    ):
        with pytest.raises(error, match=message):
            sample_keyframes(models, split, **changes)
    for changes, message in (
        ({"model": models["weak_model"]}, "weak_model is connected to interpolation_model"),
        ({"weak_model": None}, "needs a weaker copy of its network"),
        ({"weak_model": models["keyframe_model"]}, "this is the keyframe model but the interpolation model is needed"),
        ({"keyframes": {"samples": keyframes["samples"][:2]}}, "2 keyframes were given but a sound of 15 frames has 3"),
    ):
        with pytest.raises(error, match=message):
            interpolate(models, split, **({"keyframes": keyframes} | changes))
    with pytest.raises(error, match="this is the keyframe model but the interpolation model is needed"):
        part("nodes.join").JoinWindows.execute(torch.zeros(15, 8, 8, 3), models["keyframe_model"])
