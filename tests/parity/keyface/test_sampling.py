"""Guidance, the samplers of both stages, merged windows, and the whole path from features to frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.network.guidance import guide
from keysync.network.noise import Noise
from keysync.network.schedule import ays_sigmas
from keysync.network.stage import ALL_STAGES, ROWS, SCALE_FACTOR, Condition, Stage, StageSpec, Windows
from keysync.network.unet import UNetConfig
from keysync.systems.keyface.emotion import Emotion
from keysync.systems.keyface.generate import Head, generate
from keysync.systems.keyface.guided import Guided
from keysync.systems.keyface.sampling import KeyFaceSampling
from keysync.systems.keysync.generate import sample
from keysync.systems.keysync.windows import Run
from keysync.vae.vae import load_vae

from ..conftest import Golden, relative_error
from .test_network import controls_of, frames_first

EXACT = 1e-6
TOLERANCE = 2e-3


@pytest.mark.parametrize(("name", "file"), [("keyframe", "audioref"), ("interpolation", "karras")])
def test_guidance(name: str, file: str, keyface: Golden) -> None:
    vectors, rule = keyface.tensors("guiders"), ROWS[f"keyface_{name}"].guidance
    settings = keyface.facts("guiders")[file]
    assert settings
    for setting in settings:
        scales = [setting[key] for key in ("audio_ratio", "ref_ratio", "scale") if key in setting]
        # The reference's order of predictions and scales is that of the rule.
        x = vectors[f"{file}.{setting['i']}.x"]
        made = dict(zip(rule.predictions, x.chunk(len(rule.predictions)), strict=True))
        ours = rule.combined(made, dict(zip(rule.scales, scales, strict=True)))
        assert relative_error(ours, vectors[f"{file}.{setting['i']}.out"]) < EXACT, setting


def test_guidance_branches_of_keyframes(keyface: Golden) -> None:
    """The emotion is full in all three; speech and identity come one after the other."""
    vectors = keyface.tensors("guiders")
    part = {key.removeprefix("prep_audioref."): value for key, value in vectors.items() if key.startswith("prep_audio")}
    tokens, concat = part["c.crossattn"], part["c.concat"]
    stage, (b, t) = passing_tokens(tokens.shape[-1], 2 * 32), tokens.shape[:2]
    seen: list[tuple[Tensor, Tensor, Condition]] = []
    features = tokens[:, :, None].expand(-1, -1, 2, -1)
    windows = Windows.unmasked(features, concat * SCALE_FACTOR, torch.rand(b, t, 2))
    with torch.no_grad(), stage.register_forward_pre_hook(lambda _, given: seen.append(given)):
        guide(stage, windows)(torch.zeros(b, t, 4, *concat.shape[-2:]), torch.tensor(2.0))
    conditions = [condition for _, _, condition in seen]
    assert relative_error(torch.cat([one.tokens for one in conditions]), part["out.crossattn"]) < EXACT
    assert relative_error(torch.cat([one.reference[:, 0] for one in conditions]), part["out.concat"]) < EXACT
    vector = [one.vector for one in conditions]
    assert all(one is not None and torch.equal(one, vector[0]) for one in vector)  # type: ignore[arg-type]
    assert torch.equal(part["out.vector"], torch.cat([part["c.vector"]] * 3))


def passing_tokens(channels: int, vector: int) -> Stage:
    """A keyframe stage whose projection leaves features as they are; its network does not matter."""
    unet = UNetConfig(
        8,
        model_channels=32,
        channel_mult=(1,),
        attention=(False,),
        context_dim=channels,
        head_dim=32,
        vector_dim=vector,
    )
    stage = Stage(StageSpec("keyface_keyframe", unet, audio_channels=channels))
    with torch.no_grad():
        stage.audio_projection.weight.copy_(torch.eye(channels))
        stage.audio_projection.bias.zero_()
    return stage


def test_schedule(keyface: Golden) -> None:
    for name in ("keyframe", "interpolation"):
        theirs = torch.tensor(keyface.facts(f"sampler_{name}")["sigmas"])
        assert relative_error(ays_sigmas()[:-1], theirs) < EXACT


def test_keyframes(keyface: Golden, stages: dict[str, Stage]) -> None:
    vectors = keyface.tensors("sampler_keyframe")
    windows = Windows.unmasked(vectors["in.audio_emb"], vectors["in.cond_frames"], controls_of(vectors))
    noise = vectors["noise"].unflatten(0, windows.features.shape[:2])
    ours = sample(stages["keyframe"], windows, noise, KeyFaceSampling())
    assert relative_error(ours.flatten(0, 1), vectors["samples"]) < TOLERANCE
    if "decoded" not in vectors:
        return
    vae = load_vae(keyface.path("keyframe_checkpoint.safetensors"))
    decoded = (vectors["decoded"].movedim(1, -1) + 1) / 2
    pictures = vae.decode(vectors["samples"][: len(decoded)])
    assert relative_error(pictures, decoded.clamp(0, 1)) < 1e-4


def test_windows(keyface: Golden, stages: dict[str, Stage]) -> None:
    """Any grouping gives the same numbers, and no end is replaced by its keyframe."""
    vectors, guided = keyface.tensors("sampler_interpolation"), Guided(stages["interpolation"], stages["bad"])
    names = [found[1] for key in vectors if (found := re.fullmatch(r"(.*)\.samples", key))]
    assert names
    for name in names:
        part = {key.removeprefix(f"{name}."): value for key, value in vectors.items() if key.startswith(f"{name}.")}
        windows = Windows.unmasked(part["in.audio_emb"], frames_first(part["in.cond_frames"]))
        noise = part["noise"].unflatten(0, windows.features.shape[:2])
        for group in {1, len(windows)}:
            ours = sample(guided, windows, noise, KeyFaceSampling(group=group))
            assert relative_error(ours.flatten(0, 1), part["samples"]) < TOLERANCE, (name, group)
        assert not torch.equal(ours[:, [0, -1]], windows.reference)


class Given:
    """A stream that gives noise that was drawn before, window by window."""

    def __init__(self, noise: Tensor) -> None:
        self._left = iter(noise)

    def standard_normal(self, shape: tuple[int, ...], dtype: Any) -> Any:
        drawn = next(self._left)
        assert tuple(drawn.shape) == shape
        return drawn.numpy().astype(dtype)


def pipelines(keyface: Golden) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    for path in sorted(keyface.folder.glob("pipeline*.json")):
        vectors = keyface.tensors(path.stem)
        for case in keyface.facts(path.stem)["cases"]:
            prefix = f"{case['i']}."
            yield case, {key.removeprefix(prefix): value for key, value in vectors.items() if key.startswith(prefix)}


class Kept:
    """Keeps what the networks make, in order; finds nothing."""

    def __init__(self) -> None:
        self.made: list[Tensor] = []

    def find(self, key: bytes) -> Tensor | None:
        return None

    def keep(self, key: bytes, result: Tensor) -> None:
        self.made.append(result)


def test_from_features_to_frames(keyface: Golden, stages: dict[str, Stage]) -> None:
    cases = list(pipelines(keyface))
    if not cases:
        pytest.skip(keyface.lacks("the whole path"))
    vae = load_vae(keyface.path("keyframe_checkpoint.safetensors"))
    for case, part in cases:
        emotion = Emotion.of(",".join(case["emotion_states"]))
        values = torch.from_numpy(emotion.at(np.arange(case["frames"]) / 25)).float()
        window, kept = stages["keyframe"].spec.window, Kept()
        noise = [Given(part[f"noise_{name}"].unflatten(0, (-1, window))) for name in ("keyframes", "windows")]
        models: Any = SimpleNamespace(
            keyframe=stages["keyframe"], vae=vae, stores=[kept], memo=None, place=lambda stage: None
        )
        run = Run(models, KeyFaceSampling(), Noise(*noise), lambda name: nullcontext())  # type: ignore[arg-type]
        head = Head(part["identity_latent"], part["audio_key"], part["audio_interp"], values)
        ours = torch.stack(list(generate(run, Guided(stages["interpolation"], stages["bad"]), head)))
        batches = len(part["keyframe_latents"]) // window
        keyframes, windows = torch.cat(kept.made[:batches]), torch.cat(kept.made[batches:])
        assert relative_error(keyframes.flatten(0, 1), part["keyframe_latents"]) < TOLERANCE, case
        assert relative_error(windows.flatten(0, 1), part["window_latents"]) < TOLERANCE, case
        video = (ours * 255).to(torch.uint8).movedim(-1, 1)
        assert video.shape == part["video_uint8"].shape
        assert int((video.int() - part["video_uint8"].int()).abs().max()) <= 1, case


def test_shared_frames_are_averaged_in_pixels(keyface: Golden) -> None:
    """The mean of what two windows make of one frame, as `generate` gives it without networks."""
    vectors = keyface.tensors("merge")
    segments, merged = vectors["segments"].movedim(2, -1), vectors["merged"].movedim(1, -1)
    window, left = segments.shape[1], iter(segments)
    models: Any = SimpleNamespace(
        keyframe=drawn_by_nothing("keyface_keyframe", window),
        vae=SimpleNamespace(decode=lambda latents: next(left)[: len(latents)].clone()),
        stores=[],
        memo=None,
        place=lambda stage: None,
    )
    run = Run(models, KeyFaceSampling(), Noise.from_seed(0), lambda name: nullcontext())
    heard = torch.zeros(len(merged), 2, 4)
    head = Head(torch.zeros(4, 8, 8), heard, heard, torch.zeros(len(merged), 2))
    ours = list(generate(run, drawn_by_nothing("keyface_interpolation", window), head))
    assert torch.equal(torch.stack(ours), merged)


def drawn_by_nothing(name: str, window: int) -> Any:
    """A stage whose latents are its noise."""
    spec = StageSpec(name, ALL_STAGES[name].unet, latent_size=(8, 8), window=window)
    return SimpleNamespace(spec=spec, sample=lambda windows, noise, sampling, on_step: noise)
