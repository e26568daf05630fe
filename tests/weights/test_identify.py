"""A file is told by its shapes alone; the systems' stages by what each puts into the network."""

from __future__ import annotations

import pytest

from keysync.weights.identify import KINDS, SIGNATURES, UNET, Shapes, identify


def unet(label: int, context: int, inputs: int = 8, embedder: int | None = None) -> dict[str, tuple[int, ...]]:
    """The telling tensors of a U-Net, and the audio projection of that embedder."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{UNET}label_emb.0.0.weight": (128, label),
        f"{UNET}input_blocks.0.0.weight": (32, inputs, 3, 3),
        f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (32, context),
    }
    return shapes | ({f"conditioner.embedders.{embedder}.linear.weight": (context, 48)} if embedder is not None else {})


def encoder(prefix: str) -> dict[str, tuple[int, ...]]:
    """The telling tensors of a Whisper."""
    shapes = {"conv1.weight": (64, 80, 3), "conv2.weight": (64, 64, 3), "layer_norm.weight": (64,)}
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        (unet(64, 64, embedder=2), "keyframe"),
        (unet(64, 64, inputs=9, embedder=2), "interpolation"),
        (unet(64, 64, embedder=2) | {"model.learned_mask": (4, 8, 8)}, "interpolation"),
        (unet(768, 768, embedder=2), "keyframe"),
        (unet(64, 64), "keyframe"),
        (unet(768, 1024), "svd"),
        (unet(768, 768), "svd"),
        (unet(64 + 512, 64, embedder=3), "keyface_keyframe"),
        (unet(64, 64, inputs=9, embedder=1), "keyface_interpolation"),
        (
            {
                "editor.backbone.enter.weight": (8, 21, 3, 3),
                "editor.references.enter.weight": (8, 4, 3, 3),
                "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
            },
            "flashlips",
        ),
        ({"add_embedding.linear_1.weight": (1, 1), "conv_in.weight": (1, 1)}, "svd"),
        ({"decoder.conv_in.weight": (8, 4, 3, 3)}, "vae"),
        ({"feature_extractor.conv_layers.0.conv.weight": (8, 1, 10)}, "hubert"),
        ({"feature_extractor.conv_layers.0.conv.weight": (8, 1, 10), "a.gru_rel_pos_linear.weight": (8, 8)}, "wavlm"),
        ({"wav2vec2.feature_extractor.conv_layers.0.conv.weight": (8, 1, 10)}, "wav2vec2"),
        ({"wav2vec2.feature_extractor.conv_layers.0.a": (1,), "wav2vec2.adapter.a": (1,)}, "unknown"),
        ({"patch_embedding.weight": (8, 1, 16, 16), "encoder.layers.0.self_attn.grep_linear.weight": (8, 8)}, "beats"),
        (encoder("model.encoder."), "whisper"),
        (encoder("encoder.") | {"decoder.layer_norm.bias": (8,)}, "whisper"),
        (encoder(""), "whisper"),
        (encoder("other."), "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_first_signature_that_fits_says_what_a_file_is(shapes: Shapes, kind: str) -> None:
    assert identify(shapes)[0] == kind


def test_a_stage_of_keyface_is_named_with_its_system() -> None:
    kind, sign = identify(unet(64 + 512, 64, embedder=3))
    assert "KeyFace" in KINDS[kind]
    assert sign == "audio projection in embedders.3, 512 emotion channels"


def test_every_signature_is_of_a_kind_that_has_words() -> None:
    assert {row.kind for row in SIGNATURES} | {"unknown"} == set(KINDS)
