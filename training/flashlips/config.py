"""The settings of a run that trains a part of FlashLips, in this order: editor, vector, refinement, audio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from keysync.face.masks import MASKS
from keysync.speech.encoders import ENCODERS
from keysync.systems.flashlips.networks import MOST_REFERENCES
from keysync.systems.flashlips.presets import PRESETS as NETWORKS

from ..config.named import is_named
from ..config.run_config import RunConfig, presets_in, setting
from ..config.values import ANYTHING, SHARE, Rule, at_least, one_of, refusal

LIPS_STAGES = (EDITOR, VECTOR, REFINE, AUDIO) = ("lips_editor", "lips_vector", "lips_refine", "lips_audio")
HOOK = Rule("a function, such as package.module:function, or empty", lambda name: not name or is_named(name))
UP_TO_MOST = Rule(f"1 to {MOST_REFERENCES}", lambda value: 1 <= value <= MOST_REFERENCES)


@dataclass(frozen=True, kw_only=True)
class FlashLipsConfig(RunConfig):
    """The settings of a run of one of `LIPS_STAGES`. Raises `KeySyncError` for an invalid value.

    The weights of the loss, the batch and the rates are published (FlashLips, equation 9); the rest is ours.
    """

    PATHS: ClassVar[tuple[str, ...]] = ("start", "vae")
    PRESETS: ClassVar[Mapping[str, Path]] = presets_in(Path(__file__).parent / "presets")

    stage: str = setting("the part of FlashLips to train", one_of(LIPS_STAGES))
    start: str = setting("a FlashLips file with the parts trained before; empty: new weights", ANYTHING, "")
    network: str = setting("lips_editor: the networks of new weights", one_of(NETWORKS), "full-unet")
    speech_encoder: str = setting("lips_audio: the speech encoder of its features", one_of(ENCODERS), "wav2vec2")

    mask: str = setting("the region that is hidden, and compared", one_of(MASKS), "box")
    references: int = setting("most reference frames of a sample", UP_TO_MOST, MOST_REFERENCES)
    reference_gap: int = setting("least frames between a frame and its references", at_least(1), 25)
    other_people: float = setting("lips_refine: share of mouths altered by another person's lips", SHARE, 0.5)
    reversed_share: float = setting("lips_refine: share of pairs whose altered frame is the target", SHARE, 0.25)

    latent_weight: float = setting("weight of the latent's error", at_least(0), 0.1)
    masked_weight: float = setting("weight of the latent's error in the mask", at_least(0), 0.1)
    lower_weight: float = setting("weight of the pixels' error in the lower face", at_least(0), 10.0)
    lips_weight: float = setting("weight of the pixels' error at the lips", at_least(0), 100.0)
    lips_area: float = setting("least share of the picture that lips count from", SHARE, 0.001)
    perceptual_weight: float = setting("weight of the perceptual features' error", at_least(0), 50.0)
    perceptual: str = setting("module:function that loads a perceptual network; empty: no such term", HOOK, "")
    face_weight: float = setting("weight of the face-recognition features' error", at_least(0), 5.0)
    face: str = setting("module:function that loads a face-recognition network; empty: no such term", HOOK, "")
    mouth_weight: float = setting("weight of the latents at the lips; others have 1", at_least(1), 1.0)
    decoded: int = setting("pictures of a pass that are decoded and compared; 0: all", at_least(0), 0)
    kept_hidden: int = setting("hidden frames whose latents are kept in memory", at_least(0), 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stage != EDITOR and not self.start:
            raise refusal("start", self.start, f"a FlashLips file for {self.stage}: export the part before it")

    @property
    def compares_pixels(self) -> bool:
        """Whether the loss decodes pictures."""
        weights = (self.lower_weight, self.lips_weight)
        hooks = ((self.perceptual_weight, self.perceptual), (self.face_weight, self.face))
        return any(weights) or any(weight and name for weight, name in hooks)
