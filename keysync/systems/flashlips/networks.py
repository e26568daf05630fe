"""The sizes of FlashLips' networks. Those that are not published are ours; `presets` names some."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import KeySyncError

# More gain little and can harm the sync (FlashLips, ablation).
MOST_REFERENCES = 4


@dataclass(frozen=True)
class UNetConfig:
    """`channels` of each level, from the latent's resolution down by half a level; `blocks` are the residual blocks of
    a level on the way down, with one more on the way up; `attends`: which levels have self-attention."""

    channels: tuple[int, ...]
    blocks: int
    attends: tuple[bool, ...]
    head_dim: int = 64

    def __post_init__(self) -> None:
        """Raises `KeySyncError` for channels that heads do not share out, and for levels that do not fit."""
        if len(self.attends) != len(self.channels):
            raise KeySyncError(
                f"the U-Net has {len(self.channels)} levels but {len(self.attends)} of attention: expected as many"
            )
        for channels, attends in zip(self.channels, (*self.attends[:-1], True), strict=True):
            if attends:
                check_heads("the U-Net", channels, self.head_dim)

    @property
    def step(self) -> int:
        """Height and width of a latent must be multiples of this."""
        return 1 << (len(self.channels) - 1)


@dataclass(frozen=True)
class TransformerConfig:
    """`channels` of a token, `depth` blocks, and the side of a `patch` in latents."""

    channels: int
    depth: int
    patch: int = 2
    head_dim: int = 64

    def __post_init__(self) -> None:
        """Raises `KeySyncError` for channels that heads do not share out, or that cannot name places."""
        check_heads("the transformer", self.channels, self.head_dim)
        if self.channels % 2:
            raise KeySyncError(f"the transformer has {self.channels} channels: expected an even number")

    @property
    def step(self) -> int:
        """Height and width of a latent must be multiples of this."""
        return self.patch


@dataclass(frozen=True)
class ReferencesConfig:
    """Channels inside, residual blocks, and `features` channels that the editor sees."""

    channels: int
    blocks: int
    features: int


@dataclass(frozen=True)
class EditorConfig:
    """The `backbone`, and the reference backbone beside it."""

    backbone: UNetConfig | TransformerConfig
    references: ReferencesConfig


@dataclass(frozen=True)
class LipsConfig:
    """Numbers that the points and the picture of the mouth give, `hidden` channels of the layers between points and
    numbers, channels of each level of the convolutions, and the picture's side in pixels."""

    points: int = 8
    picture: int = 4
    hidden: int = 256
    channels: tuple[int, ...] = (32, 64, 128)
    side: int = 64

    @property
    def width(self) -> int:
        """Numbers of a lips vector."""
        return self.points + self.picture


@dataclass(frozen=True)
class ResNetConfig:
    """Channels and blocks of each level, and the side of the square picture in pixels."""

    channels: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    side: int = 224


@dataclass(frozen=True)
class SpeechToLipsConfig:
    """`channels` of a token, `depth` blocks, channels of the speech encoder's rows (`speech`), numbers of the `emotion`
    embedding, 0 for none, frames of a `window`, and how many of them two windows share (`overlap`)."""

    channels: int
    depth: int
    speech: int
    emotion: int = 0
    window: int = 64
    overlap: int = 16
    head_dim: int = 64

    def __post_init__(self) -> None:
        """Raises `KeySyncError` for channels that heads do not share out, and for windows that do not advance."""
        check_heads("the speech transformer", self.channels, self.head_dim)
        if not 0 <= self.overlap < self.window:
            raise KeySyncError(f"windows of {self.window} frames share {self.overlap}: expected fewer than they have")


@dataclass(frozen=True)
class Networks:
    """The configurations of all parts: the `editor`, the `lips` vector that it is trained with, the `reader` that reads
    it from a face, and `speech`, which says it."""

    editor: EditorConfig
    lips: LipsConfig
    reader: ResNetConfig
    speech: SpeechToLipsConfig


def check_heads(what: str, channels: int, head_dim: int) -> None:
    """Raises `KeySyncError` unless heads of so many channels share `channels` out."""
    if channels % head_dim:
        raise KeySyncError(f"{what} has {channels} channels and heads of {head_dim}: expected a multiple of the heads'")
