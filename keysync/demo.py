"""The demo's input: videos of rendered people who are not in the training data, and new speech.

All are made by `training.synthetic.demo`; the speech is synthesised by eSpeak NG.
"""

from __future__ import annotations

from .assets import ASSETS

TALK = ASSETS / "talk.mp4"
TALK_OCCLUDED = ASSETS / "talk_occluded.mp4"  # the same person; a hand passes before the mouth
TALK_TWO = ASSETS / "talk_two.mp4"  # two other people, who both speak
SPEECH = ASSETS / "speech.flac"
# The clips by the names that Load Example offers.
EXAMPLES = {"person talking": TALK, "hand before the mouth": TALK_OCCLUDED, "two people talking": TALK_TWO}
