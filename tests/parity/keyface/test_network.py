"""The networks, what they are conditioned on, and the denoiser around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from keysync.method import LATENT_CHANNELS
from keysync.network.layers import sinusoids
from keysync.network.stage import SCALE_FACTOR, Condition, Stage, Windows, preconditioning

from ..conftest import Golden, relative_error

EXACT = 1e-6
TOLERANCE = {"keyframe": 5e-4, "interpolation": 1e-3}

by_stage = pytest.mark.parametrize("name", ["keyframe", "interpolation"])


def cases(vectors: dict[str, Tensor], last: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The parts of each case that has one of this name, by its name."""
    for key in vectors:
        if key.endswith(f".{last}"):
            prefix = key.removesuffix(last)
            yield prefix, {name.removeprefix(prefix): part for name, part in vectors.items() if name.startswith(prefix)}


def frames_first(frames: Tensor) -> Tensor:
    """The identity (b, c, h, w) as it is; the ends (b, c, 2, h, w) as (b, 2, c, h, w)."""
    return frames.transpose(1, 2) if frames.ndim == 5 else frames


def controls_of(part: dict[str, Tensor], prefix: str = "in.") -> Tensor | None:
    if f"{prefix}valence" not in part:
        return None
    return torch.stack((part[f"{prefix}valence"], part[f"{prefix}arousal"]), dim=-1)


def condition_of(stage: Stage, part: dict[str, Tensor]) -> Condition:
    """From what the reference's conditioner gives: unscaled latents (b, 4 or 8, h, w), tokens, and the vector."""
    latents, tokens = part["concat"] * SCALE_FACTOR, part["crossattn"]
    if stage.learned_mask is not None:
        latents = latents.unflatten(1, (2, LATENT_CHANNELS))
    features = torch.zeros(*tokens.shape[:2], 2, stage.spec.audio_channels)
    vector = part["vector"].unflatten(0, tokens.shape[:2]) if "vector" in part else None
    controls = None if vector is None else torch.zeros(*tokens.shape[:2], 2)
    return replace(stage.condition(Windows.unmasked(features, latents, controls)), tokens=tokens, vector=vector)


@by_stage
def test_unet(name: str, keyface: Golden, stages: dict[str, Stage]) -> None:
    met = 0
    for case, part in cases(keyface.tensors(f"unet_{name}"), "out"):
        context = part["context"]
        for y, out in (("y", "out"), ("y_reversed", "out_y_reversed")):
            if out not in part:
                continue
            given = part.get("y") if y == "y" else part["y"].flip(0)
            vector = None if given is None else given.unflatten(0, context.shape[:2])
            with torch.no_grad():
                ours = stages[name].unet(part["x"], part["timesteps"], context, part["image_only_indicator"], vector)
            assert relative_error(ours, part[out]) < TOLERANCE[name], (case, out)
            met += 1
    assert met


@by_stage
def test_conditioner(name: str, keyface: Golden, stages: dict[str, Stage]) -> None:
    stage, met = stages[name], 0
    vectors = {key: value for key, value in keyface.tensors("conditioner").items() if key.startswith(name)}
    for case, part in cases(vectors, "in.audio_emb"):
        for branch, on in (("c", True), ("uc", False)):
            windows = Windows.unmasked(part["in.audio_emb"], frames_first(part["in.cond_frames"]), controls_of(part))
            with torch.no_grad():
                ours = stage.condition(windows, audio=on, reference=on)
            assert relative_error(ours.tokens, part[f"{branch}.crossattn"]) < EXACT, case
            concat, seen = part[f"{branch}.concat"], ours.reference
            if stage.learned_mask is None:
                assert relative_error(seen, concat[:, None].expand_as(seen)) < EXACT, case
            else:
                assert relative_error(seen[:, [0, -1], :LATENT_CHANNELS].flatten(1, 2), concat) < EXACT, case
                assert torch.equal(seen[:, 1:-1, :LATENT_CHANNELS], stage.learned_mask.expand_as(seen[:, 1:-1, :4]))
            assert (ours.vector is None) == (f"{branch}.vector" not in part)
            if ours.vector is not None:  # full in both
                assert relative_error(ours.vector.flatten(0, 1), part[f"{branch}.vector"]) < EXACT, case
            met += 1
    if not met:
        pytest.skip(keyface.lacks("what the conditioner gives"))


def test_embedding_of_a_number(keyface: Golden) -> None:
    vectors = keyface.tensors("conditioner")
    widths = [key.removeprefix("embedder.out") for key in vectors if key.startswith("embedder.out")]
    assert widths
    for width in widths:
        ours = sinusoids(vectors["embedder.values"].flatten(), int(width))
        assert relative_error(ours, vectors[f"embedder.out{width}"]) < EXACT, width


def test_scaling(keyface: Golden) -> None:
    vectors = keyface.tensors("denoiser")
    ours = preconditioning(vectors["scaling.sigma"])
    for name in ("c_skip", "c_out", "c_in", "c_noise"):
        assert relative_error(getattr(ours, name), vectors[f"scaling.{name}"]) < EXACT, name


@pytest.mark.parametrize(
    ("network", "fed", "expected"),
    [
        ("keyframe", "network_input", "denoised"),
        ("interpolation", "network_input", "denoised_good"),
        ("bad", "network_input_bad", "denoised_bad"),
    ],
)
def test_denoiser(network: str, fed: str, expected: str, keyface: Golden, stages: dict[str, Stage]) -> None:
    stage, met = stages[network], 0
    name = "keyframe" if network == "keyframe" else "interpolation"
    vectors = {key: value for key, value in keyface.tensors("denoiser").items() if key.startswith(name)}
    for case, part in cases(vectors, "c_noise"):
        windows = part["crossattn"].shape[:2]
        seen: list[Tensor] = []
        with torch.no_grad(), stage.unet.register_forward_pre_hook(lambda _, given, seen=seen: seen.extend(given)):
            sigma = part["sigma"].unflatten(0, windows)[:, 0]
            ours = stage(part["x"].unflatten(0, windows), sigma, condition_of(stage, part))
        assert relative_error(seen[0], part[fed]) < EXACT, case
        assert relative_error(seen[1], part["c_noise"]) < EXACT, case
        assert relative_error(ours.flatten(0, 1), part[expected]) < TOLERANCE[name], case
        met += 1
    assert met
