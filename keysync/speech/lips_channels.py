"""The channels of a lips curve."""

from __future__ import annotations

# Opening, jaw and teeth are 0 where closed or hidden, and 1 as in a wide open vowel of ordinary speech, about the 95th
# percentile. Width and roundness are 0 at rest, and 1 and -1 likewise.
LIPS = ("opening", "width", "roundness", "jaw", "teeth")
# Those that have no negative values.
POSITIVE = [LIPS.index(name) for name in ("opening", "jaw", "teeth")]
WIDTHS = [number for number in range(len(LIPS)) if number not in POSITIVE]
