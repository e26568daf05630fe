"""KeySync small: a trained model that comes with KeySync, for a first try without downloads and for tests.

It has the published architecture at a smaller width and works on 128 x 128 pixels; both stages use a HuBERT of its own,
whose rows are read from those of the built-in Whisper (`keysync.speech.ears`). It was trained on rendered people only:
real faces need the published weights. Models that are not given come from here.
"""

from __future__ import annotations

from ...assets import ASSETS

FOLDER = ASSETS / "small"
# Files of the stages, folders as diffusers and transformers keep them of the VAE and the speech encoder.
SMALL = {
    "keyframe": FOLDER / "keysync-small-keyframe.safetensors",
    "interpolation": FOLDER / "keysync-small-interpolation.safetensors",
    "vae": FOLDER / "keysync-small-vae",
    "hubert": FOLDER / "keysync-small-hubert",
}
# Where a model came from, in reports and in the index of prepared data.
BUILT_IN = "KeySync small, built in"
# What its stages were trained on: pixels of a crop's side, and a crop's width over that of the face's points: less than
# the published 2, so that the mouth has more latents.
RESOLUTION, CROP_SCALE = 128, 1.4
# About the colour of a latent of its VAE, for previews: red, green and blue, -1..1, are latent (4,) @ factors + bias.
# By least squares on crops of the demo; `tests/vae/test_latent_rgb.py` makes them anew.
LATENT_RGB = (
    (0.3781, 0.3683, 0.3346),
    (0.0637, -0.0531, -0.1388),
    (-0.0360, 0.0056, -0.0151),
    (0.0071, 0.0075, 0.0093),
)
LATENT_RGB_BIAS = (-0.1047, -0.1896, -0.2774)
