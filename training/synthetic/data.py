"""Writes training data from the rendered world: python -m training.synthetic.data -o DATA --vae PATH --ENCODER PATH.

Each clip has its own person, voice and sentences. In a dub the crops follow the source's mouth, so they contain no
information about the new one; the crops here follow the landmarks of the same person in the same motion with other
speech. Existing clips are kept: a stopped run resumes, and a later run can add clips.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.face.crop import crop, crop_boxes
from keysync.face.track import from_landmarks
from keysync.method import NETWORK_RATE
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import ENCODERS, load_encoder
from keysync.speech.features import FRAME
from keysync.systems.keysync.small import CROP_SCALE
from keysync.vae.vae import VAE, load_vae, weight_file

from ..data import digest
from ..data.disk import written
from ..data.index import FILE, DataInfo, EncoderInfo
from ..data.parts import EMOTION
from ..data.preparation import encode
from ..data.preparation.settings import WINDOW, check_resolution
from ..data.preparation.shards import ClipFiles, write_shards
from . import heads
from .render.shot import Pictures, Shot
from .voice.corpus import speaker
from .voice.sentences import TRAIN
from .voice.speech import Utterance, joined, silence, talk

logger = logging.getLogger(__name__)

DETECTOR = "rendered truth"
QUIET_CLIPS, QUIET = 0.25, (1.0, 3.0)  # share of clips with a long silence, and its length in seconds
LISTENING_CLIPS = 0.04  # share of clips without speech


@dataclass(frozen=True)
class Settings:
    """Models are files or folders, `encoders` by name; a clip is `seconds` long and its crops `resolution` pixels wide.

    One in `spacing` of its frames is drawn: 13 gives data for keyframes only, of more people in the same time. An
    `excerpt` limits the number of drawn frames, from a random position; the features still cover the whole speech.
    `heads`: talking heads for KeyFace, see `heads`, instead of faces to dub. Without `latents`, which take most of the
    time, the data is for FlashLips' speech transformer only.
    """

    vae: Path
    encoders: Mapping[str, Path] = field(hash=False)
    seconds: float = 10.0
    seed: int = 0
    resolution: int = 128
    spacing: int = 1
    excerpt: int | None = None
    heads: bool = False
    latents: bool = True

    def __post_init__(self) -> None:
        if self.spacing < 1:
            raise KeySyncError(f"a spacing of {self.spacing}: expected 1 or more")
        if self.count < WINDOW:
            raise KeySyncError(
                f"a clip of {self.seconds:g} s has {self.count} frames to draw: expected at least {WINDOW}; use longer "
                "clips or a longer excerpt"
            )
        if self.count > len(self._spaced):
            raise KeySyncError(
                f"an excerpt of {self.count} frames: clips of {self.seconds:g} s have only {len(self._spaced)} to "
                "draw; use longer clips or a shorter excerpt"
            )
        check_resolution(self.resolution)
        if not self.encoders:
            raise KeySyncError(
                f"no speech encoder: expected at least one; use {' or '.join(f'--{name}' for name in ENCODERS)}"
            )

    @property
    def frames(self) -> int:
        return round(self.seconds * NETWORK_RATE)

    @property
    def count(self) -> int:
        """Number of drawn frames of a clip."""
        return len(self._spaced) if self.excerpt is None else self.excerpt

    def drawn(self, number: int) -> range:
        """The drawn frames of a clip."""
        if self.excerpt is None:
            return self._spaced
        places = len(self._spaced) - self.excerpt + 1
        start = int(np.random.default_rng((self.seed, number, 0x637574)).integers(places))
        return self._spaced[start : start + self.excerpt]

    @property
    def _spaced(self) -> range:
        return range(0, self.frames, self.spacing)

    @property
    def crop_scale(self) -> float:
        return heads.CROP_SCALE if self.heads else CROP_SCALE

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self.resolution, self.resolution

    @cached_property
    def digest(self) -> str:
        """The digest of everything that a clip depends on except its number."""
        models = {name: _weights(path) for name, path in {"vae": self.vae, **self.encoders}.items()}
        frames = [self.seconds, self.spacing, self.excerpt]
        kind = [name for name, applies in (("heads", self.heads), ("no latents", not self.latents)) if applies]
        return digest.of_json([models, frames, self.seed, self.resolution, self.crop_scale, *kind])


@dataclass(frozen=True, eq=False)
class Models:
    """The networks that encode the clips."""

    vae: VAE
    encoders: dict[str, SpeechEncoder]


@lru_cache(maxsize=1)
def open_models(settings: Settings) -> Models:
    """The models of these settings, cached per process."""
    encoders = {name: load_encoder(name, path) for name, path in settings.encoders.items()}
    return Models(load_vae(settings.vae), encoders)


def write_data(folder: Path, clips: int, settings: Settings, *, workers: int = 1, validation: float = 0.05) -> Path:
    """Writes the shards and the index of `clips` clips to `folder`; returns the index.

    The same settings give the same data with any number of processes. Raises `KeySyncError` as `load_vae`,
    `load_encoder` and `write_shards` do, and without espeak-ng.
    """
    models = open_models(settings)
    work = folder / "work" / settings.digest
    work.mkdir(parents=True, exist_ok=True)
    numbers = [number for number in range(clips) if not (work / f"{_key(number)}.json").is_file()]
    for done, number in enumerate(_made(work, numbers, settings, workers), 1):
        logger.info("clip %d: %d of %d", number, done, len(numbers))
    made = [
        ClipFiles.of(key, _video(key), settings.count, sorted(work.glob(f"{key}.*"))) for key in map(_key, range(clips))
    ]
    latent = settings.resolution // models.vae.downscale
    info = DataInfo(
        resolution=settings.size,
        latent_size=(latent, latent),
        window=WINDOW,
        encoders={
            name: EncoderInfo(models.encoders[name].channels, str(path)) for name, path in settings.encoders.items()
        },
        vae=str(settings.vae),
        detector=DETECTOR,
        crop_scale=settings.crop_scale,
        spacing=settings.spacing,
    )
    write_shards(made, folder, info, validation_share=validation)
    return folder / FILE


def write_clip(folder: Path, number: int, settings: Settings) -> int:
    """Writes the parts of one clip as KEY.PART, KEY.json last; returns its number."""
    models, key, drawn = open_models(settings), _key(number), settings.drawn(number)
    said = speech(settings.seed, number, settings.seconds)
    if settings.heads:
        said = heads.with_sounds(said, settings.seed, number)
        head = heads.head(_seeds(settings, number), said, settings.frames, settings.resolution, drawn)
        shown, boxes = head.pictures, np.repeat(head.box[None], len(drawn), 0)
        encode.save_array(folder / f"{key}.{EMOTION}", head.emotion)
    else:
        shown, boxes = film(number, said, settings)
    waveform = torch.from_numpy(said.waveform)[: settings.frames * FRAME]
    crops = [crop(frame, box, settings.size) for frame, box in zip(shown.frames, boxes, strict=True)]
    encode.write_landmarks(shown.landmarks, boxes, settings.size, folder, key)
    if settings.latents:
        encode.write_latents(models.vae, crops, folder, key)
    encode.write_pictures(crops, settings.size, folder, key)
    encode.write_sound(waveform, drawn.start, drawn.stop, folder, key)
    for name, encoder in models.encoders.items():
        encode.write_rows(encode.speech_rows(waveform, encoder), drawn, folder, key, name)
    start, seconds = drawn.start / NETWORK_RATE, (drawn.stop - drawn.start) / NETWORK_RATE
    about = {"video": _video(key), "start": start, "frames": len(drawn), "seconds": seconds}
    with written(folder / f"{key}.json") as file:
        file.write_bytes(json.dumps(about | {"sharpness": None, "speaker_score": None, "text": said.text}).encode())
    return number


def speech(seed: int, number: int, seconds: float) -> Utterance:
    """The speech of a clip: talk, sometimes with a long silence in the middle, or silence."""
    rng = np.random.default_rng((seed, number, 0x736179))
    kind, talk_seed = rng.random(), int(rng.integers(2**31))
    if kind < LISTENING_CLIPS:
        return silence(seconds)
    quiet = float(rng.uniform(*QUIET))
    voice = speaker(TRAIN, seed, number)
    if kind > LISTENING_CLIPS + QUIET_CLIPS or seconds < 2 * quiet:
        return talk(talk_seed, seconds, voice=voice)
    said = talk(talk_seed, seconds - quiet, voice=voice)
    middles = [(start + stop) / 2 for start, stop in said.pauses(0.1)]
    where = min(middles, key=lambda middle: abs(middle - said.seconds / 2), default=said.seconds)
    return joined([said.cut(0, where), silence(quiet), said.cut(where, said.seconds)]).cut(0, seconds)


def film(number: int, said: Utterance, settings: Settings) -> tuple[Pictures, NDArray[np.int64]]:
    """The drawn frames of a clip, one person saying `said` in one shot, and the boxes of its crops, which follow the
    same person with the mouth of half a clip later."""
    times = (np.arange(settings.frames) + 0.5) / NETWORK_RATE
    motion = said.mouth(times)
    mouths = [motion[frame] for frame in range(len(motion))]
    # A crop is nearly as wide as the picture, which is rendered at twice the resolution of the crops.
    side = 2 * settings.resolution
    shot = Shot(_seeds(settings, number), settings.frames, side)
    half = len(mouths) // 2
    before = shot.landmarks(mouths[half:] + mouths[:half])
    boxes = crop_boxes(from_landmarks(list(before), (side, side)), 0, settings.frames, CROP_SCALE)
    drawn = settings.drawn(number)
    return shot.draw(mouths, drawn), boxes[drawn]


def _made(work: Path, numbers: Sequence[int], settings: Settings, workers: int) -> Iterator[int]:
    if workers <= 1:
        for number in numbers:
            yield write_clip(work, number, settings)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        count = len(numbers)
        yield from pool.map(write_clip, [work] * count, numbers, [settings] * count)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _seeds(settings: Settings, number: int) -> tuple[int, int, int]:
    """The seeds of a clip's person and motion."""
    return settings.seed, number, 0x736565


