"""What Train KeySync LoRA draws: its losses over the steps, and a window before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...keysync.plot import BACKGROUND, COLOURS, LINES, TEXT

WIDTH, HEIGHT = 960, 400
# Pixels: left of the plot, above, below and right of it; a line of text.
LEFT, ABOVE, BELOW, RIGHT, LABEL = 72, 28, 32, 16, 20
RAW, SMOOTH = (70, 84, 104), COLOURS[0]
ACROSS, ALONG = 5, 6
# The curve is a mean over this share of the steps.
SMOOTHED = 0.05


def draw_losses(losses: Sequence[float]) -> Tensor:
    """A picture (1, h, w, 3) in 0..1 of the loss of each step, on a logarithmic scale, and its running mean."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    raw = np.log10(np.maximum(np.asarray(losses, np.float64), 1e-12))
    low, high = float(raw.min()) - 0.05, float(raw.max()) + 0.05
    right, bottom = WIDTH - RIGHT, HEIGHT - BELOW

    def row(value: float) -> float:
        return ABOVE + (high - value) / (high - low) * (bottom - ABOVE)

    def column(step: float) -> float:
        return LEFT + (step - 1) / max(1, len(raw) - 1) * (right - LEFT)

    for value in np.linspace(low, high, ACROSS).tolist():
        draw.line((LEFT, row(value), right, row(value)), fill=LINES)
        draw.text((6, row(value) - 6), f"{10**value:.3g}", fill=TEXT, font=font)
    for step in sorted({round(step) for step in np.linspace(1, len(raw), ALONG).tolist()}):
        draw.line((column(step), ABOVE, column(step), bottom), fill=LINES)
        draw.text((column(step) - 8, bottom + 8), str(step), fill=TEXT, font=font)
    for values, colour in ((raw, RAW), (_running_mean(raw), SMOOTH)):
        points = [(column(number), row(value)) for number, value in enumerate(values.tolist(), 1)]
        draw.line(points if len(points) > 1 else [points[0], (right, points[0][1])], fill=colour, width=2)
    draw.text((LEFT, 8), f"loss of each of {len(raw)} steps, and its running mean", fill=TEXT, font=font)
    return _as_image(image)


def draw_preview(rows: Mapping[str, Tensor]) -> Tensor:
    """A picture (1, h, w, 3) in 0..1 of rows of pictures (n, h, w, 3), below their names."""
    first = next(iter(rows.values()))
    count, height, width, _ = first.shape
    sheet = Image.new("RGB", (count * width, len(rows) * (height + LABEL)), BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for number, (name, pictures) in enumerate(rows.items()):
        top = number * (height + LABEL)
        draw.text((4, top + 4), name, fill=TEXT, font=font)
        for place, picture in enumerate(pictures):
            levels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            sheet.paste(Image.fromarray(levels), (place * width, top + LABEL))
    return _as_image(sheet)


def _running_mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    span = max(1, round(SMOOTHED * len(values)))
    padded = np.concatenate((np.zeros(1), np.cumsum(values)))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - span)
    return (padded[ends] - padded[starts]) / (ends - starts)


def _as_image(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image))[None].float() / 255
