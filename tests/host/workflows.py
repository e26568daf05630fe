"""The example workflows, each written once; `make_workflows.py` makes ComfyUI's files of them.

All work with what comes with KeySync, but for one that names the published files and where they come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keysync.systems.keysync.small import SMALL
from keysync.systems.rewrite.system import REWRITE
from keysync.weights.published import PUBLISHED

from .graph import Graph, Link, Model, Node

# The published files, as the frontend's download buttons have them.
KEYFRAMES, INTERPOLATION, VAE, HUBERT, WAVLM = (Model(file.name, file.url, file.directory) for file in PUBLISHED)
SAM2 = Model(
    "sam2.1_hiera_large.safetensors",
    "https://huggingface.co/facebook/sam2.1-hiera-large/resolve/main/model.safetensors",
    "sam2",
)
UPSCALER = Model(
    "RealESRGAN_x4plus.safetensors",
    "https://huggingface.co/Comfy-Org/Real-ESRGAN_repackaged/resolve/main/RealESRGAN_x4plus.safetensors",
    "upscale_models",
)
# The files of random weights that stand for what is downloaded in tests.
TINY = {
    KEYFRAMES.name: "keyframe.safetensors",
    INTERPOLATION.name: "interpolation.safetensors",
    VAE.name: "tiny",
    HUBERT.name: "hubert",
    WAVLM.name: "wavlm",
    SAM2.name: "tiny_sam2.safetensors",
    UPSCALER.name: "tiny_upscaler.safetensors",
}
COLUMN = 380  # pixels from one column of nodes to the next
CLIP_ROW = 860  # pixels from one clip to the next
# Nodes with room for a preview below their widgets.
DUB_HEIGHT, LIP_SYNC_HEIGHT, SAMPLE_HEIGHT = 620, 340, 440
BELOW_LATENTS = 320  # pixels


@dataclass(frozen=True)
class Loaders:
    """The nodes that load the models; one may be both speech encoders."""

    keyframes: Node
    interpolation: Node
    vae: Node
    keyframe_encoder: Node
    interpolation_encoder: Node


def load_built_in(graph: Graph) -> Loaders:
    """One column: the loaders of the model that comes with KeySync, in a group."""
    at, names = (0, 0), {name: path.name for name, path in SMALL.items()}
    keyframes = graph.add("KeySyncLoadModel", at, model_name=names["keyframe"], title="Keyframe model")
    interpolation = graph.add("KeySyncLoadModel", at, model_name=names["interpolation"], title="Interpolation model")
    vae = graph.add("KeySyncLoadVAE", at, vae_name=names["vae"])
    hubert = graph.add("KeySyncLoadSpeechEncoder", at, encoder_name=names["hubert"])
    graph.group("Models, built in", keyframes, interpolation, vae, hubert)
    return Loaders(keyframes, interpolation, vae, hubert, hubert)


def load_published(graph: Graph) -> Loaders:
    """One column: the loaders of the published files, in a group."""
    at = (0, 0)
    loaders = Loaders(
        graph.add("KeySyncLoadModel", at, (KEYFRAMES,), model_name=KEYFRAMES.name, title="Keyframe model"),
        graph.add("KeySyncLoadModel", at, (INTERPOLATION,), model_name=INTERPOLATION.name, title="Interpolation model"),
        graph.add("KeySyncLoadVAE", at, (VAE,), vae_name=VAE.name),
        graph.add("KeySyncLoadSpeechEncoder", at, (HUBERT,), encoder_name=HUBERT.name, title="HuBERT, for keyframes"),
        graph.add("KeySyncLoadSpeechEncoder", at, (WAVLM,), encoder_name=WAVLM.name, title="WavLM, for interpolation"),
    )
    graph.group("Models", *vars(loaders).values())
    return loaders


def load_clip(graph: Graph, y: int = 0) -> tuple[Node, Node]:
    """In the second column: the video and the new speech."""
    video = graph.add("LoadVideo", (COLUMN, y), file="talk.mp4", height=390)
    speech = graph.add("LoadAudio", (COLUMN, y), audio="speech.flac", height=140)
    return video, speech


def dub(graph: Graph, models: Loaders, name: str, seed: int = 0, y: int = 0) -> None:
    """A clip, the whole in one node, and where its video and its report go."""
    video, speech = load_clip(graph, y)
    graph.group("What to dub", video, speech)
    dubbed = graph.add(
        "KeySyncDubVideo",
        (2 * COLUMN, y),
        height=DUB_HEIGHT,
        video=video["VIDEO"],
        audio=speech["AUDIO"],
        keyframe_model=models.keyframes["MODEL"],
        interpolation_model=models.interpolation["MODEL"],
        vae=models.vae["VAE"],
        keyframe_encoder=models.keyframe_encoder[0],
        interpolation_encoder=models.interpolation_encoder[0],
        seed=seed,
    )
    saved = save_video(graph, (3 * COLUMN, y), dubbed["video"], name)
    report = graph.add("PreviewAny", (3 * COLUMN, y), source=dubbed["report"], title="Report", height=200)
    graph.group("Dub", dubbed, saved, report)


def save_video(graph: Graph, at: tuple[int, int], video: Link, name: str) -> Node:
    return graph.add("SaveVideo", at, video=video, filename_prefix=f"keysync/{name}", height=400)


LIP_SYNC_NOTE = """Dubs a video with what is built in. Nothing is downloaded.

