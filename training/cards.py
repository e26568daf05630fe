"""What fits on which GPU: settings from the most that memory allows to the least, counted by `training.cost`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .config.config import load_config
from .cost import measure
from .run.counting import GIB

LORA = {"trainable": "lora"}
LADDER: dict[str, dict[str, str]] = {
    "all weights": {},
    "all weights, AdamW in 8 bits": {"optimizer": "adamw8bit"},
    "LoRA": LORA,
    "LoRA, base in bf16": {**LORA, "frozen": "bf16"},
    "LoRA, base in bf16, decoder offloaded, tiles of 256": {
        **LORA,
        "frozen": "bf16",
        "decoder_tile": "256",
        "offload_decoder": "true",
    },
    "LoRA, base in fp8, decoder offloaded, tiles of 128": {
        **LORA,
        "frozen": "fp8",
        "decoder_tile": "128",
        "offload_decoder": "true",
    },
    "LoRA, base in fp8, no loss on pixels": {**LORA, "frozen": "fp8", "rgb_weight": "0"},
}
# Sizes of cards in GiB, and what CUDA, PyTorch and a screen hold of them, which is assumed.
CARDS, ASSUMED = (8, 12, 16, 24, 48, 80), 1.5 * GIB


def counted(presets: Sequence[str], overrides: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """The peak memory of each preset with the settings of each rung of the ladder, in bytes; rungs that change nothing
    of a preset are left out."""
    found: dict[str, dict[str, int]] = {}
    for name in presets:
        pixels = load_config(name, None, overrides).rgb_weight != 0
        rungs = {rung: settings for rung, settings in LADDER.items() if pixels or "decoder_tile" not in settings}
        peaks = (measure(load_config(name, None, {**overrides, **settings})).peak for settings in rungs.values())
        found[name] = dict(zip(rungs, peaks, strict=True))
    return found


def table_of_cards(peaks: Mapping[str, Mapping[str, int]]) -> str:
    """What is counted for each rung, and whether it fits on each card, as a Markdown table."""
    cards = " | ".join(f"{card} GB" for card in CARDS)
    lines = [f"| preset | settings | counted, GiB | {cards} |", "|---" * (3 + len(CARDS)) + "|"]
    for name, rungs in peaks.items():
        for rung, peak in rungs.items():
            fits = " | ".join("yes" if peak + ASSUMED <= card * GIB else "no" for card in CARDS)
            lines.append(f"| {name} | {rung} | {peak / GIB:.1f} | {fits} |")
    lines.append(
        f"\ncounted, not measured; what CUDA, PyTorch and a screen hold on top is assumed to be {ASSUMED / GIB:g} GiB"
    )
    return "\n".join(lines)
