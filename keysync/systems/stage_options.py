"""Options that systems share: their files, and how they are sampled."""

from __future__ import annotations

from .renderer import Option

VAE = Option.file("--vae", "Stable Video Diffusion VAE: folder or file")
FILES = (
    Option.file("--keyframe-model", "keyframe checkpoint (.safetensors, .pt)", "FILE"),
    Option.file("--interpolation-model", "interpolation checkpoint (.safetensors, .pt)", "FILE"),
    VAE,
)
GUIDANCE = {"type": float, "metavar": "X", "help": "default: that of the models"}
STEPS = Option(
    "--steps",
    {
        "type": int,
        "metavar": "N",
        "help": "sampling steps (default: 11, at least 10, of the full schedule; flashlips: the file's)",
    },
)
SAMPLING = (
    STEPS,
    Option("--audio-guidance", GUIDANCE),
    Option("--identity-guidance", GUIDANCE),
)
