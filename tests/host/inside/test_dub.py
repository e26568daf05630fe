"""Dub Video: the same frames as the command line's, from a VIDEO of any kind; refused before any work where wrong."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from numpy.typing import NDArray
from portrait import portrait_frames
from torch import Tensor

FRAMES = 15
SIZE = 192
STEPS = 10
# Levels of 255: 2e-3 of the decoded pixels, and rounding.
LEVEL = 1


pytestmark = pytest.mark.usefixtures("inference", "temporary")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def node(extension: ModuleType) -> Any:
    return part("nodes.dub")


@pytest.fixture(scope="module")
def clip(extension: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The portrait, moving."""
    path = tmp_path_factory.mktemp("clip") / "portrait.mp4"
    like = part("keysync.media.info").PictureFormat(SIZE, SIZE, Fraction(1, 25), Fraction(25))
    with part("keysync.media.writer").VideoWriter(path, like) as writer:
        for pts, frame in enumerate(portrait_frames(FRAMES, SIZE)):
            writer.write(frame, pts)
    return path


@pytest.fixture(scope="module")
def speech(extension: ModuleType) -> dict[str, Any]:
    """The demo's speech as AUDIO."""
    reader = part("keysync.media.audio").AudioReader(part("keysync.demo").SPEECH)
    waveform = torch.from_numpy(np.concatenate(list(reader.blocks()), axis=1))
    return {"waveform": waveform[None], "sample_rate": reader.rate}


@pytest.fixture(scope="module")
def track(extension: ModuleType) -> Any:
    """A face that keeps still, of points that MediaPipe found in the portrait."""
    record = json.loads((Path(__file__).parent / "face_landmarks.json").read_text())
    mesh = np.array(record["landmarks_xy"][0], dtype=np.float32) * (SIZE / 384)
    points = mesh[list(part("keysync.face.finder.points").MESH_TO_68)]
    tracker = part("keysync.face.track").Tracker(exact=True)
    for _ in range(FRAMES):
        tracker.add(np.zeros((SIZE, SIZE, 3), np.uint8), [part("keysync.face.face").Face.of(points, 1.0)])
    return part("nodes.host.sockets").Faces(tracker.finish(part("keysync.face.track").FaceChoice()))


@pytest.fixture(scope="module")
def loaded(extension: ModuleType, tiny: Path) -> dict[str, Any]:
    """The five models, from our loaders."""
    loader, speech = part("nodes.host.model"), part("nodes.host.encoder")
    return {
        "keyframe_model": loader.load_model(tiny / "keyframe.safetensors"),
        "interpolation_model": loader.load_model(tiny / "interpolation.safetensors"),
        "vae": part("nodes.host.vae").core_vae(part("keysync.vae.vae").read_vae(tiny / "vae")),
        "keyframe_encoder": speech.load(tiny / "hubert"),
        "interpolation_encoder": speech.load(tiny / "wavlm"),
    }


SETTINGS = {
    "sync_mode": "cut_off",
    "mask": "box",
    "seed": 7,
    "steps": STEPS,
    "audio_guidance": 4.0,
    "identity_guidance": 1.5,
    "detector": "mediapipe",
    "face_index": 0,
}


@dataclass
class Written:
    """The frames that a dub gave to its writer."""

    frames: list[NDArray[np.uint8]] = field(default_factory=list)


