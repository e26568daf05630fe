"""`tests.portrait`, which is no package's from inside ComfyUI: loaded by its path."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("portrait", Path(__file__).parents[2] / "portrait.py")
assert _spec
assert _spec.loader
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
portrait_frames = _module.portrait_frames
