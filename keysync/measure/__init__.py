"""Measures of lip sync, of any video by any system: curves of the mouth and figures of the picture."""
