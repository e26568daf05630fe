"""Numbers of the published method that its parts share (paper §3 and §4.1)."""

from __future__ import annotations

# Frames a second that the network works at; videos between the two rates are dubbed frame by frame.
NETWORK_RATE = 25
FRAME_BY_FRAME = (20, 33)
# Samples a second that the speech encoders hear, and feature rows a second that they give: two a frame.
SAMPLE_RATE = 16_000
ROWS_PER_SECOND = 2 * NETWORK_RATE
# A latent stands for a square of so many pixels and has so many channels.
PIXELS_PER_LATENT = 8
LATENT_CHANNELS = 4
# Width of a crop over that of the face's 68 points.
PUBLISHED_CROP_SCALE = 2.0