@pytest.fixture
def written(extension: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Written:
    record, writer = Written(), part("keysync.job").VideoWriter

    class Recorder(writer):  # type: ignore[misc, valid-type]
        def write(self, frame: NDArray[np.uint8], pts: int) -> None:
            record.frames.append(frame.copy())
            super().write(frame, pts)

    monkeypatch.setattr(part("keysync.job"), "VideoWriter", Recorder)
    return record


def as_the_command_line(clip: Path, tiny: Path, output: Path, **settings: Any) -> Any:
    """What `keysync dub` does with the same choices; returns the report."""
    names = ("job", "dub", "systems.keysync.generate", "systems.keysync.models")
    job, dub, generate, models = (part(f"keysync.{name}") for name in names)
    sampling = generate.Sampling(STEPS, SETTINGS["audio_guidance"], SETTINGS["identity_guidance"])
    loaded = models.load_models(
        *(tiny / name for name in ("keyframe.safetensors", "interpolation.safetensors", "vae", "hubert", "wavlm"))
    )
    return job.dub_file(
        clip,
        part("keysync.demo").SPEECH,
        output,
        loaded,
        dub.Settings(sync_mode="cut_off", mask="box", seed=SETTINGS["seed"], sampling=sampling),
        job.FaceSource(),
        **settings,
    )


def test_the_same_frames_as_the_command_line(
    node: Any, loaded: dict[str, Any], tiny: Path, clip: Path, speech: dict[str, Any], written: Written, tmp_path: Path
) -> None:
    expected = as_the_command_line(clip, tiny, tmp_path / "expected.mp4").to_dict()
    theirs, written.frames = np.stack(written.frames), []
    video, text, _ = node.DubVideo.execute(InputImpl.VideoFromFile(str(clip)), speech, **loaded, **SETTINGS).args
    ours = np.stack(written.frames)
    assert ours.shape == theirs.shape == (FRAMES, SIZE, SIZE, 3)
    assert np.abs(ours.astype(int) - theirs).max() <= LEVEL
    source = np.stack([frame for _, frame in part("keysync.media.reader").VideoReader(clip).frames()])
    assert np.abs(ours.astype(int) - source).max() > 30  # something was generated
    report = json.loads(text)
    for name in ("ranges", "network_evaluations", "frames", "seconds", "notes", "seed"):
        assert report[name] == json.loads(json.dumps(expected[name])), name
    components = video.get_components()
    assert components.images.shape == (FRAMES, SIZE, SIZE, 3)
    assert components.frame_rate == 25
    assert components.audio["sample_rate"] == speech["sample_rate"]
    assert abs(components.images.numpy() - ours / 255).mean() < 0.02  # H.264


def test_the_split_graph_decodes_what_the_command_line_does(
    extension: ModuleType, loaded: dict[str, Any], tiny: Path, clip: Path, speech: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    """Every node of the split graph in its order, core nodes among them; compared before anything is rounded."""
    import nodes as core

    theirs: list[Tensor] = []

    def unpasted(frame: Any, picture: Tensor, *_: Any) -> Any:
        theirs.append(picture)
        return frame

    monkeypatch.setattr(part("keysync.dub"), "paste", unpasted)
    as_the_command_line(clip, tiny, tmp_path / "expected.mp4")

    audio, face, mask, sampling = (part(f"nodes.{name}") for name in ("audio", "face", "mask", "sampling"))
    frames = np.stack([frame for _, frame in part("keysync.media.reader").VideoReader(clip).frames()])
    pictures = torch.from_numpy(frames).float() / 255
    images, sound, fps = audio.FitAudio.execute(pictures, speech, 25.0, "cut_off").args[:3]
    said = [
        part("nodes.speech").EncodeSpeech.execute(loaded[f"{stage}_encoder"], sound, fps).args[0]
        for stage in ("keyframe", "interpolation")
    ]
    track = face.TrackFace.execute(images, "mediapipe", "largest", 0, 0, 0).args[0]
    crops, track = face.CropFace.execute(images, track, loaded["keyframe_model"]).args
    (latent,) = core.VAEEncode().encode(loaded["vae"], crops)
    (latent,) = core.SetLatentNoiseMask().set_mask(latent, mask.MouthMask.execute(track, "box").args[0])
    choices = (SETTINGS["seed"], SETTINGS["audio_guidance"], SETTINGS["identity_guidance"])
    sigmas = sampling.KeySyncSigmas.execute(STEPS).args[0]
    first, second = loaded["keyframe_model"], loaded["interpolation_model"]
    keyframes = sampling.SampleKeyframes.execute(first, said[0], latent, *choices, sigmas=sigmas).args[0]
    made = sampling.InterpolateKeyframes.execute(second, said[1], latent, keyframes, *choices, sigmas=sigmas).args[0]
    ours = part("nodes.vae").DecodeFrames.execute(made, loaded["vae"]).args[0]
    assert len(ours) == len(theirs) == FRAMES
    assert float((ours - torch.stack(theirs)).abs().max()) < 2e-3


def dub(node: Any, loaded: dict[str, Any], video: Any, speech: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
    video, text, _ = node.DubVideo.execute(video, speech, **loaded, **(SETTINGS | more)).args
    return video, json.loads(text)


def test_progress_and_a_track_instead_of_a_detector(
    node: Any,
    loaded: dict[str, Any],
    clip: Path,
    speech: dict[str, Any],
    track: Any,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(part("keysync.job"), "make_detector", None)
    told: list[tuple[int, int]] = []
    returned: list[int] = []
    monkeypatch.setattr(node, "return_memory", lambda: returned.append(len(told)))
    monkeypatch.setattr(node, "RETURNED_EVERY", math.inf)
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, preview, node_id=None: told.append((value, total))
    )
    video, report = dub(node, loaded, InputImpl.VideoFromFile(str(clip)), speech, track=track, mask="mouth")
    total = report["network_evaluations"]
    assert total == 3 * STEPS * 3  # one batch of keyframes and two windows, three conditions each
    values = [value for value, _ in told]
    assert told[-1] == (1000, 1000)
    assert values == sorted(values)
    assert len(told) > STEPS
    assert returned[0] == 0  # free memory, before all work
    assert 2 < len(returned) <= 1 + len(part("keysync.progress").PHASES)  # and at each phase
    assert [part["state"] for part in report["ranges"]] == ["dubbed"]
    # The result is all that is left, beside the cache.
    assert [str(path) for path in temporary.glob("*.*")] == [video.get_stream_source()]


@pytest.mark.parametrize(("every", "times"), [(math.inf, 1), (0.0, 4)])
def test_free_memory_is_returned_when_a_phase_begins_and_meanwhile(
    node: Any, monkeypatch: pytest.MonkeyPatch, every: float, times: int
) -> None:
    returned: list[bool] = []
    monkeypatch.setattr(node, "return_memory", lambda: returned.append(True))
    monkeypatch.setattr(node, "RETURNED_EVERY", every)
    progress, tell = node.NodeProgress(), part("keysync.progress").Moment
    for done in range(4):
        progress.show(tell("drawing", "frames", done, 9, done / 9, None))
    assert len(returned) == times


def test_the_detector_has_comfyuis_folder_and_device(
    node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any], error: type[Exception], monkeypatch: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    class NoFace:
        def detect(self, *_: Any) -> list[Any]:
            return []

        def close(self) -> None:
            pass

    made: list[tuple[Any, Any]] = []

    def make(*how: Any, **where: Any) -> NoFace:
        made.append((how, where))
        return NoFace()

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: torch.device("cuda", 1))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "face_alignment", ([str(tmp_path / "faces")], set()))
    monkeypatch.setattr(part("keysync.job"), "make_detector", make)
    with pytest.raises(error, match="no face was found in the 15 frames"):
        dub(node, loaded, InputImpl.VideoFromFile(str(clip)), speech, detector="face-alignment")
    assert made == [(("face-alignment", tmp_path / "faces"), {"device": "cuda:1"})]


def test_cancelling_leaves_nothing(
    node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any], track: Any, temporary: Path, monkeypatch: Any
) -> None:
    told: list[int] = []

    def hook(value: int, total: int, preview: Any, node_id: Any = None) -> None:
        told.append(value)
        if len(told) == 4:
            comfy.model_management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        dub(node, loaded, InputImpl.VideoFromFile(str(clip)), speech, track=track)
    assert len(told) == 4
    assert list(temporary.glob("*.*")) == []  # beside the cache


