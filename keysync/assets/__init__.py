"""The files that ship with KeySync: the small model, the face finder's weights and the demo's input."""

from pathlib import Path

ASSETS = Path(__file__).parent
