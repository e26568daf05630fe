"""The example workflows, each written once; `make_workflows.py` makes ComfyUI's files of them.

All but the app begin with an example that comes with KeySync, and need no file in ComfyUI's input folder. All but four
need no download either.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keysync.demo import EXAMPLES
from keysync.systems.flashlips.small import FLASHLIPS_SMALL
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
# KeyFace's files, and the encoders that only it hears; no direct link to them is known to work.
KEYFACE = ("keyframe.pt", "interpolation.pt", "interpolation_bad.pt")
WAV2VEC2, BEATS = "wav2vec2-base-960h", "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"
UNLINKED = (*KEYFACE, WAV2VEC2, BEATS)
# The files of random weights that stand for what is downloaded in tests.
TINY = {
    **{name: f"keyface_{name.removesuffix('.pt')}.safetensors" for name in KEYFACE},
    WAV2VEC2: "wav2vec2",
    BEATS: "beats.safetensors",
    KEYFRAMES.name: "keyframe.safetensors",
    INTERPOLATION.name: "interpolation.safetensors",
    VAE.name: "tiny",
    HUBERT.name: "hubert",
    WAVLM.name: "wavlm",
    SAM2.name: "tiny_sam2.safetensors",
}
SECONDS = 3.0  # that Load Example loads, unless a workflow says otherwise
COLUMN = 380  # pixels from one column of nodes to the next
CLIP_ROW, PART_ROW = 920, 780  # pixels from one clip to the next, and from one part of a film
# Nodes with room for a preview below their widgets.
DUB_HEIGHT, LIP_SYNC_HEIGHT, SAMPLE_HEIGHT, VIDEO_HEIGHT, COMPARISON_HEIGHT = 640, 340, 440, 400, 330
CURVE_HEIGHT = 420
BELOW_LATENTS = 320  # pixels
PERSON, HAND, TWO = EXAMPLES
# The in point and the duration of each part of a film in seconds; 0 is up to the end.
PARTS = ((0.0, 0.6), (0.6, 0.0))
# A point on the hand of the example that has one, and a frame that shows it.
HAND_FRAME, HAND_POINT = 25, "140,240"


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


def load_clip(graph: Graph, y: int = 0, example: str = PERSON, x: int = COLUMN) -> Node:
    """A video and new speech that come with KeySync, as the outputs of one node."""
    return graph.add("KeySyncLoadExample", (x, y), example=example)


def dub(graph: Graph, models: Loaders, name: str, seed: int = 0, y: int = 0, example: str = PERSON) -> None:
    """A clip, the whole in one node, and where its video and its report go."""
    clip = load_clip(graph, y, example)
    graph.group("What to dub", clip)
    dubbed = dub_video(graph, models, (2 * COLUMN, y), video=clip["video"], audio=clip["audio"], seed=seed)
    graph.group("Dub", dubbed)
    show(graph, (3 * COLUMN, y), clip["video"], dubbed, name)


def dub_video(graph: Graph, models: Loaders, at: tuple[int, int], **inputs: Any) -> Node:
    """Dub Video with these models; its other inputs are links or values."""
    return graph.add(
        "KeySyncDubVideo",
        at,
        height=DUB_HEIGHT,
        keyframe_model=models.keyframes["MODEL"],
        interpolation_model=models.interpolation["MODEL"],
        vae=models.vae["VAE"],
        keyframe_encoder=models.keyframe_encoder[0],
        interpolation_encoder=models.interpolation_encoder[0],
        **inputs,
    )


def show(graph: Graph, at: tuple[int, int], before: Link, dubbed: Node, name: str) -> None:
    """Two columns: the dubbed video saved, its report in sentences, and the video before and after."""
    saved = save_video(graph, at, dubbed["video"], name)
    summary = graph.add("PreviewAny", at, source=dubbed["summary"], title="What happened", height=280)
    graph.group("Result", saved, summary)
    at = (at[0] + COLUMN, at[1])
    compared = graph.add("KeySyncCompareVideos", at, before=before, after=dubbed["video"])
    both = save_video(graph, at, compared["video"], f"{name}_before_and_after", height=COMPARISON_HEIGHT)
    graph.group("Before and after", compared, both)


def save_video(graph: Graph, at: tuple[int, int], video: Link, name: str, height: int = VIDEO_HEIGHT) -> Node:
    return graph.add("SaveVideo", at, video=video, filename_prefix=f"keysync/{name}", height=height)


SWAP = "**Your own files:** delete *Load Example*, add *Load Video* and *Load Audio*, and connect them in its place."
AT_ONCE = "Press *Run*: it works at once with an example."
AFTER_DOWNLOAD = (
    "**First:** download the file that ComfyUI asks for. Then press *Run*: the example needs no other file."
)


def note(graph: Graph, title: str, does: str, *changes: str, run: str = AT_ONCE) -> None:
    """The note of a workflow, above all others: what it does, how to use one's own files, what else to change first."""
    parts = (does, run, SWAP, *changes)
    graph.note((0, 0), "\n\n".join((*parts, CONSENT)), title)


