"""The demo's input: a video of a rendered person who is not in the training data, and new speech.

All are made by `training.synthetic.demo`; the speech is synthesised by eSpeak NG.
"""

from __future__ import annotations

from .assets import ASSETS

TALK = ASSETS / "talk.mp4"
TALK_OCCLUDED = ASSETS / "talk_occluded.mp4"  # the same person; a hand passes before the mouth
SPEECH = ASSETS / "speech.flac"
# The clips by the names that Load Example offers.
EXAMPLES = {"person talking": TALK, "hand before the mouth": TALK_OCCLUDED}
