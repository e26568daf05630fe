from __future__ import annotations

import math

import pytest
import torch

from training.evaluation.benchmark.lip_reader import Attention, LipReader, Shape, own_names, positions

TINY = Shape(width=16, heads=2, hidden=24, layers=1, kernel=3)
# Names and shapes of the published vsr_trlrs2lrs3vox2avsp_base.pth, in KeySync's and in Auto-AVSR's layout.
FRONTEND = {
    "frontend.frontend3D.0.weight": (64, 1, 5, 7, 7),
    "frontend.frontend3D.1.running_var": (64,),
    "frontend.trunk.layer1.0.conv1.weight": (64, 64, 3, 3),
    "frontend.trunk.layer2.0.downsample.0.weight": (128, 64, 1, 1),
    "frontend.trunk.layer4.1.bn2.bias": (512,),
}
CONFORMER = {
    "encoder.encoders.0.self_attn.linear_pos.weight": (768, 768),
    "encoder.encoders.0.self_attn.pos_bias_u": (12, 64),
    "encoder.encoders.3.feed_forward_macaron.w_1.weight": (3072, 768),
    "encoder.encoders.11.conv_module.depthwise_conv.weight": (768, 1, 31),
    "encoder.encoders.11.conv_module.pointwise_cov1.weight": (1536, 768, 1),
    "encoder.encoders.11.norm_final.weight": (768,),
    "encoder.after_norm.bias": (768,),
}
KEYSYNC = {**{f"encoder.{name}": shape for name, shape in FRONTEND.items()}, "encoder.embed.0.weight": (768, 512)}
AUTO_AVSR = {**FRONTEND, "proj_encoder.weight": (768, 512)}


@pytest.mark.parametrize("layout", [KEYSYNC | CONFORMER, AUTO_AVSR | CONFORMER])
def test_layout_is_one_of_the_published_ones(layout: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        reader = LipReader()
        published = {name: torch.zeros(shape) for name, shape in layout.items()}
        decoder = {"decoder.embed.0.weight": torch.zeros(1), "ctc.ctc_lo.weight": torch.zeros(1)}
    own = own_names(published | decoder)
    assert len(own) == len(layout)
    needed = reader.state_dict()
    assert {name: tensor.shape for name, tensor in own.items()} == {name: needed[name].shape for name in own}


def tiny() -> LipReader:
    torch.manual_seed(0)
    return LipReader(TINY).eval()


def test_each_frame_becomes_a_row() -> None:
    with torch.inference_mode():
        rows = tiny()(torch.randn(7, 1, 88, 88))
    assert rows.shape == (7, 16)
    torch.testing.assert_close(rows.mean(1), torch.zeros(7), atol=1e-5, rtol=0)


def test_attention_by_distance_is_what_the_sum_says() -> None:
    """Dai et al., 2019: the score of query i and key j has (q_i + v) . p(i - j)."""
    torch.manual_seed(0)
    attention = Attention(TINY)
    torch.nn.init.normal_(attention.pos_bias_u)
    torch.nn.init.normal_(attention.pos_bias_v)
    x, places = torch.randn(4, 16), positions(4, 16)
    with torch.inference_mode():
        found = attention(x, places)
        q, k, v = (layer(x).reshape(4, 2, 8) for layer in (attention.linear_q, attention.linear_k, attention.linear_v))
        p = attention.linear_pos(places).reshape(7, 2, 8)
        out = torch.zeros(4, 2, 8)
        for head in range(2):
            for i in range(4):
                scores = torch.stack(
                    [
                        (q[i, head] + attention.pos_bias_u[head]) @ k[j, head]
                        + (q[i, head] + attention.pos_bias_v[head]) @ p[3 - (i - j), head]
                        for j in range(4)
                    ]
                )
                out[i, head] = (scores / 8**0.5).softmax(0) @ v[:, head]
        torch.testing.assert_close(found, attention.linear_out(out.flatten(1)))


def test_positions_are_those_of_distances() -> None:
    rows = positions(3, 4)
    assert rows.shape == (5, 4)
    torch.testing.assert_close(rows[2], torch.tensor([0.0, 1.0, 0.0, 1.0]))  # no distance
    torch.testing.assert_close(rows[0, :2], torch.tensor([math.sin(2), math.cos(2)]))
    torch.testing.assert_close(rows[0, 0], -rows[4, 0])