1. Choose your video in *Load Video* and the new speech in *Load Audio*.
2. Run.

**system**
- *rewrite* draws a real face with the mouths of its own clip: the person must speak in it.
- *keysync* is a small model for rendered faces.
- *auto* looks at the face and chooses.

**strength** is how far the mouth moves.

The report says what happened to each frame. Dub only people who agreed to it."""

LIPS_CURVE_NOTE = """How the lips move is a curve: read from the speech, edited, drawn, and followed.

- *Edit Lips Curve*: stronger, smoother, closed in noise, earlier or later.
- *Lips Curve from Video* instead of *from Speech* copies the lips of another person.
- *Choose Mouths* picks a mouth of the clip for each frame, *Warp Mouths* draws it.

*Crop Face* has no model here: crops are as *Choose Mouths* needs them."""


def lip_sync_no_download(graph: Graph) -> None:
    graph.note((0, 0), LIP_SYNC_NOTE, "Lip sync without a download")
    video, speech = load_clip(graph)
    graph.group("What to dub", video, speech)
    dubbed = graph.add(
        "KeySyncLipSync",
        (2 * COLUMN, 0),
        height=LIP_SYNC_HEIGHT,
        video=video["VIDEO"],
        audio=speech["AUDIO"],
        system=REWRITE.name,
    )
    saved = save_video(graph, (3 * COLUMN, 0), dubbed["video"], "lip_sync")
    report = graph.add("PreviewAny", (3 * COLUMN, 0), source=dubbed["report"], title="Report", height=200)
    graph.group("Lip sync", dubbed, saved, report)


def lips_curve(graph: Graph) -> None:
    graph.note((0, 0), LIPS_CURVE_NOTE, "Lips as a curve")
    video, speech = load_clip(graph)
    parts = graph.add("GetVideoComponents", (COLUMN, 0), video=video["VIDEO"])
    graph.group("What to dub", video, speech, parts)
    x = 2 * COLUMN
    fitted = graph.add(
        "KeySyncFitAudio", (x, 0), images=parts["images"], audio=speech["AUDIO"], fps=parts["fps"], sync_mode="cut_off"
    )
    read = graph.add("KeySyncLipsCurveFromSpeech", (x, 0), audio=fitted["audio"], fps=fitted["fps"])
    edited = graph.add("KeySyncEditLipsCurve", (x, 0), lips=read["lips"], opening=1.1, close_below=0.05)
    graph.group("Lips curve", fitted, read, edited)
    x = 3 * COLUMN
    track = graph.add("KeySyncTrackFace", (x, 0), images=fitted["images"])
    crop = graph.add("KeySyncCropFace", (x, 0), images=fitted["images"], track=track["track"])
    mouth = graph.add("KeySyncMouthMask", (x, 0), track=crop["track"])
    graph.group("Face", track, crop, mouth)
    x = 4 * COLUMN
    chosen = graph.add(
        "KeySyncChooseMouths",
        (x, 0),
        crops=crop["crops"],
        track=crop["track"],
        mask=mouth["mask"],
        lips=edited["lips"],
    )
    warped = graph.add("KeySyncWarpMouths", (x, 0), crops=crop["crops"], mouths=chosen["mouths"])
    pasted = graph.add(
        "KeySyncPasteFace",
        (x, 0),
        images=fitted["images"],
        crops=warped["crops"],
        track=crop["track"],
        mask=warped["mask"],
    )
    made = graph.add("CreateVideo", (x, 0), images=pasted["images"], fps=fitted["fps"], audio=fitted["audio"])
    graph.group("Mouths", chosen, warped, pasted, made)
    x = 5 * COLUMN
    saved = save_video(graph, (x, 0), made["VIDEO"], "lips_curve")
    plot = graph.add("KeySyncPlotLipsCurve", (x, 0), lips=edited["lips"], audio=fitted["audio"])
    shown = graph.add("PreviewImage", (x, 0), images=plot["image"], height=220)
    report = graph.add("PreviewAny", (x, 0), source=warped["report"], title="Report", height=120)
    graph.group("Result", saved, plot, shown, report)


def simple_dub(graph: Graph) -> None:
    dub(graph, load_built_in(graph), "dub")


def where_they_land() -> str:
    """The part of the note on downloads, file by file: what a browser calls it, where it belongs, under which name."""
    saved = ((file.path.rpartition("/")[2], file) for file in PUBLISHED)
    rows = (f"- `{name}` of {file.owner}: `models/{file.directory}/{file.name}`" for name, file in saved)
    return "\n\n".join(
        (
            "**Download:** each missing file has a button in *Errors*. ComfyUI Desktop puts the files into place. A "
            "browser saves them in its own folder: move them, under the name on the right.",
            "\n".join(rows),
            "The VAE's page may ask you to log in and to accept its licence first.",
            "Or all at once: in the folder of KeySync, with ComfyUI's Python, run "
            "`python -m keysync download published`. Then press *R*.",
        )
    )


PUBLISHED_NOTE = """Dubs a real face with the published models.

