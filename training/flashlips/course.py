"""What the courses of FlashLips share: the file that a run starts from, and the parts that it adds to it or trains on.

A checkpoint is a FlashLips file with all parts that the run started from: `flashlips.safetensors`, and with averaged
weights `ema.safetensors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.systems.flashlips.bundle import PARTS, Bundle, open_bundle, save_bundle
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.spec import FlashLipsSpec
from keysync.systems.keysync.small import BUILT_IN, SMALL

from ..run.course import AVERAGED, Course
from .config import FlashLipsConfig

if TYPE_CHECKING:
    from ..data.shards import Shards

FILE = "flashlips.safetensors"


class FlashLipsCourse(Course[FlashLipsConfig]):
    """A course of the parts `TRAINED`, which needs the parts `NEEDED` of the file that the run starts from.

    Raises `KeySyncError` if that file lacks one, or was made for other crops than those of the data.
    """

    TRAINED: ClassVar[tuple[str, ...]]
    NEEDED: ClassVar[tuple[str, ...]] = ()

    network: nn.ModuleDict
    spec: FlashLipsSpec

    def __init__(self, config: FlashLipsConfig, shards: Shards) -> None:
        super().__init__(config, shards)
        self.start: Bundle | None = open_bundle(config.start) if config.start else None
        self.spec = self._spec()
        for name in self.NEEDED:
            self.frozen(name)

    def load(self, checkpoint: Path | None) -> None:
        held = self.start if checkpoint is None else self._opened(checkpoint / FILE)
        self.network = nn.ModuleDict({name: self._trained(name, held) for name in self.TRAINED})
        self.network.requires_grad_(True)

    def frozen(self, name: str, device: torch.device | str = "cpu") -> Any:
        """A part of the file that the run starts from, as it is there, in float32."""
        if self.start is None:
            raise KeySyncError(f"start is empty but {self.config.stage} needs the {PARTS[name].title}: name a file")
        return self.start.load(name, device, torch.float32).requires_grad_(False)

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        return (batch,)

    def held(self) -> dict[str, Tensor]:
        return dict(self.network.state_dict())

    def write(
        self, folder: Path, weights: Mapping[str, Tensor], averages: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> None:
        self._save(folder / FILE, weights, metadata)
        if averages:
            self._save(folder / AVERAGED, {**weights, **averages}, metadata)

    def averages(self, folder: Path) -> Mapping[str, Tensor]:
        parts = self._opened(folder / AVERAGED).parts
        return {f"{name}.{key}": tensor.float() for name in self.TRAINED for key, tensor in parts[name].items()}

    def blocks(self) -> Iterable[nn.Module]:
        return ()

    def trained_spec(self) -> FlashLipsSpec:
        """What the run makes of the file's spec."""
        return self.spec

    def new_spec(self) -> FlashLipsSpec:
        """The spec of new weights. Raises `KeySyncError` for a course that has none."""
        raise KeySyncError(f"start is empty: name a FlashLips file for {self.config.stage}")

    def _spec(self) -> FlashLipsSpec:
        if self.start is None:
            return self.new_spec()
        spec, info = self.start.spec, self.shards.info
        for what, theirs, ours in (
            ("crops of", spec.image_size, info.resolution),
            ("a crop scale of", spec.crop_scale, info.crop_scale),
        ):
            if theirs != ours:
                raise KeySyncError(
                    f"{self.start.path} was trained with {what} {_words(theirs)} but {self.shards.folder} has "
                    f"{_words(ours)}: prepare the data as the file needs it"
                )
        return spec

    def _trained(self, name: str, held: Bundle | None) -> nn.Module:
        """A part to train: the file's, or with new weights, the same in every process."""
        if held is not None and name in held.parts:
            part: nn.Module = held.load(name, dtype=torch.float32)
            return part.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return PARTS[name].build(self.spec.networks)

    def _opened(self, file: Path) -> Bundle:
        try:
            return open_bundle(file)
        except KeySyncError as error:
            raise KeySyncError(
                f"{file.parent} is damaged ({error}): delete it to resume from an earlier one"
            ) from error

    def _save(self, path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        parts: dict[str, Mapping[str, Tensor]] = {} if self.start is None else dict(self.start.parts)
        vae = parts.pop("vae", None)
        for name in self.TRAINED:
            own = f"{name}."
            parts[name] = {key.removeprefix(own): value for key, value in weights.items() if key.startswith(own)}
        save_bundle(path, self.trained_spec(), parts, vae=vae, extra_metadata=metadata)


def new_spec(config: FlashLipsConfig, shards: Shards) -> FlashLipsSpec:
    """The spec of new networks for the data's crops."""
    info = shards.info
    return replace(
        PRESETS[config.network],
        image_size=info.resolution,
        crop_scale=info.crop_scale,
        mask=config.mask,
        mask_free=False,
        vae=vae_name(info.vae),
    )


def vae_name(origin: str) -> str:
    """What a file calls the VAE that its data was encoded with: that of KeySync small, which dubs then find, by its own
    name, and no other by the same."""
    built_in, path = SMALL["vae"], Path(origin)
    if origin == BUILT_IN:
        return built_in.name
    mistaken = path.name == built_in.name and path.parts[-3:] != built_in.parts[-3:]
    return f"{path.name} trained anew" if mistaken else path.name


def _words(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