CONSENT = "Dub only people who agreed to it."
REAL_FACES = "**A real face** needs the published models, as in *simple_dub_published*: these know rendered heads only."
CUTS = "All frames count as one shot: split a video with cuts first, or use *Dub Video*."
FACES = (
    "**Which face:** *Track Face* numbers all faces in its preview; *Frame to show* chooses the frame. Set *face* to "
    "index and choose *face_index*."
)


def lip_sync_no_download(graph: Graph) -> None:
    note(
        graph,
        "Lip sync without a download",
        "Dubs a video with what is built in. Nothing is downloaded.",
        "**system:** *rewrite* draws a real face with the mouths of its own clip, in which the person must speak. "
        "*keysync* is a small model for rendered heads. *auto* looks at the face and chooses.",
        "**strength** is how far the mouth moves.",
        "**face_index:** 0 is the largest face, 1 the next. *Track Face* numbers them in its preview.",
    )
    clip = load_clip(graph, x=0)
    graph.group("What to dub", clip)
    dubbed = graph.add(
        "KeySyncLipSync",
        (COLUMN, 0),
        height=LIP_SYNC_HEIGHT,
        video=clip["video"],
        audio=clip["audio"],
        system=REWRITE.name,
    )
    graph.group("Lip sync", dubbed)
    show(graph, (2 * COLUMN, 0), clip["video"], dubbed, "lip_sync")


def track_face(graph: Graph, x: int, images: Link, model: Link | None = None) -> tuple[Node, Node, Node]:
    """Track Face, and below it one frame of its preview: large enough to read the numbers of the faces."""
    track = graph.add("KeySyncTrackFace", (x, 0), images=images, model=model)
    frame = graph.add("ImageFromBatch", (x, 0), image=track["preview"], title="Frame to show")
    shown = graph.add("PreviewImage", (x, 0), images=frame["IMAGE"], title="Faces by face_index", height=330)
    return track, frame, shown


def lips_curve(graph: Graph) -> None:
    note(
        graph,
        "Lips as a curve",
        "How the lips move is a curve: read from the speech, edited, drawn, and followed.",
        "**Edit Lips Curve:** stronger, smoother, closed in noise, earlier or later.",
        "*Lips Curve from Video* instead of *from Speech* copies the lips of another person.",
        "*Choose Mouths* picks a mouth of the clip for each frame, *Warp Mouths* draws it. *Crop Face* has no model "
        "here: crops are as *Choose Mouths* needs them.",
        FACES,
    )
    clip = load_clip(graph, x=0)
    parts = graph.add("GetVideoComponents", (0, 0), video=clip["video"])
    graph.group("What to dub", clip, parts)
    x = COLUMN
    fitted = graph.add(
        "KeySyncFitAudio", (x, 0), images=parts["images"], audio=clip["audio"], fps=parts["fps"], sync_mode="cut_off"
    )
    read = graph.add("KeySyncLipsCurveFromSpeech", (x, 0), audio=fitted["audio"], fps=fitted["fps"])
    edited = graph.add("KeySyncEditLipsCurve", (x, 0), lips=read["lips"], opening=1.1, close_below=0.05)
    graph.group("Lips curve", fitted, read, edited)
    x = 2 * COLUMN
    track, *preview = track_face(graph, x, fitted["images"])
    crop = graph.add("KeySyncCropFace", (x, 0), images=fitted["images"], track=track["track"])
    mouth = graph.add("KeySyncMouthMask", (x, 0), track=crop["track"])
    graph.group("Face", track, *preview, crop, mouth)
    x = 3 * COLUMN
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
    x = 4 * COLUMN
    saved = save_video(graph, (x, 0), made["VIDEO"], "lips_curve")
    plot = graph.add("KeySyncPlotLipsCurve", (x, 0), lips=edited["lips"], audio=fitted["audio"])
    shown = graph.add("PreviewImage", (x, 0), images=plot["image"], height=300)
    report = graph.add("PreviewAny", (x, 0), source=warped["report"], title="Report", height=150)
    graph.group("Result", saved, plot, shown, report)


def simple_dub(graph: Graph) -> None:
    note(
        graph,
        "Dub in one node",
        "Dubs a rendered face with the built-in model, the whole method in one node.",
        REAL_FACES,
        "**audio_guidance** is how closely the lips follow the speech; 0 is the model's default.",
        "**seed:** another one gives another take.",
        "**sync_mode** says what happens when video and speech have different lengths.",
    )
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


