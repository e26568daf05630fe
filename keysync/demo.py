"""What the demo dubs: a rendered person who was seen in no training, and what the person is to say instead.

Both are made by `training.synthetic.demo`; the sentences are spoken by eSpeak NG.
"""

from __future__ import annotations

from .assets import ASSETS

TALK = ASSETS / "talk.mp4"
SPEECH = ASSETS / "speech.flac"
