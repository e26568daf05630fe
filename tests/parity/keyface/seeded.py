"""Weights that are not stored: those of the shipped set follow from the names of their tensors.

The reference has been run with the very same ones; a set with weights of its own does not need these.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from keysync.network.stage import ALL_STAGES, StageSpec
from keysync.network.unet import UNetConfig
from keysync.weights.stage_format import needed_shapes

if TYPE_CHECKING:
    from ..conftest import Golden


def seeded(shapes: Mapping[str, tuple[int, ...]], label: str) -> dict[str, Tensor]:
    """A tensor for each name, by the hash of name and label, such that numbers keep their scale; all are float16s."""
    made = {}
    for name, shape in shapes.items():
        key = int.from_bytes(sha256(f"{label} {name}".encode()).digest()[:16], "little")
        drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
        values = torch.from_numpy(np.asarray(drawn))
        if len(shape) > 1:
            values = values * values[0].numel() ** -0.5
        elif not name.endswith("mix_factor"):
            values = 0.1 * values + float(name.endswith("weight"))
        made[name] = values.half().float()
    return made


def spec_from(stage: str, params: Mapping[str, Any], audio_channels: int, latent_size: tuple[int, int]) -> StageSpec:
    """The spec of a network from the reference's settings."""
    published = ALL_STAGES[f"keyface_{stage}"]
    factors = [2**level for level in range(len(params["channel_mult"]))]
    unet = UNetConfig(
        in_channels=params["in_channels"],
        model_channels=params["model_channels"],
        channel_mult=tuple(params["channel_mult"]),
        attention=tuple(factor in params["attention_resolutions"] for factor in factors),
        num_res_blocks=params["num_res_blocks"],
        head_dim=params["num_head_channels"],
        context_dim=params["context_dim"],
        vector_dim=params["adm_in_channels"],
    )
    return StageSpec(published.name, unet, audio_channels, latent_size, speech_encoder=published.speech_encoder)


def write_checkpoints(golden: Golden, folder: Path) -> None:
    """The files of both networks and of the bad one, as a set that stores its weights has them."""
    for stage in ("keyframe", "interpolation"):
        facts = golden.facts(f"{stage}_checkpoint")
        height, width = facts["latent_size"]
        params = facts["config"]["network_config"]["params"]
        shapes = needed_shapes(spec_from(stage, params, facts["audio_channels"], (height, width)))
        save_file(seeded(shapes, stage), folder / f"{stage}_checkpoint.safetensors")
    packed = {f"_forward_module.{name}": tensor for name, tensor in seeded(shapes, "interpolation_bad").items()}
    torch.save({"module": packed}, folder / "interpolation_bad_checkpoint.pt")