def simple_dub_published(graph: Graph) -> None:
    graph.note(
        (0, 0),
        "\n\n".join(
            (
                "Dubs a real face with the published models, the whole method in one node.",
                where_they_land(),
                SWAP,
                "Use all files from here together: a model used with the wrong VAE produces noise.",
                "**audio_guidance** is how closely the lips follow the speech; 0 is the model's default.",
                CONSENT,
            )
        ),
        "Dub with the published models",
    )
    dub(graph, load_published(graph), "dub")


def batch_of_clips(graph: Graph) -> None:
    note(
        graph,
        "Several clips",
        "Dubs three clips, each with its own speech, with models that are loaded once.",
        REAL_FACES,
        "**More clips:** copy a row and connect the loaders to it.",
    )
    models = load_built_in(graph)
    for number, example in enumerate((PERSON, HAND, PERSON)):
        dub(graph, models, f"clip_{number + 1}", seed=number, y=number * CLIP_ROW, example=example)


def list_of_clips(graph: Graph) -> None:
    note(
        graph,
        "A list of clips",
        "Dubs a list of clips with one *Lip Sync*: it runs once for each, and *Save Video* saves each.",
        "**More clips:** connect them to the free input of *Create List*, in the same order in both lists.",
        "**The same speech in all:** connect it to *Lip Sync* without a list.",
        "**The published models:** use *Dub Video* with its loaders in place of *Lip Sync*; they are loaded once.",
        "If a clip fails, the run ends: press *Run* again after changing that clip.",
    )
    clips = [graph.add("KeySyncLoadExample", (0, 0), example=example) for example in EXAMPLES]
    graph.group("What to dub", *clips)
    videos, sounds = (
        graph.add("CreateList", (COLUMN, 0), title=title) for title in ("List of videos", "List of speeches")
    )
    for number, clip in enumerate(clips):
        videos.inputs[f"inputs.input{number}"] = clip["video"]
        sounds.inputs[f"inputs.input{number}"] = clip["audio"]
    graph.group("Lists", videos, sounds)
    dubbed = graph.add(
        "KeySyncLipSync",
        (2 * COLUMN, 0),
        height=LIP_SYNC_HEIGHT,
        video=videos["list"],
        audio=sounds["list"],
        system=REWRITE.name,
    )
    graph.group("Lip sync, once for each clip", dubbed)
    show(graph, (3 * COLUMN, 0), videos["list"], dubbed, "list")


def two_speakers(graph: Graph) -> None:
    note(
        graph,
        "Two people, a voice each",
        "A *Speaker* for each person says whose voice it is. *Speakers* collects them for *Lip Sync*: connect as many "
        "as there are people. *Dub Video* takes them too.",
        "**face_index:** 0 is the more prominent person, 1 the other, through all cuts. To be sure of a person, choose "
        "*picture* in **face** and connect a picture.",
        "**Who does not speak stays as in the source.** A voice counts wherever it is not silent, or in the "
        "**seconds** of its *Speaker*. Both may speak at once.",
        "**sync_mode:** *silence* keeps the length of the video.",
        "The example has one voice, of which each person has a sentence.",
    )
    clip = graph.add("KeySyncLoadExample", (0, 0), example=TWO, seconds=6.0)
    graph.group("What to dub", clip)
    x, sound = COLUMN, clip["audio"]
    left = graph.add("TrimAudioDuration", (x, 0), audio=sound, start_index=0.15, duration=2.55, title="Sentence 1")
    graph.group("Voice of the left person", left)
    wait = graph.add("EmptyAudio", (x, 0), duration=2.5, channels=1, title="Silence while the other speaks")
    spoken = graph.add("TrimAudioDuration", (x, 0), audio=sound, start_index=3.95, duration=1.45, title="Sentence 2")
    x = 2 * COLUMN
    right = graph.add("AudioConcat", (x, 280), audio1=wait["AUDIO"], audio2=spoken["AUDIO"])
    graph.group("Voice of the right person", wait, spoken, right)
    x = 3 * COLUMN
    people = [
        graph.add("KeySyncSpeaker", (x, 0), audio=voice["AUDIO"], face_index=index, title=f"Speaker: the {side} person")
        for index, (side, voice) in enumerate((("left", left), ("right", right)))
    ]
    x = 4 * COLUMN
    both = graph.add("KeySyncSpeakers", (x, 0))
    both.inputs.update({f"speakers.speaker{index}": one["speaker"] for index, one in enumerate(people)})
    graph.group("Who speaks", *people, both)
    x = 5 * COLUMN
    dubbed = graph.add(
        "KeySyncLipSync",
        (x, 0),
        video=clip["video"],
        audio=both["speakers"],
        system=REWRITE.name,
        sync_mode="silence",
        height=LIP_SYNC_HEIGHT,
    )
    saved = save_video(graph, (x, 0), dubbed["video"], "two_speakers")
    graph.group("Dub", dubbed, saved)
    told = graph.add("PreviewAny", (6 * COLUMN, 0), source=dubbed["summary"], title="What happened", height=250)
    graph.group("What happened", told)


