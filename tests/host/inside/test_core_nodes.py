"""Nodes of the core that patch a MODEL, each on the built-in keyframe model: it works, is refused, or has no effect and
the log says so. docs/nodes.md has the table."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
SECTION = "## Nodes of the core between the loader and the sampler\n"
FRAMES = 6
GUIDANCE = {"audio_guidance": 5.0, "identity_guidance": 2.0}
WORKS, REFUSED, NOTHING = "works", "refused", "no effect, said in the log"
# By the name that ComfyUI shows: id, settings, and what comes of it.
NODES: dict[str, tuple[str, dict[str, Any], str]] = {
    "Rescale CFG": ("RescaleCFG", {"multiplier": 0.7}, WORKS),
    "Perturbed-Attention Guidance": ("PerturbedAttentionGuidance", {"scale": 3.0}, WORKS),
    "Self-Attention Guidance": ("SelfAttentionGuidance", {"scale": 0.5, "blur_sigma": 2.0}, REFUSED),
    "CFG-Norm": ("CFGNorm", {"strength": 1.0}, WORKS),
    "CFG-Zero*": ("CFGZeroStar", {}, WORKS),
    "Renorm CFG": ("RenormCFG", {"cfg_trunc": 100.0, "renorm_cfg": 1.0}, REFUSED),
    "Tangential Damping CFG": ("TCFG", {}, WORKS),
    "Adaptive Projected Guidance": ("APG", {"eta": 1.0, "norm_threshold": 5.0, "momentum": 0.0}, WORKS),
    "FreSca": ("FreSca", {"scale_low": 1.0, "scale_high": 1.25, "freq_cutoff": 4}, WORKS),
    "Positive-Biased Guidance": ("Mahiro", {}, WORKS),
    "Video Linear CFG Guidance": ("VideoLinearCFGGuidance", {"min_cfg": 1.0}, WORKS),
    "Video Triangle CFG Guidance": ("VideoTriangleCFGGuidance", {"min_cfg": 1.0}, WORKS),
    "CFG Override": ("CFGOverride", {"cfg": 2.0, "start_percent": 0.0, "end_percent": 1.0}, WORKS),
    "Epsilon Scaling": ("Epsilon Scaling", {"scaling_factor": 1.005}, WORKS),
    "Temporal Score Rescaling": ("TemporalScoreRescaling", {"tsr_k": 0.95, "tsr_sigma": 1.0}, REFUSED),
    "Normalized Attention Guidance": ("NAGuidance", {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5}, WORKS),
    "Differential Diffusion": ("DifferentialDiffusion", {"strength": 1.0}, WORKS),
    "FreeU": ("FreeU", {"b1": 1.1, "b2": 1.2, "s1": 0.9, "s2": 0.2}, NOTHING),
    "FreeU V2": ("FreeU_V2", {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}, NOTHING),
    "HyperTile": ("HyperTile", {"tile_size": 1, "swap_size": 2, "max_depth": 1, "scale_depth": False}, WORKS),
    "Tome Patch Model": ("TomePatchModel", {"ratio": 0.3}, NOTHING),
    "Kohya Deep Shrink": (
        "PatchModelAddDownscale",
        {
            "block_number": 3, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 0.35,
            "downscale_after_skip": True, "downscale_method": "bicubic", "upscale_method": "bicubic",
        },
        WORKS,
    ),
    "UNet Self Attention Multiply": ("UNetSelfAttentionMultiply", {"q": 1.2, "k": 1.0, "v": 1.0, "out": 1.0}, WORKS),
    "UNet Cross Attention Multiply": ("UNetCrossAttentionMultiply", {"q": 1.0, "k": 1.0, "v": 1.0, "out": 1.2}, WORKS),
    "EasyCache": (
        "EasyCache", {"reuse_threshold": 1.0, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}, WORKS
    ),
    "LazyCache": (
        "LazyCache", {"reuse_threshold": 1.0, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}, WORKS
    ),
    "Context Windows (Manual)": (
        "ContextWindowsManual",
        {
            "context_length": 4, "context_overlap": 1, "context_schedule": "standard_static", "context_stride": 1,
            "closed_loop": False, "fuse_method": "pyramid", "dim": 0, "freenoise": True,
        },
        NOTHING,
    ),
    "Skip Layer Guidance DiT": (
        "SkipLayerGuidanceDiT",
        {"scale": 3.0, "start_percent": 0.0, "end_percent": 1.0, "double_layers": "7", "single_layers": "7"},
        NOTHING,
    ),
    "Skip Layer Guidance DiT Simple": (
        "SkipLayerGuidanceDiTSimple",
        {"start_percent": 0.0, "end_percent": 1.0, "double_layers": "7", "single_layers": "7"},
        NOTHING,
    ),
    "Scale ROPE": (
        "ScaleROPE",
        {"scale_x": 2.0, "shift_x": 0.0, "scale_y": 1.0, "shift_y": 0.0, "scale_t": 1.0, "shift_t": 0.0},
        NOTHING,
    ),
    "ModelSamplingDiscrete": ("ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": False}, REFUSED),
    "ModelSamplingContinuousEDM": (
        "ModelSamplingContinuousEDM", {"sampling": "v_prediction", "sigma_max": 700.0, "sigma_min": 0.002}, REFUSED
    ),
    "ModelSamplingSD3": ("ModelSamplingSD3", {"shift": 3.0}, REFUSED),
    "ModelSamplingFlux": (
        "ModelSamplingFlux", {"max_shift": 1.15, "base_shift": 0.5, "width": 512, "height": 512}, REFUSED
    ),
}  # fmt: skip
# Missing in ComfyUI 0.8.0.
NEWER = {"CFGOverride", "NAGuidance"}

pytestmark = pytest.mark.usefixtures("inference")


def part(name: str) -> Any:
    return importlib.import_module(f"keysync_extension.{name}")


@pytest.fixture(scope="module")
def core() -> dict[str, Any]:
    """The core's nodes by id."""
    nodes: Any = importlib.import_module("nodes")
    asyncio.run(nodes.init_builtin_extra_nodes())
    mappings: dict[str, Any] = nodes.NODE_CLASS_MAPPINGS
    return mappings


