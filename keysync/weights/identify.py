"""Identifies weight files by the names and shapes of their tensors: the first matching signature decides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
LEARNED_MASK = "model.learned_mask"
AUDIO_PROJECTION = "conditioner.embedders.2.linear."
DECODER = "first_stage_model.decoder."
EARS = "ears."
EDITOR = "editor."

# The kinds of files, as error messages name them.
KINDS = {
    "keyframe": "a KeySync keyframe stage",
    "interpolation": "a KeySync interpolation stage",
    "keyface_keyframe": "a KeyFace keyframe stage",
    "keyface_interpolation": "a KeyFace interpolation stage",
    "flashlips": "a FlashLips file",
    "svd": "a plain Stable Video Diffusion model",
    "vae": "a VAE",
    "hubert": "a HuBERT speech encoder",
    "wavlm": "a WavLM speech encoder",
    "wav2vec2": "a wav2vec 2.0 speech encoder",
    "beats": "a BEATs sound encoder",
    "whisper": "a Whisper speech encoder",
    "unknown": "an unknown kind of file",
}


@dataclass(frozen=True)
class Signature:
    """A kind of file, a key of `KINDS`; `sign` returns a short description of the evidence, or None for other files."""

    kind: str
    sign: Callable[[Shapes], str | None]


def identify(shapes: Shapes) -> tuple[str, str]:
    """The kind of a file, a key of `KINDS`, and a short description of the evidence: its layout or certain tensors."""
    found = ((row.kind, sign) for row in SIGNATURES if (sign := row.sign(shapes)) is not None)
    return next(found, ("unknown", f"first tensor {min(shapes, default='none')}"))


def width(shapes: Shapes, dimension: int, absent: int, *names: str) -> int:
    """The most frequent size of one dimension of these tensors, or `absent` if none has it."""
    found = Counter(shapes[name][dimension] for name in names if len(shapes.get(name, ())) > dimension)
    return found.most_common(1)[0][0] if found else absent


def _has(shapes: Shapes, text: str) -> bool:
    return any(text in name for name in shapes)


def _projection(shapes: Shapes) -> int | None:
    """The index of the conditioner's embedder that projects the audio; it differs between systems."""
    found = (re.match(r"conditioner\.embedders\.(\d+)\.linear\.", name) for name in shapes)
    return next((int(match[1]) for match in found if match), None)


def _unet_widths(shapes: Shapes) -> tuple[int, int]:
    """Channels of the U-Net's conditioning per frame (label_emb), and of its context."""
    label = width(shapes, 1, 0, f"{UNET}label_emb.0.0.weight")
    return label, width(shapes, 1, label, *(name for name in shapes if name.endswith("attn2.to_k.weight")))


def _keyface_keyframe(shapes: Shapes) -> str | None:
    if not _has(shapes, UNET) or _projection(shapes) != 3:
        return None
    label, context = _unet_widths(shapes)
    return f"audio projection in embedders.3, {label - context} emotion channels"


def _keyface_interpolation(shapes: Shapes) -> str | None:
    return "audio projection in embedders.1" if _has(shapes, UNET) and _projection(shapes) == 1 else None


def _flashlips(shapes: Shapes) -> str | None:
    known = _has(shapes, f"{EDITOR}backbone.") and _has(shapes, f"{EDITOR}references.")
    return "an editor and its references" if known else None


def _svd(shapes: Shapes) -> str | None:
    label, context = _unet_widths(shapes)
    # Frame rate, motion and noise level of Stable Video Diffusion: 3 x 256 channels, where KeySync has an audio token.
    if _has(shapes, UNET) and _projection(shapes) is None and (label == 768 or label != context):
        return f"label_emb has {label} input channels and there is no {AUDIO_PROJECTION[:-1]}"
    return None


def _svd_diffusers(shapes: Shapes) -> str | None:
    known = "add_embedding.linear_1.weight" in shapes and "conv_in.weight" in shapes
    return "U-Net in diffusers layout" if known else None