def long_film(graph: Graph) -> None:
    note(
        graph,
        "A long film, in parts",
        "Dubs a film part by part. Each part has an in and an out point, and a file of its own.",
        "**Memory** does not grow with the length: *Load Video*, *Trim Video*, *Dub Video* and *Save Video* stream "
        "from file to file. *Get Video Components* loads all frames: leave it out. The speech is held in memory, 20 MB "
        "a minute.",
        "**In and out:** *start* and *duration* of a part, for its video and its audio. Cut where the shot changes, or "
        "in a pause. A duration of 0 in *Trim Video* is up to the end.",
        "**Time:** the log says how many evaluations a part needs, and about how long they take.",
        "**Cancel** stops within one evaluation. The part that was running is lost; finished parts stay saved, and the "
        "next *Run* does not make them again. What is known of the face is kept until ComfyUI restarts.",
        "**Order:** ComfyUI may begin with any part.",
        "**To join the parts**, their pictures unchanged: list them in a text file, a line `file 'NAME.mp4'` each, "
        "and run `ffmpeg -f concat -i list.txt -c:v copy film.mp4`.",
        REAL_FACES,
    )
    models = load_built_in(graph)
    clip = load_clip(graph)
    graph.group("The film and its new speech", clip)
    for number, (start, duration) in enumerate(PARTS):
        y = number * PART_ROW
        video = graph.add("Video Slice", (2 * COLUMN, y), video=clip["video"], start_time=start, duration=duration)
        speech = graph.add(
            "TrimAudioDuration", (2 * COLUMN, y), audio=clip["audio"], start_index=start, duration=duration or 3600.0
        )
        graph.group(f"Part {number + 1}: in and out", video, speech)
        dubbed = dub_video(graph, models, (3 * COLUMN, y), video=video["VIDEO"], audio=speech["AUDIO"])
        graph.group(f"Part {number + 1}: dub", dubbed)
        at = (4 * COLUMN, y)
        saved = save_video(graph, at, dubbed["video"], f"film_part_{number + 1}")
        summary = graph.add("PreviewAny", at, source=dubbed["summary"], title="What happened", height=200)
        graph.group(f"Part {number + 1}: result", saved, summary)


def lip_sync_app(graph: Graph) -> None:
    graph.note(
        (0, 0),
        "\n\n".join(
            (
                "*Lip Sync (no download)* as an app: choose a video and the new speech, and press *Run*.",
                "*Enter app mode* in the menu at the top left shows the app; *Exit app mode* shows these nodes.",
                "**system:** *auto* looks at the face and chooses. **strength** is how far the mouth moves. "
                "**face_index:** 0 is the largest face.",
                CONSENT,
            )
        ),
        "Lip sync as an app",
    )
    video = graph.add("LoadVideo", (COLUMN, 0), file="", labels={"file": "video"}, height=VIDEO_HEIGHT)
    speech = graph.add("LoadAudio", (COLUMN, 0), audio="", labels={"audio": "new speech"})
    graph.group("What to dub", video, speech)
    x = 2 * COLUMN
    dubbed = graph.add("KeySyncLipSync", (x, 0), video=video["VIDEO"], audio=speech["AUDIO"], height=LIP_SYNC_HEIGHT)
    graph.group("Lip sync", dubbed)
    x = 3 * COLUMN
    saved = save_video(graph, (x, 0), dubbed["video"], "lip_sync")
    summary = graph.add("PreviewAny", (x, 0), source=dubbed["summary"], title="What happened", height=280)
    graph.group("Result", saved, summary)
    asked = [(video, "file"), (speech, "audio")]
    asked += [(dubbed, widget) for widget in ("system", "strength", "sync_mode", "face_index")]
    graph.app(asked, [saved, summary])


def split_graph(graph: Graph) -> None:
    note(
        graph,
        "Step by step",
        "The whole method, one node per step: put your own masks, samplers and upscalers between them.",
        REAL_FACES,
        FACES,
        "**mask** in *Mouth Mask* is the region that is generated.",
        CUTS,
    )
    prepared = prepare(graph)
    finish(graph, prepared, frames=generate(graph, prepared), name="split")