@pytest.fixture(scope="module")
def models(extension: ModuleType) -> Iterator[dict[str, Any]]:
    """The built-in stages."""
    loader = part("nodes.host.model")
    yield {
        stage: loader.load_model(path)
        for stage, path in zip(part("keysync.network.stage").STAGES, loader.BUILT_IN.values(), strict=False)
    }
    comfy.model_management.unload_all_models()


def patch(core: dict[str, Any], node: str, model: Any, settings: dict[str, Any]) -> Any:
    """The MODEL as a node of the core patches it."""
    kind = core[node]
    if hasattr(kind, "define_schema"):
        made = kind.execute(model=model, **settings)
        return getattr(made, "args", made)[0]
    return getattr(kind(), kind.FUNCTION)(model=model, **settings)[0]


def sample(model: Any, frames: int = FRAMES, keyframes: Tensor | None = None, **scales: Any) -> Any:
    """Latents of a clip of noise with half of each frame masked; keyframes in fewer steps, for time's sake."""
    spec = model.model.spec
    generator = torch.Generator().manual_seed(1)
    samples = torch.randn(frames, 4, *spec.latent_size, generator=generator)
    mask = torch.zeros(1, 1, *spec.latent_size)
    mask[..., spec.latent_size[0] // 2 :, :] = 1
    rows = torch.randn(2 * frames, spec.audio_channels, generator=generator)
    features = part("keysync.speech.features").SpeechFeatures(rows, spec.speech_encoder)
    speech, nodes = part("nodes.host.sockets").Speech(features, 25.0), part("nodes.sampling")
    inputs = {"latent": {"samples": samples, "noise_mask": mask}, "seed": 7, **GUIDANCE, **scales}
    if keyframes is None:
        inputs["sigmas"] = part("keysync.network.schedule").ays_sigmas().float()[[0, 2, 4, 6, 8, 10, 11]]
        return nodes.SampleKeyframes.execute(model, speech, **inputs).args[0]["samples"]
    return nodes.InterpolateKeyframes.execute(model, speech, keyframes={"samples": keyframes}, **inputs).args[0][
        "samples"
    ]


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max())


@pytest.fixture(scope="module")
def plain(models: dict[str, Any]) -> Any:
    return sample(models["keyframe"])


def outcome(model: Any, plain: Tensor, caplog: pytest.LogCaptureFixture, error: type[Exception]) -> str:
    caplog.clear()
    try:
        with caplog.at_level(logging.WARNING):
            made = sample(model)
    except error:
        return REFUSED
    said = "has no effect" in caplog.text
    assert made.isfinite().all()
    if difference(made, plain) < 1e-3:
        return NOTHING if said else "no effect, in silence"
    return "an effect, though the log denies it" if said else WORKS


@pytest.mark.parametrize("name", NODES)
def test_what_comes_of_a_node(
    core: dict[str, Any], models: dict[str, Any], plain: Tensor, caplog: pytest.LogCaptureFixture,
    error: type[Exception], name: str,
) -> None:  # fmt: skip
    node, settings, expected = NODES[name]
    if node not in core:
        assert node in NEWER
        return
    try:
        model = patch(core, node, models["keyframe"], settings)
    except Exception as broken:
        raise AssertionError(f"{node} itself fails: {broken}") from broken
    assert outcome(model, plain, caplog, error) == expected


@pytest.mark.parametrize(
    ("node", "settings"),
    [
        ("RescaleCFG", {"multiplier": 0.0}),
        ("PerturbedAttentionGuidance", {"scale": 0.0}),
        ("VideoLinearCFGGuidance", {"min_cfg": 5.0}),
        ("CFGOverride", {"cfg": 5.0, "start_percent": 0.0, "end_percent": 1.0}),
    ],
)
def test_a_node_that_is_set_to_do_nothing(
    core: dict[str, Any], models: dict[str, Any], plain: Tensor, node: str, settings: dict[str, Any]
) -> None:
    """What the functions see is what KeySync's own guidance is made of."""
    if node in core:
        assert difference(sample(patch(core, node, models["keyframe"], settings)), plain) < 1e-3


