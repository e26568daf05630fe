# tests/portrait.py, under the name that tests/host/inside/conftest.py gives it.
from tests.portrait import portrait_frames as portrait_frames
