"""What a weight file is, told by the names and shapes of its tensors alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
LEARNED_MASK = "model.learned_mask"
AUDIO_PROJECTION = "conditioner.embedders.2.linear."
DECODER = "first_stage_model.decoder."

# The kinds, in the words of an error message.
KINDS = {
    "keyframe": "a KeySync keyframe stage",
    "interpolation": "a KeySync interpolation stage",
    "svd": "a plain Stable Video Diffusion model",
    "vae": "a VAE",
    "hubert": "a HuBERT speech encoder",
    "wavlm": "a WavLM speech encoder",
    "unknown": "none of the files KeySync knows",
}


def recognise(shapes: Shapes) -> tuple[str, str]:
    """The kind of a file, a key of `KINDS`, and in a few words what shows it: the layout, or the telling tensors."""
    if any(name.startswith(UNET) for name in shapes):
        return _unet_kind(shapes)
    if "add_embedding.linear_1.weight" in shapes and "conv_in.weight" in shapes:
        return "svd", "U-Net in diffusers layout"
    return _vae_kind(shapes) or _speech_kind(shapes) or ("unknown", f"first tensor {min(shapes, default='none')}")


def width(shapes: Shapes, dimension: int, absent: int, *names: str) -> int:
    """One dimension of these tensors, as most of them have it."""
    found = Counter(shapes[name][dimension] for name in names if len(shapes.get(name, ())) > dimension)
    return found.most_common(1)[0][0] if found else absent


def _unet_kind(shapes: Shapes) -> tuple[str, str]:
    label = width(shapes, 1, 0, f"{UNET}label_emb.0.0.weight")
    context = width(shapes, 1, label, *(name for name in shapes if name.endswith("attn2.to_k.weight")))
    projected = any(name.startswith(AUDIO_PROJECTION) for name in shapes)
    # Stable Video Diffusion's frame rate, motion and noise level: 3 x 256 numbers, where KeySync puts an audio token.
    if not projected and (label == 768 or label != context):
        return "svd", f"its label_emb takes {label} and it has no {AUDIO_PROJECTION[:-1]}"
    if LEARNED_MASK in shapes or width(shapes, 1, 8, f"{UNET}input_blocks.0.0.weight") == 9:
        return "interpolation", "9 input channels and a learned mask"
    return "keyframe", "8 input channels"


def _vae_kind(shapes: Shapes) -> tuple[str, str] | None:
    bare = [name.removeprefix("first_stage_model.") for name in shapes]
    parts = [part for part in ("encoder", "decoder") if any(name.startswith(f"{part}.conv_in.") for name in bare)]
    if not parts:
        return None
    diffusers = any("_blocks." in name for name in bare)
    temporal = any("time_stack" in name or "temporal_res_block" in name for name in bare)
    layout = "diffusers" if diffusers else "sgm"
    decoder = "" if "decoder" not in parts else ", temporal decoder" if temporal else ", decoder for single images"
    return "vae", f"{' and '.join(parts)} in {layout} layout{decoder}"


def _speech_kind(shapes: Shapes) -> tuple[str, str] | None:
    if not any("feature_extractor.conv_layers.0." in name for name in shapes):
        return None
    if any("grep_linear" in name for name in shapes):
        return "wavlm", "Microsoft's layout"
    if any("gru_rel_pos_linear" in name for name in shapes):
        return "wavlm", "transformers layout"
    if any(name.startswith("wav2vec2.") for name in shapes):
        return None
    fairseq = any(".self_attn." in name for name in shapes)
    return "hubert", "fairseq layout" if fairseq else "transformers layout"