@pytest.mark.parametrize("scales", [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (3.0, 3.0)])
def test_every_pair_of_scales(core: dict[str, Any], models: dict[str, Any], scales: tuple[float, float]) -> None:
    named: dict[str, Any] = dict(zip(GUIDANCE, scales, strict=True))
    idle = patch(core, "RescaleCFG", models["keyframe"], {"multiplier": 0.0})
    guided = patch(core, "PerturbedAttentionGuidance", models["keyframe"], {"scale": 3.0})
    plain = sample(models["keyframe"], **named)
    assert difference(sample(idle, **named), plain) < 1e-3
    assert difference(sample(guided, **named), plain) > 1e-3


def test_cfg_override_sets_the_audio_guidance(core: dict[str, Any], models: dict[str, Any]) -> None:
    if "CFGOverride" in core:
        override = {"cfg": 3.0, "start_percent": 0.0, "end_percent": 1.0}
        patched = sample(patch(core, "CFGOverride", models["keyframe"], override))
        assert torch.equal(patched, sample(models["keyframe"], audio_guidance=3.0))


def clip(model: Any, frames: int = 40) -> Tensor:
    """All frames of a clip of several windows; keyframes of noise."""
    count = len(part("keysync.systems.keysync.plan").Plan(frames).windows) + 1
    keyframes = torch.randn(count, 4, *model.model.spec.latent_size, generator=torch.Generator().manual_seed(2))
    made: Tensor = sample(model, frames, keyframes)
    return made


def test_guidance_functions_act_on_each_window_alone(
    core: dict[str, Any], models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = patch(core, "VideoLinearCFGGuidance", models["interpolation"], {"min_cfg": 1.0})
    apart = clip(model)
    monkeypatch.setattr(part("nodes.host.guider"), "on_cpu", lambda _: False)
    monkeypatch.setattr(part("nodes.host.guider"), "windows_at_once", lambda *_: 4)
    assert difference(clip(model), apart) < 2e-3


def test_momentum_would_mix_windows(core: dict[str, Any], models: dict[str, Any], error: type[Exception]) -> None:
    model = patch(core, "APG", models["interpolation"], {"eta": 1.0, "norm_threshold": 5.0, "momentum": 0.5})
    with pytest.raises(error, match="the momentum of APG would mix the 3 windows of the clip: set it to 0"):
        clip(model, 40)
    assert clip(model, 14).isfinite().all()


@pytest.mark.parametrize("group", [1, 2])
def test_easycache_skips_steps_of_every_window(
    core: dict[str, Any], models: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    group: int,
) -> None:  # fmt: skip
    """In groups of one window, and of two and one."""
    if group > 1:
        monkeypatch.setattr(part("nodes.host.guider"), "on_cpu", lambda _: False)
    monkeypatch.setattr(part("nodes.host.guider"), "windows_at_once", lambda *_: group)
    network = models["interpolation"].model.diffusion_model
    evaluated: list[int] = []
    forward = network._forward

    def counted(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        evaluated.append(len(x))
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(network, "_forward", counted)
    plain, all_of_them = clip(models["interpolation"]), sum(evaluated)
    evaluated.clear()
    settings = {"reuse_threshold": 1.0, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
    with caplog.at_level(logging.INFO):
        cached = clip(patch(core, "EasyCache", models["interpolation"], settings))
    skipped = re.search(r"EasyCache - skipped (\d+)/11 steps", caplog.text)
    assert skipped
    print(f"{sum(evaluated)} of {all_of_them} evaluations, {skipped[1]} of 11 steps, {difference(cached, plain)}")
    assert int(skipped[1]) > 2
    # Each window, not the first one alone.
    assert sum(evaluated) < all_of_them * (1 - 0.6 * int(skipped[1]) / 11)
    assert cached.isfinite().all()
    again = clip(patch(core, "EasyCache", models["interpolation"], settings))
    assert torch.equal(again, cached)


def test_no_effect_is_said_in_the_report(core: dict[str, Any], models: dict[str, Any]) -> None:
    settings = NODES["Scale ROPE"][1]
    stage = part("nodes.host.models").CoreStage(patch(core, "ScaleROPE", models["keyframe"], settings), lambda _: None)
    spec = stage.spec
    shape = (1, spec.window, 4, *spec.latent_size)
    rows = torch.zeros(1, spec.window, 2, spec.audio_channels)
    known = torch.zeros(shape)
    windows = part("keysync.network.stage").Windows(
        rows, known[:, 0], known, torch.ones(1, spec.window, 1, *shape[-2:])
    )
    sampling = part("keysync.systems.keysync.generate").Sampling(10)
    assert stage.sample(windows, torch.randn(shape), sampling, None).isfinite().all()
    assert stage.notes == {"Scale ROPE has no effect on a KeySync model, which has no rotary embeddings"}


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "nodes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", page.partition(SECTION)[2].partition("\n## ")[0], re.MULTILINE))
    assert {name: rows.get(name, "").partition(":")[0] for name in NODES} == {
        name: row[2] for name, row in NODES.items()
    }
