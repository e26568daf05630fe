"""How FlashLips draws: what is asked for, else what its file says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keysync.errors import KeySyncError
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.settings import Drawing, Settled

SPEC = replace(PRESETS["tiny"], steps=6, references_used=3, mask_free=True)


def test_the_file_says_what_is_not_asked_for() -> None:
    assert Drawing().settled(SPEC) == Settled(6, 3, mask_free=True)
    assert Drawing(2, 1, mask_free=False).settled(SPEC) == Settled(2, 1, mask_free=False)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"steps": 0}, "0 steps: expected 1 to 1000"),
        ({"references": 5}, "5 references: expected 1 to 4"),
    ],
)
def test_numbers_out_of_range_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(KeySyncError, match=message) as error:
        Drawing(**asked)
    assert error.value.about == next(iter(asked))
