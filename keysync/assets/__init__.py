"""The files that come with KeySync: the small model, the face finder's weights, what the demo dubs."""

from pathlib import Path

ASSETS = Path(__file__).parent