def occlusion_sam2(graph: Graph) -> None:
    note(
        graph,
        "Something before the mouth",
        "Keeps a hand in front of the mouth as it is. It needs a SAM 2 file.",
        f"**points** in *Track Occluder* lies on the hand in **frame** {HAND_FRAME} of the example. In your own clip, "
        "choose a frame that shows the object, and a point on it in pixels.",
        REAL_FACES,
        FACES,
        run=AFTER_DOWNLOAD,
    )
    prepared = prepare(graph, example=HAND, hide_occluder=True)
    finish(graph, prepared, frames=generate(graph, prepared), name="occlusion")


def face_restorer_slot(graph: Graph) -> None:
    note(
        graph,
        "With an upscaler or a face restorer",
        "Upscales and sharpens the generated face before it is pasted, with nodes that need no file.",
        "**Your own restorer:** put it between *Decode Frames* and *Paste Face*, in place of the two. Any size fits: "
        "*Paste Face* scales it.",
        "**An upscale model:** *Load Upscale Model* and *Upscale Image (using Model)*, with a file in "
        "`models/upscale_models`.",
        REAL_FACES,
        FACES,
    )
    prepared = prepare(graph)
    frames = generate(graph, prepared)
    x = 6 * COLUMN
    upscaled = graph.add("ImageScaleBy", (x, 0), image=frames, upscale_method="lanczos", scale_by=2.0)
    sharpened = graph.add("ImageSharpen", (x, 0), image=upscaled["IMAGE"], alpha=0.5)
    graph.group("Any face restorer or upscaler", upscaled, sharpened)
    finish(graph, prepared, frames=sharpened["IMAGE"], name="restored", x=7 * COLUMN)


def keyframes_by_sampler_custom_advanced(graph: Graph) -> None:
    note(
        graph,
        "Keyframes by the core's sampler",
        "Samples the keyframes with the core's *SamplerCustomAdvanced*: choose sampler, noise and sigmas.",
        REAL_FACES,
        "**sampler_name** and **noise_seed** come first.",
        FACES,
    )
    prepared = prepare(graph)
    finish(graph, prepared, frames=generate(graph, prepared, by_hand=True), name="by_hand", x=7 * COLUMN)


def train_a_lora(graph: Graph) -> None:
    note(
        graph,
        "Make it speak like somebody",
        "Trains a LoRA on clips of one person, and dubs with it. It needs a git clone of KeySync.",
        "**Your own clips:** also delete *Lip Sync*, which only gives the example a sound, and connect *Load Video* to "
        "*Prepare Clips*: several minutes of one person. Turn on both *drop* inputs.",
        "**steps:** the example's are few, to show how it works; 1000 or more are usual. With more steps it goes on.",
        "**The keyframe model** chooses the mouths: train it too, with clips of 6.8 s or more.",
        REAL_FACES,
    )
    models = load_built_in(graph)
    clip = load_clip(graph)
    spoken = graph.add(
        "KeySyncLipSync",
        (COLUMN, 0),
        height=LIP_SYNC_HEIGHT,
        video=clip["video"],
        audio=clip["audio"],
        system=REWRITE.name,
        title="Stands for clips of your person",
    )
    graph.group("Clips", clip, spoken)
    x = 2 * COLUMN
    videos: dict[str, Any] = {"videos.video0": spoken["video"]}
    clips = graph.add(
        "KeySyncPrepareClips",
        (x, 0),
        vae=models.vae["VAE"],
        encoder=models.interpolation_encoder[0],
        drop_blurred=False,
        drop_out_of_sync=False,
        **videos,
    )
    kept = graph.add("PreviewAny", (x, 0), source=clips["summary"], title="What was kept", height=200)
    graph.group("Prepare", clips, kept)
    x = 3 * COLUMN
    trained = graph.add(
        "KeySyncTrainLoRA",
        (x, 0),
        model=models.interpolation["MODEL"],
        vae=models.vae["VAE"],
        clips=clips["clips"],
        steps=40,
    )
    summary = graph.add("PreviewAny", (x, 0), source=trained["summary"], title="What was trained", height=200)
    graph.group("Train", trained, summary)
    x = 4 * COLUMN
    plot = graph.add("PreviewImage", (x, 0), images=trained["loss_plot"], title="Loss", height=260)
    both = graph.add("PreviewImage", (x, 0), images=trained["preview"], title="A clip, before and after", height=400)
    graph.group("Look", plot, both)
    x = 5 * COLUMN
    dubbed = graph.add(
        "KeySyncDubVideo",
        (x, 0),
        height=DUB_HEIGHT,
        video=clip["video"],
        audio=clip["audio"],
        keyframe_model=models.keyframes["MODEL"],
        interpolation_model=trained["model"],
        vae=models.vae["VAE"],
        keyframe_encoder=models.keyframe_encoder[0],
        interpolation_encoder=models.interpolation_encoder[0],
    )
    graph.group("Dub with it", dubbed)
    show(graph, (6 * COLUMN, 0), clip["video"], dubbed, "trained")