def _interpolation(shapes: Shapes) -> str | None:
    nine = width(shapes, 1, 8, f"{UNET}input_blocks.0.0.weight") == 9
    known = _has(shapes, UNET) and (LEARNED_MASK in shapes or nine)
    return "9 input channels and a learned mask" if known else None


def _keyframe(shapes: Shapes) -> str | None:
    return "8 input channels" if _has(shapes, UNET) else None


def _vae(shapes: Shapes) -> str | None:
    bare = [name.removeprefix("first_stage_model.") for name in shapes]
    parts = [part for part in ("encoder", "decoder") if any(name.startswith(f"{part}.conv_in.") for name in bare)]
    if not parts:
        return None
    diffusers = any("_blocks." in name for name in bare)
    temporal = any("time_stack" in name or "temporal_res_block" in name for name in bare)
    layout = "diffusers" if diffusers else "sgm"
    decoder = "" if "decoder" not in parts else ", temporal decoder" if temporal else ", decoder for single images"
    return f"{' and '.join(parts)} in {layout} layout{decoder}"


def _wavlm(shapes: Shapes) -> str | None:
    if not _has(shapes, "feature_extractor.conv_layers.0."):
        return None
    if _has(shapes, "grep_linear"):
        return "Microsoft's layout"
    return "transformers layout" if _has(shapes, "gru_rel_pos_linear") else None


def has_ears(shapes: Shapes) -> bool:
    """Whether a file is the ears of KeySync small (`keysync.speech.ears`), which give its HuBERT's rows."""
    return f"{EARS}project.weight" in shapes


def _ears(shapes: Shapes) -> str | None:
    return "KeySync small's ears, for the built-in Whisper" if has_ears(shapes) else None


def _wav2vec2(shapes: Shapes) -> str | None:
    """Without its prefix it is not told from a HuBERT."""
    known = _has(shapes, "wav2vec2.feature_extractor.conv_layers.0.")
    return "transformers layout" if known and not _has(shapes, "adapter.") else None


def _beats(shapes: Shapes) -> str | None:
    known = "patch_embedding.weight" in shapes and _has(shapes, "grep_linear")
    return "Microsoft's layout" if known else None


def _hubert(shapes: Shapes) -> str | None:
    if not _has(shapes, "feature_extractor.conv_layers.0.") or any(name.startswith("wav2vec2.") for name in shapes):
        return None
    return "fairseq layout" if _has(shapes, ".self_attn.") else "transformers layout"


def whisper_prefix(shapes: Shapes) -> str | None:
    """The prefix of the encoder's tensors in a Whisper file in transformers' layout; None for other files."""
    signs = ("conv1.weight", "conv2.weight", "layer_norm.weight")
    prefixes = ("model.encoder.", "encoder.", "")
    return next((prefix for prefix in prefixes if all(f"{prefix}{sign}" in shapes for sign in signs)), None)


def _whisper(shapes: Shapes) -> str | None:
    prefix = whisper_prefix(shapes)
    if prefix is None:
        return None
    whole = any(name.startswith(("model.decoder.", "decoder.")) for name in shapes)
    channels = width(shapes, 0, 0, f"{prefix}layer_norm.weight")
    return f"{'encoder and decoder' if whole else 'encoder'}, {channels} channels"


# The order matters: a signature may also match the kinds above it.
SIGNATURES = (
    Signature("flashlips", _flashlips),
    Signature("keyface_keyframe", _keyface_keyframe),
    Signature("keyface_interpolation", _keyface_interpolation),
    Signature("svd", _svd),
    Signature("interpolation", _interpolation),
    Signature("keyframe", _keyframe),
    Signature("svd", _svd_diffusers),
    Signature("vae", _vae),
    Signature("wavlm", _wavlm),
    Signature("hubert", _hubert),
    Signature("hubert", _ears),
    Signature("wav2vec2", _wav2vec2),
    Signature("beats", _beats),
    Signature("whisper", _whisper),
)
