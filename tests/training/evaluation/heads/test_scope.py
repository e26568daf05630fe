"""How much is animated."""

from __future__ import annotations

import pytest

from keysync.errors import KeySyncError
from training.evaluation.heads.scope import HeadScope


def test_too_few_clips() -> None:
    with pytest.raises(KeySyncError, match="1 clips give no interval: expected at least 2"):
        HeadScope(clips=1)