@dataclass(frozen=True)
class Portrait:
    """The nodes that load what KeyFace alone needs."""

    models: Node
    wav2vec2: Node
    beats: Node


def load_keyface(graph: Graph, at: tuple[int, int]) -> Portrait:
    """The loaders of KeyFace's models and of the encoders that only it hears."""
    keyframe, interpolation, weak = KEYFACE
    models = graph.add(
        "KeySyncLoadKeyFaceModel", at, keyframe_name=keyframe, interpolation_name=interpolation, weak_name=weak
    )
    wav2vec2 = graph.add("KeySyncLoadSpeechEncoder", at, encoder_name=WAV2VEC2, title="wav2vec 2.0, for interpolation")
    beats = graph.add("KeySyncLoadSpeechEncoder", at, encoder_name=BEATS, title="BEATs, for both")
    return Portrait(models, wav2vec2, beats)


def animate(graph: Graph, portrait: Portrait, vae: Node, wavlm: Node, x: int) -> tuple[Node, Node]:
    """Two columns: a picture, a sound and an emotion, and the portrait as a video; returns its frames and the video."""
    clip = load_clip(graph, x=x)
    parts = graph.add("GetVideoComponents", (x, 0), video=clip["video"])
    graph.group("Picture and sound", clip, parts)
    curve = graph.add(
        "KeySyncEmotionCurve", (x, 0), emotion="0:neutral,1.5:happy", audio=clip["audio"], height=CURVE_HEIGHT
    )
    graph.group("Emotion", curve)
    x += COLUMN
    talking = graph.add(
        "KeySyncAnimatePortrait",
        (x, 0),
        height=DUB_HEIGHT,
        image=parts["images"],
        audio=clip["audio"],
        keyframe_model=portrait.models["keyframe_model"],
        interpolation_model=portrait.models["interpolation_model"],
        weak_model=portrait.models["weak_model"],
        vae=vae["VAE"],
        keyframe_encoder=wavlm[0],
        interpolation_encoder=portrait.wav2vec2[0],
        sound_encoder=portrait.beats[0],
        emotion=curve["emotion"],
    )
    video = graph.add("CreateVideo", (x, 0), images=talking["images"], fps=talking["fps"], audio=talking["audio"])
    graph.group("Animate", talking, video)
    return talking, video


def animate_portrait(graph: Graph) -> None:
    portrait_note(
        graph, "Make a portrait talk", "Makes a portrait talk, with an emotion, from one picture and a sound."
    )
    portrait = load_keyface(graph, (0, 0))
    wavlm = graph.add(
        "KeySyncLoadSpeechEncoder", (0, 0), (WAVLM,), encoder_name=WAVLM.name, title="WavLM, for keyframes"
    )
    vae = graph.add("KeySyncLoadVAE", (0, 0), (VAE,), vae_name=VAE.name)
    graph.group("Models", *vars(portrait).values(), wavlm, vae)
    talking, video = animate(graph, portrait, vae, wavlm, COLUMN)
    x = 3 * COLUMN
    saved = save_video(graph, (x, 0), video["VIDEO"], "portrait")
    report = graph.add("PreviewAny", (x, 0), source=talking["report"], title="Report", height=280)
    graph.group("Result", saved, report)


def animate_and_dub(graph: Graph) -> None:
    portrait_note(
        graph,
        "Make a portrait talk, then dub it",
        "Makes a portrait talk, then draws its mouth again with KeySync, whose lips follow the speech more closely. To "
        "say something else, connect other speech to *Dub Video*: the portrait is not animated again.",
    )
    models = load_published(graph)
    portrait = load_keyface(graph, (COLUMN, 0))
    graph.group("KeyFace", *vars(portrait).values())
    talking, video = animate(graph, portrait, models.vae, models.interpolation_encoder, 2 * COLUMN)
    dubbed = dub_video(graph, models, (4 * COLUMN, 0), video=video["VIDEO"], audio=talking["audio"])
    graph.group("Dub", dubbed)
    show(graph, (5 * COLUMN, 0), video["VIDEO"], dubbed, "portrait_dubbed")


