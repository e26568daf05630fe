"""Constants of the published method (paper §3 and §4.1)."""

from __future__ import annotations

# Frames per second of the network; videos with a rate in this range are dubbed frame by frame.
NETWORK_RATE = 25
FRAME_BY_FRAME = (20, 33)
# Samples per second of the speech encoders' input, and feature rows per second of their output: two per frame.
SAMPLE_RATE = 16_000
ROWS_PER_SECOND = 2 * NETWORK_RATE
# Side of the square of pixels that a latent covers, and a latent's channels.
PIXELS_PER_LATENT = 8
LATENT_CHANNELS = 4
# Width of a crop relative to that of the face's 68 points.
PUBLISHED_CROP_SCALE = 2.0