{}

Use all of them together: a model used with the wrong VAE produces noise."""


def simple_dub_published(graph: Graph) -> None:
    graph.note((0, 0), PUBLISHED_NOTE.format(where_they_land()), "Dub with the published models")
    dub(graph, load_published(graph), "dub")


def batch_of_clips(graph: Graph) -> None:
    models = load_built_in(graph)
    for number in range(3):
        dub(graph, models, f"clip_{number + 1}", seed=number, y=number * CLIP_ROW)


def split_graph(graph: Graph) -> None:
    prepared = prepare(graph)
    finish(graph, prepared, frames=generate(graph, prepared), name="split")


def occlusion_sam2(graph: Graph) -> None:
    prepared = prepare(graph, hide_occluder=True)
    finish(graph, prepared, frames=generate(graph, prepared), name="occlusion")


def face_restorer_slot(graph: Graph) -> None:
    prepared = prepare(graph)
    frames = generate(graph, prepared)
    x = 6 * COLUMN
    loader = graph.add("UpscaleModelLoader", (x, 0), (UPSCALER,), model_name=UPSCALER.name)
    upscaled = graph.add("ImageUpscaleWithModel", (x, 0), upscale_model=loader[0], image=frames)
    graph.group("Any face restorer or upscaler", loader, upscaled)
    finish(graph, prepared, frames=upscaled["IMAGE"], name="restored", x=7 * COLUMN)


def keyframes_by_sampler_custom_advanced(graph: Graph) -> None:
    prepared = prepare(graph)
    finish(graph, prepared, frames=generate(graph, prepared, by_hand=True), name="by_hand", x=7 * COLUMN)


@dataclass(frozen=True)
class Prepared:
    """What the split graphs share: the models, the clip, the face in it and the speech over it."""

    models: Loaders
    images: Link
    fps: Link
    audio: Link
    crops: Link
    track: Link
    mask: Link
    latent: Link
    speech: Link


def prepare(graph: Graph, *, hide_occluder: bool = False) -> Prepared:
    """Columns 0 to 3: models, clip, face and speech."""
    models = load_built_in(graph)
    video, speech = load_clip(graph)
    parts = graph.add("GetVideoComponents", (COLUMN, 0), video=video["VIDEO"])
    graph.group("What to dub", video, speech, parts)
    x = 2 * COLUMN
    fitted = graph.add(
        "KeySyncFitAudio", (x, 0), images=parts["images"], audio=speech["AUDIO"], fps=parts["fps"], sync_mode="cut_off"
    )
    encoder = models.keyframe_encoder[0]  # of the frames between, too
    features = graph.add("KeySyncEncodeSpeech", (x, 0), encoder=encoder, audio=fitted["audio"], fps=fitted["fps"])
    graph.group("Speech", fitted, features)
    x = 3 * COLUMN
    track = graph.add("KeySyncTrackFace", (x, 0), images=fitted["images"], model=models.keyframes["MODEL"])
    crop = graph.add(
        "KeySyncCropFace", (x, 0), images=fitted["images"], track=track["track"], model=models.keyframes["MODEL"]
    )
    mouth = graph.add("KeySyncMouthMask", (x, 0), track=crop["track"])
    face = [track, crop, mouth]
    mask = mouth["mask"]
    if hide_occluder:
        occluder = graph.add(
            "KeySyncTrackOccluder",
            (x, 0),
            (SAM2,),
            images=fitted["images"],
            model_name=SAM2.name,
            points="200,330",
            height=230,
        )
        free = graph.add("KeySyncSubtractOcclusion", (x, 0), mask=mask, occluder=occluder["MASK"], track=crop["track"])
        mask = free["mask"]
        face += [occluder, free]
    graph.group("Face", *face)
    x = 4 * COLUMN
    encoded = graph.add("VAEEncode", (x, 0), pixels=crop["crops"], vae=models.vae["VAE"])
    masked = graph.add("SetLatentNoiseMask", (x, 0), samples=encoded["LATENT"], mask=mask)
    graph.group("Latents", encoded, masked)
    return Prepared(
        models,
        fitted["images"],
        fitted["fps"],
        fitted["audio"],
        crop["crops"],
        crop["track"],
        mask,
        masked["LATENT"],
        features[0],
    )


def generate(graph: Graph, prepared: Prepared, *, by_hand: bool = False) -> Link:
    """Columns 4 and 5, or 4 to 6: keyframes, the frames between them, and their pictures."""
    x = 4 * COLUMN
    sample = _keyframes_by_hand if by_hand else _keyframes
    keyframes = sample(graph, x, prepared)
    x += (2 if by_hand else 1) * COLUMN
    frames = graph.add(
        "KeySyncInterpolateKeyframes",
        (x, 0),
        model=prepared.models.interpolation["MODEL"],
        speech=prepared.speech,
        latent=prepared.latent,
        keyframes=keyframes,
        height=SAMPLE_HEIGHT,
    )
    decoded = graph.add("KeySyncDecodeFrames", (x, 0), latent=frames["frames"], vae=prepared.models.vae["VAE"])
    graph.group("Frames between", frames, decoded)
    return decoded["IMAGE"]


def _keyframes(graph: Graph, x: int, prepared: Prepared) -> Link:
    sampled = graph.add(
        "KeySyncSampleKeyframes",
        (x, 0),
        model=prepared.models.keyframes["MODEL"],
        speech=prepared.speech,
        latent=prepared.latent,
        height=SAMPLE_HEIGHT,
    )
    graph.group("Keyframes", sampled)
    return sampled["keyframes"]


def _keyframes_by_hand(graph: Graph, x: int, prepared: Prepared) -> Link:
    guider = graph.add(
        "KeySyncGuider",
        (x, 0),
        model=prepared.models.keyframes["MODEL"],
        speech=prepared.speech,
    )
    noise = graph.add("RandomNoise", (x, 0), noise_seed=0)
    sampler = graph.add("KSamplerSelect", (x, 0), sampler_name="euler")
    sigmas = graph.add("KeySyncSigmas", (x, 0))
    sampled = graph.add(
        "SamplerCustomAdvanced",
        (x + COLUMN, BELOW_LATENTS),
        noise=noise["NOISE"],
        guider=guider["GUIDER"],
        sampler=sampler["SAMPLER"],
        sigmas=sigmas["SIGMAS"],
        latent_image=prepared.latent,
        height=SAMPLE_HEIGHT,
    )
    graph.group("Keyframes", guider, noise, sampler, sigmas, sampled)
    return sampled["output"]


def finish(graph: Graph, prepared: Prepared, *, frames: Link, name: str, x: int = 6 * COLUMN) -> None:
    """The last two columns: back into the frames, and a video of them."""
    pasted = graph.add(
        "KeySyncPasteFace", (x, 0), images=prepared.images, crops=frames, track=prepared.track, mask=prepared.mask
    )
    video = graph.add("CreateVideo", (x, 0), images=pasted["images"], fps=prepared.fps, audio=prepared.audio)
    saved = save_video(graph, (x + COLUMN, 0), video["VIDEO"], name)
    report = graph.add("PreviewAny", (x + COLUMN, 0), source=pasted["report"], title="Report", height=200)
    graph.group("Result", pasted, video, saved, report)


# The template browser shows files in the order of their folder, which many file systems sort: a digit comes first.
WORKFLOWS: dict[str, Callable[[Graph], None]] = {
    "1_lip_sync_no_download": lip_sync_no_download,
    **{
        function.__name__: function
        for function in (
            lips_curve,
            simple_dub,
            simple_dub_published,
            split_graph,
            occlusion_sam2,
            face_restorer_slot,
            keyframes_by_sampler_custom_advanced,
            batch_of_clips,
        )
    },
}


def make(name: str) -> Graph:
    """The graph of a workflow."""
    graph = Graph()
    WORKFLOWS[name](graph)
    return graph


def with_tiny(form: Any) -> Any:
    """A workflow or prompt that names the tiny files wherever it named such as are downloaded."""
    if isinstance(form, dict):
        return {key: with_tiny(value) for key, value in form.items()}
    if isinstance(form, list):
        return [with_tiny(value) for value in form]
    return TINY.get(form, form) if isinstance(form, str) else form