def portrait_note(graph: Graph, title: str, does: str) -> None:
    """The note of a workflow that animates a portrait: files to get, one's own picture and sound, what to change."""
    rows = [
        f"- KeyFace, from https://huggingface.co/toninio19/keyface: `{'`, `'.join(KEYFACE)}`, in `models/keysync`",
        f"- wav2vec 2.0, from https://huggingface.co/facebook/wav2vec2-base-960h: `config.json` and "
        f"`model.safetensors`, in the folder `models/audio_encoders/{WAV2VEC2}`",
        f"- BEATs, from https://github.com/microsoft/unilm/tree/master/beats: `{BEATS}`, in `models/audio_encoders`",
    ]
    parts = (
        does,
        "**First,** get these files by hand; the others have a download button:\n\n" + "\n".join(rows),
        "**Your own files:** put *Load Image* in the place of *Get Video Components*, and *Load Audio* in that of "
        "*Load Example*; or *Load Video* and *Load Audio*, to animate the first frame of a video.",
        "**emotion** in *Emotion Curve*: a state such as happy, or states at seconds; **curve** takes a table of your "
        "own.",
        "How good a result of the published weights looks is unmeasured.",
        "Animate only people who agreed to it.",
    )
    graph.note((0, 0), "\n\n".join(parts), title)


FLASHLIPS_FACES = (
    "**A real face** needs a FlashLips of your own training, in `models/keysync`, as docs/training.md says: none is "
    "published, and the built-in one knows rendered heads only."
)


def draft_then_final(graph: Graph) -> None:
    note(
        graph,
        "A fast draft, then the final dub",
        "Dubs a video with FlashLips, which draws each frame in one pass, then with KeySync, and shows both.",
        "Bypass *Dub Video* until the draft is as you want it: speech, face and length are the same in both.",
        "**seed** in *Dub with FlashLips* is another take of the lips. KeySync's own takes differ.",
        FLASHLIPS_FACES,
    )
    models = load_built_in(graph)
    x = COLUMN
    flashlips = graph.add("KeySyncLoadFlashLips", (x, 0), model_name=FLASHLIPS_SMALL.name)
    clip = load_clip(graph, x=x)
    graph.group("What to dub", flashlips, clip)
    x = 2 * COLUMN
    draft = graph.add(
        "KeySyncFlashLipsDub",
        (x, 0),
        height=DUB_HEIGHT,
        video=clip["video"],
        audio=clip["audio"],
        flashlips=flashlips["flashlips"],
    )
    saved = save_video(graph, (x, 0), draft["video"], "draft")
    graph.group("Draft", draft, saved)
    x = 3 * COLUMN
    final = dub_video(graph, models, (x, 0), video=clip["video"], audio=clip["audio"])
    graph.group("Final", final)
    show(graph, (4 * COLUMN, 0), draft["video"], final, "final")


def transfer_performance(graph: Graph) -> None:
    note(
        graph,
        "The lips of one video on another person",
        "Reads the lips of a person who speaks, and draws them on a person in another video, with the same sound.",
        "*Load Video* takes the place of each *Load Example*; the sound must be that of the performance.",
        "**Edit Lips Vectors** smooths, shifts or holds the lips, or blends them with those of *Lips Vectors from "
        "Speech*.",
        FLASHLIPS_FACES,
    )
    flashlips = graph.add("KeySyncLoadFlashLips", (0, 0), model_name=FLASHLIPS_SMALL.name)
    performed = load_clip(graph, x=0)
    parts = graph.add("GetVideoComponents", (0, 0), video=performed["video"])
    graph.group("Performance", flashlips, performed, parts)
    x = COLUMN
    track, *preview = track_face(graph, x, parts["images"])
    crop = graph.add(
        "KeySyncCropFace", (x, 0), images=parts["images"], track=track["track"], model=flashlips["flashlips"]
    )
    graph.group("Face", track, *preview, crop)
    x = 2 * COLUMN
    read = graph.add(
        "KeySyncLipsVectorsFromVideo",
        (x, 0),
        flashlips=flashlips["flashlips"],
        crops=crop["crops"],
        fps=parts["fps"],
    )
    edited = graph.add("KeySyncEditLipsVectors", (x, 0), vectors=read["vectors"], smoothing=0.5)
    graph.group("Lips", read, edited)
    x = 3 * COLUMN
    other = load_clip(graph, example=TWO, x=x)
    dubbed = graph.add(
        "KeySyncFlashLipsDub",
        (x, 0),
        height=DUB_HEIGHT,
        video=other["video"],
        audio=performed["audio"],
        flashlips=flashlips["flashlips"],
        vectors=edited["vectors"],
    )
    graph.group("Another person", other, dubbed)
    show(graph, (4 * COLUMN, 0), performed["video"], dubbed, "performance")


