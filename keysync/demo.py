"""The demo's input: a video of a rendered person who is not in the training data, and new speech.

Both are made by `training.synthetic.demo`; the speech is synthesised by eSpeak NG.
"""

from __future__ import annotations

from .assets import ASSETS

TALK = ASSETS / "talk.mp4"
SPEECH = ASSETS / "speech.flac"
