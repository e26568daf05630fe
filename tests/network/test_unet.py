"""The U-Net runs and learns at any depth, and what saves memory changes no number. Parity is in tests/parity."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import keysync.network.layers
from keysync.network.unet import INTERPOLATION, KEYFRAME, UNetConfig, VideoUNet

from ..small_stages import small_unet

TWO_LEVELS = {"channel_mult": (1, 1), "attention": (True, False)}


def built(**changes: Any) -> VideoUNet:
    torch.manual_seed(0)
    return VideoUNet(small_unet(**changes)).eval()


def given(config: UNetConfig, windows: int = 2, frames: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timesteps and tokens."""
    generator = torch.Generator().manual_seed(1)
    count = windows * frames
    x = torch.randn(count, config.in_channels, 4, 8, generator=generator)
    context = torch.randn(windows, frames, config.context_dim, generator=generator)
    return x, torch.linspace(-1.5, 1.6, count), context


def loss_and_gradients(unet: VideoUNet) -> tuple[Tensor, dict[str, Tensor]]:
    unet.zero_grad()
    output = unet(*given(unet.config))
    output.square().mean().backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in unet.named_parameters() if parameter.grad is not None
    }
    assert gradients.keys() == dict(unet.named_parameters()).keys()
    return output.detach(), gradients


def test_published_widths() -> None:
    assert (KEYFRAME.in_channels, INTERPOLATION.in_channels) == (8, 9)
    for config in (KEYFRAME, INTERPOLATION):
        assert (config.model_channels, config.channel_mult) == (320, (1, 2, 4, 4))
        assert (config.head_dim, config.context_dim, config.out_channels) == (64, 1024, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"attention": (False,)},
        {"channel_mult": (1, 1), "attention": (True, False)},
        {"channel_mult": (1, 2), "attention": (False, True), "num_res_blocks": 2},
        {"channel_mult": (1, 1, 2), "attention": (True, False, True), "head_dim": 64},
        {"transformer_depth": 2},
        {"in_channels": 9, "out_channels": 3},
    ],
)
def test_any_depth_runs_and_every_weight_learns(changes: dict[str, Any]) -> None:
    unet = built(**changes)
    output, gradients = loss_and_gradients(unet)
    assert output.shape == (6, unet.config.out_channels, 4, 8)
    assert output.isfinite().all()
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_gradient_checkpointing_changes_no_number() -> None:
    unet = built(**TWO_LEVELS)
    plain, gradients = loss_and_gradients(unet)
    runs: list[nn.Module] = []
    unet.middle_block.register_forward_pre_hook(lambda module, _: runs.append(module))
    unet.gradient_checkpointing = True
    kept, kept_gradients = loss_and_gradients(unet)
    assert len(runs) == 2, "the block was not computed again for its gradients"
    torch.testing.assert_close(kept, plain)
    assert kept_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(kept_gradients[name], gradient, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(unet(*given(unet.config)), plain)
    assert len(runs) == 3


def test_attention_of_many_rows_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    unet, rows = built(), []
    with torch.no_grad():
        whole = unet(*given(unet.config))
    attend = F.scaled_dot_product_attention

    def watched(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows.append(len(q))
        return attend(q, k, v)

    monkeypatch.setattr(keysync.network.layers, "ATTENTION_ROWS", 5)
    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    with torch.no_grad():
        split = unet(*given(unet.config))
    # Over space 6 rows, over time 64.
    assert max(rows) == 5
    assert {1, 4} <= set(rows)
    torch.testing.assert_close(split, whole)


def test_windows_do_not_see_each_other() -> None:
    unet = built(**TWO_LEVELS)
    x, timesteps, context = given(unet.config)
    with torch.no_grad():
        together = unet(x, timesteps, context)
        alone = [unet(*part) for part in zip(x.split(3), timesteps.split(3), context.split(1), strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_every_frame_hears_the_whole_window() -> None:
    unet = built()
    x, timesteps, context = given(unet.config, windows=1)
    other = context.clone()
    other[:, 2] += 1
    with torch.no_grad():
        change = (unet(x, timesteps, other) - unet(x, timesteps, context)).abs().amax(dim=(1, 2, 3))
    assert (change > 1e-4).all()


def test_numbers_of_each_frame_reach_its_embedding() -> None:
    """KeyFace's layout: a vector before the audio token in `label_emb`."""
    unet = built(vector_dim=6)
    x, timesteps, context = given(unet.config, windows=1)
    assert unet.get_parameter("label_emb.0.0.weight").shape[1] == 6 + unet.config.context_dim
    vector = torch.zeros(1, 3, 6)
    other = vector.clone()
    other[:, 1] = 1
    with torch.no_grad():
        change = unet(x, timesteps, context, vector=other) - unet(x, timesteps, context, vector=vector)
    assert change[1].abs().max() > 1e-4


def test_frames_of_no_clip_do_not_see_the_others() -> None:
    unet = built()
    x, timesteps, context = given(unet.config, windows=1)
    other = x.clone()
    other[2] += 1
    clip, single = torch.zeros(1, 3), torch.ones(1, 3)
    with torch.no_grad():
        assert torch.equal(unet(x, timesteps, context, clip), unet(x, timesteps, context))
        moving = (unet(other, timesteps, context) - unet(x, timesteps, context))[:2].abs().amax(dim=(1, 2, 3))
        kept = (unet(other, timesteps, context, single) - unet(x, timesteps, context, single))[:2]
    assert (moving > 1e-5).all()
    torch.testing.assert_close(kept, torch.zeros_like(kept), rtol=0, atol=1e-6)
