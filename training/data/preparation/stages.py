"""The stages of a preparation, in order."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch

from keysync.method import NETWORK_RATE

from . import finding, making
from .chain import Chain
from .models import Models, open_models
from .people import LIKENESS, Looks
from .results import key_of, read_json
from .settings import NONE, SCENEDETECT, Settings
from .shards import ClipFiles
from .stage import Division, Stage
from .turns import use_own_gpu
from .videos import Video

WORK = "work"
POOR_PICTURE = "poor picture"
OTHER_VOICE = "lips not seen to follow the speech"
# Stages whose files are the parts of a clip.
PARTS = ("labels", "crops", "speech", "latents")
EMOTION_PART = "emotion"  # only with a predictor


@lru_cache(maxsize=1)
def open_chain(settings: Settings) -> Chain:
    """The chain of these settings, cached per process.

    Limits the process to one thread, so that the bytes of the results do not depend on the number of cores.
    """
    torch.set_num_threads(1)
    use_own_gpu(settings.device)
    return Chain(settings.data / WORK, table(settings, open_models(settings)))


def table(settings: Settings, models: Models) -> list[Stage]:
    """All stages, in order."""
    s = settings
    gpu, longest = _is_gpu(s.device), s.segment * NETWORK_RATE
    chosen = partial(finding.clips_apart, "selection", longest)
    by_clips = Division(chosen, making.join_files)
    scorers: dict[str, Stage] = {}
    if s.speaker != NONE:
        made_of = {"scorer": s.speaker}
        scorers["speaker"] = Stage("speaker", partial(finding.speaker, models), ("faces", "sound", "clips"), made_of)
    if s.quality != NONE:
        made_of = {"scorer": s.quality}
        scorers["quality"] = Stage(
            "quality",
            partial(finding.quality, models),
            ("faces", "clips"),
            made_of,
            gpu=_is_gpu(s.device_of(s.quality)),
            division=Division(partial(finding.clips_apart, "clips", longest), finding.join_scores),
        )
    names = {name: stage.settings["scorer"] for name, stage in scorers.items()}
    limits = {"speaker": (s.least_agreement, OTHER_VOICE), "quality": (s.least_quality, POOR_PICTURE)}
    limits = {name: limits[name] for name in scorers}
    detector = {"detector": s.detector, "weights": str(s.detector_weights)}
    cuts = Stage("shots", finding.shots, ("probe",), revision=2)
    if s.cuts != SCENEDETECT:
        cuts = Stage("shots", finding.one_shot, ("probe",), {"cuts": s.cuts}, revision=2)
    framed = {"size": s.size, "crop_scale": s.crop_scale, **({"still": True} if s.still else {})}
    frame = s.size, s.crop_scale, s.still
    felt = []
    if s.emotion is not None:
        made_of = {"model": s.emotion.digest}
        feel = partial(making.emotion, models)
        felt.append(Stage("emotion", feel, ("faces", "selection"), made_of, gpu=gpu, division=by_clips))
    seen = []
    if s.people == LIKENESS:
        seen.append(Stage("looks", making.looks, ("faces", "selection"), division=Division(chosen, making.join_looks)))
    return [
        Stage("probe", finding.probe),
        Stage("sound", finding.sound, ("probe",)),
        cuts,
        Stage(
            "faces",
            partial(finding.follow_face, models),
            ("probe", "shots"),
            detector,
            gpu=_is_gpu(s.device_of(s.detector)),
            division=Division(partial(finding.shots_apart, longest), partial(finding.join_followed, longest)),
        ),
        Stage("clips", finding.clips, ("faces", "sound")),
        *scorers.values(),
        Stage("selection", partial(finding.selection, limits), ("clips", *scorers), {"limits": limits}),
        Stage("labels", partial(making.labels, names), ("selection", "clips", *scorers), {"scorers": names}),
        Stage("crops", partial(making.crops, *frame), ("faces", "selection"), framed, division=by_clips),
        *(
            Stage(name, partial(making.features, models, name), ("sound",), {"model": file.digest}, gpu=gpu)
            for name, file in s.encoders.items()
        ),
        Stage("speech", partial(making.speech, tuple(s.encoders)), ("sound", "selection", *s.encoders)),
        Stage(
            "latents",
            partial(making.latents, models, *frame),
            ("faces", "selection"),
            {**framed, "vae": s.vae.digest},
            gpu=gpu,
            division=by_clips,
        ),
        *felt,
        *seen,
    ]


def looks_of(chain: Chain, video: Video) -> dict[str, Looks]:
    """The look of each clip of a video that has passed all stages, by its key."""
    found = np.load(chain.result(video, "looks") / "looks.npy", allow_pickle=False)
    ranges = read_json(chain.result(video, "selection") / "clips.json")
    return {key_of(video, start): look for (start, _), look in zip(ranges, found, strict=True)}


def clip_files(chain: Chain, video: Video) -> list[ClipFiles]:
    """The clips of a video that has passed all stages."""
    ranges = [(start, stop) for start, stop in read_json(chain.result(video, "selection") / "clips.json")]
    parts = [stage.name for stage in chain.stages if stage.name in (*PARTS, EMOTION_PART)]
    found = []
    for start, stop in ranges:
        key = key_of(video, start)
        files = [file for stage in parts for file in sorted(chain.result(video, stage).glob(f"{key}.*"))]
        found.append(ClipFiles.of(key, video.id, stop - start, files))
    return found


def _is_gpu(device: str) -> bool:
    return device.startswith("cuda")
