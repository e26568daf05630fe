"""Options that systems of two stages share: their files, and how they are sampled."""

from __future__ import annotations

from .renderer import Option

FILES = (
    Option.file("--keyframe-model", "keyframe checkpoint (.safetensors, .pt)", "FILE"),
    Option.file("--interpolation-model", "interpolation checkpoint (.safetensors, .pt)", "FILE"),
    Option.file("--vae", "Stable Video Diffusion VAE: folder or file"),
)
GUIDANCE = {"type": float, "metavar": "X", "help": "default: that of the models"}
SAMPLING = (
    Option(
        "--steps",
        {"type": int, "metavar": "N", "help": "sampling steps, 10 or more, of the full schedule (default: 11)"},
    ),
    Option("--audio-guidance", GUIDANCE),
    Option("--identity-guidance", GUIDANCE),
)