@dataclass(frozen=True)
class Prepared:
    """What the split graphs share: the models, the clip, the face in it and the speech over it."""

    models: Loaders
    images: Link
    fps: Link
    audio: Link
    track: Link
    mask: Link
    latent: Link
    speech: Link


def prepare(graph: Graph, *, example: str = PERSON, hide_occluder: bool = False) -> Prepared:
    """Columns 0 to 3: models, clip, face and speech.

    What is made of the clip is fitted to the speech afterwards, so that other speech makes none of it again.
    """
    models = load_built_in(graph)
    clip = load_clip(graph, example=example)
    parts = graph.add("GetVideoComponents", (COLUMN, 0), video=clip["video"])
    graph.group("What to dub", clip, parts)
    x = 2 * COLUMN
    track, *preview = track_face(graph, x, parts["images"], models.keyframes["MODEL"])
    crop = graph.add(
        "KeySyncCropFace", (x, 0), images=parts["images"], track=track["track"], model=models.keyframes["MODEL"]
    )
    mouth = graph.add("KeySyncMouthMask", (x, 0), track=crop["track"])
    face = [track, *preview, crop, mouth]
    mask = mouth["mask"]
    if hide_occluder:
        occluder = graph.add(
            "KeySyncTrackOccluder",
            (x, 0),
            (SAM2,),
            images=parts["images"],
            model_name=SAM2.name,
            frame=HAND_FRAME,
            points=HAND_POINT,
            height=230,
        )
        free = graph.add("KeySyncSubtractOcclusion", (x, 0), mask=mask, occluder=occluder["MASK"], track=crop["track"])
        mask = free["mask"]
        face += [occluder, free]
    graph.group("Face", *face)
    x = 3 * COLUMN
    encoded = graph.add("VAEEncode", (x, 0), pixels=crop["crops"], vae=models.vae["VAE"])
    masked = graph.add("SetLatentNoiseMask", (x, 0), samples=encoded["LATENT"], mask=mask)
    graph.group("Latents", encoded, masked)
    fitted = graph.add(
        "KeySyncFitAudio",
        (x, 0),
        images=parts["images"],
        audio=clip["audio"],
        fps=parts["fps"],
        sync_mode="cut_off",
        track=crop["track"],
        mask=mask,
        latent=masked["LATENT"],
    )
    encoder = models.keyframe_encoder[0]  # of the frames between, too
    features = graph.add("KeySyncEncodeSpeech", (x, 0), encoder=encoder, audio=fitted["audio"], fps=fitted["fps"])
    graph.group("Speech", fitted, features)
    return Prepared(
        models,
        fitted["images"],
        fitted["fps"],
        fitted["audio"],
        fitted["track"],
        fitted["mask"],
        fitted["latent"],
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
            two_speakers,
            batch_of_clips,
            list_of_clips,
            long_film,
            lip_sync_app,
            train_a_lora,
            animate_portrait,
            animate_and_dub,
            draft_then_final,
            transfer_performance,
        )
    },
}
# Those that ask for files of the user's.
APPS = {"lip_sync_app"}
# Those that look for a face in what an untrained model has drawn.
FACELESS = {"animate_and_dub"}
# The nodes of newer ComfyUIs in workflows that a ComfyUI without them cannot run.
NEWER = {"list_of_clips": {"CreateList"}, "long_film": {"Video Slice"}}


def make(name: str) -> Graph:
    """The graph of a workflow."""
    graph = Graph()
    WORKFLOWS[name](graph)
    return graph


def wants_files(name: str) -> bool:
    """Whether a workflow wants files that do not come with KeySync."""
    return any(node.models or not set(UNLINKED).isdisjoint(map(str, node.inputs.values())) for node in make(name).nodes)


def briefly(prompt: dict[str, Any], seconds: float = 1.2) -> dict[str, Any]:
    """A prompt whose examples and training are so short that tests need not wait; the hand of one of the examples is
    there by then.

    An example whose length its workflow chooses keeps it.
    """
    short = copy.deepcopy(prompt)
    for node in short.values():
        if node["class_type"] == "KeySyncLoadExample" and node["inputs"]["seconds"] == SECONDS:
            node["inputs"]["seconds"] = seconds
        if node["class_type"] == "KeySyncTrainLoRA":
            node["inputs"]["steps"] = 2
    return short


def with_tiny(form: Any) -> Any:
    """A workflow or prompt that names the tiny files wherever it named such as are downloaded."""
    if isinstance(form, dict):
        return {key: with_tiny(value) for key, value in form.items()}
    if isinstance(form, list):
        return [with_tiny(value) for value in form]
    return TINY.get(form, form) if isinstance(form, str) else form