def killed(run: Callable[[], object]) -> bool:
    """Runs something in a process of its own; whether it was killed."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_job_whose_comfyui_is_killed_goes_on(
    node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any], track: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, most = part("nodes.host.models").CoreStage, 1000
    sample = stage.sample
    calls: list[int] = []

    def counted(*given: Any) -> Any:
        if len(calls) == most:
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(1)
        return sample(*given)

    def run() -> tuple[bytes, dict[str, Any]]:
        video, report = dub(node, loaded, InputImpl.VideoFromFile(str(clip)), speech, track=track)
        return Path(video.get_stream_source()).read_bytes(), report

    monkeypatch.setattr(stage, "sample", counted)
    folder = Path(folder_paths.get_user_directory()) / "keysync-work"
    shutil.rmtree(folder, ignore_errors=True)  # what cancelled jobs have left
    plain, report = run()
    assert report["work"]["run"] == "from the beginning"
    assert list(folder.iterdir()) == []
    assert len(calls) == 2
    for allowed in (0, 0, 1, 0):  # calls of the networks that a run makes before it is killed
        most = allowed
        calls.clear()
        assert killed(run)
        assert len(list(folder.iterdir())) == 1
    calls.clear()
    most = 1000
    ours, report = run()
    assert ours == plain
    assert len(calls) == 1
    assert report["work"]["run"] == "resumed"
    assert list(folder.iterdir()) == []


def test_a_model_that_other_nodes_have_patched_keeps_nothing(loaded: dict[str, Any], extension: ModuleType) -> None:
    models = part("nodes.host.models")
    assert models._is_plain(loaded["keyframe_model"])
    patches: list[Callable[[Any], object]] = [
        lambda model: model.set_model_sampler_cfg_function(len),
        lambda model: model.add_object_patch("model_sampling.x", 1),
        lambda model: model.patches.update(x=[1]),
    ]
    for patch in patches:
        patched = loaded["keyframe_model"].clone()
        patch(patched)
        assert not models._is_plain(patched)


def test_occluders_as_mask_and_as_video(
    node: Any,
    loaded: dict[str, Any],
    clip: Path,
    speech: dict[str, Any],
    track: Any,
    written: Written,
    tmp_path: Path,
    error: type[Exception],
) -> None:
    source = np.stack([frame for _, frame in part("keysync.media.reader").VideoReader(clip).frames()])
    white = torch.ones(FRAMES, SIZE, SIZE)
    video = InputImpl.VideoFromFile(str(clip))
    half = white.clone()
    half[:, :, : SIZE // 2] = 0
    results = []
    for occluder in (half, of_images(half[..., None].expand(-1, -1, -1, 3))):
        written.frames = []
        dub(node, loaded, video, speech, track=track, occluder=occluder)
        results.append(np.stack(written.frames))
    masked, filmed = results
    assert np.array_equal(masked, filmed)
    changed = (masked != source).any(axis=(0, 3))
    assert changed[:, : SIZE // 2].any()
    assert not changed[:, SIZE // 2 :].any()
    with pytest.raises(
        error, match=f"the occluder has {FRAMES - 1} frames but the video has {FRAMES}: give one mask for each"
    ):
        dub(node, loaded, video, speech, track=track, occluder=white[1:])
    with pytest.raises(
        error, match=f"the occluder is {SIZE}x{SIZE - 8} but the video is {SIZE}x{SIZE}: draw the masks"
    ):
        dub(node, loaded, video, speech, track=track, occluder=white[:, 8:])


def frames_of(reader: Any) -> NDArray[np.uint8]:
    return np.stack([frame for _, frame in reader.frames()])


def trimmed(clip: Path, start: float, duration: float) -> Any:
    """As versions between the oldest and the newest ComfyUI keep it; the newest reads it from there."""
    video = InputImpl.VideoFromFile(str(clip))
    for name, value in (("start_time", start), ("duration", duration)):
        setattr(video, f"_VideoFromFile__{name}", value)
    return video


@pytest.mark.parametrize(
    ("start", "duration", "first", "count"), [(0.2, 0.24, 5, 6), (0.2, 0, 5, 10), (-0.2, 0, 10, 5), (0, 0, 0, 15)]
)
def test_the_trim_window(
    extension: ModuleType, clip: Path, tmp_path: Path, start: float, duration: float, first: int, count: int
) -> None:
    whole = frames_of(part("keysync.media.reader").VideoReader(clip))
    video = trimmed(clip, start, duration)
    frames = frames_of(part("nodes.host.video").open_video(video))
    assert np.array_equal(frames, whole[first : first + count])
    if hasattr(video, "get_active_trim_window"):
        assert len(video.get_components().images) == count


def test_a_trimmed_dub(
    node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any], track: Any, written: Written, error: Any
) -> None:
    with pytest.raises(error, match=f"the face track covers {FRAMES} frames of .* but the video has 6 of .*: follow"):
        dub(node, loaded, trimmed(clip, 0.2, 0.24), speech, track=track)
    _, report = dub(node, loaded, trimmed(clip, 0.2, 0.24), speech)
    assert (report["frames"], report["source_frames"], len(written.frames)) == (6, 6, 6)
    corner = frames_of(part("keysync.media.reader").VideoReader(clip))[5:11, :8]
    assert np.array_equal(np.stack(written.frames)[:, :8], corner)


def of_images(images: Tensor, rate: Fraction = Fraction(25)) -> Any:
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, audio=None, frame_rate=rate))


def test_videos_that_are_in_memory(extension: ModuleType, clip: Path, error: type[Exception]) -> None:
    open_video = part("nodes.host.video").open_video
    whole = frames_of(part("keysync.media.reader").VideoReader(clip))
    in_memory = open_video(InputImpl.VideoFromFile(io.BytesIO(clip.read_bytes())))
    assert np.array_equal(frames_of(in_memory), whole)
    assert (in_memory.name, in_memory.path) == ("the video", None)
    images = torch.from_numpy(whole).float() / 255
    source = open_video(of_images(images, Fraction(30_000, 1001)))
    assert np.array_equal(frames_of(source), whole)
    assert source.info.rate == Fraction(30_000, 1001)
    assert open_video(of_images(images, Fraction(29.97))).info.rate == Fraction(2997, 100)  # as Create Video has it
    with pytest.raises(error, match="the video holds no frames"):
        open_video(of_images(torch.zeros(0, 8, 8, 3)))


def test_videos_in_memory_are_dubbed_like_the_file_and_written_nowhere(
    node: Any, loaded: dict[str, Any], clip: Path, speech: Any, track: Any, written: Written, temporary: Path
) -> None:
    """The frames as images and the file as bytes, with a track: no detector, so nothing else differs."""
    whole = frames_of(part("keysync.media.reader").VideoReader(clip))
    results = []
    for video in (
        InputImpl.VideoFromFile(str(clip)),
        InputImpl.VideoFromFile(io.BytesIO(clip.read_bytes())),
        of_images(torch.from_numpy(whole).float() / 255),
    ):
        written.frames = []
        result, report = dub(node, loaded, video, speech, track=track, occluder=torch.zeros(FRAMES, SIZE, SIZE))
        results.append(np.stack(written.frames))
        names = report["video"], report["speech"]
        assert names == (str(clip) if len(results) == 1 else "the video", "the audio")
        assert [str(path) for path in temporary.glob("*.*")] == [result.get_stream_source()]
        Path(result.get_stream_source()).unlink()
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_what_does_not_fit_is_refused_before_any_work(
    node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any], golden_folder: Path, error: type[Exception]
) -> None:
    video = InputImpl.VideoFromFile(str(clip))
    decoder = part("keysync.vae.vae").read_vae(golden_folder / "keyframe_checkpoint.safetensors")
    other_vae = part("nodes.host.vae").core_vae(decoder)
    for wrong, message in (
        ({"keyframe_model": loaded["interpolation_model"]}, "this is the interpolation model but the keyframe model"),
        ({"keyframe_encoder": loaded["interpolation_encoder"]}, "keyframe_encoder is wavlm of 32 channels but the key"),
        ({"vae": other_vae}, "holds only the VAE's decoder, which cannot encode: load a whole"),
    ):
        with pytest.raises(error, match=message):
            dub(node, loaded | wrong, video, speech)
    with pytest.raises(error, match="no audio: connect the new speech"):
        dub(node, loaded, video, None)
    with pytest.raises(error, match="the audio holds no samples"):
        dub(node, loaded, video, {"waveform": torch.zeros(1, 1, 0), "sample_rate": 16_000})
    with pytest.raises(error, match="the audio contains samples that are not finite numbers"):
        dub(node, loaded, video, {"waveform": torch.full((1, 1, 16_000), torch.nan), "sample_rate": 16_000})
    with pytest.raises(error, match="the audio has 100 samples a second, expected 1000 to 768000"):
        dub(node, loaded, video, {"waveform": torch.zeros(1, 1, 16_000), "sample_rate": 100})


def test_eight_channels_stay_eight(node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any]) -> None:
    audio = speech | {"waveform": speech["waveform"].expand(1, 8, -1)}
    video, _, _ = node.DubVideo.execute(InputImpl.VideoFromFile(str(clip)), audio, **loaded, **SETTINGS).args
    with av.open(video.get_stream_source()) as container:
        assert container.streams.audio[0].layout.name == "7.1"


@pytest.mark.parametrize("marked", [True, False])
def test_the_result_says_that_its_lips_are_synthetic(
    node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any], tiny: Path, marked: bool
) -> None:
    """By default, as on the command line; of the models it names the file and its checksum."""
    more = {} if marked else {"provenance": False}
    video, report = dub(node, loaded, InputImpl.VideoFromFile(str(clip)), speech, **more)
    with av.open(video.get_stream_source()) as container:
        comment = container.metadata.get("comment")
    assert (comment is not None) == marked
    assert (report["provenance"] is not None) == marked
    if comment is not None:
        told = json.loads(comment)["keysync"]
        assert told == report["provenance"]
        assert told["models"] == {"keyframe": "keyframe.safetensors", "interpolation": "interpolation.safetensors"}
        assert told["sha256"] == {
            name: hashlib.sha256((tiny / file).read_bytes()).hexdigest()[:16] for name, file in told["models"].items()
        }


def test_an_error_of_the_library_names_the_node_to_connect(
    node: Any, loaded: dict[str, Any], clip: Path, speech: dict[str, Any], error: type[Exception]
) -> None:
    small = part("keysync.systems.keysync.small").SMALL
    other = {
        "interpolation_model": part("nodes.host.model").load_model(small["interpolation"]),
        "interpolation_encoder": part("nodes.host.encoder").load(small["hubert"]),
    }
    with pytest.raises(error) as caught:
        dub(node, loaded | other, InputImpl.VideoFromFile(str(clip)), speech)
    message = str(caught.value)
    assert message.startswith("the keyframe model works on 64x64 pixels, 2 times the face, in windows of 14 but the in")
    assert message.endswith(
        ": use two models that were trained together "
        "(connect Load KeySync Model to keyframe_model and interpolation_model)"
    )
    assert caught.value.__cause__.about == "stages"  # type: ignore[union-attr]


def test_only_errors_with_a_remedy_are_changed(extension: ModuleType, error: Any) -> None:
    remedies = part("nodes.host.remedies").remedies
    for about, message in (
        ("vae", "no VAE: expected one (connect Load KeySync VAE)"),
        ("hubert", "no VAE: expected one (connect Load Speech Encoder)"),
        ("report", "no VAE: expected one"),
        (None, "no VAE: expected one"),
    ):
        with pytest.raises(error) as caught, remedies():
            raise error("no VAE: expected one", about=about)
        assert str(caught.value) == message
    with pytest.raises(ValueError, match="other"), remedies():
        raise ValueError("other")


@pytest.mark.parametrize("channels", [1, 2, 6, 10])
def test_sound_is_read_as_it_is(extension: ModuleType, channels: int) -> None:
    waveform = torch.rand(1, channels, 44_107, generator=torch.Generator().manual_seed(0)) - 0.5
    sound = part("nodes.host.video").open_sound({"waveform": waveform, "sample_rate": 44_100})
    assert (sound.rate, sound.channels, sound.is_16_bit) == (44_100, channels, False)
    assert np.array_equal(np.concatenate(list(sound.blocks()), axis=1), waveform[0].numpy())