def _key(number: int) -> str:
    return f"clip-{number:05}"


def _video(key: str) -> str:
    return f"{key} of the rendered world"


def _weights(path: Path) -> str:
    """The digest of a model's weights, ignoring other files in its folder."""
    try:
        if path.is_dir() and not any(path.glob("diffusion_pytorch_model*")):
            return digest.of_json([digest.of_file(file) for file in sorted(path.glob("*.safetensors"))])
        return digest.of_file(weight_file(path))
    except OSError as error:
        raise KeySyncError(f"cannot read the model {path} ({error.strerror}): check the path") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic.data", description="Writes training data from the rendered world."
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DATA", help="folder of the data")
    parser.add_argument("--vae", type=Path, required=True, metavar="PATH", help="VAE: file or folder")
    for name in ENCODERS:
        parser.add_argument(f"--{name}", dest=name, type=Path, metavar="PATH", help=ENCODERS[name].files)
    parser.add_argument("--clips", type=int, default=200, help="number of clips (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=Settings.seconds, help="length of a clip (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of people, voices and sentences")
    parser.add_argument("--resolution", type=int, default=Settings.resolution, help="side of the crops (default: 128)")
    parser.add_argument("--spacing", type=int, default=1, help="draw one frame in this many: 13 for keyframes only")
    parser.add_argument("--excerpt", type=int, help="draw only this many of these frames: more people in less time")
    parser.add_argument("--heads", action="store_true", help="talking heads with feelings and sounds, for KeyFace")
    parser.add_argument(
        "--no-latents", dest="latents", action="store_false", help="for FlashLips' speech transformer only: faster"
    )
    parser.add_argument("--validation", type=float, default=0.05, help="share of the clips kept for validation")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    given = vars(options)
    try:
        settings = Settings(
            encoders={name: path for name in ENCODERS if (path := given[name]) is not None},
            **{setting.name: given[setting.name] for setting in fields(Settings) if setting.name in given},
        )
        index = write_data(
            options.output, options.clips, settings, workers=options.workers, validation=options.validation
        )
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.clips} clips: {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
