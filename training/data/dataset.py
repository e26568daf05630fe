"""Training samples from prepared data: windows of t frames, each a function of the seed and its number only.

The keyframe stage sees every (t - 1)-th frame, so a window of 14 spans 170 frames; the interpolation stage sees t
frames in a row (paper §3.3).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from keysync.errors import KeySyncError
from keysync.face.masks import MASKS, Mask, mouth, to_latent
from keysync.method import PIXELS_PER_LATENT
from keysync.network.stage import ALL_STAGES, SCALE_FACTOR
from keysync.speech.features import FRAME
from keysync.vae.vae import LATENT_CHANNELS

from ..config.config import SYNC_FRAMES
from .damaged import DamagedClip
from .draws import Order, generator
from .index import TRAIN
from .parts import EMOTION, LANDMARKS, LATENTS
from .table import Clip

if TYPE_CHECKING:
    from ..config.config import TrainConfig
    from .shards import Shards

LIPS = slice(48, 68)  # of the 68 points
EYES = ((*range(17, 22), *range(36, 42)), (*range(22, 27), *range(42, 48)))  # each with its brow

logger = logging.getLogger(__name__)


class Lost(NamedTuple):
    """A damaged clip: its shard, its key, and what is wrong."""

    shard: str
    key: str
    why: str


@dataclass(frozen=True, eq=False)
class Window:
    """One training sample: the rows of a `Batch`, each without its first dimension."""

    number: Tensor
    latents: Tensor
    mask: Tensor
    features: Tensor
    pixel_frame: Tensor
    pixels: Tensor | None
    pixel_mask: Tensor | None
    weight: Tensor | None = None
    identity: Tensor | None = None
    controls: Tensor | None = None
    sync_frame: Tensor | None = None
    sound: Tensor | None = None
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True, eq=False)
class Batch(Window):
    """Windows of b samples of t frames.

    number (b,) int64, counted over the whole run; latents (b, t, 4, h, w), scaled, a sample of the posterior; mask
    (b, t, 1, h, w), 1 = generate; features (b, t, 2, c) of the speech encoders; pixels (b, 3, H, W) in -1..1 and
    pixel_mask (b, 1, H, W) of frame `pixel_frame` (b,) int64 of the window, None if the loss uses no pixels;
    weight (b, t, 1, h, w) of a latent's error, None for equal weights; identity (b, 4, h, w), scaled, None for the
    window's first frame; controls (b, t, n), the numbers that the stage's row names, None where it names none;
    sync_frame (b,) int64, the first of the frames that a lip-sync loss sees, and sound (b, n), theirs at 16 kHz, None
    without one; lost: the damaged clips in whose place others are.
    """

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: part.to(device) if isinstance(part, Tensor) else part for name, part in held.items()
        }
        return Batch(**moved)


def collate(windows: Sequence[Window]) -> Batch:
    """The windows as one batch."""
    parts = {field.name: [getattr(window, field.name) for window in windows] for field in fields(Window)}
    lost = tuple(clip for clips in parts.pop("lost") for clip in clips)
    rows: dict[str, Any] = {name: None if part[0] is None else torch.stack(part) for name, part in parts.items()}
    return Batch(**rows, lost=lost)


def lip_weights(landmarks: Tensor, size: tuple[int, int], weight: float) -> Tensor:
    """Weights (t, 1, h, w) for latents of `size` (h, w) and landmarks (t, 68, 2) in pixels: `weight` in the box of the
    lips and one latent around it, 1 elsewhere."""
    return box_weights(landmarks[:, LIPS], size, weight, margin=1)


def eye_weights(landmarks: Tensor, size: tuple[int, int], weight: float) -> Tensor:
    """Weights as of `lip_weights`: `weight` in the box of each eye and its brow."""
    left, right = (box_weights(landmarks[:, list(eye)], size, weight) for eye in EYES)
    return torch.maximum(left, right)


def box_weights(points: Tensor, size: tuple[int, int], weight: float, margin: int = 0) -> Tensor:
    """Weights (t, 1, h, w) for latents of `size` (h, w): `weight` in the box of each frame's points (t, n, 2), in
    pixels, and `margin` latents around it, 1 elsewhere."""
    placed = points / PIXELS_PER_LATENT
    low, high = placed.amin(1).floor() - margin, placed.amax(1).ceil() + margin
    weights = torch.ones(len(placed), 1, *size)
    for frame, ((left, top), (right, bottom)) in enumerate(zip(low.int().tolist(), high.int().tolist(), strict=True)):
        weights[frame, :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = weight
    return weights


class Windows(Dataset[Window]):
    """Sample `number` >= 0 of a run; a clip is drawn in proportion to its length, in the order of `visited`.

    `len` is the number of clips, and so of samples of an epoch. Clips shorter than a window's span are skipped. In the
    place of a damaged clip stands the next intact one, unless `max_failures` is 0. Raises `KeySyncError` if the data
    has another resolution, lacks the speech encoder, or has no clip that is long enough; a window raises it if no clip
    is intact.
    """

    def __init__(self, shards: Shards, config: TrainConfig, split: str = TRAIN) -> None:
        self._shards, self._config = shards, config
        self._row = ALL_STAGES[config.stage].row
        shards.channels(config.speech_encoder)  # an error where one is missing
        if shards.resolution != (config.resolution, config.resolution):
            height, width = shards.resolution
            raise KeySyncError(
                f"{shards.folder} has crops of {width}x{height} but resolution is {config.resolution}: set resolution "
                f"to {height}, or prepare the videos again with --resolution {config.resolution}"
            )
        self._step = self._frames_apart(replace(ALL_STAGES[config.stage], window=config.window).frames_apart)
        self._span = (config.window - 1) * self._step + 1
        self._clips = shards.clips(split)
        self._order = Order(self._clips, self._long_enough(split), config.seed)
        self._damaged: dict[tuple[str, str], str] = {}  # shard and key, and what is wrong

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, number: int) -> Window:
        lost: list[Lost] = []
        for clip in self._order.following(number):
            name = clip.shard, clip.key
            if name not in self._damaged:
                try:
                    return replace(self._window(number, clip), lost=tuple(lost))
                except DamagedClip as error:
                    self._damaged[name] = str(error)
            lost.append(Lost(*name, self._damaged[name]))
            if not self._config.max_failures:
                break
        raise KeySyncError(lost[-1].why)

    def in_a_row(self, most: int) -> tuple[Clip, list[Batch], int]:
        """Up to `most` windows of the longest intact clip, from its first frame on, that share the frames at their
        ends, each as a batch; the clip, and how many frames of a clip the frames of a window are apart.

        Raises `KeySyncError` if no clip is intact.
        """
        lost: list[Lost] = []
        for clip in self._order.longest_first():
            starts = range(0, clip.frames - self._span + 1, self._span - 1)[:most]
            try:
                windows = [self._window(number, clip, start) for number, start in enumerate(starts)]
            except DamagedClip as error:
                lost.append(Lost(clip.shard, clip.key, str(error)))
                if not self._config.max_failures:
                    break
                continue
            windows[0] = replace(windows[0], lost=tuple(lost))
            return clip, [collate([window]) for window in windows], self._step
        raise KeySyncError(lost[-1].why)

    def landmarks(self, clip: Clip) -> NDArray[np.float32]:
        """The landmarks (n, 68, 2) of a clip, in pixels of its crops."""
        return np.array(self._shards.array(clip, LANDMARKS, (clip.frames, 68, 2)))

    def _window(self, number: int, clip: Clip, start: int | None = None) -> Window:
        """The window at a frame of a clip, by default one that is drawn."""
        config = self._config
        if start is None:
            start = self._draw(number, "window start", clip.frames - self._span + 1)
        frames = start + self._step * np.arange(config.window)
        pixel_frame = self._draw(number, "pixel frame", config.window)
        landmarks = self._landmarks(clip, frames)
        masks = self._masks(number, landmarks)
        with_pixels = config.rgb_weight != 0
        sync = self._draw(number, "sync frame", config.window - SYNC_FRAMES + 1) if config.sync_weight else None
        return Window(
            number=torch.tensor(number),
            latents=self._latents(number, clip, frames),
            mask=to_latent(masks, self._shards.latent_size)[:, None],
            features=torch.from_numpy(self._shards.features(clip, config.speech_encoder, frames)),
            pixel_frame=torch.tensor(pixel_frame),
            pixels=self._pixels(clip, int(frames[pixel_frame])) if with_pixels else None,
            pixel_mask=masks[pixel_frame][None].clone() if with_pixels else None,
            weight=self._weight(landmarks),
            identity=self._identity(number, clip, frames) if config.identity == "other" else None,
            controls=self._controls(clip, frames) if self._row.controls else None,
            sync_frame=None if sync is None else torch.tensor(sync),
            sound=None if sync is None else self._sound(clip, start + sync),
        )

    def _draw(self, number: int, purpose: str, choices: int) -> int:
        return int(torch.randint(choices, (), generator=generator(self._config.seed, number, purpose)))

    def _masks(self, number: int, landmarks: Tensor) -> Tensor:
        """The masks (t, H, W) of a window; all 1 for a stage that draws the whole picture."""
        if not self._row.masked:
            return torch.ones(len(landmarks), *self._shards.resolution)
        mask = self._mask(number)
        return torch.stack([mask(points, self._shards.resolution) for points in landmarks])

    def _mask(self, number: int) -> Mask:
        share = torch.rand((), generator=generator(self._config.seed, number, "mouth mask"))
        return mouth if share < self._config.mouth_mask_share else MASKS[self._config.mask]

    def _weight(self, landmarks: Tensor) -> Tensor | None:
        config, size = self._config, self._shards.latent_size
        if config.mouth_weight == config.eye_weight == 1:
            return None
        lips = lip_weights(landmarks, size, config.mouth_weight)
        return torch.maximum(lips, eye_weights(landmarks, size, config.eye_weight))

    def _landmarks(self, clip: Clip, frames: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self._shards.array(clip, LANDMARKS, (clip.frames, 68, 2))[frames])

    def _identity(self, number: int, clip: Clip, window: NDArray[np.int64]) -> Tensor:
        """Latents of a frame outside the window."""
        others = np.setdiff1d(np.arange(clip.frames), window)
        if not len(others):
            raise KeySyncError(
                f"{clip.key} of {self._shards.folder} has no frame outside the window for the identity: prepare longer "
                "videos, or set identity to first"
            )
        frame = others[self._draw(number, "identity frame", len(others))]
        return self._latents(number, clip, np.array([frame]), "identity posterior")[0]

    def _latents(self, number: int, clip: Clip, frames: NDArray[np.int64], purpose: str = "posterior") -> Tensor:
        shape = (clip.frames, 2, LATENT_CHANNELS, *self._shards.latent_size)
        mean, std = torch.from_numpy(self._shards.array(clip, LATENTS, shape)[frames]).float().unbind(1)
        noise = torch.randn(mean.shape, generator=generator(self._config.seed, number, purpose))
        return (mean + std * noise) * SCALE_FACTOR

    def _controls(self, clip: Clip, frames: NDArray[np.int64]) -> Tensor:
        """Valence and arousal (t, 2)."""
        if EMOTION not in clip.members:
            raise KeySyncError(
                f"{clip.key} of {self._shards.folder} has no valence and arousal, which {self._config.stage} needs: "
                "prepare the videos again with --emotion FILE"
            )
        return torch.from_numpy(self._shards.array(clip, EMOTION, (clip.frames, len(self._row.controls)))[frames])

    def _sound(self, clip: Clip, start: int) -> Tensor:
        samples = self._shards.sound(clip)[start * FRAME : (start + SYNC_FRAMES) * FRAME]
        return torch.from_numpy(samples)

    def _pixels(self, clip: Clip, frame: int) -> Tensor:
        picture = torch.from_numpy(self._shards.picture(clip, frame))
        return picture.permute(2, 0, 1).float() / 127.5 - 1  # h w c -> c h w

    def _frames_apart(self, needed: int) -> int:
        """The distance between two frames of a window, in frames of a clip, that is `needed` in the 25 fps grid."""
        spacing = self._shards.info.spacing
        if needed % spacing:
            raise KeySyncError(
                f"{self._shards.folder} has one frame in {spacing} of its videos but {self._config.stage} windows of "
                f"{self._config.window} need one in {needed}: train this stage on data with all frames"
            )
        return needed // spacing

    def _long_enough(self, split: str) -> NDArray[np.int64]:
        """The numbers of the clips that hold a window."""
        frames = self._clips.frames
        held = np.flatnonzero(frames >= self._span)
        if not len(held):
            raise KeySyncError(
                f"{self._shards.folder}: none of the {len(frames)} {split} clips has the {self._span} frames that "
                f"{self._config.stage} windows of {self._config.window} span (the longest has "
                f"{frames.max(initial=0)}): prepare longer videos"
            )
        if len(held) < len(frames):
            logger.warning(
                "%s: %d of %d %s clips are shorter than %d frames and skipped",
                *(self._shards.folder, len(frames) - len(held), len(frames), split, self._span),
            )
        return held
